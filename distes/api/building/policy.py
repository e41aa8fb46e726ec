"""Makes a policy, checks what it answers, and gives virtual batch normalisation its reference batch."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from distes.api.building.construct import construct
from distes.errors import ConfigurationError, raised
from distes.noise.draws import Stream, draw
from distes.policies import virtual_batch_norm
from distes.policies.base import StatefulPolicy
from distes.policies.language.causal_lm import CausalLM
from distes.tasks.base import Task


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


def set_reference(policy: nn.Module, task: Task, seed: int) -> None:
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
