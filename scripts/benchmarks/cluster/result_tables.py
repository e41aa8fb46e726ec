"""The tables of docs/results/ whose figures the scripts of this folder, and chaos.py, measure."""

from statistics import median
from typing import Any

from scripts.benchmarks.cluster.scaling_model import BEYOND, LENGTHS

Shown = tuple[list[str], list[list[str]]]
Figures = dict[str, Any]


def scaling(relayed: Figures, direct: Figures) -> Shown:
    """Strong scaling: the same chunks for any number of workers."""
    rows = []
    for figures, how in ((relayed, ""), (direct, ", without relays")):
        for run in figures["runs"]:
            if "strong" in run["scaled"]:
                shares = f"{run['efficiency']:.1%}", f"{run['driver_share']:.1%}"
                rows.append([f"{run['workers']}{how}", f"{run['episodes_per_second']:,.0f}", *shares])
    return ["workers", "episodes/s", "efficiency", "the driver's own share"], rows


def weak_scaling(figures: Figures) -> Shown:
    """Weak scaling: as many chunks for each worker."""
    runs = [run for run in figures["runs"] if "weak" in run["scaled"]]
    rows = [[str(run["workers"]), str(run["chunks"]), f"{run['efficiency']:.1%}"] for run in runs]
    return ["workers", "chunks", "efficiency"], rows


def beyond(figures: Figures) -> Shown:
    """Modelled efficiency by workers and seconds of a chunk."""
    by = {(row["workers"], row["chunk_seconds"]): row["efficiency"] for row in figures["model"]["beyond"]}
    rows = [[f"{workers:,}", *(f"{by[workers, length]:.0%}" for length in LENGTHS)] for workers in BEYOND]
    return ["workers", *(f"chunks of {length:g} s" for length in LENGTHS)], rows


def schedule(figures: Figures) -> Shown:
    """What deciding takes, without Ray."""
    rows = [[f"{1e3 * float(t):g}", f"{1e6 * cost:.0f}"] for t, cost in figures["schedule"].items()]
    return ["milliseconds of which all answers are taken in together", "microseconds per chunk"], rows


def network(figures: Figures) -> Shown:
    """What a node receives, and when its workers begin."""
    rows = []
    for row in figures["rows"]:
        seconds = [f"{row[key]:.2f}" for key in ("ask_to_first", "ask_to_last")]
        rows.append([f"`{row['sync']}`", str(row["workers_per_node"]), f"{row['megabytes_per_node']:.2f}", *seconds])
    titles = ["to the first worker's first step, s", "to the last worker's, s"]
    return ["`--sync`", "workers per node", "MB per node", *titles], rows


def failures(figures: Figures) -> Shown:
    """What dying and slow workers cost."""
    killed, slow = figures["killed_over_undisturbed"], figures["slow_over_without"]
    rows = [
        [what, f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"]
        for what, ratios in (
            (f"{figures['generations']} generations in which {figures['deaths']} workers are killed", killed),
            ("a generation with one worker ten times slower, over one without it", slow),
        )
    ]
    return [f"{figures['workers']} workers", "time over the undisturbed", "range"], rows


def leaks(figures: Figures) -> Shown:
    """Memory at the end over that when everything was warm."""
    last, first = figures["rows"][-1], figures["rows"][len(figures["rows"]) // 10]
    parts = figures["end_over_warm"]
    rows = [[part, f"{first[part]:,.0f}", f"{last[part]:,.0f}", f"{ratio:.2f}"] for part, ratio in parts.items()]
    titles = [f"MB after {row['generation']:,} generations" for row in (first, last)]
    return ["memory", *titles, "ratio"], rows


def chaos(plain: Figures, relayed: Figures) -> Shown:
    """What was broken, and that nothing came of it."""
    kinds = list(dict.fromkeys((*plain["faults"], *relayed["faults"])))
    rows = [[kind, *(str(run["faults"].get(kind, 0)) for run in (plain, relayed))] for kind in kinds]
    for title, key in (
        *(("seconds", "seconds"), ("generations", "generations")),
        *(("generations lost", "lost"), ("generations with other bits", "different")),
    ):
        rows.append([title, *(f"{run[key]:,.0f}" for run in (plain, relayed))])
    return ["", "workers ask the driver", "relays, `--sync replay`"], rows


CLUSTER: dict[str, tuple[tuple[str, ...], Any]] = {
    "scaling": (("scaling", "scaling_direct"), scaling),
    "weak_scaling": (("scaling",), weak_scaling),
    "beyond": (("scaling",), beyond),
    "schedule": (("scaling",), schedule),
    "network": (("network",), network),
    "failures": (("failures",), failures),
    "leaks": (("leaks",), leaks),
    "chaos": (("chaos", "chaos_relays"), chaos),
}
