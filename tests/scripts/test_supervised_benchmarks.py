"""The benchmarks on labelled data train, count and read back what they say, here with budgets that say nothing."""

import pytest

from scripts.benchmarks.learning import subnetwork, supervised

pytest.importorskip("sklearn")
ONE = ["--generations", "1", "--strategy.population_size", "4"]
TINY = {
    "OpenAIES": ONE,
    "DeepGA": [*ONE, "--strategy.candidates", "1", "--strategy.parents", "2"],
    "RandomSearch": [*ONE, "--strategy.candidates", "1"],
    "BernoulliES": ONE,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", subnetwork.SEARCHED)
def test_a_search_for_masks_is_measured(name: str) -> None:
    row = subnetwork.searched([*subnetwork.SEARCHED[name], *TINY[name]], split=1, workers="0")
    assert row["members"] >= 4 and row["unchanged"]
    assert 0 < row["test"] < 60 and 18_944 / 8 < row["bytes"] < 18_944 / 8 + 1000 and 0 < row["kept"] < 18_944


@pytest.mark.parametrize("masks", [0, 3])
def test_masks_are_drawn(masks: int) -> None:
    assert 0 < subnetwork.drawn(1, masks)["test"] < 60


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rank 1", "PGPE"])
def test_a_run_on_labelled_data_is_measured(name: str) -> None:
    flags = [*supervised.CASES[name], *ONE]
    row = supervised.trained(flags, split=1, workers="0")
    assert row["generations"] == 1 and 0 < row["test"] < 60
    assert row["command"].startswith("distes train --config digits")


def test_adam_trains_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "EPOCHS", 2)
    assert 50 < supervised.by_adam(supervised.CASES["dense"], split=1)["test"] < 95
