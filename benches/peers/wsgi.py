"""The routes of app.rs as a WSGI application; as a program, `wsgi.py SERVER PORT`, by the servers that have
no command of their own.
"""
import json
import sys
import time

LARGE = b"x" * (1 << 20)


def app(environ, start_response):
    kind, status, path = "text/plain", "200 OK", environ["PATH_INFO"]
    if path == "/plaintext":
        content = b"Hello, World!"
    elif path == "/json":
        kind, content = "application/json", json.dumps({"message": "Hello, World!"}, separators=(",", ":")).encode()
    elif path == "/10k":
        content = LARGE[:10 << 10]
    elif path == "/1m":
        content = LARGE
    elif path == "/upload":
        # Without a length some servers wait for more.
        content = b"%d" % len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    elif path == "/slow":
        time.sleep(0.1)
        content = b"Hello, World!"
    else:
        status, content = "404 Not Found", b""
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(content)))])
    return [content]


if __name__ == "__main__":
    server, port = sys.argv[1], int(sys.argv[2])
    if server == "bjoern":
        import bjoern
        bjoern.run(app, "127.0.0.1", port, listen_backlog=4096)
    elif server == "fastwsgi":
        import fastwsgi
        fastwsgi.server.backlog = 4096
        fastwsgi.run(app, "127.0.0.1", port, loglevel=0)
