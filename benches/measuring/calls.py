"""System calls per request, by strace: exact, and the same on a busy machine.

The server is started under strace, as attaching needs rights that a stranger may not have. Two requests
mark where counting begins and ends, so nothing of start, idle or end is counted. Requests are a moment
apart: strace slows the server so much that otherwise the next one would be there already, and a call
that finds nothing to do would not be seen.
"""
import collections
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from .server import PATH, REQUEST, Client, Failed, Server

GAP = 0.003
# As long as any other request: the bare loop counts bytes.
FIRST, LAST, BATCH = "/marker-01", "/marker-02", "/marker-03"
DEPTH = 16
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6"}
CLOSING = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def unavailable():
    """Why this cannot be measured here, or None."""
    if not shutil.which("strace"):
        return "strace is not installed"
    attempt = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True)
    if attempt.returncode:
        return f"strace may not trace: {attempt.stderr.strip()}"
    return None


def per_request(name, command, requests, connections=1):
    """System calls per request as {name: count}, most frequent first. Requests are sent on all the connections
    before an answer is read."""
    rounds = max(1, requests // connections)

    def load(server, clients):
        for _ in range(rounds):
            time.sleep(GAP)
            for client in clients:
                client.send()
            for client in clients:
                client.receive()

    calls = collections.Counter(call for call, _ in trace(name, command, load, connections))
    return {call: number / (rounds * connections) for call, number in calls.most_common()}


def per_connection(name, command, requests):
    """System calls of a connection for one request as {name: count}: those from one accept to the next,
    of the connection in the middle. The request is there with the connection: one that is late by a moment
    costs calls that are not the server's doing."""
    def load(server, _):
        for _ in range(requests):
            time.sleep(GAP)
            with Client(server, quiet=True) as client:
                client.socket.sendall(CLOSING)
                client.receive()
                if client.file.read(1):
                    raise Failed(f"{name} does not close the connection")

    return middle(name, ((call, starts == "accept") for call, starts in trace(name, command, load)), 1)


def per_pipelined(name, command, requests):
    """System calls per request, of requests that come DEPTH at once, as {name: count}: those from one batch to the
    next, of the batch in the middle."""
    batch = REQUEST.replace(PATH.encode(), BATCH.encode()) + REQUEST * (DEPTH - 1)

    def load(_, clients):
        for _ in range(max(2, requests // DEPTH)):
            time.sleep(GAP)
            clients[0].socket.sendall(batch)
            for _ in range(DEPTH):
                clients[0].receive()

    return middle(name, ((call, starts == "batch") for call, starts in trace(name, command, load)), DEPTH)


def middle(name, calls, requests):
    """Of calls, each with whether it starts something, those of the thing in the middle, for each of its requests."""
    things = []
    for call, starts in calls:
        if starts:
            things.append([])
        if things:
            things[-1].append(call)
    # The last one goes on into the request that marks the end.
    lengths = [len(thing) for thing in things[:-1]]
    if not lengths:
        raise Failed(f"{name}: the trace does not show the requests")
    one = things[lengths.index(statistics.median_low(lengths))]
    return {call: number / requests for call, number in collections.Counter(one).most_common()}


def waits(calls):
    """Of these calls, those that wait for what is ready."""
    return sum(number for call, number in calls.items() if call in WAITS)


def trace(name, command, load, connections=1):
    """The calls that the server makes while `load` runs: their names, and what each starts: an accepted
    connection, a batch, or nothing."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "trace")
        under = ["strace", "-f", "-qq", "-s", "48", "-o", path]
        with Server(name, command, under=under) as server:
            clients = [Client(server) for _ in range(connections)]
            try:
                root, serving = server.root(), server.serving()
                for client in clients:
                    client.ask()
                mark(server, clients[0], FIRST)
                load(server, clients)
                time.sleep(GAP)
                mark(server, clients[0], LAST)
            finally:
                for client in clients:
                    client.__exit__()
        with open(path, errors="replace") as file:
            lines = file.read().splitlines()
    return between(lines, None if serving == [root] else root)


def mark(server, client, path):
    """A request that the trace shows; on a new connection if the server keeps none."""
    try:
        client.ask(path)
    except OSError:
        with Client(server) as another:
            another.ask(path)


def between(lines, master):
    """The calls from the one that reads the first request behind the first marker to before the one that
    reads the last marker. What the master does meanwhile is not done for a request."""
    calls, marked, counting = [], False, False
    for line in lines:
        pid, _, call = line.partition(" ")
        if f'"GET {LAST} ' in line:
            return calls
        batch = f'"GET {BATCH} ' in line
        counting |= marked and (batch or f'"GET {PATH} ' in line)
        marked |= f'"GET {FIRST} ' in line
        # A call that was interrupted in the trace is counted where it begins.
        found = re.match(r"\s*(\w+)\(", call)
        # F_GETFD before a close is a check of Rust's standard library in debug builds.
        if counting and found and pid != str(master) and "F_GETFD" not in call:
            accepted = found[1].startswith("accept") and "= -1" not in call
            calls.append((found[1], "accept" if accepted else "batch" if batch else ""))
    raise Failed("the trace does not show the requests")
