#!/usr/bin/env python3
"""Draws learning curves as an SVG: the evaluations of the noiseless centre over timesteps, a line for each run.

    python scripts/learning_curve.py RUN_DIR [RUN_DIR ...] [--svg learning_curve.svg] [--title TEXT]

The numbers are `timesteps` and `eval/mean` in the `metrics.jsonl` of each run.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 80, 110, 40, 50  # margins
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's
Point = tuple[float, float]


def curve(run: Path) -> list[Point]:
    """A run's (timesteps, mean return of the centre), one point for each evaluation."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    pairs = [(float(row["timesteps"]), float(row.get("eval/mean", math.nan))) for row in rows]
    return [(x, y) for x, y in pairs if math.isfinite(y)]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within an interval, about `count` of them."""
    rough = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def picture(curves: Sequence[tuple[str, list[Point]]], title: str) -> str:
    """The SVG.

    Args:
        curves: The name and the points of each run; at least one point in each.
        title: Above it.
    """
    xs, ys = ([point[axis] for _, points in curves for point in points] for axis in (0, 1))
    margin = 0.04 * (max(ys) - min(ys))
    x_low, x_high, y_low, y_high = 0.0, max(xs), min(ys) - margin, max(ys) + margin
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (x - x_low) / (x_high - x_low or 1.0), (y - y_low) / (y_high - y_low or 1.0)
        return round(LEFT + across * (right - LEFT), 1), round(bottom - up * (bottom - TOP), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        "<style>text{font:13px sans-serif}polyline{fill:none;stroke-width:2}line{stroke:#ddd}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="{TOP - 16}">{escape(title)}</text>',
        f'<text x="{(LEFT + right) / 2:g}" y="{HEIGHT - 10}" text-anchor="middle">timesteps</text>',
    ]
    for y in ticks(y_low, y_high):
        _, place = at(x_low, y)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{place}" y2="{place}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{place + 4:g}" text-anchor="end">{y:,g}</text>')
    for x in ticks(x_low, x_high):
        place, _ = at(x, y_low)
        parts.append(f'<line x1="{place}" x2="{place}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{place}" y="{bottom + 18}" text-anchor="middle">{x:,g}</text>')
    for index, (name, points) in enumerate(curves):
        colour, places = COLOURS[index % len(COLOURS)], [at(*point) for point in points]
        parts.append(f'<polyline stroke="{colour}" points="{" ".join(f"{x:g},{y:g}" for x, y in places)}"/>')
        legend = TOP + 14 + 18 * index
        parts.append(f'<text x="{right + 12}" y="{legend}" style="fill:{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR")
    parser.add_argument("--svg", type=Path, default=Path("learning_curve.svg"), help="where the picture goes")
    parser.add_argument("--title", default="Mean return of the noiseless centre")
    options = parser.parse_args(arguments)
    curves: list[tuple[str, list[Point]]] = []
    for run in options.runs:
        try:
            points = curve(run)
        except OSError as error:
            print(f"error: {run} is not the directory of a run: {error}.", file=sys.stderr)
            return 2
        if not points:
            print(f"error: {run / 'metrics.jsonl'} has no evaluation of the centre.", file=sys.stderr)
            return 2
        curves.append((run.resolve().name, points))
    options.svg.write_text(picture(curves, options.title))
    print(f"Wrote {options.svg}, with the curves of {', '.join(name for name, _ in curves)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
