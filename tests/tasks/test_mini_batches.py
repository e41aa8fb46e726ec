"""A batch is a function of (seed, generation, pair)."""

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
import torch

from distes.noise.draws import Stream, draw
from distes.population import Purpose
from distes.tasks import mini_batches
from distes.tasks.base import Request
from distes.tasks.mini_batches import Batches

N = 97


def test_an_order_has_each_row_once_and_is_a_function_of_its_key() -> None:
    order_n = mini_batches.permutation(5, N)
    assert sorted(order_n.tolist()) == list(range(N))
    assert (order_n == mini_batches.permutation(5, N)).all()
    assert (order_n != mini_batches.permutation(6, N)).any()


def test_no_place_prefers_a_row() -> None:
    """Chi-squared of where row 0 ends up over 2,000 orders of 10 rows; 9 degrees of freedom, 27.9 at p = 0.001."""
    places = [int(np.flatnonzero(mini_batches.permutation(key, 10) == 0)[0]) for key in range(2000)]
    counts = np.bincount(places, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9


def test_a_shared_batch_has_no_row_twice() -> None:
    rows_K = mini_batches.shared(11, N, 40)
    assert len(set(rows_K.tolist())) == 40 and rows_K.min() >= 0 and rows_K.max() < N


def test_own_batches_are_those_of_their_seeds() -> None:
    seeds_B = draw(3, 0, Stream.EPISODES, 6)
    rows_BK = mini_batches.own(seeds_B, N, 50).numpy()
    assert rows_BK.shape == (6, 50) and rows_BK.min() >= 0 and rows_BK.max() < N
    assert (mini_batches.own(seeds_B[2:3], N, 50).numpy()[0] == rows_BK[2]).all()
    assert len({tuple(rows_K) for rows_K in rows_BK.tolist()}) == 6
    assert (mini_batches.own(seeds_B, N, 20).numpy() == rows_BK[:, :20]).all()


def test_own_batches_see_all_rows_alike() -> None:
    """Chi-squared over 97 rows; 96 degrees of freedom, 144.6 at p = 0.001."""
    rows_BK = mini_batches.own(draw(4, 0, Stream.EPISODES, 200), N, 97).numpy()
    counts_n = np.bincount(rows_BK.ravel(), minlength=N)
    assert ((counts_n - 200) ** 2 / 200).sum() < 144.6


@pytest.mark.parametrize(("pairs", "size"), [(8, 5), (32, 10), (97, 3), (5, 97)])
def test_a_pass_sees_each_row_as_often_as_any_other(pairs: int, size: int) -> None:
    rows_NK = mini_batches.part_of_pass(7, np.arange(pairs), N, size)
    counts_n = np.bincount(rows_NK.ravel(), minlength=N)
    assert counts_n.min() == pairs * size // N and counts_n.max() == -(-pairs * size // N)
    alone_1K = mini_batches.part_of_pass(7, np.array([3]), N, size)
    assert (alone_1K[0] == rows_NK[3]).all()


class TestDrawn:
    """`drawn`, by the request."""

    request = Request(draw(3, 0, Stream.EPISODES, 6), common_seed=7, pairs_B=np.arange(6))

    def test_as_the_user_says(self) -> None:
        shared, own, part = (mini_batches.drawn(self.request, way, N, 10) for way in get_args(Batches))
        assert shared.tolist() == [mini_batches.shared(7, N, 10).tolist()]
        assert own.equal(mini_batches.own(self.request.seeds_B, N, 10))
        assert part.tolist() == mini_batches.part_of_pass(7, np.arange(6), N, 10).tolist()
        assert {rows.dtype for rows in (shared, own, part)} == {torch.int64}

    @pytest.mark.parametrize("way", get_args(Batches))
    @pytest.mark.parametrize(
        ("changed", "size"),
        [({}, None), ({}, N), ({}, N + 1), ({"purpose": Purpose.VALIDATE}, 10), ({"purpose": Purpose.TEST}, 10)],
    )
    def test_all_rows(self, way: Batches, changed: dict[str, Any], size: int | None) -> None:
        request = dataclasses.replace(self.request, **changed)
        assert mini_batches.drawn(request, way, N, size).tolist() == [list(range(N))]

    @pytest.mark.parametrize("way", get_args(Batches))
    def test_candidates_without_noise_have_their_own(self, way: Batches) -> None:
        candidates = dataclasses.replace(self.request, training=False)
        assert mini_batches.drawn(candidates, way, N, 10).equal(mini_batches.own(self.request.seeds_B, N, 10))

    def test_a_pass_needs_the_pairs(self) -> None:
        with pytest.raises(ValueError, match="needs the numbers of pairs"):
            mini_batches.drawn(dataclasses.replace(self.request, pairs_B=None), "no_mini_batch", N, 10)
