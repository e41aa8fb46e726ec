"""Makes the objects that a resolved configuration describes, before anything expensive starts."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from distes.api import objects
from distes.api.configuration import Configuration
from distes.api.keys import base_of, chosen_class
from distes.api.signature import arguments
from distes.errors import ConfigurationError, DistesError, is_users, raised
from distes.members.layers.replace import statistics_slots
from distes.members.members import population_forward
from distes.members.sensitivity import Sensitivity
from distes.members.vectors import require_written_out
from distes.noise.draws import Stream, draw, episode_seeds
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.policies import virtual_batch_norm
from distes.policies.base import StatefulPolicy
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from distes.policies.subnetwork import Subnetwork
from distes.pools.experiment import Experiment
from distes.strategies.base import Strategy
from distes.tasks.base import Task

# What a constructor raises about its arguments; anything else that a class of distes raises is a bug.
REFUSALS = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, MemoryError)
REFERENCE_EPISODES = 5  # episodes in which a policy's sensitivity is measured


def build(configuration: Configuration) -> tuple[Experiment, nn.Module]:
    """Makes an experiment and its policy: task, policy, noise table, perturbation, strategy, each from those before it.

    The table's numbers are not made yet.

    Raises:
        ConfigurationError: A constructor refuses its arguments, or two parts do not fit together.
    """
    task: Task = construct("task", configuration["task"])
    try:
        with _blame("task", type(task)):
            task.check()  # such as: can the environment be made?
        return _build_around(task, configuration)
    except BaseException:
        task.close()
        raise


def identity(experiment: Experiment, policy: nn.Module) -> dict[str, str]:
    """Returns what a run's results depend on besides its configuration, as text by name. Makes the noise table."""
    names = ", ".join(f"{name} {tuple(one.shape)}" for name, one in policy.named_parameters())
    found = {"noise/fingerprint": experiment.noise.fingerprint, "policy/parameters": names}
    strategy = experiment.strategy
    if strategy is not None and (strategy.needs_initial or strategy.ask().genomes is not None):
        initial_P = experiment.forward.layout.flatten(policy)  # genomes are decoded from it in every generation
        found["policy/initial"] = hashlib.sha256(initial_P.tobytes()).hexdigest()[:16]
    found |= {f"task/{name}": text for name, text in experiment.task.identity.items()}
    if isinstance(policy, CausalLM):
        found |= {f"policy/{name}": text for name, text in policy.digests.items()}
    if (reference := virtual_batch_norm.reference_of(policy)) is not None:
        found["policy/reference_batch"] = reference.digest()
    return found


def fixed_numbers(policy: nn.Module) -> str:
    """Returns a digest of a policy's buffers and of the parameters that are not searched, which no seed determines."""
    searched = {name for name, one in policy.named_parameters() if one.requires_grad}
    searched |= {slot.name for slot in statistics_slots(policy)}  # follow from what is searched
    digest = hashlib.sha256()
    for name, one in policy.state_dict().items():
        if name not in searched and isinstance(one, torch.Tensor):
            numbers = one.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            digest.update(f"{name} {one.dtype} {tuple(one.shape)}\n".encode() + numbers.tobytes())
    return digest.hexdigest()[:16]


