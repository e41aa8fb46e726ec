"""Observations become rows, and numbers become actions. Axes: R rows, A action numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from distes.tasks.spaces.actions import Action, BoxAction, DiscreteAction, MultiDiscreteAction
from distes.tasks.spaces.observations import (
    DictObservation,
    FlatObservation,
    ImageObservation,
    Observation,
    OneHotObservation,
)


def row(observation: Observation, shown: Any) -> NDArray[np.float32]:
    written = np.full(observation.shape, np.nan, np.float32)
    observation.write(shown, written)
    return written


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (2, 1, 3)])
def test_boxes_are_flattened(shape: tuple[int, ...]) -> None:
    shown = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape) + 0.5
    np.testing.assert_array_equal(row(FlatObservation(shape), shown), shown.ravel())


def test_whole_numbers_become_one_hot() -> None:
    observation = OneHotObservation(4, start=-1)
    np.testing.assert_array_equal(row(observation, np.int64(-1)), [1, 0, 0, 0])
    np.testing.assert_array_equal(row(observation, 2), [0, 0, 0, 1])


def test_dicts_are_put_one_after_the_other() -> None:
    observation = DictObservation({"b": FlatObservation((2,)), "a": FlatObservation((1, 2)), "c": FlatObservation(())})
    shown = {"a": np.array([[3.0, 4.0]]), "c": np.array(5.0), "b": np.array([1, 2])}
    assert observation.shape == (5,)
    np.testing.assert_array_equal(row(observation, shown), [1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="a mapping with the keys b, a, c; it lacks a, c"):
        observation.count({"b": np.array([1, 2])})
    with pytest.raises(ValueError, match="a mapping with the keys b, a, c; got list"):
        observation.count([1, 2])


@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [((84, 80), (1, 84, 80)), ((84, 80, 3), (3, 84, 80)), ((4, 84, 80), (4, 84, 80)), ((84, 84, 1), (1, 84, 84))],
)
def test_images_have_their_channels_first_and_lie_in_0_to_1(
    shape: tuple[int, ...], channels_first: tuple[int, ...]
) -> None:
    shown = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    shown.flat[:2] = 0, 255
    observation = ImageObservation(shape)
    assert observation.shape == channels_first
    written = row(observation, shown)
    assert written.min() == 0 and written.max() == pytest.approx(1, abs=1e-6)
    moved = np.moveaxis(shown, -1, 0) if len(shape) == 3 and shape != channels_first else shown
    np.testing.assert_allclose(written, moved.reshape(channels_first) / 255, rtol=1e-6)


def test_discrete_actions_are_the_place_of_the_largest_number() -> None:
    action = DiscreteAction(3, start=5)
    numbers_RA = np.array([[0, 2, 1], [3, 2, 1], [-3, -2, -1]], np.float32)
    assert action.read_all(numbers_RA) == [6, 5, 7]
    assert action.size == 3 and not action.noisy


def test_multi_discrete_actions_are_that_in_each_group() -> None:
    space = spaces.MultiDiscrete([2, 3, 4], start=[0, 10, -1])
    action = MultiDiscreteAction(space.nvec, space.start)
    numbers_RA = np.array([[1, 0, 0, 0, 1, 0, 0, 9, 0], [0, 1, 1, 0, 0, 1, 0, 0, 0]], np.float32)
    got = action.read_all(numbers_RA)
    np.testing.assert_array_equal(got, [[0, 12, 1], [1, 10, -1]])
    assert all(space.contains(one) for one in got)
    assert action.size == 9 and not action.noisy


BOUNDS = [(-1.0, 1.0), (-0.1, 0.1), (0.0, 1 / 3), (-2.0, 0.7), (-1e30, 1e30)]


def box(low: float, high: float, dtype: Any, shape: tuple[int, ...] = (2,)) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


def reader(space: spaces.Box, rescale: bool) -> BoxAction:
    return BoxAction(space.low.ravel(), space.high.ravel(), space.shape, rescale)


@pytest.mark.parametrize("rescale", [False, True], ids=["clip", "rescale"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bounds", BOUNDS)
def test_box_actions_are_always_inside(bounds: tuple[float, float], dtype: Any, rescale: bool) -> None:
    """Also where a bound has no float32 of its own."""
    space = box(*bounds, dtype)
    numbers_RA = np.float32([[-9, 9], [-1, 1], [0, 0.3], [np.finfo(np.float32).max, -np.inf]])
    actions = reader(space, rescale).read_all(numbers_RA)
    assert all(space.contains(action) for action in actions)


def test_clipping_leaves_what_is_inside() -> None:
    actions = reader(box(-2, 3, np.float32), rescale=False).read_all(np.float32([[-5, 1.5], [4, -2]]))
    np.testing.assert_array_equal(actions, np.float32([[-2, 1.5], [3, -2]]))


def test_rescaling_maps_minus_1_and_1_to_the_bounds() -> None:
    space = spaces.Box(np.float32([0, -3]), np.float32([10, 5]))
    numbers_RA = np.float32([[-1, -1], [1, 1], [0, 0], [0.5, -0.5], [-7, 7]])
    actions = reader(space, rescale=True).read_all(numbers_RA)
    np.testing.assert_allclose(actions, [[0, -3], [10, 5], [5, 1], [7.5, -1], [0, 5]])


def test_box_actions_have_the_space_s_shape_and_may_be_unbounded() -> None:
    action = reader(box(-np.inf, np.inf, np.float64, (2, 3)), rescale=False)
    got = action.read_all(np.arange(12, dtype=np.float32).reshape(2, 6))
    assert got.shape == (2, 2, 3) and got.dtype == np.float64 and action.size == 6 and action.noisy
    np.testing.assert_array_equal(got[1], [[6, 7, 8], [9, 10, 11]])


def test_the_policy_s_numbers_are_not_changed() -> None:
    numbers_RA = np.float32([[5, -5]])
    for rescale in (False, True):
        reader(box(-1, 1, np.float32), rescale).read_all(numbers_RA)
    np.testing.assert_array_equal(numbers_RA, [[5, -5]])


class TestBatches:
    """What tensors of many rows become is what each row by itself becomes."""

    @pytest.mark.parametrize(
        ("observation", "shown_R"),
        [
            (FlatObservation((5,)), np.random.default_rng(0).normal(size=(7, 5))),
            (FlatObservation((2, 3)), np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)),
            (FlatObservation(()), np.arange(7)),
            (OneHotObservation(4, start=-1), np.array([-1, 0, 2, 1, 1, -1, 0])),
            (ImageObservation((9, 8)), np.random.default_rng(0).integers(256, size=(7, 9, 8), dtype=np.uint8)),
            (ImageObservation((9, 8, 3)), np.random.default_rng(0).integers(256, size=(7, 9, 8, 3), dtype=np.uint8)),
            (ImageObservation((4, 9, 8)), np.random.default_rng(0).integers(256, size=(7, 4, 9, 8), dtype=np.uint8)),
        ],
        ids=["Box", "Box of two axes", "Box without axes", "Discrete", "grey", "channels last", "channels first"],
    )
    def test_observations(self, observation: Observation, shown_R: NDArray[Any]) -> None:
        rows = torch.full((7, *observation.shape), torch.nan)
        observation.write_batch(torch.from_numpy(shown_R), rows)
        expected = np.stack([row(observation, shown) for shown in shown_R])
        np.testing.assert_array_equal(rows.numpy(), expected)
        rows_at_once = np.full(expected.shape, np.nan, np.float32)
        observation.write_all(list(shown_R), rows_at_once)
        np.testing.assert_array_equal(rows_at_once, expected)

    def test_dicts(self) -> None:
        observation = DictObservation({"b": FlatObservation((2,)), "a": FlatObservation((1, 2))})
        shown = {"a": torch.arange(6.0).view(3, 1, 2), "b": -torch.arange(6.0).view(3, 2)}
        rows = torch.empty(3, 4)
        observation.write_batch(shown, rows)
        np.testing.assert_array_equal(rows, [[0, -1, 0, 1], [-2, -3, 2, 3], [-4, -5, 4, 5]])

    @pytest.mark.parametrize(
        "action",
        [
            DiscreteAction(6, start=0),
            DiscreteAction(6, start=-2),
            MultiDiscreteAction(np.array([2, 3, 1]), np.array([0, 10, -1])),
            *(
                reader(box(*bounds, dtype, shape), rescale)
                for bounds in BOUNDS[:4]
                for dtype in (np.float32, np.float64)
                for rescale in (False, True)
                for shape in ((6,), (2, 3))
            ),
        ],
    )
    def test_actions(self, action: Action) -> None:
        numbers_RA = np.random.default_rng(0).normal(size=(9, 6), scale=2).astype(np.float32)
        out = action.empty(9, torch.device("cpu"))
        action.read_batch(torch.from_numpy(numbers_RA), out)
        expected = np.asarray(action.read_all(numbers_RA))
        assert out.shape == expected.shape and out.numpy().dtype == expected.dtype
        # A product and a sum may be rounded once here and twice there; what is outside of the bounds is not.
        np.testing.assert_allclose(out, expected, rtol=1e-6)
        if isinstance(action, BoxAction):
            flat = out.flatten(1).numpy()
            assert (flat >= action._low).all() and (flat <= action._high).all()


def test_rows_of_another_shape_are_no_observation() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        FlatObservation((3,)).write_all([np.zeros(3), np.zeros(2)], np.zeros((2, 3), np.float32))


def test_lists_are_observations_too() -> None:
    rows = np.zeros((2, 2), np.float32)
    FlatObservation((2,)).write_all([[1, 2], (3, 4.5)], rows)
    np.testing.assert_array_equal(rows, [[1, 2], [3, 4.5]])
