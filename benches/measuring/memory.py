"""Memory per idle connection, as benches/idle measures it."""
import re
import resource
import time

from .server import Client, descendants

# Descriptors that the client needs besides.
SPARE = 1000
SAMPLE = 100
# What a server does for the first time in its first seconds is no connection's.
WARM = 2


def unavailable(connections):
    """Why so many connections cannot be had here, or None."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < connections + SPARE:
        return f"only {hard} open files are allowed (ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return None


def idle(server, connections):
    """Opens the connections, asks once on each, and leaves them idle. Gives what was found: bytes before
    and after, seconds for a new client, alone and beside them, and how many still serve."""
    quiet = [fresh(server) for _ in range(SAMPLE)]
    time.sleep(WARM)
    before, start, clients = settled(server), time.monotonic(), []
    try:
        for _ in range(connections):
            clients.append(asked(server))
        took = time.monotonic() - start
        after = settled(server)
        beside = [fresh(server) for _ in range(SAMPLE)]
        again = [client.ask() for client in clients[::max(1, connections // SAMPLE)]]
    finally:
        for client in clients:
            client.__exit__()
    return {"before": before, "after": after, "bytes": (after - before) / connections, "quiet": quiet,
            "beside": beside, "again": len(again), "rate": connections / took}


def asked(server):
    client = Client(server)
    client.ask()
    return client


def fresh(server):
    """Seconds that a new client needs for a connection and an answer."""
    start = time.perf_counter()
    with asked(server):
        return time.perf_counter() - start


def memory(server):
    """The server's share of memory in bytes: what several processes share counts once. Pages of files are not in it:
    which of them are mapped the system changes at any time (proc(5), smaps_rollup)."""
    total = 0
    for pid in descendants(server.root()):
        with open(f"/proc/{pid}/smaps_rollup") as maps:
            total += sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", maps.read(), re.M)))
    return total * 1024


def settled(server):
    """As `memory`, once it no longer changes; some change at any time."""
    before = memory(server)
    for _ in range(10):
        time.sleep(0.2)
        now = memory(server)
        if now == before:
            break
        before = now
    return now
