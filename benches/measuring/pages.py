"""What a run found, as Markdown and charts."""
import json
import os
import statistics

from . import charts, goals, report
from .goals import AGAIN, BARE
from .peers import APPLICATION, OURS, PEERS, THREADS
from .workloads import BY_KEY, MIXED_RATE, MIXED_SHARE, SHARES

MAIN = ["plaintext", "browser", "pipelined", "close"]
CONTENTS = ["json", "10k", "1m", "post10k", "post1m"]
CONNECTIONS = ["c1", "c16", "plaintext", "c256", "c1024"]
FERRICORN = {OURS, APPLICATION, THREADS}
ORDER = [BARE, AGAIN, *(peer.name for peer in PEERS)]


def write(result, directory):
    """`results.md`, `results.json`, and a chart for each of the main workloads."""
    os.makedirs(directory, exist_ok=True)
    pictures = {f"{key}.svg": chart(result, key) for key in MAIN if key in result["cpu"]}
    files = {"results.md": page(result, pictures), "results.json": json.dumps(result, ensure_ascii=False) + "\n", **pictures}
    for name, text in files.items():
        with open(os.path.join(directory, name), "w") as file:
            file.write(text)


def page(result, pictures=()):
    parts = ["# Results", about(result)]
    parts += section("Goals", goal_rows(result))
    for key in MAIN:
        if key in result["cpu"]:
            parts += section(title(key), cpu_rows(result, key))
            if f"{key}.svg" in pictures:
                parts.append(f"![{BY_KEY[key].title}: CPU time over the bare loop's]({key}.svg)")
    parts += section("Contents: CPU time over the bare loop's", matrix(result, CONTENTS))
    parts += section("Numbers of connections: CPU time over the bare loop's, plaintext", matrix(result, CONNECTIONS))
    parts += section("System calls and instructions per request", exact_rows(result))
    parts += section("Latency at an offered rate, 64 connections", latency_rows(result))
    parts += section(f"Mixed: of {MIXED_RATE} requests per second {MIXED_SHARE:.0%} sleep 100 ms", mixed_rows(result))
    parts += section("10 000 idle connections", idle_rows(result))
    parts += section("The servers", server_rows(result))
    parts += left_out(result)
    return "\n\n".join(parts) + "\n"


def about(result):
    machine = result["machine"]
    real_time = " Servers and clients ran with real-time priority." if machine["real_time"] else ""
    return (f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['date']}. Load average "
            f"{machine['load']} at the start, {result['load_after']} at the end. Server and client on core "
            f"{result['cpu_pinned']}, slices of {result['seconds']} s.{real_time} [README.md](README.md) says how to read this. Written by\n\n"
            f"    {result['command_line']}")


def section(heading, found):
    """A heading and its table, or nothing where there is none."""
    head, rows, *text = found
    return [f"## {heading}", report.table(head, rows), *text] if rows else []


def title(key):
    workload = BY_KEY[key]
    connections = "" if "connection" in workload.title else f", {workload.connections} connections"
    return workload.title[0].upper() + workload.title[1:] + connections


# CPU time.

def names(found):
    return [name for name in ORDER if name in found]


def shown(name):
    return f"{name} (null test)" if name == AGAIN else f"**{name}**" if name in FERRICORN else name


def taking_part(blocks):
    return names({name for block in blocks for name in block})


def ratio(figures):
    return "{:.2f} [{:.2f}, {:.2f}]".format(*figures)


def goal_rows(result):
    head = ["workload", "goal", "found [95 %]", "null test [95 %]", ""]
    rows = []
    for goal, figures, verdict in goals.judged(result):
        null = report.ratios(result["cpu"][goal.workload], AGAIN, BARE)
        rows.append([BY_KEY[goal.workload].title, goal.words(), ratio(figures), ratio(null), verdict])
    return head, rows


def cpu_rows(result, key):
    blocks = result["cpu"][key]
    rows = []
    for name in taking_part(blocks):
        mine = [block[name] for block in blocks if name in block]
        rows.append([shown(name), f"{statistics.median(mine):.2f}",
                     "1" if name == BARE else ratio(report.ratios(blocks, name, BARE)),
                     f"{result['rps'][key][name]:.0f}", str(len(mine))])
    text = []
    if key in result["stolen"]:
        text.append(f"A hypervisor took up to {result['stolen'][key]:.0%} of a slice that counts: no quiet hour.")
    _, low, high = report.ratios(blocks, AGAIN, BARE)
    if not low <= 1 <= high:
        text.append("The null test does not contain 1: differences of its size mean nothing here.")
    return ["", "CPU µs per request", "of the bare loop [95 %]", "requests per second", "blocks"], rows, *text


