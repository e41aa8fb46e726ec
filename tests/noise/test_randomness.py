"""Randomness is a function of (seed, generation, pair)."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distes.noise.draws import Stream, draw, episode_seeds
from tests.reference import episode_seed
from tests.support.small import ROOT

SEEDS = st.integers(0, 2**64 - 1)
GENERATIONS = st.integers(0, 2**56 - 1)


@given(seed=SEEDS, generation=GENERATIONS, stream=st.sampled_from(Stream), count=st.integers(0, 50))
def test_an_element_does_not_depend_on_how_many_are_drawn(
    seed: int, generation: int, stream: Stream, count: int
) -> None:
    """So a larger population begins with the smaller one."""
    few, many = (draw(seed, generation, stream, n) for n in (count, count + 13))
    assert few.dtype == np.uint64 and few.shape == (count,)
    np.testing.assert_array_equal(many[:count], few)


@given(seed=SEEDS, generation=GENERATIONS)
def test_neighbouring_keys_share_nothing(seed: int, generation: int) -> None:
    keys = [(seed, generation), (seed ^ 1, generation), (seed, (generation + 1) % 2**56)]
    numbers = np.concatenate([draw(*key, stream, 20) for key in keys for stream in Stream])
    assert len(np.unique(numbers)) == numbers.size


def test_golden_values() -> None:
    """NumPy 2.4.6: `draw(1, 2, Stream.EPISODES, 3).tolist()`, `episode_seeds(np.uint64([12345]), 3).tolist()`.

    Runs made before can be repeated as long as these hold.
    """
    assert draw(1, 2, Stream.EPISODES, 3).tolist() == DRAWN
    assert episode_seeds(np.array([12345], np.uint64), 3).tolist() == [EPISODES]


def test_another_process_draws_the_same() -> None:
    code = "from distes.noise.draws import draw; print(draw(5, 6, 0, 4).tolist())"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(draw(5, 6, Stream.DIRECTIONS, 4).tolist())


def test_draws_are_uniform() -> None:
    """The mean of each of the 64 bits, over 20,000 draws of 2,000 generations, within six standard deviations."""
    numbers = np.concatenate([draw(3, generation, Stream.DIRECTIONS, 10) for generation in range(2_000)])
    bits = (numbers[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(0) - 0.5).max() < 6 * 0.5 / np.sqrt(len(numbers))


@given(draws=st.lists(SEEDS, max_size=5), episodes=st.integers(0, 30))
def test_episode_seeds_are_those_of_the_formula(draws: list[int], episodes: int) -> None:
    seeds_BK = episode_seeds(np.array(draws, np.uint64), episodes)
    assert seeds_BK.dtype == np.int64 and seeds_BK.shape == (len(draws), episodes)
    assert seeds_BK.tolist() == [[episode_seed(draw, episode) for episode in range(episodes)] for draw in draws]
    assert all(0 <= seed < 2**31 for seed in seeds_BK.flat)


def test_episodes_have_different_seeds() -> None:
    """Of 100 members with 100 episodes each; 0.02 collisions are expected by chance."""
    assert len(np.unique(episode_seeds(draw(0, 0, Stream.EPISODES, 100), 100))) >= 10_000 - 3


DRAWN = [18171138283922793698, 9705406140316717713, 4994257287996710789]
EPISODES = [285786412, 439840370, 256715742]
