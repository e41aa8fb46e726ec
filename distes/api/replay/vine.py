"""The data of the page that `distes vine` writes: every generation's members in a plane, and the centre's path.

After VINE (Wang, Clune and Stanley 2018, arXiv:1805.01141). The plane is the space of behaviours; those of more than
two numbers are projected onto their two principal axes. Without behaviours it is that of parameters, projected onto the
two principal axes of the centre's path.

Axes: M members, G generations, D numbers of a behaviour, P parameters.
"""

import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.api.configuration import objects, yaml_text
from distes.api.replay.replay import StoredRun, stored_run
from distes.errors import CheckpointError, ConfigurationError, RunDirectoryError, installation
from distes.runs import atomic_files
from distes.runs.directory import RunDirectory
from distes.runs.metrics_file import read_rows
from distes.runs.population_record import Recorded, read_index, read_recorded
from distes.runs.vine.page import page

MOST_GENERATIONS, MOST_MEMBERS = 400, 40_000  # that a page shows: about 2 MB
DIGITS = 5  # of a coordinate
Plane = NDArray[np.float64]


def write_vine(
    run_dir: str, out: Path | None = None, *, trust: bool = False, say: Callable[[str], None] = lambda line: None
) -> Path:
    """Writes the page of a run, and returns its path.

    Args:
        run_dir: The run directory, of a run with `record_population`.
        out: The file; None for `vine.html` in the run directory.
        trust: Whether the run may import and call code that is not part of distes, which is needed where the parameters
            of its members are shown.
        say: Takes lines for the user.

    Raises:
        RunDirectoryError: The run has no record of its populations, or the page cannot be written.
        DistesError: The record is damaged, or the run's members cannot be made again here.
    """
    content = page(vine_data(run_dir, trust=trust, say=say))
    path = Path(run_dir) / "vine.html" if out is None else out
    try:
        atomic_files.replace(path, content.encode())
    except OSError as error:
        raise RunDirectoryError(f"The page {path} cannot be written: {atomic_files.reason(error)}.") from error
    return path


