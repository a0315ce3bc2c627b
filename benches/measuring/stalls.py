"""Stalls of the machine: times in which a server was ready to run and was not let, or nobody was who looked.

The first is the scheduler's own account (`/proc/PID/schedstat`), of the thread that turns a worker's loop. Where the
server itself took the processor meanwhile, it is no stall. What was asked in one says nothing of the server.
"""
import threading
import time

# Seconds between the looks, and the least that counts.
PAUSE, LEAST = 0.01, 0.05


class Stalls:
    """Looks at these processes while it is entered."""

    def __init__(self, pids):
        self.pids, self.looks, self.over = pids, [], threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def watch(self):
        while not self.over.wait(PAUSE):
            try:
                delays = [delay(pid) for pid in self.pids]
                self.looks.append((time.monotonic(), sum(map(used, self.pids)), delays))
            except OSError:
                # One is gone, which is no stall.
                return

    def found(self):
        return list(stalls(self.looks))


def stalls(looks):
    """The stalls, as pairs of times. A look is a time, the seconds that the server has computed by then, and
    those for which each of its processes was ready and not let run; these are told when it runs again."""
    for (before, _, then), (now, computed, delays) in zip(looks, looks[1:]):
        if now - before > PAUSE + LEAST:
            yield before, now
        if (longest := max(delay - old for delay, old in zip(delays, then))) > LEAST:
            begin = before - longest
            earlier = next((look[1] for look in reversed(looks) if look[0] <= begin), looks[0][1])
            if computed - earlier < longest / 2:
                yield begin, now


def overlaps(stalls, begin, end):
    """Whether what began and ended then had one of the stalls in it."""
    return any(begin < until and since < end for since, until in stalls)


def delay(pid):
    """Seconds that a process's first thread was ready to run and did not (Documentation/scheduler/sched-stats.rst)."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9


def used(pid):
    """Seconds that all threads of a process have computed (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)
