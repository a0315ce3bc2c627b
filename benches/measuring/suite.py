"""One whole run: every workload on every server that can do it, with the progress said."""
import statistics
import time
from contextlib import ExitStack

from . import calls, cpu, instructions, latency, memory
from .goals import AGAIN, BARE
from .peers import OURS
from .server import Failed, Server
from .workloads import (BY_KEY, CLOSE, IDLE_CONNECTIONS, IDLE_NEEDS, LATENCY_NEEDS, MIXED_NEEDS, MIXED_RATE,
                        MIXED_SHARE, ONE, PIPELINE, SHARES)

# Other kinds of figures than CPU time, by what they are called on the command line.
EXACT, LATENCY, MIXED, IDLE = "exact", "latency", "mixed", "idle"
KINDS = [EXACT, *BY_KEY, LATENCY, MIXED, IDLE]
# A server that is far off takes part in so many blocks.
FAR_BLOCKS = 2
# How often each share of latency is measured; seconds of the mixed load.
TURNS, MIXED_SECONDS = 5, 5
# About how many seconds a slice takes beside its load, and the start of a server.
AROUND, START = 0.15, 0.4


class Progress:
    """Says what is measured, how far the run is, and how long it still takes by its own pace so far."""

    def __init__(self, steps, say):
        self.total, self.done, self.begin, self.say = sum(steps), 0.0, time.monotonic(), say

    def step(self, estimate, text):
        self.done += estimate
        share = self.done / self.total
        left = (time.monotonic() - self.begin) * (1 / share - 1)
        self.say(f"[{share:4.0%}, {max(left, 0) / 60:.0f} min left] {text}")