def _build_around(task: Task, configuration: Configuration) -> tuple[Experiment, nn.Module]:
    seed = configuration["seed"]
    with _blame("task", type(task)):
        shape, size = task.observation_shape, task.action_size
        _check_sizes(shape, size)
    policy = build_policy(configuration["policy"], shape, size, seed)
    with _blame("task", type(task)):
        task.check_policy(policy)
    if virtual_batch_norm.layers_of(policy):
        with _blame("task", type(task)):
            _set_reference(policy, task, seed)
    layout = Layout(policy)
    centre_P = layout.flatten(policy)
    if not np.isfinite(centre_P).all():
        raise ConfigurationError(f"policy: the initial parameters of {type(policy).__name__} are not all finite.")
    forward = population_forward(policy, layout, shape)
    with in_section("noise", NoiseTable):
        noise = NoiseTable(**configuration["noise"])
    perturbation: Perturbation = construct("perturbation", configuration["perturbation"], noise=noise, layout=layout)
    strategy: Strategy = construct(
        "strategy",
        configuration["strategy"],
        centre_P=centre_P,
        perturbation=perturbation,
        seed=seed,
        sensitivity=partial(_sensitivity, task, policy, seed),
    )
    if strategy.needs_behaviour and not task.describes_behaviour:
        how = "set --task.behaviour, such as final_observation or info:KEY"
        if "behaviour" not in arguments(type(task), "task"):
            how = f"{type(task).__name__} cannot. Take a strategy that learns from fitness, such as OpenAIES"
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} compares what members do, and the task does not say it: {how}."
        )
    if strategy.needs_behaviour and task.relative_fitness:
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} compares what members do, and the task {task.name} needs what they "
            "did for their fitness: take a strategy that learns from fitness alone, such as OpenAIES."
        )
    if isinstance(policy, CausalLM) and strategy.ask().genomes is not None:
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} draws the parameters of its first members anew, which would throw "
            "away what the language model knows: take a strategy that starts from the policy's own, such as OpenAIES."
        )
    if strategy.ranks_signs and not task.counts_signs:
        raise ConfigurationError(
            "strategy.fitness_shaping centered_sign_rank ranks sums of the signs of rewards, which this task does not "
            "give: it is for Gym without normalize_rewards. Use centered_rank."
        )
    if strategy.searches_bits and not (isinstance(policy, Subnetwork) and policy.mask == "threshold"):
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} searches the bits of a mask, and this policy has none: set --policy "
            "Subnetwork, with the mask threshold, or take another strategy."
        )
    if strategy.asks_for_rows:
        require_written_out(perturbation, f"strategy {type(strategy).__name__}")
    made = Experiment(
        task=task,
        forward=forward,
        perturbation=perturbation,
        noise=noise,
        strategy=strategy,
        device=configuration["device"],
        sensitivity=strategy.sensitivity,
    )
    return made, policy


def _set_reference(policy: nn.Module, task: Task, seed: int) -> None:
    """Gives a policy with virtual batch normalisation its reference batch, observations of the task."""
    count, drawn = virtual_batch_norm.OBSERVATIONS, int(draw(seed, 0, Stream.REFERENCE_BATCH, 1)[0])
    rows_KO = task.reference_observations(count, drawn)
    form = getattr(rows_KO, "dtype", None), np.shape(rows_KO)
    if form != (np.float32, (count, *task.observation_shape)) or not np.isfinite(rows_KO).all():
        raise ConfigurationError(
            f"The task {task.name} must return reference_observations of shape {(count, *task.observation_shape)}, "
            f"float32 and finite; got {form[1]}, {form[0]}."
        )
    virtual_batch_norm.set_reference(policy, rows_KO)


def _check_sizes(shape: object, size: object) -> None:
    """Checks a task's observation shape and action size.

    Raises:
        ValueError: They are not positive whole numbers.
    """
    if not isinstance(shape, tuple) or not all(type(side) is int and side > 0 for side in shape):
        raise ValueError(f"its observation_shape must be a tuple of positive whole numbers; got {shape!r}")
    if type(size) is not int or size < 1:
        raise ValueError(f"its action_size must be a positive whole number; got {size!r}")


def _sensitivity(task: Task, policy: nn.Module, seed: int) -> Sensitivity:
    """The sensitivity of the policy's answers to its parameters, measured on the observations of a few episodes."""
    seeds = episode_seeds(draw(seed, 0, Stream.REFERENCE, 1), REFERENCE_EPISODES)[0].tolist()
    return Sensitivity(policy, task.reference_episodes(policy, seeds))


