"""Trains every combination of some values and seeds, one run after another in this process.

A sweep can be interrupted and repeated: finished runs are skipped, and a run that has begun goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distes.api.configuration import shipped
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.combinations import Combination, combine
from distes.api.configuration.layers import Layer, read_file
from distes.api.configuration.objects import all_texts
from distes.api.configuration.resolution import Configuration, flat, resume
from distes.api.saved.compare import Comparison, compare
from distes.errors import ConfigurationError, RunDirectoryError
from distes.errors.trust import only_own
from distes.pools.on_ray.held import one_connection
from distes.runs.history import read_history
from distes.training.signals import INTERRUPTED

BUDGET = ("generations", "total_timesteps", "max_seconds", "target_fitness")
State = Literal["new", "to be resumed", "finished"]


@dataclass(frozen=True)
class Sweep:
    """How a sweep ended.

    Attributes:
        directory: The directory that holds those of the runs.
        keys: The keys that were varied, without the seed.
        combinations: All runs, in the order in which they were trained.
        failed: The errors of failed runs, by name.
        interrupted: Whether a signal has ended the sweep before its last run.
    """

    directory: Path
    keys: list[str]
    combinations: list[Combination]
    failed: dict[str, BaseException] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def run_dirs(self) -> list[Path]:
        """The directories of the runs that have begun."""
        return [one.path for one in self.combinations if (one.path / "config.yaml").is_file()]

    def compare(self) -> Comparison | None:
        """The runs in a table, with a line for each combination over its seeds; None if none has begun."""
        return compare(self.run_dirs, self.keys) if self.run_dirs else None


def sweep(
    over: Mapping[str, Sequence[Any]],
    *,
    seeds: Sequence[int] = (),
    settings: Mapping[str, Any] | None = None,
    configs: Sequence[str | Path] = (),
    run_dir: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> Sweep:
    """Trains every combination of some values and seeds, one run after another.

    A failed run does not end the others. Finished runs are skipped if the sweep is repeated with the same `run_dir`.

    Args:
        over: The values to try, by full key: `{"strategy.sigma": [0.02, 0.1]}`. `strategy` and the other parts take
            names of classes.
        seeds: The seeds of each combination; () for the one that `settings` or `configs` give.
        settings: Values that all runs have in common, by full key: `{"task.env": "Pendulum-v1", "workers": 0}`.
        configs: YAML files, or names of configurations that come with distes, such as `cartpole`; `settings` win.
        run_dir: The directory of the sweep; None makes `runs/sweep-DATE-TIME`.
        say: Takes a line for the user before each run.

    Returns:
        How it ended; `print(result.compare())` shows a table.

    Raises:
        ConfigurationError: A combination is not a configuration, or contradicts a run that is there. Nothing has begun.
    """
    common = Layer()
    for key, value in (settings or {}).items():
        if key in CLASSES:
            common.add_class(key, value)
        else:
            common.values[key] = value
    if seeds:
        over = {**over, "seed": list(seeds)}
    planned = plan([read_file(shipped.locate(str(one))) for one in configs], common, over, run_dir)
    for combination in planned.combinations:
        state_of(combination)  # finds contradictions before anything begins
    return train_all(planned, say)


def plan(files: Sequence[Layer], common: Layer, over: Mapping[str, Sequence[Any]], run_dir: str | Path | None) -> Sweep:
    """Lists the runs of a sweep; trains nothing and writes nothing.

    Args:
        files: The layers of configuration files.
        common: Values that all runs have in common.
        over: The values to try, by full key.
        run_dir: The directory of the sweep; None makes a new name.

    Raises:
        ConfigurationError: There is nothing to vary, or a combination is not a configuration.
        RunDirectoryError: The directory holds a run itself.
    """
    if not over:
        raise ConfigurationError(
            "A sweep needs several values: --strategy.sigma 0.02,0.1 or --seeds 0..4; got one of each key."
        )
    from distes.api.running.directory import new_run_dir

    root = Path(run_dir if run_dir is not None else new_run_dir("sweep"))
    if (root / "config.yaml").exists():
        raise RunDirectoryError(f"{root} holds a run, and a sweep makes directories of runs: choose another --run_dir.")
    return Sweep(root, [key for key in over if key != "seed"], combine(files, common, over, root))


def state_of(combination: Combination) -> State:
    """What is there of a run. A finished one with another budget than its configuration is to be resumed.

    Raises:
        ConfigurationError: The directory holds a run of other settings.
    """
    if not (combination.path / "config.yaml").is_file():
        return "new"
    stored = _stored(combination, [])
    wanted = _stored(combination, combination.layers)
    same_budget = all(stored[key] == wanted[key] for key in BUDGET)
    return "finished" if same_budget and read_history(combination.path).finished else "to be resumed"


def train_all(
    planned: Sweep,
    say: Callable[[str], None] = print,
    failed: Callable[[Combination, BaseException], None] = lambda combination, error: None,
) -> Sweep:
    """Trains the runs of a sweep, one after another. Those with workers on Ray share one connection to it.

    Args:
        planned: The sweep.
        say: Takes a line for the user before each run.
        failed: Called with each run that fails, and its error.

    Returns:
        The sweep with what has become of it.
    """
    with one_connection():
        return _train_each(planned, say, failed)


def _train_each(
    planned: Sweep, say: Callable[[str], None], failed: Callable[[Combination, BaseException], None]
) -> Sweep:
    errors: dict[str, BaseException] = {}
    count = len(planned.combinations)
    for index, combination in enumerate(planned.combinations, 1):
        title = f"[{index}/{count}] {combination.name}"
        try:
            state = state_of(combination)
            say(title if state == "new" else f"{title}: {'already finished' if state == 'finished' else 'goes on'}")
            code = 0 if state == "finished" else _train(combination, resumed=state == "to be resumed")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit of a user's code, too
            errors[combination.name] = error
            failed(combination, error)
            continue
        if code == INTERRUPTED:
            return Sweep(planned.directory, planned.keys, planned.combinations, errors, interrupted=True)
    return Sweep(planned.directory, planned.keys, planned.combinations, errors)


def _train(combination: Combination, *, resumed: bool) -> int:
    """Trains one run and returns the exit code, as `launch.train` does."""
    from distes.api.running.launch import train

    if not resumed:
        return train(combination.configuration)
    device = _stored(combination, combination.layers)["device"]  # which a resumed run keeps
    with _only_named(combination):
        return train({**combination.configuration, "device": device}, resumed=True)


def _stored(combination: Combination, layers: Sequence[Layer]) -> Configuration:
    """The configuration that a run directory holds, with that of the layers, which must not contradict it.

    It imports only what distes or the sweep itself names: the directory may come from somebody else.
    """
    with _only_named(combination):
        return resume(combination.path, layers)


def _only_named(combination: Combination) -> AbstractContextManager[None]:
    """Limits what a stored run may import to distes itself and what the sweep names; no pickle of it is read."""
    named = set(all_texts(flat(combination.configuration)))
    return only_own(str(combination.path / "config.yaml"), named)
