"""The number of workers of a run, the share of a GPU that each has, and the table that shows where they run."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from distes.errors import ClusterError
from distes.errors.messages import progress
from distes.pools.device import WorkerPlace

SINGLY = 8  # up to this number, each worker has a row of its own
COLUMNS = ("worker", "node", "process", "device")


def worker_count(
    workers: int | None, cpus: int, gpus: int, *, oversubscribe: bool, may_grow: bool, say: Callable[[str], None]
) -> int:
    """Returns how many workers to start, and says so.

    Args:
        workers: The requested number; None takes one per GPU, or one per CPU without GPUs.
        cpus: Free CPUs.
        gpus: Free GPUs for the workers; 0 if they evaluate on CPUs.
        oversubscribe: Whether to start more workers than there are free CPUs.
        may_grow: Whether the cluster may get further nodes, on which missing workers start later.
        say: Takes a line for the user.

    Raises:
        ClusterError: There is no free CPU.
    """
    patient = may_grow and workers is not None
    if not oversubscribe and not cpus and not patient:
        raise ClusterError("The cluster has no free CPU for a worker: wait, add nodes, or set --oversubscribe true.")
    wanted = workers or gpus or max(cpus, 1)
    count = wanted if oversubscribe or patient else min(wanted, cpus)
    if wanted > cpus and not oversubscribe:
        fit = f"{min(wanted, cpus)} of {wanted} workers fit on {cpus} free CPUs"
        rest = "the others start as nodes join" if patient else f"--oversubscribe true starts all {wanted}"
        say(f"{fit}; {rest}.")
    on = f" on {gpus} {'GPU' if gpus == 1 else 'GPUs'}" if gpus else ""
    say(progress(f"Starting {count} {'worker' if count == 1 else 'workers'}{on} ..."))
    if gpus and count > gpus and count % gpus:
        say(f"The GPUs get unequal numbers of workers; a multiple of {gpus} would serve them alike.")
    return count


def gpu_share(workers: int, gpus: int) -> float:
    """Returns the share of a GPU that each worker requests, so that all workers fit however GPUs are spread over nodes.

    The share is one over the largest number of workers that share a GPU, rounded down to Ray's four decimals. If there
    are no more workers than GPUs, each gets a whole one.
    """
    return math.floor(10_000 / math.ceil(workers / gpus)) / 10_000


def table(places: Mapping[int, WorkerPlace]) -> list[tuple[str, str, str, str]]:
    """Returns rows of COLUMNS: one per worker, or, for many workers, one per node and kind of device."""
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
    """Returns increasing numbers as ranges, such as `0-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def mixed(places: Iterable[WorkerPlace]) -> str | None:
    """Returns a warning if the workers have different kinds of devices, otherwise None."""
    kinds = sorted({place.device for place in places})
    if len(kinds) < 2:
        return None
    return (
        f"The workers' devices differ ({', '.join(kinds)}): the last bits of a fitness depend on which of them gave "
        "it, so this run cannot be repeated bit for bit."
    )
