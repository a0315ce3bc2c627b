#!/usr/bin/env python3
"""Writes the first corpora: every raw case of tests/conformance, in front of it the control bytes.

    python3 fuzz/seeds.py [DIRECTORY]      (fuzz/corpus where none is named)

Files are named by their SHA-1, as libFuzzer names what it finds.
"""

import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE.parent / "tests/conformance/cases.jsonl"
LONGEST = 3000

# Kind of limits, tuning of small ones, four sizes of pieces: see src/control.rs.
DEFAULT, UNLIMITED, SMALL = bytes([0, 0, 2, 9, 0, 30]), bytes([5, 0, 4, 4, 1, 99]), bytes([2, 77, 7, 1, 3, 12])
LINES = [
    b"UNKNOWN",
    b"UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535",
    b"TCP4 192.0.2.1 198.51.100.1 51000 80",
    b"TCP6 2001:db8::1 ::ffff:192.0.2.1 0 65535",
]
FORWARDED = [
    b'for=192.0.2.60;proto=http;by=203.0.113.43;host="a.example:8443"',
    b'For="[2001:db8:cafe::17]:4711", for=unknown, for="_gazonk:_port"',
    b'for="1.2.3.4:80" ; ext="\\"q,;\\\\", proto=https;;host=h',
    b"1.2.3.4, 1.2.3.4:80, 2001:db8::1, [2001:db8::1]:80, unknown, ::ffff:1.2.3.4",
]


def cases():
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        raw = case["raw"]
        for name, (text, times) in (case.get("repeat") or {}).items():
            raw = raw.replace(name, text * times)
        if len(raw) <= LONGEST:
            yield raw.encode("latin-1")


def boundaries():
    """Parts exactly as long as small limits permit, and one byte longer: see src/control.rs."""
    for tune in range(0, 60, 7):
        control = bytes([2, tune, 255, 255, 255, 255])
        for more in (0, 1):
            rest = b" HTTP/1.1\r\nHost:h\r\n\r\n"
            yield "head", control + b"GET /" + b"a" * (tune % 23 + more) + rest
            field = b"Host:".ljust(7 + tune % 29 + more, b"h")
            yield "head", control + b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\n"
            trailer = b"A:".ljust(max(tune % 31 - 2, 2) + more, b"b")
            yield "chunked", control + b"0\r\n" + trailer + b"\r\n\r\n"
            extension = b";a".ljust(max(tune % 7, 2) + more, b"b")
            yield "chunked", control + b"0" + extension + b"\r\n\r\n"
    for target in (b"HTTP://H", b"hTTp://h:80?q", b"HTTPS://h/"):
        yield "head", DEFAULT + b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n"


def in_turn():
    """What several connections bring, one after the other."""
    host, agent = b"Host: h\r\n", b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    get, end = b"GET /a?b HTTP/1.1\r\n", b"\r\n"
    usual = get + host + agent + end
    others = [
        usual.replace(b"/a?b", b"/c"),
        usual.replace(b"Host: h", b"Host: other"),
        usual.replace(b"1.1", b"1.0"),
        usual.replace(b"GET", b"HEAD"),
        get + agent + host + end,
        get + host + end,
        get + host + b"Content-Length: 3\r\n\r\nabc" + usual,
        get + host + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + usual,
        get + host + host + end,
        get + host + b"Upgrade: x\r\nConnection: upgrade\r\nx_y: z\r\n" + end,
        usual[:-2],
        b"\r\n" + usual,
    ]
    for kind, other in enumerate(others):
        control = bytes([kind & 3, 0x55 << (kind & 1) & 255, 9, 200, 30, 2])
        yield control + b"\0".join([usual, other, usual, usual, other])


def record(kind, request, content=b"", padding=0):
    """One of FastCGI."""
    header = bytes([1, kind, 0, request]) + len(content).to_bytes(2, "big") + bytes([padding, 0])
    return header + content + bytes(padding)


