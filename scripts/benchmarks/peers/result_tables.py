"""The tables of docs/results/ whose figures the scripts of this folder measure: a heading, and rows of cells."""

from statistics import median, quantiles
from typing import Any

Shown = tuple[list[str], list[list[str]]]


def pgpe(runs: list[dict[str, Any]]) -> Shown:
    """EvoTorch's preset of PGPE, there and here."""
    rows = []
    for name in ("EvoTorch", "distes"):
        mine = [run for run in runs if run["name"] == name]
        forms = {"return": ",.0f", "timesteps": ",", "seconds": ".1f"}
        rows.append([name, *(" / ".join(format(run[key], form) for run in mine) for key, form in forms.items())])
    return ["", "return of the centre, seeds 0 / 1 / 2", "timesteps", "seconds of training"], rows


def cma(rows: list[dict[str, Any]]) -> Shown:
    """CMA-ES as a strategy here, and in loops of their own."""
    found = []
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = {row["name"]: row["generations"] for row in rows if row["case"] == case}
        (members,) = {row["members"] for row in rows if row["case"] == case}
        shown = [f"{median(mine[name]):.0f} ({cut(mine[name])})" for name in ("distes", "pycma", "cmaes")]
        found.append([case, str(members), *shown, str(len(mine["distes"]))])
    return ["target", "members", "pycma in distes", "pycma alone", "cmaes alone", "seeds"], found


def cut(generations: list[int]) -> str:
    """The middle 80 per cent."""
    tenths = quantiles(generations, n=10)
    return f"{tenths[0]:.0f} to {tenths[-1]:.0f}"


PEERS: dict[str, tuple[tuple[str, ...], Any]] = {"pgpe": (("pgpe_evotorch",), pgpe), "cma": (("cma",), cma)}
