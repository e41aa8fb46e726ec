"""Trains as a resolved configuration says, or replays a member."""

import contextlib
import re
from collections.abc import Iterator

from distes.api.build import build, in_section
from distes.api.configuration import Configuration, flat
from distes.api.keys import BUDGET_AND_PLACE
from distes.api.prepare import Run, as_text, prepare
from distes.api.result import forget_result, summary, write_result
from distes.errors import ClusterError, ConfigurationError, EvaluationError, RunDirectoryError, trust
from distes.runs.directory import RunDirectory
from distes.runs.monitors.base import Metrics, Monitor
from distes.runs.monitors.console import Console, number
from distes.training.budget import Result
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
    with trust.recorded() as foreign:
        experiment, policy = build(configuration)
    trusting = " --trust" if foreign else ""
    with contextlib.closing(experiment.task):
        ready = prepare(configuration, experiment, policy, trusting, resumed=resumed, only_replays=replay is not None)
        with ready as run, _named(run.resume), in_section("strategy", type(experiment.strategy)):
            if replay is not None:
                return replay_member(run, replay)
            result, problem = go(run)
        return end(run, result, problem)


def go(run: Run) -> tuple[Result, str | None]:
    """Trains, and writes `result.json`.

    Returns:
        How the run ended, and why that could not be written, if it could not.
    """
    text, directory = as_text(run.configuration), run.directory
    if run.resumed:
        forget_result(directory)
        directory.write_config(text)
        directory.truncate_metrics(run.trainer.generation)
    run.monitors.extend(
        start_monitors(directory, run.console, run.configuration, run.trainer.counts if run.resumed else None)
    )
    run.begun()
    result = run.trainer.run()
    return result, write_result(directory, result)


def end(run: Run, result: Result, problem: str | None) -> int:
    """Says how a run ended, once its workers are gone, and returns the exit code.

    Args:
        run: The run.
        result: How it ended.
        problem: Why that could not be written, or None.

    Raises:
        RunDirectoryError: Result or state of a finished run are not on disk.
    """
    saved = run.archive.saved == result.generation
    run.console.say(summary(result, run.path, run.resume, run.trusting, saved=saved))
    if result.reason == "interrupted":
        return INTERRUPTED
    if problem or not saved:
        problem = problem or f"The last checkpoint could not be written to {run.directory.checkpoints}."
        raise RunDirectoryError(f"{problem} Make room, and repeat the end: {run.resume}")
    return 0


def replay_member(run: Run, what: str) -> int:
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


def start_monitors(
    directory: RunDirectory, console: Console, configuration: Configuration, resumed_from: Metrics | None
) -> list[Monitor]:
    """The monitors of a run: terminal, metrics.jsonl and TensorBoard, which is imported only here.

    Args:
        directory: The run directory, which holds their files.
        console: The terminal.
        configuration: The resolved configuration, for TensorBoard.
        resumed_from: What a resumed run has done already, as `Trainer.counts`; None for a new run.
    """
    from distes.runs.monitors.base import Monitors
    from distes.runs.monitors.jsonl import Jsonl
    from distes.runs.monitors.tensorboard import TensorBoard

    board = TensorBoard(
        directory.path,
        axis=configuration["tensorboard_axis"],
        resumed_from=resumed_from,
        configuration_text=as_text(configuration),
        configuration={key: value for key, value in flat(configuration).items() if key not in BUDGET_AND_PLACE},
    )
    return [Monitors([console, Jsonl(directory.metrics), board], console.say)]


@contextlib.contextmanager
def _named(resume: str) -> Iterator[None]:
    """Puts the command that resumes this run into errors of workers, which do not know the run directory."""
    try:
        yield
    except (EvaluationError, ClusterError) as error:
        raise type(error)(str(error).replace("python scripts/launch.py --resume RUN_DIR", resume)) from error
