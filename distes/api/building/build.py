"""Makes the objects that a resolved configuration describes, before anything expensive starts."""

from functools import partial

import numpy as np
from torch import nn

from distes.api.building.construct import blame, construct, in_section
from distes.api.building.policy import build_policy, set_reference
from distes.api.configuration.resolution import Configuration
from distes.api.configuration.signature import arguments
from distes.errors import ConfigurationError
from distes.members.members import population_forward
from distes.members.sensitivity import Sensitivity
from distes.members.vectors import require_written_out
from distes.noise.draws import Stream, draw, episode_seeds
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.policies import virtual_batch_norm
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from distes.policies.subnetwork import Subnetwork
from distes.pools.experiment import Experiment
from distes.strategies.base import Strategy
from distes.tasks.base import Task

REFERENCE_EPISODES = 5  # episodes in which a policy's sensitivity is measured


def build(configuration: Configuration) -> tuple[Experiment, nn.Module]:
    """Makes an experiment and its policy: task, policy, noise table, perturbation, strategy, each from those before it.

    The table's numbers are not made yet.

    Raises:
        ConfigurationError: A constructor refuses its arguments, or two parts do not fit together.
    """
    task: Task = construct("task", configuration["task"])
    try:
        with blame("task", type(task)):
            task.check()  # such as: can the environment be made?
        return _build_around(task, configuration)
    except BaseException:
        task.close()
        raise


def _build_around(task: Task, configuration: Configuration) -> tuple[Experiment, nn.Module]:
    seed = configuration["seed"]
    with blame("task", type(task)):
        shape, size = task.observation_shape, task.action_size
        _check_sizes(shape, size)
    policy = build_policy(configuration["policy"], shape, size, seed)
    with blame("task", type(task)):
        task.check_policy(policy)
    if virtual_batch_norm.layers_of(policy):
        with blame("task", type(task)):
            set_reference(policy, task, seed)
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
    _check_together(task, policy, strategy, perturbation)
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


def _check_together(task: Task, policy: nn.Module, strategy: Strategy, perturbation: Perturbation) -> None:
    """Checks that the strategy suits the task, the policy and the perturbation.

    Raises:
        ConfigurationError: It does not.
    """
    if strategy.needs_behaviour and not task.describes_behaviour:
        how = "Set --task.behaviour, such as final_observation or info:KEY."
        if "behaviour" not in arguments(type(task), "task"):
            how = "Take a strategy that learns from fitness, such as OpenAIES."
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} compares what members do, which the task {type(task).__name__} does "
            f"not describe. {how}"
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
        how = "set --policy Subnetwork, with the mask threshold, or take another strategy"
        if isinstance(policy, CausalLM):
            how = "a language model's weights are searched as they are; take another strategy, such as OpenAIES"
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} searches the bits of a mask, and this policy has none: {how}."
        )
    if strategy.asks_for_rows:
        require_written_out(perturbation, f"strategy {type(strategy).__name__}")


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
