"""The tables of docs/results/ whose figures the scripts of this folder measure: a heading, and rows of cells."""

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


PEERS: dict[str, tuple[tuple[str, ...], Any]] = {"pgpe": (("pgpe_evotorch",), pgpe)}
