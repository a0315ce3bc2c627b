"""CPU time per request: slices of load, interleaved so that drift hits every server alike.

Server and client share one core. It never idles, so no server pays for wake-ups across cores, and a
faster one does not look worse because it waits more.
"""
import contextlib
import os
import re
import statistics
import subprocess
import threading
import time
from contextlib import ExitStack

from . import server as servers
from .server import Failed, Server

# The scheduler's own account, in ns, excluding what a hypervisor took; else ticks of the clock.
EXACT = os.path.exists("/proc/self/schedstat")
TICK_NS = 1e9 / os.sysconf("SC_CLK_TCK")
# Of a slice, by a hypervisor.
MOST_STEAL = 0.15
# Seconds: of load that warms up; of patience beyond the load.
WARM, PATIENCE = 0.1, 40
# How often a server is looked at until it does nothing any more.
MOST_LOOKS = 10


def used(server):
    """CPU time of every thread of the server so far, by thread, in ns."""
    times = {}
    for pid in servers.descendants(server.root()):
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/{'schedstat' if EXACT else 'stat'}") as file:
                    text = file.read()
                if EXACT:
                    times[thread] = int(text.split()[0])
                else:
                    fields = text.rpartition(")")[2].split()
                    times[thread] = (int(fields[11]) + int(fields[12])) * TICK_NS
        except OSError:
            pass
    return times


def used_when_quiet(server):
    """As `used`, once the server has dealt with what came. Some do a little at any time."""
    before = used(server)
    for _ in range(MOST_LOOKS):
        time.sleep(0.02)
        now = used(server)
        if now == before:
            break
        before = now
    return now


def stolen(cpu):
    """Time of this core: all of it, and what a hypervisor took away."""
    with open("/proc/stat") as stat:
        for line in stat:
            if line.startswith(f"cpu{cpu} "):
                fields = [int(field) for field in line.split()[1:9]]
                return sum(fields), fields[7]
    return 0, 0


def slice_of(server, blast, workload, seconds, cpu):
    """One slice of load on one server. Connections are made before it and closed after it, unless each
    request has its own."""
    request = workload.request()
    words = [blast, server.port, workload.connections, seconds, workload.depth, *(["close"] if workload.close else [])]
    client = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    # A server that stops answering ends the client by its own patience; this one is for the client.
    guard = threading.Timer(seconds + PATIENCE, client.kill)
    guard.start()
    try:
        said = b""
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(b"%d\n" % len(request) + request)
            client.stdin.flush()
            if client.stdout.readline() == b"ready\n":
                before, (all0, steal0) = used_when_quiet(server), stolen(cpu)
                client.stdin.write(b"go\n")
                client.stdin.flush()
                said = client.stdout.readline()
                after, (all1, steal1) = used_when_quiet(server), stolen(cpu)
        _, complaint = client.communicate()
    finally:
        guard.cancel()
        client.kill()
    found = re.match(rb"requests (\d+)  rps (\d+)", said)
    if client.returncode or not found:
        raise Failed(f"{server.name}: {complaint.decode().strip() or 'the client was stopped'}")
    ns = sum(time - before.get(thread, 0) for thread, time in after.items())
    return {"workload": workload.key, "server": server.name, "requests": int(found[1]), "rps": int(found[2]),
            "cpu_us": ns / 1e3 / max(1, int(found[1])), "steal": (steal1 - steal0) / max(1, all1 - all0)}


def block(commands, blast, workload, seconds, cpu, failed):
    """Measures each server, and once more in reverse order (ABBA). Gives the slices; what cannot be
    measured is left out, and `failed` with why.

    Every block starts the servers anew: where a process happens to lie in memory and caches makes it
    a per cent faster or slower for as long as it lives."""
    with ExitStack() as stack:
        running = []
        for name, command in commands.items():
            with guarded(name, failed):
                server = stack.enter_context(Server(name, command, cpu, request=workload.request()))
                # Warms up, and does not count.
                slice_of(server, blast, workload, min(seconds, WARM), cpu)
                running.append(server)
        slices = []
        for server in [*running, *reversed(running)]:
            if server.name not in failed:
                with guarded(server.name, failed):
                    slices.append(slice_of(server, blast, workload, seconds, cpu))
    return [s for s in slices if s["server"] not in failed]


@contextlib.contextmanager
def guarded(name, failed):
    """One server that fails does not stop the others."""
    try:
        yield
    except (Failed, OSError) as failure:
        failed[name] = str(failure)


def means(slices):
    """CPU time of each server in a block, in µs per request, and the most that a hypervisor took of a slice."""
    names = {s["server"] for s in slices}
    return ({name: statistics.mean(s["cpu_us"] for s in slices if s["server"] == name) for name in names},
            max(s["steal"] for s in slices))


def quiet(blocks):
    """Those of (block, share that was stolen) that count: the quiet ones, or the quieter half if those are fewer;
    and the most that was taken of one that counts."""
    blocks = sorted(blocks, key=lambda block: block[1])
    enough = max((len(blocks) + 1) // 2, sum(steal <= MOST_STEAL for _, steal in blocks))
    return [block for block, _ in blocks[:enough]], blocks[enough - 1][1]
