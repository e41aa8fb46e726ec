"""Which centre counts as the best, with how many episodes, and that a resumed run knows it. Axis: E episodes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distes.noise.draws import Stream
from distes.runs.best import LUCK, Best
from distes.runs.checkpoint import Checkpoints
from distes.runs.directory import RunDirectory
from distes.runs.policy_files import load_policy
from tests.support.small import archive, sphere, trainer
from tests.training.test_trainer import rigged

MEANS = st.floats(-1e6, 1e6)


def episodes(mean: float, count: int, spread: float = 0.0) -> Any:
    """Of exactly this mean and standard deviation, for even counts."""
    return mean + spread * np.resize([1.0, -1.0], count)


@given(means=st.lists(MEANS, min_size=1, max_size=8))
def test_of_equally_many_episodes_the_highest_mean_is_the_best(means: list[float]) -> None:
    best = Best()
    for mean in means:
        best = best.or_better(episodes(mean, 10))
    assert (best.mean, best.episodes, best.outdone) == (pytest.approx(max(means)), 10, None)


@given(few=MEANS, many=MEANS, spread=st.floats(0.1, 1e5))
def test_more_episodes_outdo_fewer_unless_luck_cannot_explain_it_and_fewer_do_not_by_luck(
    few: float, many: float, spread: float
) -> None:
    luck = LUCK * spread / math.sqrt(10)
    lucky, sure = episodes(few, 10, spread), episodes(many, 100, spread)
    if abs(abs(few - many) - luck) < 1e-6 * (1 + abs(few) + abs(many) + luck):
        return
    assert Best().or_better(lucky).or_better(sure).episodes == (100 if many > few - luck else 10)
    assert Best().or_better(sure).or_better(lucky).episodes == (10 if few > many + luck else 100)


def test_a_collapsed_centre_is_not_the_best_however_many_episodes_show_it() -> None:
    best = Best().or_better(episodes(480, 10, 40)).or_better(episodes(50, 100, 10))
    assert (best.mean, best.episodes) == (480, 10)


def test_a_cap_that_was_reached_by_luck_is_outdone() -> None:
    """Ten episodes at the cap have no spread; that of the hundred is the better guess."""
    best = Best().or_better(episodes(500, 10)).or_better(episodes(499, 100, 5))
    assert (best.mean, best.episodes, best.outdone) == (499, 100, (500, 10))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_better(value: float) -> None:
    one = Best().or_better(episodes(1, 2))
    assert one.or_better(np.array([value, 5.0, 5.0])) is one
    assert Best().or_better(np.array([value])) == Best()


VALUES = {
    (0, Stream.EVALUATION): [1.0, 2.0],
    (1, Stream.EVALUATION): [9.0, 3.0],  # luck
    (2, Stream.EVALUATION): [2.0, 2.0],
    (3, Stream.FINAL_EVALUATION): [5.0, 4.0, 5.0, 4.0],
}


def test_the_last_centre_s_many_episodes_outdo_a_lucky_few_and_both_are_kept(tmp_path: Path) -> None:
    made = rigged(VALUES)
    with RunDirectory.create(tmp_path / "run", "") as directory:
        trainer(made, generations=3, final_episodes=4, archive=archive(directory, made)).run()
        saved = load_policy(directory.path, "best")
        assert (saved.generation, saved.eval_mean, saved.eval_episodes, saved.outdone) == (3, 4.5, 4, (6.0, 2))
        described = json.loads((directory.policy / "policy.json").read_text())["saved"]["best"]
        assert described.pop("eval_std_error") == pytest.approx(0.5 / math.sqrt(3))
        assert described == {"generation": 3, "eval_mean": 4.5, "eval_episodes": 4, "outdone": [6.0, 2]}


def test_a_resumed_run_knows_by_how_many_episodes(tmp_path: Path) -> None:
    """The centre of generation 4 has a higher mean, but of half as many episodes, and by no more than luck."""
    values = {**VALUES, (3, Stream.EVALUATION): [3.0, 7.0]}
    made = rigged(values)
    with RunDirectory.create(tmp_path / "run", "") as directory:
        trainer(made, generations=3, final_episodes=4, archive=archive(directory, made)).run()
        resumed = trainer(made, generations=4, archive=archive(directory, made))
        assert resumed.restore()
        resumed.run()
        assert load_policy(directory.path, "best").eval_mean == 4.5


def test_a_checkpoint_that_does_not_say_how_many_is_gone_on_from(tmp_path: Path) -> None:
    made = sphere()
    with RunDirectory.create(tmp_path / "run", "") as directory:
        trainer(made, generations=2, archive=archive(directory, made)).run()
        checkpoints = Checkpoints(directory.checkpoints)
        found = checkpoints.load_newest()
        assert found is not None
        checkpoints.save(2, {**found[1], "best": 1e9})
        resumed = trainer(made, generations=4, archive=archive(directory, made))
        assert resumed.restore()
        resumed.run()
        newest = checkpoints.load_newest()
        assert newest is not None
        assert newest[1]["best"] == {"mean": 1e9, "std": 0.0, "episodes": 2, "outdone": None, "spent": 0}


def test_a_checkpoint_of_before_confirmations_is_read() -> None:
    state = {"mean": 1.0, "std": 2.0, "episodes": 5, "outdone": None}
    assert Best.of_state(state, 10) == Best(1.0, 2.0, 5)
