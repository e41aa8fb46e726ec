"""Films of the centre: at their rhythm, bounded, without a trace in what is learnt; a failure is a warning."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distes.cli import main
from distes.errors import DistesWarning
from distes.noise.global_randomness import fingerprint
from distes.pools.filming import Camera, Filmed, FilmOrder
from distes.pools.on_ray.pool import RayPool
from distes.runs.monitors.base import Metrics
from distes.runs.monitors.tensorboard import TensorBoard
from distes.tasks.gym.gym import Gym
from distes.tasks.gym.playing import film as films
from tests.support.environments import Drift
from tests.support.small import Log, Parts, drift, parts, trainer

HERE = "tests.training.test_films."


class Drawn(Drift):
    """Shows its age as the brightness of a picture, and how far it is as a bar."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012, Gymnasium declares it so

    def __init__(self, render_mode: str | None = None, size: tuple[int, int] = (40, 600), **arguments: Any) -> None:
        super().__init__(**arguments)
        self.render_mode, self._size, self._age = render_mode, size, 0

    def reset(self, **arguments: Any) -> Any:
        self._age = 0
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        self._age += 1
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info

    def render(self) -> Any:
        assert self.render_mode == "rgb_array"
        picture = np.zeros((*self._size, 3), np.uint8)
        picture[: self._size[0] // 2] = min(255, 5 * self._age)
        return picture


class Noisy(Drawn):
    """Whose pictures cannot be compressed."""

    def render(self) -> Any:
        return np.random.default_rng(self._age).integers(0, 255, (256, 256, 3), np.uint8)


class Undrawable(Drawn):
    def render(self) -> Any:
        raise SystemExit("no screen")


class Empty(Drawn):
    def render(self) -> Any:
        return None


class Films(Log):
    """Keeps films as well."""

    def __init__(self) -> None:
        super().__init__()
        self.films: list[tuple[int, int, bytes]] = []

    def film(self, gif: bytes, metrics: Metrics) -> None:
        self.films.append((int(metrics["generation"]), int(metrics["timesteps"]), gif))


def made(env: str = "Drawn", **env_kwargs: Any) -> Parts:
    return parts(Gym(HERE + env, env_kwargs=env_kwargs, slots=5))


def shot(of: Parts, seed: int = 3) -> Filmed:
    return Camera.of(of.experiment).shoot(FilmOrder(1, 10, of.centre_P, None, seed))


def frames(gif: bytes) -> list[Any]:
    return [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(gif)))]


class TestRhythm:
    def test_the_first_every_nth_and_the_last_centre(self) -> None:
        seen = Films()
        trainer(made(), monitors=[seen], generations=6, film_every=3).run()
        assert [generation for generation, *_ in seen.films] == [1, 4, 6]
        timesteps = dict(zip(seen.column("generation"), seen.column("timesteps"), strict=True))
        assert [steps for _, steps, _ in seen.films] == [timesteps[n] for n in (1, 4, 6)]
        assert all(gif.startswith(b"GIF89a") for *_, gif in seen.films)

    def test_nothing_that_is_learnt_depends_on_them(self) -> None:
        with_films, without = Films(), Films()
        trainer(made(), monitors=[with_films], film_every=1).run()
        trainer(made(), monitors=[without]).run()
        assert with_films.what_must_agree == without.what_must_agree
        assert len(with_films.films) == 6 and not without.films


class TestFilm:
    def test_is_of_an_episode_s_steps_small_and_the_same_again(self) -> None:
        of = made(shortest=12, longest=12)
        before, centre = fingerprint(), of.layout.flatten(of.policy)
        gif = shot(of).gif
        assert fingerprint() == before and np.array_equal(of.layout.flatten(of.policy), centre)
        seen = frames(gif)
        assert len(seen) == 12 and seen[0].shape == (17, 256, 3)
        ages = [round(frame[2, 2].mean() / 5) for frame in seen]
        assert ages == list(range(1, 13))
        assert Image.open(io.BytesIO(gif)).info["duration"] == 100
        assert shot(of).gif == gif

    def test_is_as_fast_as_the_environment_and_leaves_out_frames_above_twenty_a_second(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(Drawn.metadata, "render_fps", 60)
        gif = shot(made(shortest=12, longest=12)).gif
        assert Image.open(io.BytesIO(gif)).info["duration"] == 50
        assert [round(frame[2, 2].mean() / 5) for frame in frames(gif)] == [1, 4, 7, 10, 12]

    def test_has_a_largest_number_of_frames(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(films, "MOST_FRAMES", 5)
        assert len(frames(shot(made(shortest=30, longest=30)).gif)) == 5

    def test_has_a_largest_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        of = made("Noisy", shortest=12, longest=12)
        whole = shot(of).gif
        monkeypatch.setattr(films, "MOST_BYTES", len(whole) // 3)
        smaller = shot(of).gif
        assert len(smaller) <= len(whole) // 3 and len(frames(smaller)) == 3
        assert Image.open(io.BytesIO(smaller)).info["duration"] == 400


class TestFailures:
    @pytest.mark.parametrize(
        ("env", "why"),
        [
            ("Undrawable", "no screen"),
            ("Empty", r"render\(\) must return a picture, an array \(height, width, 3\) of uint8; got a NoneType"),
        ],
    )
    def test_are_one_warning_and_the_run_goes_on(self, env: str, why: str) -> None:
        seen = Films()
        with pytest.warns(DistesWarning, match=f"There will be no films: that of generation 1 .*{why}") as said:
            result = trainer(made(env), monitors=[seen], film_every=1).run()
        assert len(said) == 1 and result.generation == 5 and not seen.films

    def test_an_environment_that_cannot_draw(self) -> None:
        with pytest.warns(DistesWarning, match="could not be made.*render_mode"):
            trainer(drift(), film_every=1).run()

    def test_a_task_without_episodes_is_refused_at_once(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = "train --task Function --policy Linear --workers 0 --generations 1 --film_every 1"
        assert main([*flags.split(), "--run_dir", str(tmp_path / "run")]) == 2
        assert "film_every is for tasks with environments, which sphere is not" in capsys.readouterr().err


def test_tensorboard_gets_them_as_images(tmp_path: Path) -> None:
    monitor = TensorBoard(tmp_path)
    trainer(made(), monitors=[monitor], generations=3, film_every=2).run()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert "info/film" in events.Tags()["images"]
    first, *_ = shown = events.Images("info/film")
    assert len(shown) == 3 and first.encoded_image_string.startswith(b"GIF89a")
    assert (first.width, first.height) == Image.open(io.BytesIO(first.encoded_image_string)).size


@pytest.mark.slow
def test_on_ray_another_process_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    of, alone, seen = made(), Films(), Films()
    trainer(of, monitors=[alone], generations=4, film_every=2).run()
    monkeypatch.setattr(Camera, "shoot", None)  # whoever draws here fails
    pool = RayPool(of.experiment, workers=1, pairs_per_chunk=3)
    try:
        trainer(of, pool, monitors=[seen], generations=4, film_every=2).run()
    finally:
        pool.close()
    assert seen.what_must_agree == alone.what_must_agree
    drawn = {generation: gif for generation, _, gif in alone.films}
    assert seen.films and all(drawn[generation] == gif for generation, _, gif in seen.films)
    assert seen.films[-1][0] == 4
