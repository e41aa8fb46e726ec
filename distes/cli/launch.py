"""A resolved configuration is run: cheap things first, then the run directory, then the workers."""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from distes.cli import yaml_text
from distes.cli.build import Parts, build, in_section
from distes.cli.configuration import Configuration, experiment
from distes.cli.keys import own_arguments
from distes.errors import ClusterError, ConfigurationError, EvaluationError, RunDirectoryError, installation, trust
from distes.pools.base import Pool
from distes.pools.device import prepare, settle, visible_gpus
from distes.pools.experiment import Experiment
from distes.runs import atomic_files
from distes.runs.directory import RunDirectory
from distes.runs.monitors.base import Monitor
from distes.runs.monitors.console import Console, duration, number
from distes.runs.store import Archive
from distes.training.budget import Result, require_end
from distes.training.signals import INTERRUPTED, clean_up_first
from distes.training.trainer import Trainer


def train(configuration: Configuration, *, resumed: bool = False, replay: str | None = None) -> int:
    """Trains, and returns the exit code: 0 finished with the result on the disk, 130 interrupted.

    Args:
        configuration: Resolved.
        resumed: Whether its `run_dir` holds a run to go on with.
        replay: Instead of training, evaluate this of the next generation: `GENERATION` (the centre) or
            `GENERATION,PAIR,SIGN`.

    Raises:
        DistesError: Something that the user can act on. A new run that could not start leaves no run behind.
    """
    with trust.recorded() as foreign:
        parts = build(configuration)
    with contextlib.closing(parts.task):
        return _train(configuration, parts, " --trust" if foreign else "", resumed=resumed, replay=replay)


def _train(configuration: Configuration, parts: Parts, trusting: str, *, resumed: bool, replay: str | None) -> int:
    options = {name: configuration[name] for name in own_arguments(Trainer)}
    target = options["target_fitness"]
    target = parts.task.reward_threshold if target is None else target
    limits = options["generations"], options["total_timesteps"], options["max_seconds"]
    require_end(*limits, target if options["eval_episodes"] else None)
    configuration = {**configuration, "device": early_device(configuration, parts)}
    determined_by = {**experiment(configuration), **parts.identity()}
    text = yaml_text.write({**configuration, "run_dir": None})  # so that --config takes it as it is
    path = configuration["run_dir"] or new_run_dir(parts.task.name)
    address = configuration["address"]
    resume = f"{installation.script('launch')} --resume {shlex.quote(path)}{trusting}"
    if address not in (None, "auto"):  # which must be named again
        resume += f" --address {shlex.quote(address)}"
    clean_up_first()
    if replay is not None:
        directory = RunDirectory(path)  # to be read alone: it stays as it is, and somebody else may hold it
    else:
        directory = RunDirectory.open(path) if resumed else RunDirectory.create(path, text)
    with directory:
        console = Console(
            generations=options["generations"],
            total_timesteps=options["total_timesteps"],
            max_seconds=options["max_seconds"],
            target_fitness=target,
            title=f"{parts.task.name} in {path}",
            in_process=configuration["workers"] == 0,
        )
        for warning in directory.warnings:
            console.say(warning)
        for line in (parts.task.notice or "").splitlines():
            console.say(line)
        if options["target_fitness"] is None and parts.task.threshold_notice:
            console.say(parts.task.threshold_notice)
        description = {
            "policy": configuration["policy"],
            "task": configuration["task"],
            "observation_shape": parts.task.observation_shape,
            "action_size": parts.task.action_size,
        }
        saving = {name: configuration[name] for name in own_arguments(Archive)}
        archive = Archive(
            directory,
            parts.policy,
            description,
            say=console.say,
            experiment=determined_by,
            **saving,
        )
        state = archive.restore() if resumed else None  # what cannot be gone on with is refused before anything starts
        monitors: list[Monitor] = []  # filled below: TensorBoard has to know where a resumed run goes on
        with contextlib.ExitStack() as stack:
            if not resumed:
                stack.callback(_discard, directory)
            # a member that is replayed alone is no generation that a strategy has asked for
            pool = start_pool(configuration, parts, console, configuration["sync"] if replay is None else "broadcast")
            with contextlib.closing(pool):
                text = yaml_text.write({**configuration, "run_dir": None, "device": pool.device})
                if resumed:
                    _say_new_device(directory, pool.device, console.say)
                elif pool.device != configuration["device"]:
                    directory.write_config(text)
                sum_on(parts, pool.device, console.say)
                trainer = Trainer(
                    task=parts.task,
                    strategy=parts.strategy,
                    noise=parts.noise,
                    pool=pool,
                    monitors=monitors,
                    archive=archive,
                    **options,
                )
                if state is not None:
                    trainer.restore(state)
                elif resumed:
                    console.say("There is no checkpoint yet: the run begins with its first generation.")
                if replay is not None:
                    with _named(resume):
                        return _replay(trainer, replay, console, pool.device)
                if resumed:
                    forget_result(directory)
                    directory.write_config(text)
                    directory.truncate_metrics(trainer.generation)
                monitors += start_monitors(directory, console, text, trainer.generation + 1 if resumed else None)
                stack.pop_all()  # from here on there is a run
                with _named(resume), in_section("strategy", type(parts.strategy)):
                    result = trainer.run()
                lost = write_result(directory, result)
    saved = archive.saved == result.generation
    console.say(summary(result, path, resume, trusting, saved=saved))
    if result.reason == "interrupted":
        return INTERRUPTED
    if lost or not saved:
        lost = lost or f"The last checkpoint could not be written to {directory.checkpoints}."
        raise RunDirectoryError(f"{lost} Make room, and repeat the end: {resume}")
    return 0