def vine_data(run_dir: str, *, trust: bool = False, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Returns what the page shows, as JSON holds it; see `write_vine`.

    Raises:
        DistesError: As in `write_vine`.
    """
    directory = RunDirectory(run_dir)
    if not directory.config.is_file():
        raise ConfigurationError(f"{run_dir} holds no run: there is no config.yaml in it.")
    try:
        index = read_index(directory.population) if directory.population.exists() else {}
    except OSError as error:
        raise RunDirectoryError(f"{directory.population} cannot be read: {atomic_files.reason(error)}.") from error
    if not index:
        raise RunDirectoryError(
            f"{run_dir} has no record of its populations, which this page is made of: train with --record_population "
            "true; a resumed run records from there on."
        )
    shown = evenly(sorted(index), MOST_GENERATIONS)
    if len(shown) < len(index):
        say(f"Of {len(index):,} generations, {len(shown):,} are shown, evenly spread.")
    records = [read_recorded(directory.population, one, index[one]) for one in shown]
    most = max(1, MOST_MEMBERS // len(shown))
    if any(one.evaluation.behaviour_N2D is None for one in records):
        with stored_run(run_dir, trust=trust, say=say) as run:
            planes, axes = in_parameter_space(run, records)
        space = "parameters"
    else:
        (planes, axes), space = in_behaviour_space(records), "behaviour"
    return {
        "run": directory.path.name,
        "space": space,
        "axes": axes,
        "command": None
        if _has_objects(directory)
        else f"{installation.command('play')} {shlex.quote(str(run_dir))}{' --trust' if trust else ''}",
        "generations": [_generation(one, *plane, most) for one, plane in zip(records, planes, strict=True)],
        "curve": _curve(directory),
    }


def _has_objects(directory: RunDirectory) -> bool:
    """Whether the run was given objects of a program, so that no command can make its members again."""
    stored = yaml_text.read(directory.read_config())
    return isinstance(stored, dict) and any(objects.texts_in(stored))


def in_behaviour_space(records: list[Recorded]) -> tuple[list[tuple[Plane, Plane | None]], list[str]]:
    """Returns for each generation the members' places, (M, 2), and the centre's, (2,) or None; and names of the axes.

    Raises:
        CheckpointError: The generations' behaviours have different lengths.
    """
    did = [_flat(one.evaluation.behaviour_N2D) for one in records]
    sizes = {behaviour_MD.shape[1] for behaviour_MD in did}
    if len(sizes) > 1:
        raise CheckpointError(f"The recorded behaviours have different lengths: {sorted(sizes)}.")
    (size,) = sizes
    mean_D, axes_D2 = np.zeros(size), np.eye(size, 2)
    names = ["behaviour, first number", "behaviour, second number"][:size]
    if size > 2:
        all_MD = np.concatenate(did)
        mean_D, axes_D2, shares = principal(all_MD[np.isfinite(all_MD).all(1)])
        names = [
            f"principal axis {axis + 1} of behaviour ({share:.0%} of variance)" for axis, share in enumerate(shares)
        ]
    planes = []
    for one, behaviour_MD in zip(records, did, strict=True):
        centre_ED = one.evaluation.eval_behaviour_ED
        known = centre_ED is not None and len(centre_ED) and np.isfinite(centre_ED).all()
        centre_2 = (
            (centre_ED.astype(np.float64).mean(0) - mean_D) @ axes_D2 if known and centre_ED is not None else None
        )
        members_M2 = (behaviour_MD - mean_D) @ axes_D2
        if size == 1:  # the second axis shows fitness
            fitness = one.evaluation.fitness_N2.ravel()
            members_M2[:, 1] = fitness
            if centre_2 is not None:
                centre_2[1] = one.evaluation.eval_fitness_E.mean()
        planes.append((members_M2, centre_2))
    return planes, [*names, "fitness"][:2]


def in_parameter_space(run: StoredRun, records: list[Recorded]) -> tuple[list[tuple[Plane, Plane | None]], list[str]]:
    """Returns places as `in_behaviour_space` does: parameters on the two principal axes of the centre's path.

    Raises:
        DistesError: A generation cannot be made again.
    """
    centres_GP = np.stack([run.parameters(one.generation, members=False)[1] for one in records]).astype(np.float64)
    mean_P, axes_P2, shares = principal(centres_GP)
    planes: list[tuple[Plane, Plane | None]] = []
    for one, centre_P in zip(records, centres_GP, strict=True):
        members_NSP, _ = run.parameters(one.generation)
        members_M2 = (_flat(members_NSP) - mean_P) @ axes_P2
        planes.append((members_M2, (centre_P - mean_P) @ axes_P2))
    return planes, [
        f"principal axis {axis + 1} of the centre's path ({share:.0%})" for axis, share in enumerate(shares)
    ]


def principal(rows_RD: NDArray[Any]) -> tuple[Plane, Plane, list[float]]:
    """Returns mean, (D,), the two principal axes, (D, 2), and the shares of variance along them, of rows (R, D)."""
    rows_RD = rows_RD.astype(np.float64)
    mean_D = rows_RD.mean(0)
    _, singular, axes_KD = np.linalg.svd(rows_RD - mean_D, full_matrices=False)
    axes_D2 = np.zeros((rows_RD.shape[1], 2))
    kept = min(2, len(axes_KD))
    # The sign of an axis is arbitrary: its largest component becomes positive.
    top_K = np.abs(axes_KD[:kept]).argmax(1)
    signs_K = np.where(axes_KD[np.arange(kept), top_K] < 0, -1.0, 1.0)
    axes_D2[:, :kept] = (axes_KD[:kept] * signs_K[:, None]).T
    total = float(np.square(singular).sum()) or 1.0
    shares = np.square(np.pad(singular, (0, 2))[:2]) / total
    return mean_D, axes_D2, shares.tolist()


def evenly(numbers: list[int], most: int) -> list[int]:
    """Returns at most `most` of the numbers, evenly spread, with the first and the last."""
    if len(numbers) <= most:
        return numbers
    places = np.linspace(0, len(numbers) - 1, most).round().astype(int)
    return [numbers[place] for place in places]


def _flat(array: NDArray[Any] | None) -> NDArray[Any]:
    assert array is not None
    return array.reshape(-1, array.shape[-1])


def _generation(recorded: Recorded, members_M2: Plane, centre_2: Plane | None, most: int) -> dict[str, Any]:
    """One generation: columns of numbers, of at most `most` members (the best, the worst, and others evenly spread)."""
    told = recorded.evaluation
    signs, count = told.fitness_N2.shape[1], len(members_M2)  # further rounds are not shown in parameter space
    fitness_M, steps_M = told.fitness_N2.ravel()[:count], told.steps_N2.ravel()[:count]
    chosen = np.arange(count)
    if count > most:
        by_fitness = np.argsort(fitness_M, kind="stable")
        chosen = np.sort(by_fitness[np.linspace(0, count - 1, most).round().astype(int)])
    return {
        "generation": recorded.generation,
        "members": count,
        "pair": (chosen // signs).tolist(),
        "sign": [1 if place % signs == 0 else -1 for place in chosen.tolist()],
        "fitness": _numbers(fitness_M[chosen]),
        "steps": steps_M[chosen].tolist(),
        "x": _numbers(members_M2[chosen, 0]),
        "y": _numbers(members_M2[chosen, 1]),
        "centre": None if centre_2 is None else _numbers(centre_2),
    }


def _curve(directory: RunDirectory) -> dict[str, list[Any]]:
    """Fitness over generations, from `metrics.jsonl`; of many generations, evenly spread ones."""
    keys = {"min": "fitness/min", "mean": "fitness/mean", "max": "fitness/max", "centre": "eval/mean"}
    lines = {line["generation"]: line for line in read_rows(directory.metrics, damaged=True)}
    shown = evenly(sorted(lines), 4 * MOST_GENERATIONS)
    columns: dict[str, list[Any]] = {"generation": shown}
    for name, key in keys.items():
        column = [lines[one].get(key) for one in shown]
        columns[name] = [
            float(f"{value:.{DIGITS}g}") if isinstance(value, int | float) and math.isfinite(value) else None
            for value in column
        ]
    return columns


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]
