"""What comes before training: checks, the run directory, its newest checkpoint, the workers."""

import contextlib
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import nn

from distes.api.building.construct import in_section
from distes.api.building.identity import fixed_numbers, identity
from distes.api.building.pool import decide_device, start_pool, sum_on
from distes.api.building.screens import Screen, Show, screen_for
from distes.api.configuration import objects, yaml_text
from distes.api.configuration.keys import own_arguments
from distes.api.configuration.resolution import Configuration
from distes.api.configuration.resolution import experiment as settings
from distes.api.running.probe import FILE, probe, record
from distes.api.saved.result import playing
from distes.errors import ConfigurationError, installation
from distes.errors.messages import progress, warning
from distes.policies.language.causal_lm import CausalLM
from distes.pools.auto import AutoPool
from distes.pools.base import Pool
from distes.pools.experiment import Experiment
from distes.runs.directory import RunDirectory
from distes.runs.monitors.base import Monitor
from distes.runs.store import RunStore
from distes.tasks.base import Task
from distes.training.alignment import require_gradient
from distes.training.budget import Budget
from distes.training.callbacks import Callback
from distes.training.centre import target_of
from distes.training.signals import clean_up_first
from distes.training.trainer import Trainer


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready: nothing is wrong with its configuration, and its workers are there.

    Attributes:
        configuration: The resolved configuration, with the device that the pool uses.
        path: The run directory, as the user named it.
        directory: The run directory, open.
        resumed: Whether the directory held a run before.
        console: The terminal.
        archive: Saves checkpoints and policies.
        pool: Evaluates populations.
        trainer: At the newest checkpoint, if there is one.
        monitors: The trainer's; empty until training begins, since they write files.
        begun: To be called once there is something to keep. Before, an error leaves no run behind.
        trusting: The flag that commands need if the run names code that is not part of distes.
    """

    configuration: Configuration
    path: str
    directory: RunDirectory
    resumed: bool
    console: Screen
    archive: RunStore
    pool: Pool
    trainer: Trainer
    monitors: list[Monitor]
    begun: Callable[[], object]
    trusting: str

    @property
    def resume(self) -> str:
        """The command that resumes the run."""
        return self.again("")

    def again(self, flags: str) -> str:
        """Returns the command that resumes the run with further flags. The address of a cluster must be given again.

        Where the run was given objects, it is a call of Python, since no command can give them. That cannot replay
        one member, but ends at the same member again.

        Args:
            flags: Empty, or ` --workers 0` and what to replay.
        """
        if given := objects.arguments_of(self.configuration):
            here = ", workers=0" if flags else ""
            return f"distes.resume({self.path!r}, {', '.join(f'{name}=...' for name in given)}{here}) in Python"
        command = f"{installation.command('resume')} {shlex.quote(self.path)}{self.trusting}{flags}"
        address = self.configuration["address"]
        return command if flags or address in (None, "auto") else f"{command} --address {shlex.quote(address)}"

    @property
    def play(self) -> str:
        """The command that plays the policy; a call of Python where the run was given objects."""
        return playing(self.path, self.configuration, self.trusting, playable=self.trainer.task.playable)


@contextlib.contextmanager
def prepare(
    configuration: Configuration,
    experiment: Experiment,
    policy: nn.Module,
    trusting: str,
    *,
    resumed: bool,
    only_replays: bool,
    show: Show = "progress",
    callbacks: Sequence[Callback] = (),
) -> Iterator[PreparedRun]:
    """Opens the run directory, reads its newest checkpoint, starts the pool and makes the trainer.

    Args:
        configuration: The resolved configuration.
        experiment: The experiment that was built from it.
        policy: The policy that was built from it.
        trusting: The flag that commands need if the run names code that is not part of distes.
        resumed: Whether the run directory holds a run to continue.
        only_replays: Whether a member is to be replayed. The directory is then only read, and another process may hold
            it.
        show: Whether to show progress.
        callbacks: Called after each generation.

    Raises:
        DistesError: Something that the user can act on. A new run that could not start leaves no run behind.
    """
    options = {name: configuration[name] for name in own_arguments(Trainer)}
    target = target_of(experiment.task, options["target_fitness"])
    budget = _checked_budget(options, experiment.task, target, only_replays=only_replays)
    experiment = decide_device(configuration, experiment)
    configuration = {**configuration, "device": experiment.device}
    determined_by = _determined_by(configuration, experiment, policy)
    task, strategy = experiment.task, experiment.strategy
    assert strategy is not None
    path = configuration["run_dir"] or new_run_dir(task.name)
    clean_up_first()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(_directory(path, configuration, resumed=resumed, only_replays=only_replays))
        console = _console(configuration, task, path, budget, target, show)
        stack.callback(console.close)  # also if training does not begin
        _say_notices(configuration, task, directory, console)
        archive = _archive(configuration, task, policy, directory, console, determined_by)
        state = archive.restore() if resumed else None  # another run's state is refused before anything starts
        keep = stack.enter_context(contextlib.ExitStack())
        if not resumed:
            keep.callback(_discard, directory)
        if not resumed and not only_replays:
            _probe(experiment, directory, console)
        # a worker's copy of the strategy would not ask for a member that is replayed alone
        sync = "broadcast" if only_replays else configuration["sync"]
        pool = start_pool(configuration, experiment, console, sync, short=only_replays)
        stack.enter_context(contextlib.closing(pool))
        decided, configuration = configuration["device"], {**configuration, "device": pool.device}
        if resumed:
            _say_new_device(directory, pool.device, console.say)
        elif pool.device != decided:
            directory.write_config(as_text(configuration))
        sum_on(experiment.perturbation, pool.device, console.say)
        monitors: list[Monitor] = []
        trainer = Trainer(
            task=task,
            strategy=strategy,
            noise=experiment.noise,
            pool=pool,
            monitors=monitors,
            callbacks=callbacks,
            archive=archive,
            waiting=console.waiting,
            policy=policy,
            **options,
        )
        if isinstance(pool, AutoPool):
            pool.generations_left = lambda: trainer.generations_left
        if resumed:
            _restore(trainer, state, console.say)
        begun = keep.pop_all
        yield PreparedRun(
            configuration, path, directory, resumed, console, archive, pool, trainer, monitors, begun, trusting
        )


def _restore(trainer: Trainer, state: dict[str, Any] | None, say: Callable[[str], None]) -> None:
    """Takes a resumed run back to its newest checkpoint, if there is one."""
    if state is None:
        say("There is no checkpoint yet: the run begins with its first generation.")
    else:
        trainer.restore(state)


def _determined_by(configuration: Configuration, experiment: Experiment, policy: nn.Module) -> dict[str, str]:
    """The settings and fingerprints that determine a run's results, as text by name."""
    determined_by = {**settings(configuration), **identity(experiment, policy)}
    if objects.is_object(configuration["policy"]["class_path"]):
        determined_by["policy/fixed"] = fixed_numbers(policy)
    return determined_by