def gateways():
    """What web servers and applications say to each other."""
    pairs = b"\x0b\x02SERVER_PORT80\x01\x80\0\0\x04Avvvv\x01\0B"
    ask = record(9, 0, b"\x0e\0FCGI_MAX_CONNS\x0f\0FCGI_MPXS_CONNS")
    begin, end = bytes([0, 1, 1, 0, 0, 0, 0, 0]), bytes(8)
    params = record(4, 1, pairs[:9]) + record(4, 1, pairs[9:], 7) + record(4, 1)
    request = record(1, 1, begin) + params + record(5, 1, b"content", 1) + record(5, 1)
    second = record(1, 2, begin) + record(4, 2) + record(5, 2)
    records = [
        request,
        request + request,
        record(1, 1, begin) + second + params + record(5, 1),
        record(1, 1, begin) + params + record(2, 1) + request,
        ask + request + record(9, 0) + record(77, 0, b"x"),
        record(1, 1, bytes([0, 2, 0, 0, 0, 0, 0, 0])) + request,
        record(1, 1, begin) + record(4, 1, b"\x01\xff\xff\xff\xffA") + record(4, 1) + record(5, 1) + request,
        record(6, 1, b"Status: 200\r\n\r\n", 3) + record(7, 1, b"warning") + record(3, 1, end) + record(6, 1, b"x"),
        record(6, 1, b"x") + record(6, 1) + record(7, 1) + record(3, 1, end, 8),
        record(6, 1) + record(6, 1, b"x"),
        record(6, 2, b"x"),
        b"HTTP/1.1 200 OK\r\n\r\n",
    ]
    heads = [
        b"Content-Type: text/html\n\ncontent",
        b"Status: 404 Not Found\r\nContent-Type: a/b\r\nContent-Length: 7, 7\r\n\r\ncontent",
        b"Location: /a?b\n\n",
        b"Location: http://h/\nStatus: 307 x\nContent-Type: a/b\n\n",
        b"HTTP/1.1 302 Found\r\nLocation: //h\r\nConnection: x-a, close\r\nX-A: b\r\nStatus: x\r\n\r\n",
        b"Status: 200\nStatus: 200\n\n",
        b"Content-Type: a/b\nTransfer-Encoding: chunked\n\n",
        b"Content-Type : a\n\n",
    ]
    variables = [
        b"REQUEST_METHOD=POST\nREQUEST_URI=/a%20b?c\nCONTENT_LENGTH=5\nCONTENT_TYPE=a/b\nHTTP_HOST=h\nHTTP_X_Y=1\nHTTPS=on",
        b"REQUEST_METHOD=GET\nSCRIPT_NAME=/a\nPATH_INFO=/b c\nQUERY_STRING=d=%e\nSERVER_NAME=_\nHTTP_PROXY=x",
        b"REQUEST_METHOD=GET\nDOCUMENT_URI=/\xff\nREMOTE_ADDR=unix:\nSERVER_PROTOCOL=HTTP/1.0\nHTTP_COOKIE=a=b",
        b"REQUEST_METHOD=OPTIONS\nREQUEST_URI=*\nCONTENT_LENGTH=\nHTTP_A_B=1\nHTTP_A-B=2",
        b"REQUEST_METHOD=CONNECT\nREQUEST_URI=h:80\nHTTP_HOST=h:80",
        b"REQUEST_METHOD=GET\nREQUEST_URI=http://h:8/a?b\nHTTP_HOST=other\nSCRIPT_NAME=/a\nPATH_INFO=",
    ]
    def netstring(*pairs):
        text = b"".join(name + b"\0" + value + b"\0" for name, value in pairs)
        return str(len(text)).encode() + b":" + text + b",content"

    def packet(modifier, *pairs):
        text = b"".join(len(part).to_bytes(2, "little") + part for pair in pairs for part in pair)
        return bytes([modifier]) + len(text).to_bytes(2, "little") + b"\0" + text + b"content"

    length, scgi, method = (b"CONTENT_LENGTH", b"7"), (b"SCGI", b"1"), (b"REQUEST_METHOD", b"GET")
    twice, empty = (b"HTTP_A", b"1"), (b"QUERY_STRING", b"")
    netstrings = [
        b"70:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/deepthought\0,What",
        netstring(length, scgi, method, empty, twice, twice),
        netstring(length, method, scgi, method),
        netstring(scgi, length),
        netstring((b"CONTENT_LENGTH", b"-1"), scgi),
        netstring(length, (b"SCGI", b"2")),
        netstring(length, scgi, (b"", b"x")),
        b"0:,",
        b"07:",
        b"12345678:",
    ]
    packets = [
        packet(0, method, length, empty),
        packet(0, empty, method),
        packet(30, method, (b"UWSGI_SCHEME", b"https")),
        packet(0, (b"UWSGI_FILE", b"/etc/passwd")),
        packet(0, (b"", b"x")),
        packet(22, (b"import os", b"")),
        packet(100),
        packet(0, method)[:-9],
        b"\0\x05\0\0\x02\0aa\xff\xff",
    ]
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n" * 2,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\nx",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive, x-a\r\nX-A: b\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ]
    packed = (("scgi", netstrings), ("uwsgi", packets), ("http_answer", answers))
    for target, inputs in packed + (("fastcgi", records), ("cgi_head", heads), ("variables", variables)):
        for data in inputs:
            for tune in (0, 0x2B, 0xE1):
                yield target, bytes([0, tune, 4, 0, 30, 9]) + data


