"""The form of any policy gives the answers that the policy itself gives to one observation at a time.

Axes: B members, K rows per member, P parameters.
"""

import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from distes.errors import ConfigurationError, DistesWarning
from distes.members.form import Form
from distes.members.members import Members, population_forward
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from tests.support.odd_policies import (
    Attends,
    Branches,
    Counts,
    FewRows,
    FrozenEncoder,
    InDoubles,
    OverBatch,
    Sampled,
    Scaled,
    TakesItems,
    ThinksInNumPy,
    TorchLSTM,
    WritesInput,
)
from tests.support.small import gaussian_members

NOISE = NoiseTable(size=10_000)

POLICIES: dict[str, tuple[Callable[[], nn.Module], Form, str]] = {
    "LSTM": (TorchLSTM, Form.MEMBERS, "vmap cannot run it"),
    "attention": (Attends, Form.VMAP, "parameters outside the layers"),
    "a branch on values": (Branches, Form.ROWS, "branches on values"),
    "NumPy": (ThinksInNumPy, Form.ROWS, "branches on values"),
    ".item()": (TakesItems, Form.ROWS, "takes values out of tensors"),
    "doubles": (InDoubles, Form.VMAP, "with its layers replaced"),
    "writes its input": (WritesInput, Form.LAYERS, ""),
    "few rows": (FewRows, Form.VMAP_OF_ROWS, "at most three rows"),
    "depends on the batch": (OverBatch, Form.VMAP_OF_ROWS, "gives other answers"),
    "no axis": (Scaled, Form.VMAP, "parameters outside the layers"),
    "torch.jit": (
        lambda: torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.Tanh())),
        Form.MEMBERS,
        "vmap cannot run it",
    ),
    "batch normalisation": (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), Form.VMAP, "outside the layers"),
    "weight_norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))),
        Form.VMAP,
        "outside the layers",
    ),
    "spectral_norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))),
        Form.VMAP,
        "outside the layers",
    ),
    "a frozen encoder": (FrozenEncoder, Form.LAYERS, ""),
    "a frozen bias": (lambda: _without_bias(nn.Linear(4, 3)), Form.VMAP, "with and without requires_grad"),
}


def _without_bias(layer: nn.Linear) -> nn.Module:
    layer.bias.requires_grad_(False)
    return nn.Sequential(layer)


CANNOT_BE_SENT = ("torch.jit", "weight_norm", "spectral_norm")


def chosen(module: nn.Module, said: str = "") -> Members:
    """Members of a policy whose form was chosen, with the warning that this gives."""
    layout = Layout(module)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", DistesWarning)
        forward = population_forward(module, layout, (4,))
    sentences = [str(one.message) for one in seen if one.category is DistesWarning]
    assert any(said in sentence for sentence in sentences) if said else not sentences, sentences
    return gaussian_members(
        forward, LowRank(NOISE, layout), layout.flatten(module), 0.3, np.arange(6), np.ones(6, np.int64)
    )


def own_answer(module: nn.Module, parameters_P: Tensor, x: Tensor, *state: Tensor) -> Tensor:
    Layout(module).load(module, parameters_P.numpy())
    answer = module(x.clone().unsqueeze(0), *(part.unsqueeze(0) for part in state))
    row: Tensor = (torch.cat(answer, -1) if state else answer)[0].float()
    return row


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_members_answer_as_the_policy_itself(name: str, rows: int) -> None:
    make, form, said = POLICIES[name]
    torch.manual_seed(3)
    module = make().eval()
    members = chosen(module, said)
    assert members._forward.form is form
    if name not in CANNOT_BE_SENT:
        members._forward = pickle.loads(pickle.dumps(members._forward))
    parameters = torch.from_numpy(members.parameters())
    x_BK = torch.randn(6, rows, 4, generator=torch.Generator().manual_seed(1))
    before, start_S = x_BK.clone(), members.initial_state()
    with torch.inference_mode():
        for chosen_B in (np.arange(6), np.array([4, 1])):
            members.select(chosen_B)
            states = () if start_S is None else (start_S.expand(len(chosen_B), rows, -1) + 0.1,)
            x = x_BK[chosen_B]
            got = members(x) if start_S is None else torch.cat(members.step(x, *states), -1)
            for b, member in enumerate(chosen_B):
                for k in range(rows):
                    expected = own_answer(module, parameters[member], x[b, k], *(state[b, k] for state in states))
                    torch.testing.assert_close(got[b, k], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(x_BK, before) and got.dtype is torch.float32


SOURCES = {
    "torch": Form.LAYERS,
    "distribution": Form.LAYERS,
    "numpy": Form.LAYERS,
    "one for all rows": Form.VMAP_OF_ROWS,
    "python": Form.ROWS,
}


@pytest.mark.parametrize("source", SOURCES)
def test_random_numbers_are_noticed_and_never_shared_by_members(source: str) -> None:
    torch.manual_seed(0)
    members = chosen(Sampled(source=source), "draws random numbers of its own")
    assert members._forward.draws and members._forward.form is SOURCES[source]
    same, ones = np.zeros(40, np.int64), np.ones(40, np.int64)
    members = gaussian_members(
        members._forward, Dense(NOISE, Layout(Sampled())), np.ones(15, np.float32), 0.0, same, ones
    )
    with torch.inference_mode():
        answers_SBK = torch.stack([members(torch.ones(40, 2, 4))[..., 0] for _ in range(8)])
    apart = [len(answers_BK.unique()) for answers_BK in answers_SBK]
    assert max(apart) == 2 if source == "python" else min(apart) == 80


def test_what_is_kept_between_calls_is_noticed_and_said() -> None:
    members = chosen(Counts(), "answers the same input differently the second time")
    assert not members._forward.draws and members._forward.form is Form.ROWS


def test_dropout_draws_nothing_in_evaluation() -> None:
    assert not chosen(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)))._forward.draws


