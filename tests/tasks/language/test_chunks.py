"""The same fitness for any number of workers, any order, and any size of chunks.

Axes: N pairs, B members, K prompts.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import distes
from distes.api.building.build import build
from distes.api.configuration.layers import DEFAULTS, layer_of
from distes.api.configuration.resolution import resolve
from distes.errors import ConfigurationError
from distes.pools.chunks import Chunk, ChunkResult, chunks
from distes.pools.device import visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.worker import Worker
from distes.population import Population
from distes.tasks.language import answering, generation
from distes.tasks.language.generation import Answers
from tests.support import word_models


def experiment(perturbation: str = "LowRank", dtype: str = "float32", **task: Any) -> Experiment:
    given = word_models.language(**task)
    given["policy"]["init_args"]["dtype"] = dtype
    made, _ = build(resolve([DEFAULTS, layer_of({**given, "perturbation": perturbation}, "")]))
    return made.with_device(0)


def population(made: Experiment) -> Population:
    assert made.strategy is not None
    return dataclasses.replace(made.strategy.ask(), common_seed=made.strategy.common_seed)


def evaluated(made: Experiment, asked: Population, pairs: int, workers: int, order: int = 1) -> NDArray[np.float64]:
    """The fitness of all members, by workers that take turns at chunks of some pairs; `order` is -1 for backwards."""
    cut = [chunk for chunk in chunks(asked, pairs, made.pairs_per_chunk) if not chunk.of_centre]
    several = [Worker(dataclasses.replace(made, strategy=None)) for _ in range(workers)]
    results: dict[int, tuple[Chunk, ChunkResult]] = {}
    for turn, chunk in enumerate(cut[::order]):
        results[chunk.index] = chunk, several[turn % workers].evaluate(asked, chunk)
    fitness_N2 = np.full((len(asked.ids_N), 2), np.nan)
    for chunk, result in results.values():
        fitness_N2[chunk.start : chunk.stop] = result.fitness
    assert np.isfinite(fitness_N2).all()
    return fitness_N2


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}, {"draws": "own"}], ids=["greedy", "drawn", "own"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("perturbation", ["LowRank", "Dense"])
def test_fitness_has_the_same_bits_for_any_number_of_workers(
    perturbation: str, dtype: str, settings: dict[str, Any]
) -> None:
    made = experiment(perturbation, dtype, **settings)
    asked = population(made)
    expected = evaluated(made, asked, 2, 1)
    assert len(np.unique(expected)) > 8, "members differ"
    for workers, order in ((2, 1), (3, 1), (3, -1)):
        assert evaluated(made, asked, 2, workers, order).tobytes() == expected.tobytes()


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}], ids=["greedy", "drawn"])
@pytest.mark.parametrize("perturbation", ["LowRank", "Dense"])
def test_answers_are_the_same_tokens_for_any_size_of_chunk(
    monkeypatch: pytest.MonkeyPatch, perturbation: str, settings: dict[str, Any]
) -> None:
    made = experiment(perturbation, **settings)
    asked = population(made)
    found: dict[int, list[NDArray[np.int64]]] = {}
    for pairs in (8, 1, 3, 5):
        seen = found.setdefault(pairs, [])

        def remembered(*arguments: Any, seen: list[NDArray[np.int64]] = seen, **settings: Any) -> Answers:
            answers = generation.generate(*arguments, **settings)
            seen.append(answers.tokens_BKN)
            return answers

        monkeypatch.setattr(answering, "generate", remembered)
        evaluated(made, asked, pairs, 1)
    expected = np.concatenate(found[8])
    assert expected.shape == (16, 8, 6)
    for pairs, parts in found.items():
        assert len(parts) == -(-8 // pairs)
        np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_members_in_turn_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for two of them, as with dense noise of a large model."""
    made = experiment("Dense")
    asked = population(made)
    expected = evaluated(made, asked, 4, 1)
    monkeypatch.setattr("distes.tasks.language.cache_size.CACHE_BYTES", {"cpu": 1})
    monkeypatch.setattr("distes.tasks.language.cache_size.MEMBER_BYTES", {"cpu": 1})
    assert evaluated(made, asked, 4, 1).tobytes() == expected.tobytes()


def sha(directory: Path) -> str:
    return str(json.loads((directory / "metrics.jsonl").read_text().splitlines()[-1])["params/sha256"])


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["broadcast", "replay"])
def test_a_run_on_ray_ends_at_the_same_parameters(tmp_path: Path, sync: str) -> None:
    assert visible_gpus() == 0
    for workers in (0, 1, 3):
        given = {**word_models.language(temperature=0.7), "workers": workers, "sync": sync, "oversubscribe": True}
        distes.train(**given, generations=2, chunk_size=4, run_dir=str(tmp_path / str(workers)), quiet=True)
    assert len({sha(tmp_path / str(workers)) for workers in (0, 1, 3)}) == 1


def test_attention_that_a_gpu_cannot_is_refused_before_workers_start(monkeypatch: pytest.MonkeyPatch) -> None:
    made = experiment()
    config: Any = made.forward.module.config
    monkeypatch.setattr(config, "layer_types", ["conv", "full_attention"], raising=False)
    with pytest.raises(ConfigurationError, match=r"attend by conv, and on a GPU .* --device cpu"):
        dataclasses.replace(made, device="cuda").with_device(1)
    assert dataclasses.replace(made, device="cpu").with_device(1).device == "cpu"