def _checked_budget(options: Mapping[str, Any], task: Task, target: float | None, *, only_replays: bool) -> Budget:
    """Returns the run's limits, and checks that it ends and that the task has the films and gradients it asks for.

    Args:
        options: The trainer's arguments.
        task: The task.
        target: The fitness that ends the run, or None.
        only_replays: Whether a member is to be replayed, for which no film is made.

    Raises:
        ConfigurationError: The run would never end, or the task has no films or no gradient.
    """
    budget = Budget(options["generations"], options["total_timesteps"], options["max_seconds"])
    budget.require_end(target if options["eval_episodes"] else None)
    if options["film_every"] is not None and not only_replays:
        with_films(task)
    if options["alignment_every"] is not None:
        require_gradient(task)
    return budget


def _probe(experiment: Experiment, directory: RunDirectory, console: Screen) -> None:
    """Lets the task look at what noise does to the policy, and shows and keeps what it finds."""
    console.waiting("looking at what noise does to the policy")
    with in_section("strategy", type(experiment.strategy)):
        found = probe(experiment)
    if found is None:
        return
    console.say(progress(found.about))
    console.table(found.columns, found.rows)
    for line in found.warnings:
        console.say(warning(line))
    if problem := record(directory.path, found):
        console.say(warning(problem))


