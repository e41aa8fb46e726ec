"""Which strategies a language model goes with; the others say why not."""

from pathlib import Path
from typing import Any

import pytest

import distes
from distes.api.replay.replay import Member, stored_run
from distes.errors import ConfigurationError
from tests.support.tiny_language import arguments

RUN = ("ARS", "GuidedES", "LMMAES", "OpenAIES", "PGPE", "SNES", "SepCMAES")
ANEW = "draws the parameters of its first members anew, which would throw away what the language model knows"
REFUSED = {
    "DeepGA": ANEW,
    "GANS": "compares what members do|" + ANEW,
    "RandomSearch": ANEW,
    "NSES": "compares what members do, which the task Language does not describe. Take a strategy that learns",
    "NSRES": "the task Language does not describe",
    "NSRAES": "the task Language does not describe",
    "SafeES": "has no reference_episodes, .*: take a strategy without safe mutations, such as OpenAIES",
    "BernoulliES": "this policy has none: a language model.*such as OpenAIES",
}


def trained(strategy: str, run_dir: Path, **keys: Any) -> distes.Run:
    sizes = {"population_size": 8}
    if strategy in ("DeepGA", "GANS", "RandomSearch"):
        sizes |= {"candidates": 2} | ({} if strategy == "RandomSearch" else {"parents": 2})
    given = {**arguments(), "strategy": {"class_path": strategy, "init_args": sizes}, "perturbation": "Dense", **keys}
    return distes.train(**given, generations=2, run_dir=run_dir)


@pytest.mark.parametrize("strategy", RUN)
def test_these_train_a_language_model(strategy: str, tmp_path: Path) -> None:
    run = trained(strategy, tmp_path / "run")
    first, second = (row["params/sha256"] for row in run.rows)
    assert first != second and run.result is not None
    assert run.result.test["fitness"] == distes.evaluate(run.directory, "last", trust=True).mean


@pytest.mark.parametrize("strategy", REFUSED)
def test_these_are_refused(strategy: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=REFUSED[strategy]):
        trained(strategy, tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(("key", "said"), [("film_every", "tasks with environments"), ("alignment_every", "back-prop")])
def test_what_needs_an_environment_or_a_gradient_is_refused(key: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{key} .*{said}.*: leave it out"):
        trained("OpenAIES", tmp_path / "run", **{key: 1})


def test_a_member_is_made_again_to_the_bit(tmp_path: Path) -> None:
    run = trained("OpenAIES", tmp_path / "run", record_population=True, perturbation="LowRank")
    with stored_run(run.directory, trust=True) as stored:
        for member in (Member(1, 0, 1), Member(2, 3, -1), Member(2)):
            assert stored.replay(member).same is True


@pytest.mark.parametrize("strategy", ["NSES", "NSRES", "NSRAES"])
def test_rewards_that_are_normalised_per_prompt_are_no_behaviour(strategy: str, tmp_path: Path) -> None:
    task = arguments(normalize_per_prompt=True)["task"]
    with pytest.raises(ConfigurationError, match="the task sums needs what they did for their fitness"):
        trained(strategy, tmp_path / "run", task=task)


def test_a_fitness_that_depends_on_other_members_is_not_compared(tmp_path: Path) -> None:
    task = arguments(normalize_per_prompt=True)["task"]
    run = trained("OpenAIES", tmp_path / "run", record_population=True, task=task)
    with stored_run(run.directory, trust=True) as stored:
        assert stored.replay(Member(2, 3, -1)).same is None
        assert stored.replay(Member(2)).same is True
