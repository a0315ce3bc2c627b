"""System calls per request, by strace: exact, and the same on a busy machine.

The server is started under strace, as attaching needs rights that a stranger may not have. One
connection; two requests mark where counting begins and ends, so nothing of start, idle or end is
counted. Requests are a moment apart: strace slows the server so much that otherwise the next one
would be there already, and a call that finds nothing to do would not be seen.
"""
import collections
import os
import re
import shutil
import subprocess
import tempfile
import time

from .server import Client, Failed, Server

GAP = 0.003
FIRST, LAST = "/first", "/last"


def unavailable():
    """Why this cannot be measured here, or None."""
    if not shutil.which("strace"):
        return "strace is not installed"
    attempt = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True)
    if attempt.returncode:
        return f"strace may not trace: {attempt.stderr.strip()}"
    return None


def per_request(name, command, requests):
    """System calls per request as {name: count}, and where to find their sum."""
    with tempfile.TemporaryDirectory() as directory:
        trace = os.path.join(directory, "trace")
        under = ["strace", "-f", "-qq", "-s", "48", "-o", trace]
        with Server(name, command, under=under) as server, Client(server) as client:
            root, serving = server.root(), server.serving()
            client.ask()
            client.ask(FIRST)
            for _ in range(requests - 1):
                time.sleep(GAP)
                client.ask()
            time.sleep(GAP)
            client.ask(LAST)
        with open(trace, errors="replace") as file:
            lines = file.read().splitlines()
    return count(lines, None if serving == [root] else root, requests)


def count(lines, master, requests):
    """Counts calls from the one that reads the first marker to before the one that reads the last.
    What the master does meanwhile is not done for a request."""
    counts, counting = collections.Counter(), False
    for line in lines:
        pid, _, call = line.partition(" ")
        if f'"GET {LAST} ' in line:
            return {name: number / requests for name, number in counts.most_common()}
        counting |= f'"GET {FIRST} ' in line
        # A call that was interrupted in the trace is counted where it begins.
        found = re.match(r"\s*(\w+)\(", call)
        if counting and found and pid != str(master):
            counts[found[1]] += 1
    raise Failed("the trace does not show the requests")