class Suite:
    """`found` are the servers, `tools` the programs in C, `options` what the command line says."""

    def __init__(self, found, tools, options, say):
        self.found, self.tools, self.options, self.say = found, tools, options, say
        self.result = {"cpu": {}, "rps": {}, "calls": {}, "instructions": {}, LATENCY: {}, MIXED: {}, IDLE: {}, "answers": {},
                       "failed": {}, "stolen": {}}

    def run(self):
        plan = [(self.estimate(kind), kind) for kind in KINDS if kind in self.options.only]
        self.progress = Progress([estimate for estimate, _ in plan], self.say)
        for estimate, kind in plan:
            failed = {}
            if kind in BY_KEY:
                self.cpu(BY_KEY[kind], estimate, failed)
            else:
                getattr(self, kind)(estimate, failed)
            for name, why in failed.items():
                self.say(f"  {kind}: without {name}: {why}")
            if failed:
                self.result["failed"][kind] = failed
        return self.result

    # What there is to do.

    def able(self, needs):
        """The servers that can do this, without those that are far off in the end."""
        return {name: command for name, (peer, command) in self.found.items() if peer.does(needs)}

    def blocks(self, workload):
        return max(2, round(self.options.blocks * workload.blocks))

    def taking_part(self, workload, number):
        able = self.able(workload.needs)
        near = {name: command for name, command in able.items() if number < FAR_BLOCKS or not self.found[name][0].far}
        bare = workload.bare(self.tools["limit-epoll"])
        return {BARE: bare, **near, AGAIN: bare}

    def estimate(self, kind):
        """About how many seconds this takes."""
        each = 2 * (self.options.seconds + AROUND) + START + cpu.WARM + AROUND
        if kind in BY_KEY:
            workload = BY_KEY[kind]
            return sum(each * len(self.taking_part(workload, number)) for number in range(self.blocks(workload)))
        if kind == EXACT:
            return 8.0 * len(self.found)
        if kind == LATENCY:
            return (len(self.able(LATENCY_NEEDS)) + 2) * TURNS * (len(SHARES) * (self.options.latency + AROUND) + START)
        if kind == MIXED:
            return len(self.able(MIXED_NEEDS)) * (MIXED_SECONDS + START)
        return 5.0 * len(self.able(IDLE_NEEDS))

    # CPU time.

    def cpu(self, workload, estimate, failed):
        count, measured, rates = self.blocks(workload), [], {}
        for number in range(count):
            commands = {name: command for name, command in self.taking_part(workload, number).items() if name not in failed}
            slices = cpu.block(commands, self.tools["blast"], workload, self.options.seconds, self.options.cpu, failed)
            if BARE in failed or not slices:
                raise Failed(f"{workload.key}: the bare loop cannot be measured: {failed.get(BARE)}")
            means, steal = cpu.means(slices)
            measured.append((means, steal))
            for piece in slices:
                rates.setdefault(piece["server"], []).append(piece["rps"])
            ours = f", {OURS} {means[OURS]:.2f}" if OURS in means else ""
            taken = f"; a hypervisor took {steal:.0%}" if steal > cpu.MOST_STEAL else ""
            self.progress.step(estimate / count, f"{workload.title}, block {number + 1} of {count}; CPU µs: {BARE} {means[BARE]:.2f}{ours}{taken}")
        self.result["cpu"][workload.key], steal = cpu.quiet(measured)
        if steal > cpu.MOST_STEAL:
            self.result["stolen"][workload.key] = steal
        self.result["rps"][workload.key] = {name: statistics.median(rates[name]) for name in rates}

    # What repeats exactly.

    def exact(self, estimate, failed):
        requests = self.options.requests
        servers = {BARE: BY_KEY["plaintext"].bare(self.tools["limit-epoll"]), **{n: c for n, (_, c) in self.found.items()}}
        reasons = {"system calls": calls.unavailable(), "user instructions": instructions.unavailable()}
        for what, reason in reasons.items():
            if reason:
                self.say(f"{what}: not measured, {reason}")
        for name, command in servers.items():
            can = self.found[name][0].can if name in self.found else {ONE, CLOSE, PIPELINE}
            with cpu.guarded(name, failed):
                with Server(name, command) as server:
                    self.result["answers"][name] = len(server.answer) - 1, sum(len(line) + 2 for line in server.answer) + 2
                if not reasons["system calls"]:
                    self.result["calls"][name] = self.calls(name, command, can, requests)
                if not reasons["user instructions"] and name in (BARE, OURS):
                    self.result["instructions"][name] = instructions.per_request(name, command, 4 * requests)
            self.progress.step(estimate / len(servers), f"system calls of {name}")

    def calls(self, name, command, can, requests):
        found = {}
        if ONE in can:
            found["keep"] = calls.per_request(name, command, requests)
        if PIPELINE in can:
            pipelined = BY_KEY["pipelined"].bare(self.tools["limit-epoll"]) if name == BARE else command
            found["pipelined"] = calls.per_pipelined(name, pipelined, requests)
        if CLOSE in can:
            closing = BY_KEY["close"].bare(self.tools["limit-epoll"]) if name == BARE else command
            found["close"] = calls.per_connection(name, closing, requests // 4)
        return found

    # Latency.

    def latency(self, estimate, failed):
        """At shares of what the slowest of these can do."""
        able = self.able(LATENCY_NEEDS)
        bare = BY_KEY["plaintext"].bare(self.tools["limit-epoll"])
        servers = {BARE: bare, **able, AGAIN: bare}
        found, most = {name: {} for name in servers}, None
        for turn in range(TURNS):
            with ExitStack() as stack:
                running = []
                for name, command in servers.items():
                    with cpu.guarded(name, failed):
                        running.append(stack.enter_context(Server(name, command, self.options.cpu)))
                if not most:
                    most = self.slowest(running, failed)
                for share in SHARES:
                    for server in reversed(running) if turn % 2 else running:
                        with cpu.guarded(server.name, failed):
                            one = latency.measure(server, self.tools["openloop"], share * most, 64,
                                                  self.options.latency, self.options.cpu)
                            found[server.name].setdefault(str(share), []).append(one)
                    self.progress.step(estimate / TURNS / len(SHARES), f"latency at {share:.0%} of {most}/s")
        self.result[LATENCY] = {name: runs for name, runs in found.items() if name not in failed}

    def slowest(self, running, failed):
        """Requests per second of the slowest of these servers."""
        found = []
        for server in running:
            with cpu.guarded(server.name, failed):
                found.append(latency.capacity(server, self.tools["openloop"], 64, self.options.cpu))
        if not found:
            raise Failed("nothing answers")
        return min(found)

    def mixed(self, estimate, failed):
        able = self.able(MIXED_NEEDS)
        for name, command in able.items():
            with cpu.guarded(name, failed), Server(name, command, self.options.cpu) as server:
                self.result[MIXED][name] = latency.measure(
                    server, self.tools["openloop"], MIXED_RATE, 64, MIXED_SECONDS, self.options.cpu,
                    ("/plaintext", "/slow"), MIXED_SHARE)
            self.progress.step(estimate / len(able), f"{MIXED_SHARE:.0%} slow requests: {name}")

    # Memory.

    def idle(self, estimate, failed):
        if reason := memory.unavailable(IDLE_CONNECTIONS):
            return self.say(f"idle connections: not measured, {reason}")
        able = self.able(IDLE_NEEDS)
        for name, command in able.items():
            with cpu.guarded(name, failed), Server(name, command, self.options.cpu) as server:
                try:
                    self.result[IDLE][name] = memory.idle(server, IDLE_CONNECTIONS)
                except OSError as error:
                    raise Failed(f"{name} does not hold {IDLE_CONNECTIONS} connections: {error}") from None
            self.progress.step(estimate / len(able), f"{IDLE_CONNECTIONS} idle connections: {name}")