def with_films(task: Task) -> None:
    """Checks that a task has environments, of which films can be made.

    Raises:
        ConfigurationError: It has none.
    """
    if not task.playable:
        raise ConfigurationError(f"film_every is for tasks with environments, which {task.name} is not: leave it out.")
    task.observation_and_action()


def as_text(configuration: Configuration) -> str:
    """The configuration in YAML without `run_dir`, so that --config takes it as it is."""
    return yaml_text.write({**configuration, "run_dir": None})


def _directory(path: str, configuration: Configuration, *, resumed: bool, only_replays: bool) -> RunDirectory:
    if only_replays:
        return RunDirectory(path)
    return RunDirectory.open(path) if resumed else RunDirectory.create(path, as_text(configuration))


def _console(
    configuration: Configuration, task: Task, path: str, budget: Budget, target: float | None, show: Show
) -> Screen:
    return screen_for(
        show,
        generations=budget.generations,
        total_timesteps=budget.total_timesteps,
        max_seconds=budget.max_seconds,
        target_fitness=target,
        title=f"{task.name} in {path}",
        quiet=configuration["quiet"],
        units=task.units,
    )


def _say_notices(configuration: Configuration, task: Task, directory: RunDirectory, console: Screen) -> None:
    """Prints what the run directory and the task have to say."""
    notices: list[str] = [*map(warning, directory.warnings), *map(progress, (task.notice or "").splitlines())]
    if configuration["target_fitness"] is None and task.threshold_notice:
        notices.append(task.threshold_notice)
    if given := objects.arguments_of(configuration):
        again = ", ".join(f"{name}=..." for name in given)
        notices.append(
            f"config.yaml names {' and '.join(given.values())}, which no file holds: to resume this run or to load its "
            f"policy, a program must give the same again, as distes.resume(RUN_DIR, {again}) or "
            f"distes.load(RUN_DIR, {again})."
        )
    for notice in notices:
        console.say(notice)


def _archive(
    configuration: Configuration,
    task: Task,
    policy: nn.Module,
    directory: RunDirectory,
    console: Screen,
    determined_by: dict[str, str],
) -> RunStore:
    description = {
        "policy": configuration["policy"],
        "task": configuration["task"],
        "observation_shape": task.observation_shape,
        "action_size": task.action_size,
    }
    if isinstance(policy, CausalLM):
        description["evaluation"] = {"perturbation": configuration["perturbation"], "seed": configuration["seed"]}
    saving = {name: configuration[name] for name in own_arguments(RunStore)}
    return RunStore(directory, policy, description, say=console.say, experiment=determined_by, **saving)


def _say_new_device(directory: RunDirectory, device: str, say: Callable[[str], None]) -> None:
    stored = yaml_text.read(directory.read_config())
    before = stored.get("device", device) if isinstance(stored, dict) else device
    if before not in (device, "auto"):
        say(f"The run leaves {before} and goes on with device {device}: from here on its last bits are of that device.")


def new_run_dir(task: str) -> str:
    """A name for a run directory that does not exist yet: `runs/<task>-<date>-<time>`."""
    name = re.sub(r"[^\w.-]+", "-", task).strip("-.") or "task"
    start = f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S}"
    candidates = (start if count == 1 else f"{start}-{count}" for count in itertools.count(1))
    return next(path for path in candidates if not Path(path).exists())


def _discard(directory: RunDirectory) -> None:
    """Removes what makes a directory a run, so that the user can try again with the same `run_dir`."""
    directory.config.unlink(missing_ok=True)
    (directory.path / FILE).unlink(missing_ok=True)
    for folder in (directory.checkpoints, directory.policy):
        with contextlib.suppress(OSError):
            folder.rmdir()
