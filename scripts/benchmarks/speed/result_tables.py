"""The tables of docs/results/ whose figures the scripts of this folder measure: a heading, and rows of cells."""

from statistics import median
from typing import Any

from scripts.benchmarks.speed.ratios import RATIOS

Shown = tuple[list[str], list[list[str]]]


def ratios(name: str) -> Any:
    """What makes the table of a script whose figures are ratios."""

    def make(figures: list[dict[str, Any]]) -> Shown:
        rows = [[what, beside, f"{ratio:.2f}"] for what, beside, ratio in RATIOS[name](figures)]
        return ["what", "beside", "ratio"], rows

    return make


def noise_memory(figures: list[dict[str, Any]]) -> Shown:
    """Memory, in megabytes."""
    keys = ("pss_mb", "bare_mb", "table_mb")
    rows = [[str(row["processes"]), *(f"{row[key]:,.0f}" for key in keys)] for row in figures]
    return ["processes", "all of it, MB", "without the table, MB", "the table, MB"], rows


def virtual_batch_norm(figures: list[dict[str, Any]]) -> Shown:
    """Networks with it beside the same without."""
    rows = []
    for row in figures:
        times = [f"{row[key]:,.1f}" for key in ("us without", "us with")]
        cells = [*times, f"{row['ratio']:.2f}", f"{row['measuring']:,.0f}", f"{row['ratio in all']:.2f}"]
        rows.append([row["network"], row["perturbation"], str(row["members"]), *cells])
    head = ["network", "perturbation", "members", "us a decision without", "with", "ratio", "measuring, decisions"]
    return [*head, f"ratio over {figures[0]['decisions']:,} decisions"], rows


def integrators(figures: list[dict[str, Any]]) -> Shown:
    """A cheaper integrator beside the model's own."""
    rows = [
        [
            row["env"],
            f"{row['exact']:,.0f}",
            f"{row['implicitfast']:,.0f}",
            f"{row['ratio']:.1f}",
            f"{row['order']:.2f}",
        ]
        for row in figures
    ]
    return ["task", "us a step with RK4", "with implicitfast", "ratio", "rank correlation of members' returns"], rows


def compiled(figures: list[dict[str, Any]]) -> Shown:
    """The trainer beside ES as one compiled JAX program."""
    rows = []
    for row in figures:
        turns = row["turns"]
        cells = [
            row["env"],
            *(f"{median(turns[side]):,.0f}" if turns[side] else "-" for side in ("distes", "one", "two")),
        ]
        cells += [f"{median(row[key]):.2f}" if row[key] else "-" for key in ("over_one", "over_two")]
        cells += [f"{median(turns[side]):,.0f}" for side in ("core", "peer_core")]
        ratios = row["over_core"]
        rows.append([*cells, f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"])
    head = ["task", "distes, steps/s", "compiled program", "on two devices", "ratio", "over two devices"]
    return [*head, "distes, steps per second of a core", "compiled program", "ratio"], rows


def language(figures: list[dict[str, Any]]) -> Shown:
    """Generation by members beside plain generation."""
    rows = []
    for row in figures:
        size = "" if row["bytes_per_member"] is None else f"{row['bytes_per_member'] / 1e6:.2f}"
        speed, of_plain, of_generate = row["tokens_per_second"], row["of_plain"], row["of_generate"]
        rows.append([row["variant"], f"{speed:,.0f}", f"{of_plain:.2f}", f"{of_generate:.2f}", size])
    return ["64 answers", "tokens per second", "of plain generation", "of `generate()`", "MB per member"], rows


def supervised(figures: list[dict[str, Any]]) -> Shown:
    """Whole evaluations of labelled data beside one network's forward."""
    rows = []
    for row in figures:
        speeds = f"{row['million_images_per_second']:.2f}", f"{row['whole_over_one_network']:.2f}"
        rows.append([row["case"], row["perturbation"], row["batches"], *speeds])
    return ["network", "noise", "batches", "million images per second", "of one network's forward"], rows


SPEED: dict[str, tuple[tuple[str, ...], Any]] = {
    **{name: ((name,), ratios(name)) for name in ("rollouts", "physics", "envs", "forward", "gradient")},
    "noise_memory": (("noise_memory",), noise_memory),
    "integrators": (("integrators",), integrators),
    "compiled": (("compiled",), compiled),
    "supervised_speed": (("supervised_speed",), supervised),
    "language_speed": (("language_speed",), language),
    "virtual_batch_norm_speed": (("virtual_batch_norm_speed",), virtual_batch_norm),
}
