"""Optimisers named by their import path: whatever they keep is saved, or they are refused before a run starts."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distes.errors import CheckpointError, ConfigurationError
from distes.runs.state_check import change
from distes.runs.state_encoding import decode, encode, pack, unpack
from distes.strategies.openai_es import OpenAIES
from distes.strategies.update.optimizer import FlatOptimizer
from tests.support.small import sphere

SAVED = ["InTheGroup", "OfAllKinds", "TwoModes", "Hooked"]


def new(name: str, arguments: dict[str, Any] | None = None) -> FlatOptimizer:
    path = name if name.startswith("torch.") else f"tests.support.optimizers.{name}"
    return FlatOptimizer(path, np.ones(6, np.float32), 0.1, arguments or {})


def gradients(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((count, 6), np.float32)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    tree, arrays = encode(state)
    return decode(tree, unpack(pack(arrays))[0])


@pytest.mark.parametrize("name", SAVED)
def test_what_it_keeps_is_saved_and_gone_on_with_bit_for_bit(name: str) -> None:
    whole = new(name)
    expected, states = [], []
    for gradient_P in gradients(12):
        states.append(through_a_file(whole.state_dict()))
        whole.step(gradient_P)
        expected.append(whole.centre_P.tobytes())
    assert len(set(expected)) == 12
    for taken, state in enumerate(states):
        resumed = new(name)
        resumed.load_state_dict(state)
        assert change(resumed.state_dict(), state) is None
        for gradient_P, centre in zip(gradients(12)[taken:], expected[taken:], strict=True):
            resumed.step(gradient_P)
            assert resumed.centre_P.tobytes() == centre


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Elsewhere", "Elsewhere would go on otherwise after a resume .* keeps its memory elsewhere than in `state`"),
        ("Random", "Random would go on otherwise after a resume than without: it draws random numbers"),
        (
            "Unsaveable",
            "Unsaveable cannot be saved and resumed: a state cannot hold a set; one stands at /memory/numbers",
        ),
        ("NeedsAClosure", r"tests.support.optimizers.NeedsAClosure refuses \{\}: it evaluates the objective by itself"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_the_run(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        new(name)


def test_an_error_in_its_step_is_named_as_its_own_and_leaves_the_strategy_as_it_was() -> None:
    made = sphere()
    strategy = OpenAIES(made.centre_P, made.perturbation, optimizer="tests.support.optimizers.BreaksLate")
    fitness = np.arange(32.0)
    for _ in range(19):
        strategy.tell(fitness)
    before = strategy.state_dict()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"a step of \S+BreaksLate raised KeyError: 'the 20th'"):
            strategy.tell(fitness)
        assert change(strategy.state_dict(), before) is None


@pytest.mark.parametrize("name", ["torch.optim.Adam", "torch.optim.SGD", "torch.optim.NAdam", "torch.optim.Adagrad"])
def test_the_memory_of_torch_s_own_has_one_form(name: str) -> None:
    one = new(name, {"momentum": 0.9} if name == "torch.optim.SGD" else {})
    for gradient_P in gradients(2):
        one.step(gradient_P)
    state = one.state_dict()
    for key, value in state["memory"].items():
        for other in (None, 1.0, value.double() if value.dtype.itemsize == 4 else value.float(), value.reshape(-1, 1)):
            with pytest.raises(CheckpointError, match=rf"/memory/{key} is .*, where a tensor of .* is expected"):
                one.load_state_dict({**state, "memory": {**state["memory"], key: other}})
        rest = {k: v for k, v in state["memory"].items() if k != key}
        if rest:
            with pytest.raises(CheckpointError, match=rf"/memory/{key} is missing"):
                one.load_state_dict({**state, "memory": rest})
    assert change(one.state_dict(), state) is None


def test_a_checkpoint_of_an_earlier_version_can_be_loaded() -> None:
    """It holds a centre and a memory, and nothing of the group."""
    one, other = new("torch.optim.Adam"), new("torch.optim.Adam")
    for gradient_P in gradients(3):
        one.step(gradient_P)
    one.learning_rate = 0.2
    state = one.state_dict()
    assert state["group"] == {"lr": 0.2}
    other.load_state_dict({"centre_P": state["centre_P"], "memory": state["memory"]})
    other.learning_rate = 0.2
    for gradient_P in gradients(3):
        one.step(gradient_P)
        other.step(gradient_P)
    assert one.centre_P.tobytes() == other.centre_P.tobytes()
