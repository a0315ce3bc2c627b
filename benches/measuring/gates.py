"""The gates that repeat exactly: system calls by strace, user instructions by callgrind."""
from . import calls, instructions

# For one connection per request (five are the least: wait, accept, read, write, close); of one pipelined by 16;
# user instructions of a release build.
MOST_CLOSING, MOST_PIPELINED, MOST_INSTRUCTIONS = 5, 0.25, 2500
# What the class threads may cost beside sync, in user instructions; see docs/PERFORMANCE.md for the goal. With so
# many connections that ask at once, as the watch has its share of one that asks now and then.
THREADS, MOST_THREADS, READY = ["-k", "threads", "--threads", "4"], 1.06, 16
# A beat of the worker may come between, each second some calls; one more for each request would be 1.
SLACK = 0.25
# Connections that ask at once.
AT_ONCE = 8
SKIPPED = 77


def check(name, command, requests, say, count_instructions):
    """0 when every gate holds, 1 when one does not, 77 when nothing could be measured."""
    failures, measured = [], False
    if reason := calls.unavailable():
        say(f"system calls: not measured, {reason}")
    else:
        measured = True
        failures += check_calls(name, command, requests, say)
    if count_instructions:
        if reason := instructions.unavailable():
            say(f"user instructions: not measured, {reason}")
        else:
            measured = True
            failures += check_instructions(name, command, 4 * requests, say)
    for failure in failures:
        say(f"check failed: {failure}")
    return 1 if failures else 0 if measured else SKIPPED


def check_calls(name, command, requests, say):
    for connections in (1, AT_ONCE):
        found = calls.per_request(name, command, requests, connections)
        # A turn of the loop waits once and serves k connections: 2 + 1/k calls for each.
        waits = calls.waits(found)
        served = 1 / waits if waits else float("inf")
        say(f"system calls per request, {connections} kept alive:  {words(found)}; "
            f"{served:.2f} served in a turn of the loop")
        if sum(found.values()) - waits > 2 + SLACK or waits > 1 + SLACK:
            yield (f"{words(found)} system calls per request at {connections} connections, "
                   f"at most 2 and 1/k are allowed, k being served in a turn of the loop")
    found = calls.per_pipelined(name, command, requests)
    say(f"system calls per request, pipelined by {calls.DEPTH}:  {words(found)}")
    if sum(found.values()) > MOST_PIPELINED:
        yield (f"{words(found)} system calls per request pipelined by {calls.DEPTH}, "
               f"at most {MOST_PIPELINED} are allowed")
    found = calls.per_connection(name, command, requests // 4)
    say(f"system calls per connection for one request:  {words(found)}")
    if sum(found.values()) > MOST_CLOSING:
        yield f"{words(found)} system calls per connection for one request, at most {MOST_CLOSING} are allowed"


def check_instructions(name, command, requests, say):
    found = instructions.per_request(name, command, requests)
    say(f"user instructions per request:  {found:.0f}")
    if found > MOST_INSTRUCTIONS:
        yield f"{found:.0f} user instructions per request, at most {MOST_INSTRUCTIONS} are allowed"
    alone, shared = (instructions.per_request(name, [*command, *words], requests, READY)
                     for words in ([], THREADS))
    say(f"user instructions per request, {READY} at once:  {alone:.0f}, by threads {shared:.0f}, "
        f"{100 * (shared / alone - 1):.1f} % more")
    if shared > alone * MOST_THREADS:
        yield (f"{shared:.0f} user instructions per request by threads beside {alone:.0f}, "
               f"at most {100 * (MOST_THREADS - 1):.0f} % more are allowed")


def words(found):
    each = ", ".join(f"{name} {number:.2f}" for name, number in found.items())
    return f"{sum(found.values()):.2f} ({each})"