def build_policy(
    part: Mapping[str, Any], observation_shape: tuple[int, ...], action_size: int, seed: int = 0
) -> nn.Module:
    """Makes a policy whose initial parameters are a function of the seed, and leaves torch's generator as it was.

    Args:
        part: The policy's `class_path` and `init_args`.
        observation_shape: Shape of one observation.
        action_size: Length of the policy's answer to it.
        seed: The run's seed.

    Raises:
        ConfigurationError: The policy cannot be made, or answers in another shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy: nn.Module = construct(
            "policy",
            part,
            observation_size=math.prod(observation_shape),
            observation_shape=observation_shape,
            action_size=action_size,
        )
        policy.eval()  # nothing here trains by backpropagation: no dropout, no batch statistics
        if isinstance(policy, CausalLM):  # it answers prompts, see `Task.check_policy`
            return policy
        name, row = type(policy).__name__, torch.zeros(1, *observation_shape)
        if row.dtype is not torch.float32:
            raise ConfigurationError(
                f"torch's default dtype is {str(row.dtype).removeprefix('torch.')}, and distes computes in float32: "
                "leave out torch.set_default_dtype, and convert inside of the policy instead."
            )
        try:
            with torch.no_grad():
                state = (policy.initial_state(1),) if isinstance(policy, StatefulPolicy) else ()
                for start_S in state:
                    _check_state(f"The policy {name}", start_S)
                answer = policy(row, *state)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"The policy {name} fails on an observation of shape {tuple(row.shape)} (one row): it {raised(error)}."
            ) from error
    _check_answer(f"The policy {name}", answer, action_size, *state)
    return policy


def _check_state(start: str, state: Any) -> None:
    """Checks the memory that a policy begins an episode with, for one row.

    Raises:
        ConfigurationError: It is not a float32 tensor of shape (1, S).
    """
    if not isinstance(state, torch.Tensor) or state.dim() != 2 or _form(state) != ("float32", (1, state.shape[1])):
        raise ConfigurationError(
            f"{start} must have an initial_state(rows) of shape (rows, S), float32; got {_in_words(state)} for one row."
        )


def _check_answer(start: str, answer: Any, action_size: int, state: torch.Tensor | None = None) -> None:
    """Checks a policy's answer to one observation, and the memory that it keeps.

    Raises:
        ConfigurationError: The answer is not a tensor of real numbers of shape (1, action_size), or the memory has
            another shape or dtype than before.
    """
    if state is not None:
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ConfigurationError(
                f"{start} has a memory, so it must answer with (output, state); got {_in_words(answer)}."
            )
        answer, after = answer
        if _form(after) != _form(state):
            raise ConfigurationError(
                f"{start} must answer with a state like its initial_state, {_in_words(state)}; got {_in_words(after)}."
            )
    if not isinstance(answer, torch.Tensor) or answer.shape != (1, action_size) or answer.is_complex():
        raise ConfigurationError(
            f"{start} must answer one observation with shape {(1, action_size)}, as the task wants; got "
            f"{_in_words(answer)}."
        )


def _form(value: Any) -> tuple[str, tuple[int, ...]] | None:
    return (str(value.dtype).removeprefix("torch."), tuple(value.shape)) if isinstance(value, torch.Tensor) else None


def _in_words(value: Any) -> str:
    form = _form(value)
    return f"a {type(value).__name__}" if form is None else f"{form[1]}, {form[0]}"


def construct(section: str, part: Mapping[str, Any], **supplied: Any) -> Any:
    """Makes the object that a part of the configuration describes.

    Args:
        section: The part: task, policy, strategy or perturbation.
        part: Its `class_path` and `init_args`.
        supplied: Further arguments, passed if the constructor declares them.

    Raises:
        ConfigurationError: There is no such class, or its constructor refuses the arguments.
    """
    path, component = part["class_path"], chosen_class(section, part["class_path"])
    if objects.is_object(path) and not isinstance(given := objects.found(path, section), type):
        with _blame(section, component):
            return objects.of_part(section, given, base_of(section), supplied)
    known = arguments(component, section)
    with _blame(section, component):
        named = {name: value for name, value in part["init_args"].items() if name in known}
        built = {name: objects.put_back(known[name].build(value), known[name].key) for name, value in named.items()}
        return component(**built, **{name: value for name, value in supplied.items() if name in known})


@contextmanager
def _blame(section: str, component: type) -> Iterator[None]:
    """Turns an error of a constructor into a ConfigurationError about its part of the configuration."""
    try:
        with in_section(section, component):
            yield
    except DistesError:
        raise
    except (Exception, SystemExit) as error:
        own = component.__module__.startswith("distes.") and not is_users(error)
        if own and not isinstance(error, REFUSALS):
            raise
        reason = str(error) if own and isinstance(error, ValueError) else f"it {raised(error)}."
        raise ConfigurationError(f"{section}: {component.__name__} cannot be made: {reason}") from error


@contextmanager
def in_section(section: str, component: type) -> Iterator[None]:
    """Adds the section to a message about an argument: "sigma must be ..." becomes "strategy.sigma must be ...".

    Args:
        section: The part of the configuration: task, policy, noise, perturbation or strategy.
        component: The class whose arguments are meant.

    Raises:
        ConfigurationError: The same as within, with the section where the error names an argument of the class.
    """
    try:
        yield
    except ConfigurationError as error:
        if error.argument is not None and error.argument in arguments(component, section):
            raise ConfigurationError(f"{section}.{error}") from error
        raise
