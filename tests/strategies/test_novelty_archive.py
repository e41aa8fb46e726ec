"""Novelty against its slow twin, and what it must not depend on. Axes: B behaviours, A in the archive, D numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError
from distes.runs.state_encoding import decode, encode, pack, unpack
from distes.strategies.update import novelty
from distes.strategies.update.novelty import NoveltyArchive
from tests import reference

Floats = NDArray[np.float32]
# Few values, so that many points are equal, and anything.
NUMBERS = st.integers(-3, 3).map(float) | st.floats(-1e3, 1e3, width=32)
POINTS = hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=NUMBERS)


def archive(behaviour_AD: Floats, neighbours: int = 10) -> NoveltyArchive:
    made = NoveltyArchive(neighbours)
    made.add(behaviour_AD)
    return made


def random(rows: int, columns: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


@given(known_AD=POINTS, behaviour_BD=POINTS, neighbours=st.integers(1, 15))
def test_equals_the_slow_twin(known_AD: Floats, behaviour_BD: Floats, neighbours: int) -> None:
    expected = [reference.novelty(one, known_AD.tolist(), neighbours) for one in behaviour_BD.tolist()]
    np.testing.assert_allclose(archive(known_AD, neighbours).novelty(behaviour_BD), expected, rtol=1e-12)


@given(known_AD=POINTS, behaviour_BD=POINTS, neighbours=st.integers(1, 15))
def test_among_each_other_all_but_oneself_count(known_AD: Floats, behaviour_BD: Floats, neighbours: int) -> None:
    every = behaviour_BD.tolist()
    expected = [
        reference.novelty(one, known_AD.tolist() + every[:place] + every[place + 1 :], neighbours)
        for place, one in enumerate(every)
    ]
    given_B = archive(known_AD, neighbours).novelty(behaviour_BD, among=True)
    np.testing.assert_allclose(given_B, expected, rtol=1e-12)


def test_what_is_known_is_not_new() -> None:
    """Exactly 0, also far from the origin, where squares lose what a difference has."""
    known_AD = random(50, 7) + np.float32(1e4)
    assert archive(known_AD, 1).novelty(known_AD).tolist() == [0.0] * 50
    nearly_AD = np.nextafter(known_AD, np.float32(np.inf))
    assert (archive(known_AD, 1).novelty(nearly_AD) > 0).all()


@pytest.mark.parametrize("neighbours", [1, 9, 25])
def test_depends_neither_on_companions_nor_on_blocks_nor_on_threads(
    monkeypatch: pytest.MonkeyPatch, neighbours: int
) -> None:
    known, behaviour_BD = archive(random(301, 37), neighbours), random(67, 37, seed=1)
    together = known.novelty(behaviour_BD)
    alone = np.concatenate([known.novelty(one_D[None]) for one_D in behaviour_BD])
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            assert known.novelty(behaviour_BD).tobytes() == together.tobytes()
        finally:
            torch.set_num_threads(before)
    monkeypatch.setattr(novelty, "DISTANCES", 301 * 5 + 1)
    assert alone.tobytes() == together.tobytes() == known.novelty(behaviour_BD).tobytes()


def test_where_nothing_is_known_nothing_is_new() -> None:
    assert NoveltyArchive().novelty(random(3, 2)).tolist() == [0.0] * 3
    assert NoveltyArchive().novelty(random(1, 2), among=True).tolist() == [0.0]
    assert NoveltyArchive(1).novelty(np.float32([[0, 0], [3, 4]]), among=True).tolist() == [5.0, 5.0]


def test_grows_and_keeps_the_order() -> None:
    made, first, second = NoveltyArchive(), random(2, 3), random(1, 3, seed=1)
    made.add(first)
    made.add(second)
    assert len(made) == 3 and made.behaviour_AD.tobytes() == np.concatenate([first, second]).tobytes()
    first[:] = 0  # what was handed in is the giver's
    made.behaviour_AD[:] = 0
    assert np.count_nonzero(made.behaviour_AD) == 9


@pytest.mark.parametrize("count", [0, 4])
def test_resumes_bit_for_bit(count: int) -> None:
    made = archive(random(count, 3)) if count else NoveltyArchive()
    tree, arrays = encode(made.state_dict())
    again = NoveltyArchive()
    again.load_state_dict(decode(tree, unpack(pack(arrays))[0]))
    for one in (made, again):
        one.add(random(2, 3, seed=2))
    assert len(again) == count + 2
    assert again.novelty(random(5, 3, seed=3)).tobytes() == made.novelty(random(5, 3, seed=3)).tobytes()


def test_mistakes_are_sentences() -> None:
    with pytest.raises(ConfigurationError, match=r"^neighbours must be at least 1; got 0"):
        NoveltyArchive(0)
    made = archive(random(2, 3))
    with pytest.raises(EvaluationError, match=r"all have the same length: got 2, and those before have 3"):
        made.novelty(random(2, 2))
    with pytest.raises(EvaluationError, match=r"Behaviour 1 has the component nan"):
        made.add(np.float32([[0, 0, 0], [0, np.nan, 0]]))
    assert len(made) == 2
