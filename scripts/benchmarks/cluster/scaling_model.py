"""What scaling.py predicts from what it has measured, and its tables. No Ray here.

T = F + A C + max(M, D C) + D min(n, C) + W max(0, min(n, C) / cores - 1), for C chunks of S seconds on n workers:

    F + A C   asking, updating and recording: a fixed part, and one per chunk
    D         the main thread's time per chunk; the first chunks' hand-out and the last answers' collection are waited
              for, and the rest goes on while workers work, unless there is more of it than of work
    M         S times chunks per worker, rounded up
    W         processor time that a worker takes per chunk: where workers share cores, the last of them begins its first
              chunk so much later, and from then on they take turns. Here, and not beyond, where each has a core

F, A, D and W are read from the processes' clocks in the runs with the fewest and the most chunks; T is not fitted.
"""

import heapq
import math
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from distes.pools.assignment import Assignment
from distes.pools.chunks import Chunk
from distes.pools.dispatch import Dispatch
from scripts.benchmarks.report import Table

BEYOND = [128, 256, 512, 1024, 1440]
LENGTHS = [0.5, 1.0, 2.0, 4.0]  # seconds of a chunk, beyond
# Salimans et al. 2017 (arXiv:1703.03864), figure 1: Humanoid to a score of 6,000.
PUBLISHED = {"cores": (18, 1440), "minutes": (657, 10)}
PHASES = ("ask", "update", "record")
COLUMNS = (
    *(("workers", ">8"), ("chunks", ">8"), ("s/gen", ">9.3f"), ("ideal", ">9.3f"), ("gap", ">8.3f")),
    *(("episodes/s", ">12,.1f"), ("efficiency", ">12.1%"), ("calls", ">9.0f"), ("phases", ">9.0f")),
    *(("driver", ">9.1%"), ("+Ray", ">8.1%"), ("worker", ">9.1f")),
)


