"""What a run would do, without doing it: for `--dry_run`."""

import math
import os
from typing import Any

from numpy.typing import NDArray

from distes.api.building.build import build
from distes.api.building.construct import in_section
from distes.api.building.pool import decide_device, evaluates_here
from distes.api.configuration.resolution import Configuration
from distes.noise.sum_cpu import cores
from distes.pools.chunks import chunks
from distes.pools.experiment import Experiment
from distes.pools.search_distribution import SearchDistribution
from distes.population import Population
from distes.tasks.base import Task
from distes.training.budget import Budget
from distes.training.centre import target_of

SCALARS = 16  # bytes that a worker returns per member: fitness and steps


def plan(configuration: Configuration) -> list[tuple[str, str]]:
    """Builds everything, and returns what a run would do as rows of names and texts. Writes nothing, starts no Ray.

    No member is evaluated. A strategy that measures the policy's sensitivity plays its reference episodes.

    Args:
        configuration: The resolved configuration.

    Raises:
        ConfigurationError: It cannot be built, or the run would never end.
    """
    experiment, _ = build(configuration)
    try:
        with in_section("strategy", type(experiment.strategy)):
            return _rows(configuration, experiment)
    finally:
        experiment.task.close()


def _rows(configuration: Configuration, experiment: Experiment) -> list[tuple[str, str]]:
    task, strategy = experiment.task, experiment.strategy
    assert strategy is not None
    target = target_of(task, configuration["target_fitness"])
    limits = {name: configuration[name] for name in ("generations", "total_timesteps", "max_seconds")}
    Budget(**limits).require_end(target if configuration["eval_episodes"] else None)
    experiment = decide_device(configuration, experiment)
    population = strategy.ask()
    members = len(population.ids_N) * len(population.signs)
    per_chunk = (configuration["chunk_size"] or 0) // 2 or None
    cut = [one for one in chunks(population, per_chunk, experiment.pairs_per_chunk) if not one.of_centre]
    sizes = sorted({one.evaluations for one in cut})
    size, noise = experiment.forward.layout.size, configuration["noise"]
    table, rows = experiment.noise.size * experiment.noise.dtype.itemsize, experiment.perturbation.member_size
    stop = [f"{name} {value:,}" for name, value in limits.items() if value is not None]
    stop += [] if target in (None, math.inf) else [f"target_fitness {target:g}"]
    return [
        ("task", f"{task.name}: observations {_shape(task.observation_shape)}, {task.action_size} outputs"),
        ("policy", f"{configuration['policy']['class_path']}, {size:,} parameters, {_bytes(4 * size)}"),
        ("strategy", f"{type(strategy).__name__}, {members:,} members a generation"),
        ("chunks", f"{len(cut):,}, of {' or '.join(map(str, sizes))} members"),
        ("workers", _workers(configuration, experiment, len(cut))),
        (task.units.episodes, _episodes(configuration, task, members)),
        ("noise table", f"{_bytes(table)} once per node, {noise['dtype']}"),
        ("worker's memory", f"{_bytes(4 * max(sizes) * rows)} for the members of a chunk"),
        ("bytes down", _bytes_down(population)),
        ("bytes up", f"{_bytes(_up(members))} a generation, from all workers"),
        ("ends at", ", or ".join(stop) or "never"),
        ("run directory", configuration["run_dir"] or "runs/TASK-DATE-TIME"),
        ("done so far", "nothing was evaluated, and no file was written"),
    ]


def _workers(configuration: Configuration, experiment: Experiment, count: int) -> str:
    workers, here = configuration["workers"], evaluates_here(configuration, experiment.device)
    if here == "always":
        return f"this process, on {experiment.device}"
    workers = None if workers == "auto" else workers
    if configuration["address"] or os.environ.get("RAY_ADDRESS"):
        return f"{workers or 'one per core or GPU of the cluster'}, on the Ray cluster"
    wanted = workers or cores()
    asked = wanted if configuration["oversubscribe"] else min(wanted, cores())
    idle = f", {asked - count} of them idle" if asked > count else ""
    first = "this process at first; where it pays, " if here == "at first" else ""
    return f"{first}{asked} on Ray, on this machine with {cores()} cores ({experiment.device}){idle}"


def _episodes(configuration: Configuration, task: Task, members: int) -> str:
    arguments: dict[str, Any] = configuration["task"]["init_args"]
    each, of_centre = arguments.get("episodes_per_member", 1), configuration["eval_episodes"]
    of_centre = of_centre if task.evaluations is None else min(of_centre, task.evaluations)
    text = f"{members * each:,} a generation, and {of_centre:,} of the centre"
    every = configuration["eval_every"]
    text += "" if every == 1 else f" every {every} generations"
    steps = arguments.get("max_steps")
    return text if not steps else f"{text}; at most {members * each * steps:,} steps"


def _bytes_down(population: Population) -> str:
    text = f"{_bytes(_down(population))} a generation, once per node"
    if population.rows_NP is None:
        return text
    return f"{text}; and {_bytes(population.rows_NP.nbytes)} of members' rows, each to one worker"


def _down(population: Population) -> int:
    """Bytes of the arrays that travel to each node; rows of members, which are sent chunk by chunk, are not counted."""
    found = SearchDistribution.of(population)
    arrays: list[NDArray[Any] | None] = [
        found.centre_P,
        found.sigma_P,
        population.ids_N,
        population.seeds_N,
        population.eval_seeds_E,
    ]
    if found.transform is not None:
        arrays += [found.transform.basis_KP, found.transform.mixing_KK]
    if found.genomes is not None:
        arrays += [found.genomes.ids_G, found.genomes.lengths_M, population.genome_N]
    return sum(array.nbytes for array in arrays if array is not None)


def _up(members: int) -> int:
    """Bytes of the scalars per member. Behaviours and moments of observations come on top, and are known later."""
    return members * SCALARS


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