def early_device(configuration: Configuration, parts: Parts) -> str:
    """The device, with `auto` decided where that needs no cluster: its GPUs are counted when it is joined.

    Raises:
        ConfigurationError: `cuda` is asked for, and this machine, which is to do the work, has no GPU.
    """
    asked: str = configuration["device"]
    if configuration["workers"] != 0 and _address(configuration):
        return asked
    size, on_tensors = parts.forward.layout.size, parts.task.on_device
    return settle(asked, visible_gpus(), on_tensors=on_tensors, parameters=size)


def start_pool(configuration: Configuration, parts: Parts, console: Console, sync: str) -> Pool:
    """This process for `workers: 0`, otherwise Ray, which is imported only then.

    Raises:
        ConfigurationError: The device is `cuda`, and there is no GPU.
        ClusterError: No cluster can be reached, or it has no room for a worker.
    """
    experiment = Experiment(
        parts.task,
        parts.forward,
        parts.perturbation,
        parts.noise,
        parts.noise.fingerprint,
        configuration["device"],
        parts.strategy,
        parts.strategy.sensitivity,
    )
    pairs = (configuration["chunk_size"] or 0) // 2 or None
    if configuration["workers"] == 0:
        from distes.pools.serial import SerialPool

        serial = SerialPool(experiment, pairs_per_chunk=pairs)
        if serial.device == "cuda":
            console.say(f"Members are evaluated in this process, on {serial.place}.")
        return serial
    from distes.pools.on_ray.environment import prepare

    prepare()
    from distes.pools.on_ray.pool import RayPool

    return RayPool(
        experiment,
        workers=configuration["workers"],
        min_workers=configuration["min_workers"],
        start_timeout=configuration["start_timeout"],
        chunk_timeout=configuration["chunk_timeout"],
        sync=sync,
        address=_address(configuration),
        oversubscribe=configuration["oversubscribe"],
        pairs_per_chunk=pairs,
        say=console.say,
        show=console.table,
    )


def sum_on(parts: Parts, device: str, say: Callable[[str], None]) -> None:
    """Has the update formed where members are evaluated: on the driver's GPU, if it has one.

    The experiment's device decides, and nothing that is measured. A driver without a GPU in a run on GPUs sums on its
    processor, and says so: where a perturbation's two ways of summing round differently, so do the bits.
    """
    if device == "cuda":
        if visible_gpus():
            prepare("cuda")  # as workers do, whose updates are to have the same bits
            parts.perturbation.device = "cuda"
        else:
            say("This process sees no GPU: it forms the update on its processor, whose last bits may be other ones.")


def _say_new_device(directory: RunDirectory, device: str, say: Callable[[str], None]) -> None:
    stored = yaml_text.read(directory.read_config())
    before = stored.get("device", device) if isinstance(stored, dict) else device
    if before not in (device, "auto"):
        say(f"The run leaves {before} and goes on with device {device}: from here on its last bits are of that device.")


