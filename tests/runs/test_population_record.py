"""The record of populations: bit for bit, torn files, a bound, and bytes that somebody else has written."""

from pathlib import Path

import numpy as np
import pytest

from distes.errors import CheckpointError
from distes.population import Evaluation
from distes.runs.population_record import HEADER, PopulationRecord, Recorded, read_index, read_recorded


def made(generation: int) -> Recorded:
    random = np.random.default_rng(generation)
    told = Evaluation.of(
        random.normal(size=(4, 2)),
        behaviour=random.normal(size=(8, 3)),
        eval_fitness=[1.0, 2.0],
        eval_behaviour=[[1, 2, 3]] * 2,
    )
    observations = {"count": 7, "mean_O": random.normal(size=5), "m2_O": random.normal(size=5) ** 2}
    return Recorded(generation, told, random.integers(0, 2**40, 4), None, observations)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    record = PopulationRecord(tmp_path / "population.bin", max_bytes=10**6)
    assert all(record.append(made(generation)) for generation in (1, 2, 3))
    return tmp_path / "population.bin"


def test_what_is_read_is_what_was_told(path: Path) -> None:
    index = read_index(path)
    assert list(index) == [1, 2, 3]
    for generation, place in index.items():
        found, wanted = read_recorded(path, generation, place), made(generation)
        for name in ("fitness_N2", "steps_N2", "behaviour_N2D", "eval_fitness_E", "eval_steps_E", "eval_behaviour_ED"):
            one, other = getattr(found.evaluation, name), getattr(wanted.evaluation, name)
            assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
        assert found.evaluation.episodes == 8 and (found.ids_N == wanted.ids_N).all()
        assert found.observations is not None and wanted.observations is not None
        assert found.observations["count"] == 7
        assert found.observations["m2_O"].tobytes() == wanted.observations["m2_O"].tobytes()


@pytest.mark.parametrize("lost", [1, 30, 500])
def test_a_torn_end_is_left_out_and_a_resumed_run_cuts_it_off(path: Path, lost: int) -> None:
    path.write_bytes(path.read_bytes()[:-lost])
    assert list(read_index(path)) == [1, 2]
    record = PopulationRecord(path, max_bytes=10**6)
    record.truncate(2)
    assert record.append(made(3))
    assert list(read_index(path)) == [1, 2, 3]


def test_a_resume_cuts_off_what_lies_after_its_checkpoint(path: Path) -> None:
    PopulationRecord(path, max_bytes=10**6).truncate(1)
    assert list(read_index(path)) == [1]


def test_its_size_is_bounded(path: Path) -> None:
    size = path.stat().st_size
    assert not PopulationRecord(path, max_bytes=size + 10).append(made(4))
    assert path.stat().st_size == size


def test_a_flipped_bit_is_named(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[HEADER.size + 300] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"record of generation 1 in .* is damaged: its checksum does not match"):
        read_recorded(path, 1, read_index(path)[1])