def test_the_trial_leaves_the_generators_as_they_were() -> None:
    module = Sampled()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = torch.rand(1).item(), np.random.random(), random.random()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    chosen(module, "draws")
    assert (torch.rand(1).item(), np.random.random(), random.random()) == expected


@pytest.mark.parametrize("channels", [2, 3, 4, 5, 6, 7, 12, 35])
def test_a_batch_as_large_as_a_layer_hides_no_mistake(channels: int) -> None:
    """It normalises over the channels, or over the rows where these are as many."""

    class Mistaken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, channels), nn.Linear(channels, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            axis = 0 if len(x) != channels and x.dim() == 2 else -1
            answer: Tensor = self.second(torch.softmax(hidden, axis))
            return answer

    module = Mistaken()
    with pytest.warns(DistesWarning):
        assert population_forward(module, Layout(module), (4,)).form is not Form.LAYERS


def test_a_policy_that_cannot_be_copied_is_refused() -> None:
    module = nn.Sequential(nn.Linear(4, 3))
    module.lines = (line for line in ())
    with pytest.raises(ConfigurationError, match=r"Sequential cannot be copied.*raised TypeError: cannot pickle"):
        population_forward(module, Layout(module), (4,))


def test_batch_statistics_of_one_row_are_refused_with_the_layers_own_words() -> None:
    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.layers.train()(x)
            return answer

    module = Training()
    with pytest.raises(ConfigurationError, match=r"Expected more than 1 value per channel.*test_trial\.py:\d+"):
        population_forward(module, Layout(module), (4,))


@pytest.mark.parametrize("make", [Dense, LowRank])
def test_frozen_parameters_are_the_same_for_all_members(make: type[Dense] | type[LowRank]) -> None:
    module = FrozenEncoder()
    layout = Layout(module)
    assert layout.size == 33
    forward = population_forward(module, layout, (4,))
    members = gaussian_members(
        forward, make(NOISE, layout), np.zeros(33, np.float32), 0.0, np.arange(3), np.ones(3, np.int64)
    )
    with torch.inference_mode():
        assert members(torch.randn(3, 1, 4)).abs().max() == 0
    assert torch.equal(forward.module.get_parameter("encoder.0.weight"), module.encoder[0].weight)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_frozen_the_members_answer_as_the_policy_itself(data: st.DataObject) -> None:
    """Layers of any kind, each of whose parameters is searched or kept."""
    kinds: list[Callable[[], nn.Module]] = [
        lambda: nn.Linear(4, 4),
        lambda: nn.LayerNorm(4),
        lambda: nn.Sequential(nn.Unflatten(-1, (2, 2)), nn.Conv1d(2, 2, 1), nn.Flatten()),
        nn.PReLU,
        nn.Tanh,
    ]
    torch.manual_seed(data.draw(st.integers(0, 9)))
    chosen_layers = data.draw(st.lists(st.sampled_from(kinds), max_size=4))
    module = nn.Sequential(*(make() for make in chosen_layers), nn.Linear(4, 3)).eval()
    for parameter in list(module.parameters())[:-1]:
        parameter.requires_grad_(data.draw(st.booleans()))
    layout = Layout(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forward = population_forward(module, layout, (4,))
    members = gaussian_members(
        forward, Dense(NOISE, layout), layout.flatten(module), 0.3, np.arange(4), np.ones(4, np.int64)
    )
    x_BK = torch.randn(4, 2, 4)
    with torch.inference_mode():
        got = members(x_BK)
        for b, parameters_P in enumerate(members.parameters()):
            for k in range(2):
                expected = own_answer(module, torch.from_numpy(parameters_P), x_BK[b, k])
                torch.testing.assert_close(got[b, k], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_usual_policies_are_tried_without_the_modules_of_a_compiler() -> None:
    """`torch._dynamo` takes seconds to import."""
    code = (
        "import sys; from distes import Layout, MLP; from distes.members.members import population_forward\n"
        "policy = MLP(4, 2); population_forward(policy, Layout(policy), (4,))\n"
        "print('torch._dynamo.eval_frame' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
