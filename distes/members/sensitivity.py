"""Sensitivity of a policy's outputs to each of its parameters, used to scale safe mutations.

Lehman, Chen, Clune and Stanley 2018, "Safe mutations for deep and recurrent neural networks through output gradients",
arXiv:1712.06563. In a deep or recurrent policy, a small change of one parameter may change all outputs, and a large
change of another none. Safe mutations divide the noise of each parameter by its sensitivity.

Axes: P parameters, T steps of an episode, X observations, A numbers of an output, Y outputs that are differentiated.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from distes.errors import ConfigurationError
from distes.noise.one_thread import one_thread
from distes.policies.base import StatefulPolicy
from distes.policies.layout import Layout
from distes.policies.virtual_batch_norm import inputs_of, reference_of, statistics
from distes.population import Floats

Kind = Literal["sum", "abs"]
AT_ONCE = 2**24  # numbers of Jacobians in memory at a time: 64 MB
LEAST = 0.01  # lower bound on a divisor, so that no mutation becomes arbitrarily large


class Sensitivity:
    """Measures sensitivities on observations that stay the same throughout a run.

    The paper uses the observations that each parent saw last. Here they come from a few episodes of the run's initial
    policy (`Task.reference_episodes`), which every process makes from the seed: so no observations are sent, and a
    genome can be replayed from its integers.
    """

    def __init__(self, policy: nn.Module, episodes: Sequence[NDArray[np.float32]], states: int = 100) -> None:
        """Chooses the observations.

        Args:
            policy: The policy; it is not changed.
            episodes: Observations of whole episodes, (T, *shape) each.
            states: The largest number of observations to use. They are evenly spaced or, for a policy with memory, the
                first ones of each episode, in order.

        Raises:
            ConfigurationError: There are no observations.
        """
        if not episodes or not sum(map(len, episodes)):
            raise ConfigurationError("There is no observation by which a policy's sensitivity could be measured.")
        self._module, self._layout = policy, Layout(policy)
        self._stateful = isinstance(policy, StatefulPolicy)
        self._episodes: list[Tensor]
        if self._stateful:
            each = max(1, states // len(episodes))
            self._episodes = [torch.tensor(episode[:each]) for episode in episodes[:states]]
        else:
            seen = np.concatenate(list(episodes))
            chosen = np.unique(np.linspace(0, len(seen) - 1, min(states, len(seen))).astype(np.int64))
            self._episodes = [torch.tensor(seen[chosen])]

    def answers(self, parameters_P: Floats) -> Tensor:
        """Returns the policy's outputs for all observations, (X, A), with the parameters (P,)."""
        with torch.no_grad(), one_thread():
            named = self._layout.named(torch.tensor(parameters_P))
            return torch.cat([self._answer(named, episode) for episode in self._episodes])

    def __call__(self, parameters_P: Floats, kind: Kind = "sum") -> Floats:
        """Returns the sensitivities at a parameter vector, (P,) float32. They may be 0 or not finite; see `safe`.

        Args:
            parameters_P: The parameters, (P,) float32.
            kind: `sum` is SM-G-SUM, sqrt(sum_k (mean_x dy_k(x)/dw)^2), with A backward passes; gradients of opposite
                sign cancel. `abs` is SM-G-ABS, sqrt(sum_k (mean_x |dy_k(x)/dw|)^2), with A backward passes per
                observation; gradients do not cancel. The paper's SM-G-SUM has a sum over x; with a mean, sigma keeps
                its meaning for any number of observations.
        """
        # Members may be made while a task runs in inference mode.
        with torch.inference_mode(False), torch.enable_grad(), one_thread():
            return self._measured(parameters_P, kind)

    def _measured(self, parameters_P: Floats, kind: Kind) -> Floats:
        named = self._layout.named(torch.tensor(parameters_P))
        total = {name: torch.zeros(0) for name in named}
        for episode in self._episodes:
            for name, jacobian_A in (self._summed if kind == "sum" else self._absolute)(named, episode).items():
                total[name] = jacobian_A if total[name].numel() == 0 else total[name] + jacobian_A
        answers = sum(map(len, self._episodes))
        flat = [(total[slot.name] / answers).double().square().sum(0).sqrt().float() for slot in self._layout.slots]
        parts = [part.T if slot.transposed else part for slot, part in zip(self._layout.slots, flat, strict=True)]
        sensitivity_P: Floats = torch.cat([part.reshape(-1) for part in parts]).numpy().copy()
        return sensitivity_P

    def _answer(self, named: dict[str, Tensor], episode: Tensor) -> Tensor:
        """The outputs for one episode, (T, A).

        Statistics of virtual batch normalisation are those of the parameters, and a gradient runs through them.
        """
        if (reference := reference_of(self._module)) is not None:
            inputs = inputs_of(self._module, reference)
            measured = statistics(self._module, lambda: functional_call(self._module, named, inputs))
            named = {**named, **measured}
        if not self._stateful:
            answer_TA: Tensor = functional_call(self._module, named, (episode,))
            return answer_TA
        assert isinstance(self._module, StatefulPolicy)
        state, answers = self._module.initial_state(1), []
        for observation in episode:
            answer, state = functional_call(self._module, named, (observation.unsqueeze(0), state))
            answers.append(answer)
        return torch.cat(answers)

    def _summed(self, named: dict[str, Tensor], episode: Tensor) -> dict[str, Tensor]:
        """The Jacobian of the sum of all outputs over time, by parameter: (A, *shape)."""
        leaves, answers_TA = self._leaves(named, episode)
        return self._jacobian(leaves, answers_TA.sum(0))

    def _absolute(self, named: dict[str, Tensor], episode: Tensor) -> dict[str, Tensor]:
        """The sum over time of the Jacobians' absolute values, by parameter: (A, *shape); some steps at a time."""
        leaves, answers_TA = self._leaves(named, episode)
        total = {name: torch.zeros(answers_TA.shape[1], *value.shape) for name, value in named.items()}
        at_once = max(1, AT_ONCE // (self._layout.size * answers_TA.shape[1]))
        for some_TA in answers_TA.split(at_once):
            for name, jacobian in self._jacobian(leaves, some_TA.flatten()).items():
                total[name] += jacobian.abs().unflatten(0, some_TA.shape).sum(0)
        return total

    def _leaves(self, named: dict[str, Tensor], episode: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        leaves = {name: value.detach().clone().requires_grad_() for name, value in named.items()}
        return leaves, self._answer(leaves, episode)

    def _jacobian(self, leaves: dict[str, Tensor], answers_Y: Tensor) -> dict[str, Tensor]:
        """The Jacobian of Y outputs by parameter, (Y, *shape), in one batched backward pass."""
        gradients = torch.autograd.grad(
            answers_Y,
            list(leaves.values()),
            torch.eye(len(answers_Y)),
            retain_graph=True,
            is_grads_batched=True,
            allow_unused=True,
        )
        return {
            name: torch.zeros(len(answers_Y), *leaf.shape) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
        }


def safe(sensitivity_P: Floats) -> Floats:
    """Returns the divisors of a mutation, (P,) float32, from sensitivities (P,) float32.

    A divisor is 1 where the sensitivity is 0, since the parameter has no effect, and at least `LEAST` elsewhere. It is
    infinite where the sensitivity is NaN or infinite, so that the parameter is not mutated.
    """
    known_P = np.where(np.isfinite(sensitivity_P), sensitivity_P, np.float32(np.inf))
    return np.where(known_P == 0, np.float32(1), np.maximum(known_P, np.float32(LEAST)))
