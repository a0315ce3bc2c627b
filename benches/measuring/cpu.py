"""CPU time per request: slices of load, interleaved so that drift hits every server alike.

Server and client share one core. It never idles, so no server pays for wake-ups across cores, and a
faster one does not look worse because it waits more.
"""
import os
import re
import subprocess
import time
from contextlib import ExitStack

from . import server as servers
from .server import Failed, Server

# The scheduler's own account, in ns, excluding what a hypervisor took; else ticks of the clock.
EXACT = os.path.exists("/proc/self/schedstat")
TICK_NS = 1e9 / os.sysconf("SC_CLK_TCK")
MOST_STEAL = 0.15


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
    """As `used`, once the server has dealt with the end of its connections."""
    before = None
    while (now := used(server)) != before:
        before = now
        time.sleep(0.03)
    return now


def stolen(cpu):
    """Time of this core: all of it, and what a hypervisor took away."""
    with open("/proc/stat") as stat:
        for line in stat:
            if line.startswith(f"cpu{cpu} "):
                fields = [int(field) for field in line.split()[1:9]]
                return sum(fields), fields[7]
    return 0, 0


def slice_of(server, blast, connections, seconds, cpu):
    """One slice of load on one server."""
    before, (all0, steal0) = used_when_quiet(server), stolen(cpu)
    client = subprocess.run([blast, str(server.port), str(connections), str(seconds)],
                            capture_output=True, text=True, timeout=seconds + 30,
                            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    after, (all1, steal1) = used_when_quiet(server), stolen(cpu)
    found = re.search(r"requests (\d+)\s+rps (\d+)", client.stdout)
    if client.returncode or not found:
        raise Failed(f"{server.name}: the client says {client.stderr.strip() or client.stdout!r}")
    ns = sum(time - before.get(thread, 0) for thread, time in after.items())
    return {"server": server.name, "connections": connections, "requests": int(found[1]),
            "rps": int(found[2]), "cpu_us": ns / 1e3 / int(found[1]),
            "steal": (steal1 - steal0) / max(1, all1 - all0)}


def blocks(commands, blast, connections, count, seconds, cpu, say):
    """Measures `count` blocks, each of them all servers in order and once more in reverse (ABBA).
    Gives per block the µs of each server, and all slices.

    Every block starts the servers anew: where a process happens to lie in memory and caches makes it
    a per cent faster or slower for as long as it lives."""
    kept, slices = [], []
    for number in range(1, count + 1):
        with ExitStack() as stack:
            running = [stack.enter_context(Server(name, command, cpu))
                       for name, command in commands.items()]
            for server in running:
                # Warms up, and does not count.
                slice_of(server, blast, connections, min(seconds, 0.2), cpu)
            block = [slice_of(server, blast, connections, seconds, cpu)
                     for server in [*running, *reversed(running)]]
        slices += block
        means = {name: sum(s["cpu_us"] for s in block if s["server"] == name) / 2
                 for name in commands}
        steal = max(s["steal"] for s in block)
        note = ""
        if steal > MOST_STEAL:
            note = f"  dropped: the hypervisor took {steal:.0%}"
        else:
            kept.append(means)
        figures = "  ".join(f"{name} {us:.2f}" for name, us in means.items())
        say(f"connections {connections}, block {number} of {count}, CPU µs per request:"
            f"  {figures}{note}")
    if not kept:
        raise Failed("no block was quiet enough")
    return kept, slices