def chart(result, key):
    blocks = result["cpu"][key]
    rows = [(name, *report.ratios(blocks, name, BARE)) for name in taking_part(blocks) if name != BARE]
    return charts.dots(title(key), "CPU time per request over the bare loop's, with its interval of 95 %",
                       sorted(rows, key=lambda row: row[1]), FERRICORN)


def matrix(result, keys):
    keys = [key for key in keys if key in result["cpu"]]
    found = names({name for key in keys for name in taking_part(result["cpu"][key])})
    rows = []
    for name in found:
        row = [shown(name)]
        for key in keys:
            blocks = result["cpu"][key]
            mine = [block[name] for block in blocks if name in block]
            row.append("" if not mine else f"{statistics.median(mine):.2f} µs" if name == BARE
                       else ratio(report.ratios(blocks, name, BARE)))
        rows.append(row)
    head = [f"{BY_KEY[key].connections}" if keys[0] == "c1" else BY_KEY[key].title for key in keys]
    return ["", *head], rows


# The rest.

def exact_rows(result):
    rows = []
    for name in names(result["calls"]):
        found = result["calls"][name]
        cells = [f"{sum(found[kind].values()):.2f}" if kind in found else "" for kind in ("keep", "close", "pipelined")]
        instructions = result["instructions"].get(name)
        rows.append([shown(name), *cells, f"{instructions:.0f}" if instructions else ""])
    return ["", "1 connection", "a connection per request", "pipelined by 16", "user instructions"], rows


def latency_rows(result):
    head = [""]
    for share in SHARES:
        head += [f"{share:.0%}: p50 µs", "p99", "p99.9"]
    rows = []
    for name in names(result["latency"]):
        row = [shown(name)]
        for share in SHARES:
            runs = result["latency"][name].get(str(share), [])
            bad = sum(run["errors"] for run in runs)
            for key in ("50", "99", "99.9"):
                row.append(f"{statistics.median(run['/plaintext'][key] for run in runs):.0f}" + (f" ({bad} errors)" if bad else "")
                           if runs else "")
        rows.append(row)
    rates = sorted({run["rate"] for by_share in result["latency"].values() for runs in by_share.values() for run in runs})
    text = "Requests per second: " + ", ".join(map(str, rates)) + ". Server and client on a core each; medians of the turns."
    return head, rows, text


def mixed_rows(result):
    rows = []
    for name in names(result["mixed"]):
        found = result["mixed"][name]
        fast, slow = found["/plaintext"], found.get("/slow", {})
        rows.append([shown(name), *(f"{fast[key] / 1e3:.1f}" for key in ("50", "99")),
                     f"{slow['50'] / 1e3:.1f}" if slow else "", str(found["achieved"]), str(found["errors"])])
    return ["", "fast: p50 ms", "fast: p99 ms", "slow: p50 ms", "achieved per second", "errors"], rows


def idle_rows(result):
    rows = []
    for name in names(result["idle"]):
        found = result["idle"][name]
        rows.append([shown(name), f"{found['before'] / 2**20:.1f}", f"{found['bytes']:.0f}",
                     f"{statistics.median(found['beside']) * 1e6:.0f}"])
    return ["", "PSS before, MiB", "bytes of user memory per connection", "new client beside them, µs"], rows


def server_rows(result):
    notes = {peer.name: peer.note for peer in PEERS}
    rows = []
    for name in names({BARE, *result["versions"]}):
        fields, size = result["answers"].get(name, ("", ""))
        rows.append([name, result["versions"].get(name, ""), str(fields), str(size), notes.get(name, "")])
    return ["", "version", "fields of its answer", "bytes of its head", ""], rows


def left_out(result):
    lines = [f"- {name} {why}" for name, why in result["missing"].items()]
    lines += [f"- {name} in {kind}: {why}" for kind, failed in result["failed"].items() for name, why in failed.items()]
    return ["## Left out", "\n".join(lines)] if lines else []
