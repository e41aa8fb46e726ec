"""What the figures of this folder say as ratios: above 1 is better than what it is beside, in the same run."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

Row = tuple[str, str, float]  # what, beside what, ratio
Results = list[dict[str, Any]]


def rollouts(results: Results) -> Iterator[Row]:
    """Of the whole trainer."""
    for result in results:
        yield f"{result['env']}, steps of the trainer", "two bare processes", median(result["ratios"])
        if "multiples" in result:
            yield f"{result['env']}, steps of the trainer", "EvoTorch", median(result["multiples"])


def physics(results: Results) -> Iterator[Row]:
    """Of the MuJoCo tasks."""
    for result in results:
        yield f"{result['env']}, a batched step", "its physics alone", result["physics/ours"]
        yield f"{result['env']}, a batched step", "Gymnasium's loop", result["gymnasium/ours"]


def envs(results: Results) -> Iterator[Row]:
    """Of the classic tasks."""
    for result in results:
        what = f"{result['environment']}, {result['rows']} rows"
        yield what, "Gymnasium's loop", result["ours_over"]["loop"]
        yield what, "Gymnasium's vector environment", result["ours_over"]["vector"]


def forward(results: Results) -> Iterator[Row]:
    """Of one policy call for a population."""
    beside = {
        "dense_over_by_hand": ("dense", "baddbmm by hand"),
        "dense_over_vmap": ("dense", "torch.func.vmap"),
        "low_rank_over_shared": ("low-rank", "one shared weight set"),
    }
    for result in results:
        for key, (form, other) in beside.items():
            if key in result:
                yield f"{result['net']}, {result['members']} members, {form}", other, result[key]


def gradient(results: Results) -> Iterator[Row]:
    """Of the update."""
    for result in results:
        where = "" if result["device"] == "cpu" else ", on the GPU"
        what = f"gradient, {result['dtype']}, {result['size']:,} x {result['pairs']:,}{where}"
        yield what, "reading as many bytes", result["ours"]
        yield what, "torch add_ per slice", result["ours"] / result["torch"]
        if "openai" in result:
            yield what, "blocks and numpy.dot, OpenAI's form", result["ours"] / result["openai"]


def noise_memory(results: Results) -> Iterator[Row]:
    """Of the noise."""
    one, many = (result["table_mb"] for result in results)
    yield "memory of the noise table in 8 processes", "the same in 1", one / many


RATIOS: dict[str, Callable[[Results], Iterator[Row]]] = {
    "rollouts": rollouts,
    "physics": physics,
    "envs": envs,
    "forward": forward,
    "gradient": gradient,
    "noise_memory": noise_memory,
}