def schedule_cost(workers: int, members: int, together: float) -> float:
    """Seconds per chunk of deciding who does what, without Ray; chunks are pairs, of about a second.

    Args:
        workers: How many; they are not there.
        members: Of the generation.
        together: Seconds of which all answers are taken in together.
    """
    cut, dispatch, draws = [Chunk(i, i, i + 1) for i in range(members // 2)], Dispatch(), random.Random(0)
    for worker in range(workers):
        dispatch.joined(worker)
    coming: list[tuple[float, int, Assignment]] = []
    now = spent = 0.0
    began = time.process_time()
    dispatch.begin(cut)
    while not dispatch.finished:
        assignments = dispatch.hand_out(now)
        dispatch.redundant(now)
        spent += time.process_time() - began
        for assignment in assignments:  # one that waits beside another takes as long again
            heapq.heappush(
                coming, (now + draws.uniform(0.8, 1.2) * (1 + (assignment.since is None)), len(coming), assignment)
            )
        now = coming[0][0] + together
        came = []
        while coming and coming[0][0] <= now:
            came.append(heapq.heappop(coming)[2])
        began = time.process_time()
        for assignment in came:
            dispatch.done(assignment, now)
    return (spent + time.process_time() - began) / len(cut)


def parts(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """F, A, D and W of the model."""
    updates = [sum(run[name] for name in PHASES) for run in found]
    largest = max(found, key=lambda run: (run["chunks"], run["workers"]))
    return {
        "fixed": min(updates),
        "per_chunk": (sum(largest[name] for name in PHASES) - min(updates)) / largest["chunks"],
        "call": largest["calls"] / largest["chunks"],
        "worker_cpu": largest["worker_cpu"],
    }


def predicted(of: Mapping[str, float], chunks: int, workers: int, seconds: float, cores: float) -> float:
    """T."""
    at_once = min(workers, chunks)
    working = max(math.ceil(chunks / workers) * seconds, of["call"] * chunks)
    shared = of["worker_cpu"] * max(0.0, at_once / cores - 1)
    return of["fixed"] + of["per_chunk"] * chunks + working + of["call"] * at_once + shared


def model(
    found: Sequence[Mapping[str, Any]], seconds: float, each: int, cores: int
) -> dict[str, list[dict[str, float]]]:
    """Predictions for what was measured, and for what was not: weak scaling, and the same as the published one."""
    of = parts(found)
    measured = [
        {
            "workers": run["workers"],
            "chunks": run["chunks"],
            "measured": run["generation_seconds"],
            "predicted": predicted(of, run["chunks"], run["workers"], seconds, cores),
        }
        for run in found
    ]
    beyond = []
    for workers in BEYOND:
        for length in LENGTHS:
            generation = predicted(of, each * workers, workers, length, math.inf)
            ideal = each * length
            beyond.append({"workers": workers, "chunk_seconds": length, "efficiency": ideal / generation})
    return {"measured": measured, "beyond": beyond}


def published() -> tuple[float, float]:
    """The speed-up of Salimans et al., and its efficiency."""
    speed_up = PUBLISHED["minutes"][0] / PUBLISHED["minutes"][1]
    return speed_up, speed_up * PUBLISHED["cores"][0] / PUBLISHED["cores"][1]


def times_80(of: Mapping[str, float], each: int, seconds: float) -> float:
    """Modelled efficiency of 1,440 workers over 18 that do the same."""
    few, many = PUBLISHED["cores"]
    before, after = (predicted(of, each * many, workers, seconds, math.inf) for workers in (few, many))
    return before * few / (after * many)


def show(results: Mapping[str, Any]) -> None:
    """Prints all tables."""
    seconds, found = results["seconds"], results["runs"]
    for scaled in ("strong", "weak"):
        print(f"\n{scaled} scaling, chunks of {seconds:g} s")
        table = Table(*COLUMNS)
        for run in found:
            if scaled in run["scaled"]:
                generation, ideal = run["generation_seconds"], run["efficiency"] * run["generation_seconds"]
                threads = run["driver_share"] + run["ray_threads"] / generation
                phases = sum(run[name] for name in PHASES)
                table.row(
                    *(run["workers"], run["chunks"], generation, ideal, generation - ideal),
                    *(run["episodes_per_second"], run["efficiency"], 1e3 * run["calls"], 1e3 * phases),
                    *(run["driver_share"], threads, 1e3 * run["worker_cpu"]),
                )
    print(
        "calls: milliseconds of the driver's main thread, handing out and collecting; phases: of asking, updating and\n"
        "recording; driver: both, as a share of the generation; +Ray: with Ray's threads of that process;\n"
        "worker: milliseconds of processor time per chunk"
    )
    of = results["parts"]
    print("\nmodel: " + ", ".join(f"{name} {1e3 * value:.3f} ms" for name, value in of.items()))
    table = Table(("workers", ">8"), ("chunks", ">8"), ("measured", ">10.3f"), ("predicted", ">11.3f"))
    for row in results["model"]["measured"]:
        table.row(*row.values())
    print(f"\nefficiency predicted beyond, {results['each']} chunks per worker, a core for each")
    table = Table(("workers", ">8"), *((f"{length:g} s", ">9.1%") for length in LENGTHS))
    for workers in BEYOND:
        table.row(workers, *(row["efficiency"] for row in results["model"]["beyond"] if row["workers"] == workers))
    print("\nthe schedule alone, 1,024 workers that are not there, 10,000 members in pairs:")
    for together, cost in results["schedule"].items():
        print(f"  answers of {1e3 * float(together):g} ms taken in together: {1e6 * cost:.0f} us per chunk")
    speed_up, efficiency = published()
    print(
        f"\nSalimans et al. 2017, 18 to 1,440 cores, 80 times as many: {speed_up:.1f} times as fast, {efficiency:.0%}"
    )
    strong = [run for run in found if "strong" in run["scaled"]]
    few, many = strong[0], strong[-1]
    times = many["workers"] / few["workers"]
    gained = few["generation_seconds"] / many["generation_seconds"]
    print(
        f"measured, {few['workers']} to {many['workers']} workers, {times:g} times as many: {gained:.1f} times as "
        f"fast, {gained / times:.0%}"
    )
    for length in LENGTHS:
        print(f"modelled, 18 to 1,440 workers, chunks of {length:g} s: {times_80(of, results['each'], length):.0%}")
