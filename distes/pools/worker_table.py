"""Who sits where: the share of a GPU that a worker asks for, and the table of workers that a run begins with."""

import math
from collections.abc import Iterable, Mapping, Sequence

from distes.pools.device import WorkerPlace

SINGLY = 8  # workers of which each has a row of its own
COLUMNS = ("worker", "node", "process", "device")


def gpu_share(workers: int, gpus: int) -> float:
    """The part of a GPU that each worker asks for, so that all find a place wherever the GPUs are.

    That is one over the largest number of workers that meet on a GPU, rounded down to the four decimals that Ray counts
    in. Fewer workers than GPUs get a whole one each.
    """
    return math.floor(10_000 / math.ceil(workers / gpus)) / 10_000


def table(places: Mapping[int, WorkerPlace]) -> list[tuple[str, str, str, str]]:
    """Rows of COLUMNS, by worker; where workers are many, one for those that a node has of one kind."""
    if len(places) <= SINGLY:
        return [(str(number), one.node, str(one.pid), str(one)) for number, one in sorted(places.items())]
    alike: dict[tuple[str, str], list[int]] = {}
    for number, one in sorted(places.items()):
        alike.setdefault((one.node, one.device), []).append(number)
    rows = []
    for (node, device), numbers in alike.items():
        gpus = {places[number].gpu for number in numbers} - {""}
        kind = f"{len(gpus)} x {device}" if gpus else device
        processes = f"{len(numbers)} processes" if len(numbers) > 1 else str(places[numbers[0]].pid)
        rows.append((spans(numbers), node, processes, kind))
    return rows


def spans(numbers: Sequence[int]) -> str:
    """Rising numbers in short: `0-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def mixed(places: Iterable[WorkerPlace]) -> str | None:
    """A warning where the workers' GPUs are of different kinds, or None."""
    kinds = sorted({place.device for place in places})
    if len(kinds) < 2:
        return None
    return (
        f"The workers' devices differ ({', '.join(kinds)}): the last bits of a fitness depend on which of them gave "
        "it, so this run cannot be repeated bit for bit."
    )