def _address(configuration: Configuration) -> str | None:
    address: str | None = configuration["address"] or os.environ.get("RAY_ADDRESS")
    return address


def start_monitors(directory: RunDirectory, console: Console, text: str, resumed_at: int | None) -> list[Monitor]:
    """The terminal, metrics.jsonl and TensorBoard; the latter is imported only here.

    Args:
        directory: Where files go.
        console: The terminal.
        text: The resolved configuration.
        resumed_at: The first generation that a resumed run will record.
    """
    from distes.runs.monitors.base import Monitors
    from distes.runs.monitors.jsonl import Jsonl
    from distes.runs.monitors.tensorboard import TensorBoard

    files = [Jsonl(directory.metrics), TensorBoard(directory.path, purge_from=resumed_at, configuration_text=text)]
    return [Monitors([console, *files], console.say)]


@contextlib.contextmanager
def _named(resume: str) -> Iterator[None]:
    """Puts the command that resumes this run into what a worker says, which knows neither the run nor this machine."""
    try:
        yield
    except (EvaluationError, ClusterError) as error:
        raise type(error)(str(error).replace("python scripts/launch.py --resume RUN_DIR", resume)) from error


def write_result(directory: RunDirectory, result: Result) -> str | None:
    """Leaves how the run ended for scripts, in `result.json`, where null stands for NaN and infinity.

    Returns:
        A sentence where that is not possible.
    """
    values = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in dataclasses.asdict(result).items()
    }
    path = directory.path / "result.json"
    try:
        atomic_files.replace(path, (json.dumps(values, indent=2) + "\n").encode())
    except OSError as error:
        return f"{path} could not be written: {atomic_files.reason(error)}."
    return None


def forget_result(directory: RunDirectory) -> None:
    """Removes the `result.json` of an earlier end: from now on the run has none.

    Raises:
        RunDirectoryError: It cannot be removed.
    """
    path = directory.path / "result.json"
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RunDirectoryError(
            f"{path}, of the run's earlier end, cannot be removed: {atomic_files.reason(error)}."
        ) from error


def new_run_dir(task: str) -> str:
    """A directory that does not exist yet: `runs/<task>-<date>-<time>`."""
    name = re.sub(r"[^\w.-]+", "-", task).strip("-.") or "task"
    start = f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S}"
    candidates = (start if count == 1 else f"{start}-{count}" for count in itertools.count(1))
    return next(path for path in candidates if not Path(path).exists())


def summary(result: Result, path: str, resume: str, trusting: str = "", *, saved: bool = True) -> str:
    """The last line that a user sees, with commands that work in the current directory.

    Args:
        result: How the run ended.
        path: The run directory.
        resume: The command that resumes it.
        trusting: The flag that playing needs where the run names code that is no part of distes.
        saved: Whether the state of the last generation is on the disk.
    """
    run = shlex.quote(path)
    done = f"{result.generation:,} generations, {result.timesteps:,} timesteps and {duration(result.seconds)}"
    if result.reason == "interrupted":
        state = "the state is saved" if saved else "the state could not be saved, and the last checkpoint counts"
        return f"Interrupted after {done}; {state}. To go on: {resume}"
    mean = f"{number(result.eval_mean)} ± {number(result.eval_std)} over {result.eval_episodes} episodes"
    mean = f"evaluation {mean}" if result.eval_episodes else "not evaluated"
    return (
        f"Done ({result.reason}) after {done}: {mean}. It lies in {path}. "
        f"To watch: {installation.program('tensorboard')} --logdir {run}. "
        f"To replay: {installation.script('play')} {run}{trusting}"
    )


def _replay(trainer: Trainer, what: str, console: Console, device: str) -> int:
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
    console.say(f"fitness {', '.join(map(number, fitness.tolist()))}")
    if device == "cuda":
        console.say(
            "Alone on a GPU a member may differ in its last bits from itself among others, since the GPU's algorithms "
            "are chosen by how many run together: over a long episode the fitness may, too."
        )
    return 0


def _discard(directory: RunDirectory) -> None:
    """Takes back what makes a directory a run, so that a second try may have it."""
    directory.config.unlink(missing_ok=True)
    for folder in (directory.checkpoints, directory.policy):
        with contextlib.suppress(OSError):
            folder.rmdir()
