"""Trains as a resolved configuration says, or replays a member."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import cast

from distes.api.building.build import build
from distes.api.building.construct import in_section
from distes.api.building.monitors import Surroundings, make_monitor, require_installed
from distes.api.building.screens import Show, Silent
from distes.api.configuration.resolution import Configuration
from distes.api.running.directory import as_text
from distes.api.running.prepare import prepare
from distes.api.running.prepared_run import PreparedRun
from distes.api.running.provenance import record_environment, record_workers
from distes.api.saved.result import forget_result, summary, write_result
from distes.errors import ClusterError, ConfigurationError, EvaluationError, RunDirectoryError, trust
from distes.errors.display import draw_off_screen
from distes.errors.messages import warning
from distes.errors.resuming import with_run
from distes.pools.auto import AutoPool
from distes.runs.monitors.base import Monitor, Monitors
from distes.runs.monitors.jsonl import Jsonl
from distes.runs.monitors.wording import number
from distes.training.budget import Result
from distes.training.callbacks import Callback
from distes.training.signals import INTERRUPTED


def train(configuration: Configuration, *, resumed: bool = False, replay: str | None = None) -> int:
    """Trains, and returns the exit code: 0 finished with the result on disk, 130 interrupted.

    Args:
        configuration: The resolved configuration.
        resumed: Whether its `run_dir` holds a run to continue.
        replay: Instead of training, evaluate a member of the next generation (`GENERATION,PAIR,SIGN`) or its centre
            (`GENERATION`).

    Raises:
        DistesError: Something that the user can act on. A new run that could not start leaves no run behind.
    """
    if replay is not None:
        with ready(configuration, resumed=resumed, only_replays=True) as run:
            return replay_member(run, replay)
    result, _ = train_and_return(configuration, resumed=resumed)
    return INTERRUPTED if result.reason == "interrupted" else 0


def train_and_return(
    configuration: Configuration,
    *,
    resumed: bool = False,
    show: Show = "progress",
    callbacks: Sequence[Callback] = (),
    monitors: Sequence[Monitor] = (),
) -> tuple[Result, str]:
    """Trains, and returns how the run ended and its run directory.

    Args:
        configuration: The resolved configuration.
        resumed: Whether its `run_dir` holds a run to continue.
        show: Whether to show progress.
        callbacks: Called after each generation.
        monitors: Further monitors beside those that the configuration names.

    Raises:
        DistesError: Something that the user can act on. A new run that could not start leaves no run behind.
    """
    require_installed(configuration["monitors"])
    with ready(configuration, resumed=resumed, show=show, callbacks=callbacks) as run:
        result, problem = go(run, monitors)
    end(run, result, problem)
    return result, run.path


@contextlib.contextmanager
def ready(
    configuration: Configuration,
    *,
    resumed: bool = False,
    only_replays: bool = False,
    show: Show = "progress",
    callbacks: Sequence[Callback] = (),
) -> Iterator[PreparedRun]:
    """Builds what a configuration describes and starts its workers.

    Raises:
        DistesError: Something that the user can act on. A new run that could not start leaves no run behind.
    """
    if configuration["film_every"] is not None:
        draw_off_screen()
    with trust.recorded() as foreign:
        experiment, policy = build(configuration)
    with contextlib.closing(experiment.task):
        prepared = prepare(
            configuration,
            experiment,
            policy,
            " --trust" if foreign else "",
            resumed=resumed,
            only_replays=only_replays,
            show=show,
            callbacks=callbacks,
        )
        with prepared as run, _named(run), in_section("strategy", type(experiment.strategy)):
            yield run


def go(run: PreparedRun, monitors: Sequence[Monitor] = ()) -> tuple[Result, str | None]:
    """Trains, and writes `result.json`.

    Args:
        run: The run, ready.
        monitors: Further monitors beside those that the configuration names.

    Returns:
        How the run ended, and why that could not be written, if it could not.
    """
    text, directory = as_text(run.configuration), run.directory
    if run.resumed:
        forget_result(directory)
        directory.write_config(text)
        directory.truncate_metrics(run.trainer.generation)
        run.archive.truncate_population(run.trainer.generation)
    if problem := record_environment(directory.path, run.trainer.task.units, resumed=run.resumed):
        run.console.say(warning(problem))
    run.monitors.extend(start_monitors(run, text, monitors))
    run.begun()
    try:
        result = run.trainer.run()
    finally:
        if isinstance(run.pool, AutoPool):
            record_workers(directory.path, run.pool.history)
    return result, write_result(directory, result)


def end(run: PreparedRun, result: Result, problem: str | None) -> int:
    """Says how a run ended, once its workers are gone, and returns the exit code.

    Args:
        run: The run.
        result: How it ended.
        problem: Why that could not be written, or None.

    Raises:
        RunDirectoryError: Result or state of a finished run are not on disk.
    """
    saved = run.archive.saved == result.generation
    task = run.trainer.task
    said = summary(result, run.path, run.resume, run.play, saved=saved, units=task.units, playable=task.playable)
    run.console.say(said)
    if result.reason == "interrupted":
        return INTERRUPTED
    if problem or not saved:
        problem = problem or f"The last checkpoint could not be written to {run.directory.checkpoints}."
        raise RunDirectoryError(f"{problem} Make room, and repeat the end: {run.resume}")
    return 0


def replay_member(run: PreparedRun, what: str) -> int:
    """Evaluates a member of the next generation alone, or its centre, and prints the fitness.

    Args:
        run: The run.
        what: `GENERATION,PAIR,SIGN`, or `GENERATION` for the centre.

    Raises:
        ConfigurationError: There is no such member.
    """
    trainer = run.trainer
    match = re.fullmatch(r"(\d+)(?:,(\d+),([+-]))?", what)
    if match is None:
        raise ConfigurationError(f"replay must be GENERATION, or GENERATION,PAIR,SIGN such as 7,12,+; got {what!r}.")
    if int(match[1]) != trainer.generation + 1:
        raise ConfigurationError(
            f"replay: the newest checkpoint leads to generation {trainer.generation + 1}; got {match[1]}. Only members "
            "of the generation that comes next can be replayed."
        )
    if match[2] is None:
        fitness = trainer.replay(None, 1).eval_fitness_E
    else:
        fitness = trainer.replay(int(match[2]), 1 if match[3] == "+" else -1).fitness_N2[:, 0]
    run.console.say(f"fitness {', '.join(map(number, fitness.tolist()))}")
    if run.pool.device == "cuda":
        run.console.say(
            "Alone on a GPU a member may differ in its last bits from itself among others, since the GPU's algorithms "
            "are chosen by how many run together: over a long episode the fitness may, too."
        )
    return 0


def start_monitors(run: PreparedRun, text: str, further: Sequence[Monitor]) -> list[Monitor]:
    """The monitors of a run: the screen, metrics.jsonl, those that the configuration names, and further ones.

    Args:
        run: The run.
        text: The resolved configuration in YAML.
        further: Monitors that a program has given.

    Raises:
        ConfigurationError: One cannot be made.
    """
    resumed_from = run.trainer.counts if run.resumed else None
    scalars, units = run.trainer.scalars, run.trainer.task.units
    surroundings = Surroundings(run.directory.path, run.configuration, text, resumed_from, scalars, units)
    made: list[Monitor] = [Jsonl(run.directory.metrics)]
    try:
        made.extend(make_monitor(name, surroundings) for name in run.configuration["monitors"])
    except BaseException:
        Monitors(made).close()
        raise
    console = run.console
    say = None if isinstance(console, Silent) else lambda line: console.say(warning(line))  # None: a DistesWarning
    return [Monitors([cast(Monitor, run.console), *made, *further], say)]


@contextlib.contextmanager
def _named(run: PreparedRun) -> Iterator[None]:
    """Puts the command that resumes this run into errors of workers, which do not know the run directory."""
    try:
        yield
    except (EvaluationError, ClusterError) as error:
        raise type(error)(with_run(str(error), run.again)) from error
