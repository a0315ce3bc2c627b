"""Charts as SVG, written by hand: a row for each server, a dot for its figure, a line for its interval."""
import math
from xml.sax.saxutils import escape

WIDTH, LABELS, RIGHT, ROW, TOP = 760, 170, 150, 26, 66
TICKS = [1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000]
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #222 }
  .title { font-size: 15px; font-weight: 600 }
  .axis { font-size: 11px; fill: #666 }
  .grid { stroke: #ddd }
  .span { stroke: #777; stroke-width: 3 }
  .dot { fill: #555 }
  .ours .dot { fill: #b7410e } .ours .span { stroke: #b7410e } .ours text { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .axis { fill: #999 } .grid { stroke: #444 } .span { stroke: #999 } .dot { fill: #bbb }
    .ours .dot { fill: #ff8a50 } .ours .span { stroke: #ff8a50 }
  }
"""


def dots(title, unit, rows, ours):
    """`rows` are (name, figure, low, high), all above 0; `ours` are the names to stand out. The axis is logarithmic."""
    least, most = min(row[2] for row in rows), max(row[3] for row in rows)
    ticks = [tick for tick in TICKS if least / 1.05 <= tick <= most * 1.05]
    start, end = math.log(least / 1.05), math.log(most * 1.05)
    height = TOP + ROW * len(rows) + 12

    def x(value):
        return LABELS + (WIDTH - LABELS - RIGHT) * (math.log(value) - start) / (end - start)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="12" y="22">{escape(title)}</text>',
        f'<text class="axis" x="12" y="40">{escape(unit)}</text>',
    ]
    for tick in apart(ticks, x):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 10}" y2="{height - 8}"/>')
        parts.append(f'<text class="axis" x="{x(tick):.1f}" y="{TOP - 14}" text-anchor="middle">{tick}</text>')
    for number, (name, figure, low, high) in enumerate(rows):
        y = TOP + ROW * number + ROW / 2
        text = f"{figure:.0f}" if figure >= 100 else f"{figure:.2f} [{low:.2f}, {high:.2f}]"
        parts += [
            f'<g class="{"ours" if name in ours else "other"}">',
            f'<text x="{LABELS - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>',
            f'<line class="span" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<circle class="dot" cx="{x(figure):.1f}" cy="{y:.1f}" r="4.5"/>',
            f'<text class="axis" x="{WIDTH - RIGHT + 14}" y="{y + 4:.1f}">{text}</text>',
            "</g>",
        ]
    return "\n".join([*parts, "</svg>", ""])


def apart(ticks, x, least=34):
    """Those ticks whose numbers do not touch."""
    kept = []
    for tick in ticks:
        if not kept or x(tick) - x(kept[-1]) >= least:
            kept.append(tick)
    return kept
