"""Medians with their intervals, the table, and what the machine was."""
import os
import platform
import random
import statistics
import subprocess
import time


def interval(values, draws=2000):
    """The median, and its bootstrap interval of 95 %."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[int(draws * 0.025)], medians[int(draws * 0.975) - 1]


def ratios(blocks, name, base):
    """The ratio of one server to another, in those blocks that have both."""
    return interval([block[name] / block[base] for block in blocks if name in block and base in block])


def machine():
    """What the figures were measured on."""
    with open("/proc/cpuinfo") as info:
        models = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return {"date": time.strftime("%Y-%m-%d %H:%M %Z"), "cpu": (models or [platform.machine()])[0],
            "cores": os.cpu_count(), "kernel": platform.release(),
            "load": round(os.getloadavg()[0], 2),
            "real_time": os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)}


def version(command):
    try:
        return subprocess.run([command, "--version"], capture_output=True, text=True).stdout.strip()
    except OSError:
        return "unknown"


def table(head, rows):
    """A Markdown table with aligned columns."""
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]

    def line(row):
        first = row[0].ljust(widths[0])
        return "| " + " | ".join([first, *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])
