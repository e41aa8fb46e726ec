"""What comes before training: checks, the run directory, its newest checkpoint, the workers."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from distes.api.building.construct import in_section
from distes.api.building.identity import fixed_numbers, identity
from distes.api.building.pool import decide_device, start_pool, sum_on
from distes.api.building.screens import Screen, Show, screen_for
from distes.api.configuration import objects
from distes.api.configuration.keys import own_arguments
from distes.api.configuration.resolution import Configuration
from distes.api.configuration.resolution import experiment as settings
from distes.api.running.directory import as_text, discard, new_run_dir, open_directory
from distes.api.running.notices import new_device, notices
from distes.api.running.prepared_run import PreparedRun
from distes.api.running.probe import probe, record
from distes.errors import ConfigurationError
from distes.errors.messages import progress, warning
from distes.policies.language.causal_lm import CausalLM
from distes.pools.auto import AutoPool
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
        directory = stack.enter_context(open_directory(path, configuration, resumed=resumed, only_replays=only_replays))
        console = _console(configuration, task, path, budget, target, show)
        stack.callback(console.close)  # also if training does not begin
        for line in notices(configuration, task, directory):
            console.say(line)
        archive = _archive(configuration, task, policy, directory, console, determined_by)
        state = archive.restore() if resumed else None  # another run's state is refused before anything starts
        keep = stack.enter_context(contextlib.ExitStack())
        if not resumed:
            keep.callback(discard, directory)
        if not resumed and not only_replays:
            _probe(experiment, directory, console)
        # a worker's copy of the strategy would not ask for a member that is replayed alone
        sync = "broadcast" if only_replays else configuration["sync"]
        pool = start_pool(configuration, experiment, console, sync, short=only_replays)
        stack.enter_context(contextlib.closing(pool))
        configuration = _on_device(configuration, pool.device, directory, console, resumed=resumed)
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


def _on_device(
    configuration: Configuration, device: str, directory: RunDirectory, console: Screen, *, resumed: bool
) -> Configuration:
    """The configuration with the pool's device, which a new run keeps, and of which a resumed one tells."""
    settled = {**configuration, "device": device}
    if resumed:
        for line in new_device(directory, device):
            console.say(line)
    elif device != configuration["device"]:
        directory.write_config(as_text(settled))
    return settled


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
