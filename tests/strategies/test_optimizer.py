"""ClipUp and the flat optimiser around it. Axes: P parameters."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.strategies.update.clipup import ClipUp
from distes.strategies.update.optimizer import FlatOptimizer
from tests import reference
from tests.support.small import ROOT


class Backwards(torch.optim.SGD):
    """Somebody's own, found by its import path."""


def gradients(count: int, size: int = 6) -> list[NDArray[np.float32]]:
    numbers = np.random.default_rng(size)
    return [numbers.standard_normal(size, dtype=np.float32) * 10.0 ** (i % 5 - 2) for i in range(count)]


@pytest.mark.parametrize("arguments", [{}, {"max_speed": 0.12}, {"momentum": 0.5, "max_speed": 9.0}], ids=str)
def test_clip_up_equals_the_reference(arguments: dict[str, float]) -> None:
    """Gradients of any length, one of them zero; the speed reaches its limit in the first two and never in the last."""
    ours = FlatOptimizer("ClipUp", np.ones(6, np.float32), 0.1, arguments)
    climb = reference.clip_up(0.1, arguments.get("max_speed", 0.2), arguments.get("momentum", 0.9))
    centre = [1.0] * 6
    for gradient_P in [*gradients(12), np.zeros(6, np.float32), *gradients(3)]:
        ours.step(gradient_P)
        centre = climb(centre, [-float(number) for number in gradient_P])
        np.testing.assert_allclose(ours.centre_P, centre, atol=1e-5)


def test_no_step_of_clip_up_is_longer_than_its_limit() -> None:
    ours = FlatOptimizer("ClipUp", np.zeros(6, np.float32), 0.1, {"max_speed": 0.25})
    lengths = []
    for _ in range(10):
        before_P = ours.centre_P
        ours.step(np.full(6, -3e4, np.float32))
        lengths.append(float(np.linalg.norm(ours.centre_P - before_P)))
    np.testing.assert_allclose(lengths, [0.1, 0.19, *[0.25] * 8], rtol=1e-4)


def test_clip_up_takes_all_parameters_for_one_vector() -> None:
    whole, parts = torch.zeros(5), [torch.zeros(2), torch.zeros(3)]
    (one,) = gradients(1, 5)
    whole.grad, parts[0].grad, parts[1].grad = (torch.from_numpy(g) for g in (one, one[:2], one[2:]))
    for parameters in ([whole], [*parts, torch.zeros(4)]):  # the last has no gradient, and stays
        optimizer = ClipUp(parameters, lr=0.5)
        assert optimizer.step(lambda: 7.0) == 7.0
        optimizer.step()
    np.testing.assert_array_equal(torch.cat(parts), whole)
    assert float(whole.norm()) == pytest.approx(0.5 + 0.95)


def test_clip_up_s_limit_follows_its_learning_rate() -> None:
    parameter = torch.zeros(3)
    optimizer = ClipUp([parameter], lr=1.0)
    parameter.grad = torch.ones(3)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.01
    before = parameter.clone()
    optimizer.step()
    assert float((parameter - before).norm()) == pytest.approx(0.02, rel=1e-5)


def test_the_bits_of_clip_up_do_not_depend_on_threads() -> None:
    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            ours = FlatOptimizer("ClipUp", np.zeros(300_001, np.float32), 0.1, {"max_speed": 0.12})
            for gradient_P in gradients(5, 300_001):
                ours.step(gradient_P)
            found.add(ours.centre_P.tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def test_an_import_path_is_an_optimiser_too() -> None:
    one = FlatOptimizer("tests.strategies.test_optimizer.Backwards", np.ones(6, np.float32), 0.1, {"momentum": 0.9})
    other = FlatOptimizer("SGD", np.ones(6, np.float32), 0.1, {"momentum": 0.9})
    for gradient_P in gradients(3):
        one.step(gradient_P)
        other.step(gradient_P)
    np.testing.assert_array_equal(one.centre_P, other.centre_P)


@pytest.mark.parametrize("name", ["ClipUp", "tests.strategies.test_optimizer.Backwards", "Adam"])
def test_goes_on_bit_for_bit(name: str) -> None:
    def new() -> FlatOptimizer:
        return FlatOptimizer(name, np.ones(6, np.float32), 0.1, {"momentum": 0.7} if name != "Adam" else {})

    whole, resumed = new(), new()
    for gradient_P in gradients(4):
        whole.step(gradient_P)
    state = whole.state_dict()
    resumed.load_state_dict(state)
    for gradient_P in gradients(3):
        whole.step(gradient_P)
        resumed.step(gradient_P)
    np.testing.assert_array_equal(resumed.centre_P, whole.centre_P)
    third = new()
    third.load_state_dict(state)  # which nobody has written to
    for gradient_P in gradients(3):
        third.step(gradient_P)
    np.testing.assert_array_equal(third.centre_P, whole.centre_P)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("clipup", {}, r"must be one of ClipUp, torch.optim's .*Adam.*, or the import path .*got 'clipup'.*'ClipUp'\?"),
        (
            "tests.strategies.test_optimizer.Nothing",
            {},
            r"^optimizer 'tests.strategies.test_optimizer.Nothing' cannot be imported",
        ),
        ("torch.nn.Linear", {}, r"^optimizer 'torch.nn.Linear' must be a subclass of torch.optim.Optimizer"),
        ("torch.optim.LBFGS", {}, r"torch.optim.LBFGS refuses \{\}: .*closure"),
        ("ClipUp", {"max_speed": 0}, r"ClipUp refuses \{'max_speed': 0\}: Invalid max_speed, above 0: 0"),
        ("ClipUp", {"max_speed": math.nan}, "Invalid max_speed, above 0: nan"),
        ("ClipUp", {"momentum": 1.0}, "Invalid momentum, from 0 to below 1: 1.0"),
        ("ClipUp", {"momentum": -0.1}, "Invalid momentum, from 0 to below 1: -0.1"),
        ("ClipUp", {"speed": 1}, r"ClipUp refuses \{'speed': 1\}: .*unexpected keyword argument 'speed'"),
        ("ClipUp", {"lr": 1}, "optimizer_args must not hold lr: set learning_rate"),
    ],
)
def test_what_is_refused_is_said(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        FlatOptimizer(name, np.zeros(3, np.float32), 0.1, arguments)


@pytest.mark.parametrize("lr", [-1.0, math.inf, math.nan])
def test_clip_up_refuses_a_learning_rate(lr: float) -> None:
    with pytest.raises(ValueError, match=f"Invalid learning rate: {lr}"):
        ClipUp([torch.zeros(1)], lr=lr)


@pytest.mark.slow
def test_clip_up_imports_no_compiler() -> None:
    """Which would take longer than everything else at start-up."""
    code = (
        "import numpy as np, sys; from distes.strategies.update.optimizer import FlatOptimizer; "
        "FlatOptimizer('ClipUp', np.zeros(3, np.float32), 0.1, {}).step(np.ones(3, np.float32)); "
        "print([name for name in ('torch._dynamo', 'jsonargparse') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