def files():
    """Paths of files, and values of Range."""
    paths = [b"", b"/", b"//a//", b"/a/../b", b"/%2e%2e/a", b"/a%2fb", b"/a%00", b"/a%", b"/%252e", b"/..;/a", b"/.git",
             b"/.well-known/x", b"/a\\..\\b", b"/%c3%a9/\xc3\xa9", b"/...", b"/a/."]
    for path in paths:
        for dotfiles in range(3):
            yield "file_name", bytes([dotfiles]) + path
    values = [b"0-0", b"0-", b"-5", b"5-2", b"0-1,1-2", b"0-9,500-509,5-505", b"-0", b"18446744073709551615-", b",", b"x",
              b"0-18446744073709551616", b"1-2, 3-4 ,,", b",".join(b"%d-%d" % (n * 1000, n * 1000) for n in range(33))]
    for value in values:
        for length in (0, 1, 600, 2**64 - 1):
            yield "ranges", length.to_bytes(8, "big") + b"bytes=" + value


def write(directory, data):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"
    for raw in cases():
        head, separator, rest = raw.partition(b"\r\n\r\n")
        write(root / "head", DEFAULT + head + separator)
        write(root / "connection", DEFAULT + raw + b"GET /?probe HTTP/1.1\r\nHost: h\r\n\r\n")
        write(root / "connection", SMALL + raw)
        if b"chunked" in head:
            write(root / "chunked", UNLIMITED + rest)
            write(root / "chunked", SMALL + rest)
    for target, data in boundaries():
        write(root / target, data)
    for target, data in gateways():
        write(root / target, data)
    for target, data in files():
        write(root / target, data)
    for data in in_turn():
        write(root / "recall", data)
    # Request kind, status, length, three fields, three pieces of body, an end with a trailer.
    fields = bytes([3, 12, 1]) + b"v" + bytes([0, 1]) + b"5" + bytes([2, 5]) + b"close"
    body = bytes([4]) + b"ab" + bytes([7]) + b"cde" + bytes([240, 1, 13, 1]) + b"t"
    for kind in range(64):
        for status in (0, 1, 3, 100, 104, 105, 204, 300):
            for length in (10, 1):
                start = bytes([kind, status >> 8, status & 255, length])
                write(root / "response", start + fields + body)
                write(root / "response", start + bytes([0]) + body)
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    v4, v6 = bytes(8) + b"\x10\x92\0\x50", bytes(32) + b"\x10\x92\0\x50"
    unix = b"/from".ljust(108, b"\0") + b"\0to".ljust(108, b"\0")
    tls = b"\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3"
    for command, family, block in ((0x20, 0, b""), (0x21, 0x11, v4), (0x21, 0x21, v6), (0x21, 0x31, unix)):
        for extra in (b"", b"\x04\0\x01\0", b"\x02\0\x01h" + tls, b"\x01\0\x02h2", b"\x03\0\x04\0\0\0\0"):
            rest = block + extra
            header = signature + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest
            for kind in (b"\0", b"\x80"):  # the second with its checksum made right
                write(root / "proxy", kind + header + b"GET /")
    for line in LINES:
        write(root / "proxy", b"\0PROXY " + line + b"\r\nGET /")
    for line in FORWARDED:
        write(root / "forwarded", line)


if __name__ == "__main__":
    main()
