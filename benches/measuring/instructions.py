"""User instructions per request, by valgrind's callgrind: they repeat almost exactly.

Two runs that differ in the number of requests only: what start and end cost is in both, and goes
away in the difference. Requests, or rounds of them on several connections, are a moment apart, as for system calls:
under valgrind the server is so slow that the next one would be there already, and be served in the same turn.
"""
import contextlib
import glob
import os
import re
import shutil
import tempfile
import time

from .server import Client, Failed, Server

GAP = 0.001


def unavailable():
    """Why this cannot be measured here, or None."""
    return None if shutil.which("valgrind") else "valgrind is not installed"


def per_request(name, command, requests, connections=1):
    """User instructions per request of the processes that serve, so many connections asking at once."""
    few, many = (total(name, command, rounds, connections)
                 for rounds in (requests // 4 // connections, requests // connections))
    return (many - few) / ((requests // connections - requests // 4 // connections) * connections)


def total(name, command, rounds, connections):
    with tempfile.TemporaryDirectory() as directory:
        under = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={directory}/%p"]
        with Server(name, command, under=under) as server:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(server)) for _ in range(connections)]
                for _ in range(rounds):
                    time.sleep(GAP)
                    for client in clients:
                        client.send()
                    for client in clients:
                        client.receive()
            serving = {str(pid) for pid in server.serving()}
        counts = 0
        for path in glob.glob(f"{directory}/*"):
            if os.path.basename(path) in serving:
                with open(path) as file:
                    counts += int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M)[1])
    if not counts:
        raise Failed("callgrind wrote no profile of the server")
    return counts
