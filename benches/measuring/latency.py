"""Latency at an offered rate, by `openloop.c`: from when a request was due, whatever the server does.

Server and client have a core each, where there are two: the client must be able to ask when it is time.
"""
import os
import re
import subprocess

from .server import Failed

PERCENTILES = ["50", "99", "99.9"]


# More than anything here answers; for how many seconds.
FLOOD, FLOODED = 250_000, 0.3


def capacity(server, openloop, connections, cpu):
    """Requests per second that this server and the client can do together at most."""
    return measure(server, openloop, FLOOD, connections, FLOODED, cpu)["achieved"]


def measure(server, openloop, rate, connections, seconds, cpu, paths=("/plaintext",), share=0.0):
    """What became of `rate` requests per second: achieved, errors, and for each path µs by percentile.
    The second path gets `share` of the requests."""
    words = [openloop, server.port, round(rate), connections, seconds, paths[0]]
    words += [paths[1], share] if len(paths) > 1 else []
    cores = sorted(os.sched_getaffinity(0) - {cpu}) or [cpu]
    try:
        client = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=seconds + 30,
                                preexec_fn=lambda: os.sched_setaffinity(0, {cores[0]}))
    except subprocess.TimeoutExpired:
        raise Failed(f"{server.name}: the client did not come to an end") from None
    if client.returncode:
        raise Failed(f"{server.name}: the client says {client.stderr.strip()}")
    return {"rate": round(rate), **parse(client.stdout, paths)}


def parse(text, paths):
    head = re.match(r"offered (\d+)/s  achieved (\d+)/s  errors (\d+)", text)
    result = {"offered": int(head[1]), "achieved": int(head[2]), "errors": int(head[3])}
    for line in text.splitlines()[1:]:
        path = line.split()[0]
        figures = dict(re.findall(r"p([\d.]+)=(\d+)us", line))
        result[path] = {key: int(figures[key]) for key in PERCENTILES}
    if paths[0] not in result:
        raise Failed("nothing was answered")
    return result
