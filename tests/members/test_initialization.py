"""From numbers to first parameters. Axes: P parameters, B members."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.members.initialization import INITIALIZATIONS, Initialization
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent

NOISE = NoiseTable(size=2**20, seed=4)
CNN_SHAPE = (4, 20, 24)


class Unknown(nn.Module):
    """A parameter outside of all layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(-1, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


POLICIES: dict[str, Callable[[], nn.Module]] = {
    "MLP": lambda: MLP(17, 6, hidden_sizes=[40, 30]),
    "CNN": lambda: CNN(CNN_SHAPE, 6, channels=[8, 5], kernels=[5, 3], strides=[2, 1], hidden_size=20),
    "Recurrent": lambda: Recurrent(17, 6),
    "with a norm": lambda: nn.Sequential(nn.Linear(9, 20), nn.LayerNorm(20), nn.Linear(20, 3)),
}


def made(policy: nn.Module, name: str, noise: NoiseTable = NOISE) -> tuple[Layout, Dense, Initialization]:
    layout = Layout(policy)
    dense = Dense(noise, layout)
    return layout, dense, Initialization(name, dense, layout.flatten(policy))


def fresh(phi: Initialization, *ids: int) -> NDArray[np.float32]:
    out_BP = torch.full((len(ids), phi.size), math.nan)
    phi.write(np.array(ids, np.int64), out_BP)
    return out_BP.numpy()


@pytest.mark.parametrize("policy", POLICIES)
def test_of_the_policy_s_own_each_tensor_has_the_deviation_that_it_has(policy: str) -> None:
    """To the last bit it is a product of noise and one float32 number; what is constant stays."""
    torch.manual_seed(1)
    module = POLICIES[policy]()
    layout, dense, phi = made(module, "policy")
    initial_P, (fresh_P,) = layout.flatten(module), fresh(phi, 123)
    noise_P = dense.directions(np.array([123]))[0]
    for slot in layout.slots:
        own = initial_P[slot.span].astype(np.float64)
        expected = noise_P[slot.span] * np.float32(own.std()) if np.ptp(own) else initial_P[slot.span]
        np.testing.assert_array_equal(fresh_P[slot.span], expected, err_msg=slot.name)


@pytest.mark.parametrize(("name", "torch_s"), [("glorot", nn.init.xavier_normal_), ("he", nn.init.kaiming_normal_)])
@pytest.mark.parametrize("policy", ["MLP", "CNN"])
def test_weights_have_the_deviation_that_torch_gives_them(policy: str, name: str, torch_s: Any) -> None:
    """As measured in what torch draws and in what comes of many numbers; all else keeps the policy's own values."""
    torch.manual_seed(2)
    module = POLICIES[policy]()
    layout, _, phi = made(module, name)
    initial_P, fresh_BP = layout.flatten(module), fresh(phi, *range(0, 900_000, 30_000))
    for slot in layout.slots:
        if slot.matrix is None:
            assert (fresh_BP[:, slot.span] == initial_P[slot.span]).all()
        else:
            weight = dict(module.named_parameters())[slot.name]
            drawn = torch.stack([torch_s(torch.empty_like(weight)) for _ in range(30)])
            assert fresh_BP[:, slot.span].std() == pytest.approx(float(drawn.std()), rel=0.1), slot.name


@pytest.mark.parametrize("policy", POLICIES)
def test_orthogonal_matrices_are_that_and_the_noise_s_own(policy: str) -> None:
    module = POLICIES[policy]()
    layout, dense, phi = made(module, "orthogonal")
    (fresh_P,), noise_P = fresh(phi, 77), dense.directions(np.array([77]))[0]
    matrices = [slot for slot in layout.slots if slot.matrix]
    assert matrices
    for slot in matrices:
        q, a = (part[slot.span].reshape(slot.matrix).astype(np.float64) for part in (fresh_P, noise_P))
        if q.shape[0] < q.shape[1]:
            q, a = q.T, a.T
        np.testing.assert_allclose(q.T @ q, np.eye(q.shape[1]), atol=1e-5)
        r = q.T @ a  # the noise is q r, r upper triangular, with a positive diagonal: there is only one such q
        np.testing.assert_allclose(q @ r, a, atol=1e-4)
        assert np.abs(np.tril(r, -1)).max(initial=0) < 1e-4 and (r.diagonal() > 0).all()


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_bits_depend_on_the_number_alone(name: str) -> None:
    """On no companion, no thread, no place in memory, and no copy."""
    torch.manual_seed(3)
    module = POLICIES["MLP"]()
    _, _, phi = made(module, name)
    together_BP = fresh(phi, *range(0, 4000, 100))
    threads = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        gaps = torch.full((3, phi.size + 5), math.nan)[:, 2:-3]
        phi.write(np.array([700, 3900, 0]), gaps)
        np.testing.assert_array_equal(gaps.numpy(), together_BP[[7, 39, 0]])
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(fresh(made(module, name)[2], 700)[0], together_BP[7])
    assert len(np.unique(together_BP[:, 0])) == 40


def test_half_a_table_gives_whole_numbers() -> None:
    """float16 noise is widened before it is multiplied."""
    module = POLICIES["MLP"]()
    layout, dense, phi = made(module, "he", NoiseTable(size=2**16, dtype="float16", seed=4))
    slot, noise_P = layout.slots[0], dense.directions(np.array([5]))[0]
    np.testing.assert_array_equal(fresh(phi, 5)[0][slot.span], noise_P[slot.span] * np.float32(math.sqrt(2 / 17)))


@pytest.mark.gpu
@pytest.mark.parametrize("name", INITIALIZATIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_bits_on_a_gpu(policy: str, name: str) -> None:
    module = POLICIES[policy]()
    layout, dense, phi = made(module, name)
    there = Initialization(name, dense, layout.flatten(module), "cuda")
    out_BP = torch.empty(40, layout.size, device="cuda")
    there.write(np.arange(40) * 9, out_BP)
    np.testing.assert_array_equal(out_BP.cpu().numpy(), fresh(phi, *range(0, 360, 9)))


@pytest.mark.parametrize(
    ("policy", "name", "message"),
    [
        (lambda: Linear(3, 2), "globot", r"initialization must be one of policy, glorot, .*got 'globot'.*'glorot'"),
        (
            lambda: Linear(3, 2, initial_scale=0),
            "policy",
            "initialization policy gives the same policy each time, since its own initial parameters are constants: "
            "use glorot, he or orthogonal",
        ),
        (Unknown, "he", "initialization he gives the same policy each time, since it has no layers .*: use policy"),
    ],
)
def test_bad_arguments_are_sentences(policy: Callable[[], nn.Module], name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made(policy(), name)
