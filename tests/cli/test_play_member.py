"""Any member of a run is made again from integers, and comes to the recorded fitness, bit for bit."""

import json
import shutil
from pathlib import Path

import pytest

from distes.api.replay.replay import stored_run
from distes.api.replay.replayed import Member
from distes.cli import main
from distes.errors import CheckpointError

SMALL = [
    "--workers",
    "0",
    "--noise.size",
    "100000",
    "--eval_episodes",
    "2",
    "--final_episodes",
    "0",
    "--strategy.population_size",
    "6",
]
PLAIN = [
    *SMALL,
    "--task.env",
    "Pendulum-v1",
    "--task.max_steps",
    "20",
    "--task.stepping",
    "one_by_one",
    "--task.action_noise",
    "0.1",
]
STRATEGIES = {
    "OpenAIES": ["--task.normalize_observations", "true"],
    "SNES": [],
    "DeepGA": ["--strategy.parents", "2", "--strategy.candidates", "2", "--strategy.validation_episodes", "2"],
    "NSRAES": ["--task.behaviour", "final_observation", "--strategy.rollouts", "2", "--strategy.agents", "2"],
}


def trained(run: Path, *flags: str, generations: int = 6) -> Path:
    assert (
        main(["train", "--run_dir", str(run), "--generations", str(generations), "--record_population", "true", *flags])
        == 0
    )
    return run


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_members_and_centres_of_all_generations(strategy: str, tmp_path: Path) -> None:
    run = trained(
        tmp_path / "run", *PLAIN, "--strategy", strategy, "--strategy.population_size", "6", *STRATEGIES[strategy]
    )
    with stored_run(run) as stored:
        assert stored.recorded == [1, 2, 3, 4, 5, 6]
        for generation in (6, 1, 4):  # backwards, too
            recorded = stored.record(generation)
            assert recorded is not None
            pairs, signs = recorded.evaluation.fitness_N2.shape
            for pair in range(pairs):
                for sign in (1, -1)[:signs]:
                    assert stored.replay(Member(generation, pair, sign)).same
            assert stored.replay(Member(generation)).same


def test_recording_changes_no_bit_and_a_resume_goes_on(tmp_path: Path) -> None:
    def digests(run: Path) -> list[str]:
        return [json.loads(line)["params/sha256"] for line in (run / "metrics.jsonl").read_text().splitlines()]

    run = trained(tmp_path / "run", *PLAIN, generations=3)
    assert main(["train", "--resume", str(run), "--generations", "5"]) == 0
    assert main(["train", "--run_dir", str(tmp_path / "other"), "--generations", "5", *PLAIN]) == 0
    assert digests(run) == digests(tmp_path / "other")
    with stored_run(run) as stored:
        assert stored.recorded == [1, 2, 3, 4, 5] and stored.replay(Member(5, 1, -1)).same


def test_the_film_shows_the_episode_that_was_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("imageio", reason="needs the extra 'video'")
    pytest.importorskip("pygame", reason="needs the extra 'render'")
    run, film = trained(tmp_path / "run", *PLAIN), tmp_path / "film.gif"
    capsys.readouterr()
    assert main(["play", str(run), "--generation", "4", "--pair", "2", "--sign", "-", "--record", str(film)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("generation 4, pair 2, sign -: fitness ")
    assert (
        lines[1:] == ["equal to the recorded fitness, bit for bit", f"filmed in {film}"] and film.stat().st_size > 1000
    )
    assert lines[0].endswith(", 20 steps"), "the other member of the pair is not played"


def test_a_member_s_film_has_the_size_speed_and_frames_that_are_asked_for(small_run: Path, tmp_path: Path) -> None:
    imageio = pytest.importorskip("imageio.v3", reason="needs the extra 'video'")
    pytest.importorskip("pygame", reason="needs the extra 'render'")
    film = tmp_path / "film.gif"
    flags = ["--every", "5", "--fps", "5", "--size", "60x41", "--record", str(film)]
    assert main(["play", str(small_run), "--generation", "2", "--pair", "1", *flags]) == 0
    assert imageio.imread(film, index=None).shape == (4, 42, 60, 3)
    assert imageio.immeta(film)["duration"] == 200


def test_without_a_record_checkpoints_that_are_kept_for_good_lead_to_their_next_generation(tmp_path: Path) -> None:
    run = tmp_path / "run"
    keeping = ["--keep_checkpoints", "1", "--keep_checkpoints_every", "2", "--checkpoint_seconds", "1000"]
    assert main(["train", "--run_dir", str(run), "--generations", "7", *PLAIN, *keeping]) == 0
    assert main(["play", str(run), "--generation", "5", "--pair", "0"]) == 0
    assert main(["play", str(run), "--generation", "6", "--pair", "0"]) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--generation", "90"], "Generation 90 of .* was not kept. Kept are the first generation"),
        (["--generation", "0"], "Generations are counted from 1; got 0"),
        (["--generation", "2", "--pair", "3"], "Generation 2 has the pairs 0 to 2; got 3"),
        (["--pair", "3"], "add --generation G"),
        (["--generation", "2", "--sign", "+"], "add --pair I"),
        (["--generation", "2", "--policy", "best"], "Either a saved policy is played or a member"),
        (["--generation", "2", "--seed", "3"], "A member is played with its own seed"),
        (["--generation", "2", "--max_steps", "3"], "end where they ended in training: leave out --max_steps"),
        (["--generation", "2", "--pair", "1", "--episodes", "3"], "that it had in training: leave out --episodes"),
        (["--generation", "2", "--fps", "3"], "fps is for films: add --record FILE"),
    ],
)
def test_what_cannot_be_played_is_a_sentence(
    flags: list[str], message: str, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert main(["play", str(small_run), *flags]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("member") / "run", *PLAIN, generations=3)


def test_parameters_that_are_not_the_run_s_are_a_sentence(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    metrics = run / "metrics.jsonl"
    first, *others = metrics.read_text().splitlines(keepends=True)
    digest = json.loads(first)["params/sha256"]
    metrics.write_text(first.replace(digest, "0" * 64) + "".join(others))
    with stored_run(run) as stored, pytest.raises(CheckpointError, match="Generation 1 leads to parameters with the"):
        stored.replay(Member(2, 0))
