"""What Ferricorn sets out to reach in CPU time per request, and whether a run shows it."""
from typing import NamedTuple, Optional

from . import report
from .peers import OURS

BARE, AGAIN = "bare loop", "bare loop again"


class Goal(NamedTuple):
    """`workload` at no more than `most` of the bare loop's CPU time, or below that of a peer."""
    workload: str
    base: str
    most: Optional[float] = None

    def words(self):
        return f"at most {self.most:.2f} of the bare loop" if self.most else f"below {self.base}"


GOALS = [
    Goal("plaintext", BARE, 1.06), Goal("plaintext", "nginx"), Goal("plaintext", "hyper"),
    Goal("browser", BARE, 1.10),
    Goal("pipelined", BARE, 1.20), Goal("pipelined", "may_minihttp"),
    Goal("close", "nginx"),
]


def judge(goal, blocks):
    """The ratio with its interval, and what it says: `met` and `missed` are beyond the interval."""
    ratio, low, high = report.ratios(blocks, OURS, goal.base)
    most = goal.most or 1
    verdict = "met" if high <= most else "missed" if low > most else "the interval touches the goal"
    return (ratio, low, high), verdict


def judged(result):
    """Each goal of which this run has the figures, with its ratio and the verdict."""
    for goal in GOALS:
        blocks = result["cpu"].get(goal.workload, [])
        if any(OURS in block and goal.base in block for block in blocks):
            yield (goal, *judge(goal, blocks))
