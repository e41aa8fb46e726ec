"""The model and the tables of the scaling benchmark, on made-up numbers."""

import json
import math
import runpy
from typing import Any

import pytest

from tests.support.small import ROOT

MODEL = runpy.run_path(str(ROOT / "scripts" / "benchmarks" / "cluster" / "scaling_model.py"))
PARTS = {"fixed": 0.01, "per_chunk": 0.001, "call": 0.002, "worker_cpu": 0.004}


def run(scaled: str, workers: int, chunks: int, generation: float) -> dict[str, Any]:
    return {
        "scaled": scaled,
        "workers": workers,
        "chunks": chunks,
        "generation_seconds": generation,
        "episodes_per_second": 8 * (chunks - 1) / generation,
        "efficiency": 0.5 * chunks / workers / generation,
        "ask": 0.001,
        "update": 0.001 * chunks,
        "record": 0.002,
        "calls": 0.001 * chunks,
        "ray_threads": 0.001 * chunks,
        "driver_share": 0.1,
        "worker_cpu": 0.005,
    }


FOUND = [run("weak", 1, 4, 2.1), run("strong", 1, 64, 32.5), run("strong and weak", 16, 64, 2.2)]


def test_predicts_by_its_formula() -> None:
    predicted = MODEL["predicted"]
    assert predicted(PARTS, 10, 4, 0.5, math.inf) == pytest.approx(0.01 + 0.01 + 3 * 0.5 + 4 * 0.002)
    assert predicted(PARTS, 10, 4, 0.5, 2) == pytest.approx(0.01 + 0.01 + 3 * 0.5 + 4 * 0.002 + 0.004)
    assert predicted(PARTS, 10, 100, 0.01, math.inf) == pytest.approx(0.01 + 0.01 + 10 * 0.002 + 10 * 0.002)


def test_reads_its_parts_from_the_runs() -> None:
    found = MODEL["parts"](FOUND)
    assert found["fixed"] == pytest.approx(0.007) and found["per_chunk"] == pytest.approx(0.06 / 64)
    assert found["call"] == pytest.approx(0.001) and found["worker_cpu"] == 0.005


def test_efficiency_falls_with_workers_and_rises_with_the_length_of_chunks() -> None:
    beyond = MODEL["model"](FOUND, 0.5, 4, 2)["beyond"]
    by = {(row["workers"], row["chunk_seconds"]): row["efficiency"] for row in beyond}
    assert 0 < by[1440, 0.5] < by[128, 0.5] < 1 and by[1440, 0.5] < by[1440, 4.0] < 1


def test_the_published_run() -> None:
    speed_up, efficiency = MODEL["published"]()
    assert speed_up == pytest.approx(65.7) and efficiency == pytest.approx(0.82, abs=0.005)
    assert MODEL["times_80"](dict.fromkeys(PARTS, 0.0), 4, 0.5) == pytest.approx(1.0)


def test_prints_a_row_per_run(capsys: pytest.CaptureFixture[str]) -> None:
    results = {
        "seconds": 0.5,
        "each": 4,
        "runs": FOUND,
        "parts": MODEL["parts"](FOUND),
        "model": MODEL["model"](FOUND, 0.5, 4, 2),
        "schedule": {0.05: MODEL["schedule_cost"](8, 64, 0.05)},
    }
    MODEL["show"](json.loads(json.dumps(results)))
    printed = capsys.readouterr().out
    assert "32.500" in printed and printed.count("  2.200") == 3  # as strong, as weak, and beside the prediction
    assert "65.7 times as fast, 82%" in printed and "1 to 16 workers, 16 times as many: 14.8 times as fast" in printed
    assert "answers of 50 ms taken in together" in printed
