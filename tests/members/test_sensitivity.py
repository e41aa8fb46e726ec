"""How much answers depend on parameters, against differences in double precision. Axes: P parameters, T steps."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from distes.errors import ConfigurationError
from distes.members.sensitivity import LEAST, Sensitivity, safe
from distes.policies.base import StatefulPolicy
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.tasks.gym.gym import Gym
from tests import reference
from tests.support.small import DRIFT, Parts, parts, sphere

POLICIES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "MLP": (lambda: MLP(3, 2, hidden_sizes=[5, 4], output_scale=1.0), (3,)),
    "CNN": (lambda: CNN((1, 6, 6), 2, channels=[2], kernels=[3], strides=[2], hidden_size=3), (1, 6, 6)),
    "Recurrent": (lambda: Recurrent(3, 2, hidden_size=3, output_scale=1.0), (3,)),
}


def made(name: str) -> tuple[nn.Module, Layout, list[NDArray[np.float32]]]:
    torch.manual_seed(0)
    policy, shape = POLICIES[name][0](), POLICIES[name][1]
    rng = np.random.default_rng(1)
    return policy, Layout(policy), [rng.standard_normal((steps, *shape)).astype(np.float32) for steps in (4, 3)]


def in_double_precision(policy: nn.Module, layout: Layout, episodes: list[NDArray[np.float32]]) -> Any:
    """The answers as a plain function of the flat vector."""
    double = policy.double()

    def answers(at: list[float]) -> list[list[float]]:
        flat, named = torch.tensor(at, dtype=torch.float64), {}
        for slot in layout.slots:
            value = slot.view(flat)
            named[slot.name] = value.T if slot.transposed else value
        rows = []
        for episode in episodes:
            x = torch.from_numpy(episode).double()
            if not isinstance(double, StatefulPolicy):
                rows += functional_call(double, named, (x,)).tolist()
                continue
            state = double.initial_state(1).double()
            for step in x:
                answer, state = functional_call(double, named, (step.unsqueeze(0), state))
                rows += answer.tolist()
        return rows

    return answers


@pytest.mark.parametrize("name", POLICIES)
def test_equals_the_slopes_of_all_answers(name: str) -> None:
    policy, layout, episodes = made(name)
    at_P, sensitivity = layout.flatten(policy), Sensitivity(policy, episodes)
    got = sensitivity(at_P), sensitivity(at_P, "abs")
    expected = reference.sensitivities(in_double_precision(policy, layout, episodes), at_P.astype(float).tolist(), 1e-5)
    for mine, other in zip(got, expected, strict=True):
        assert mine.dtype == np.float32 and mine.shape == at_P.shape
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-6)
    assert (got[1] >= got[0] - 1e-6).all() and (got[1] > got[0] + 1e-4).any()  # where slopes cancel


@pytest.mark.parametrize("name", POLICIES)
def test_answers_are_the_policy_s(name: str) -> None:
    policy, layout, episodes = made(name)
    answers = Sensitivity(policy, episodes).answers(layout.flatten(policy))
    np.testing.assert_allclose(
        answers, in_double_precision(policy, layout, episodes)(layout.flatten(policy).tolist()), rtol=1e-4, atol=1e-6
    )


def test_is_the_same_in_one_go_and_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, layout, episodes = made("MLP")
    sensitivity = Sensitivity(policy, episodes)
    at_once = sensitivity(layout.flatten(policy), "abs")
    monkeypatch.setattr("distes.members.sensitivity.AT_ONCE", 1)
    np.testing.assert_allclose(sensitivity(layout.flatten(policy), "abs"), at_once, rtol=1e-5)


def test_is_measured_in_the_midst_of_a_rollout_too() -> None:
    policy, layout, episodes = made("MLP")
    sensitivity, at_P = Sensitivity(policy, episodes), layout.flatten(policy)
    with torch.inference_mode():
        within = sensitivity(at_P), sensitivity(at_P, "abs")
    assert [x.tobytes() for x in within] == [sensitivity(at_P).tobytes(), sensitivity(at_P, "abs").tobytes()]


def test_its_bits_depend_neither_on_threads_nor_on_where_the_observations_lie() -> None:
    policy = MLP(64, 8, hidden_sizes=[256, 256])
    at_P, seen_TO = Layout(policy).flatten(policy), np.random.default_rng(3).standard_normal((100, 64), np.float32)
    memory, threads, bits = np.empty(seen_TO.size + 16, np.float32), torch.get_num_threads(), set[bytes]()
    for number in (1, 2, 4):
        for offset in range(0, 16, 3):
            elsewhere_TO = memory[offset : offset + seen_TO.size].reshape(seen_TO.shape)
            elsewhere_TO[...] = seen_TO
            torch.set_num_threads(number)
            bits.add(Sensitivity(policy, [elsewhere_TO])(at_P, "sum").tobytes())
            torch.set_num_threads(threads)
    assert len(bits) == 1


def test_looks_at_so_many_observations() -> None:
    policy, layout, _ = made("MLP")
    episodes = [np.random.default_rng(2).standard_normal((250, 3)).astype(np.float32)] * 2
    assert Sensitivity(policy, episodes, states=100).answers(layout.flatten(policy)).shape == (100, 2)
    recurrent, layout, _ = made("Recurrent")
    assert Sensitivity(recurrent, episodes, states=10).answers(layout.flatten(recurrent)).shape == (10, 2)


def test_what_does_not_matter_is_left_alone_and_what_hardly_does_has_a_bound() -> None:
    got = safe(np.array([0, 1e-6, LEAST, 3], np.float32))
    assert got.dtype == np.float32 and got.tolist() == [1, np.float32(LEAST), np.float32(LEAST), 3]


def test_without_observations_there_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="no observation by which a policy's sensitivity could be measured"):
        Sensitivity(MLP(3, 2), [])


@pytest.fixture(scope="module")
def drift() -> Parts:
    torch.manual_seed(0)
    return parts(Gym(DRIFT), MLP(3, 2, hidden_sizes=[8]))


class TestReferenceEpisodes:
    def test_are_what_the_policy_sees_in_the_episode_of_a_seed(self, drift: Parts) -> None:
        one, other = drift.task.reference_episodes(drift.policy, [5, 6])
        again = drift.task.reference_episodes(drift.policy, [5])[0]
        assert one.dtype == np.float32 and one.shape[1:] == (3,) and 5 <= len(one) <= 40
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[0], Gym(DRIFT).make().reset(seed=5)[0])

    def test_are_normalised_where_observations_are(self, drift: Parts) -> None:
        task = Gym(DRIFT, normalize_observations=True)
        seen_TO = np.concatenate(task.reference_episodes(drift.policy, range(20)))
        assert np.abs(seen_TO.mean(0)).max() < 0.1 and (seen_TO.std(0) < 1.1).all() and np.abs(seen_TO).max() <= 5

    def test_of_a_function_are_its_one_observation(self) -> None:
        assert [x.tolist() for x in sphere().task.reference_episodes(nn.Identity(), [1, 2])] == [[[1.0]]]

    def test_a_task_without_them_says_so(self) -> None:
        class Other(type(sphere().task)):  # type: ignore[misc]
            reference_episodes = Gym.__mro__[1].reference_episodes

        with pytest.raises(ConfigurationError, match="The task sphere has no reference_episodes"):
            Other("sphere").reference_episodes(nn.Identity(), [1])
