"""What `make bench` makes of the scripts' results, tried on those that are kept."""

import runpy
import sys
from pathlib import Path

import pytest

from scripts.benchmarks.report import RESULTS, read
from scripts.benchmarks.speed.ratios import RATIOS

ROOT = Path(__file__).resolve().parents[2]
BENCH = runpy.run_path(str(ROOT / "scripts" / "bench.py"))


@pytest.mark.parametrize("name", BENCH["BENCHMARKS"])
def test_reads_the_results_that_are_kept(name: str) -> None:
    results = read(RESULTS / f"{name}.json")
    rows = list(RATIOS[name](results))
    assert len(rows) >= len(results) // 2
    assert all(what and beside and 0 < ratio < 1000 for what, beside, ratio in rows)


@pytest.mark.parametrize("name", BENCH["BENCHMARKS"])
def test_runs_only_what_can_run_without_a_gpu(name: str) -> None:
    assert not name.startswith("gpu_")
    assert (ROOT / "scripts" / "benchmarks" / "speed" / f"{name}.py").is_file()


@pytest.mark.slow
def test_prints_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    main = BENCH["main"]
    monkeypatch.setitem(main.__globals__, "BENCHMARKS", {"noise_memory": ("--size", "1000000")})
    monkeypatch.setattr(sys, "argv", ["bench.py", "--results", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "160")
    main()
    printed = capfd.readouterr().out
    assert "noise_memory.py, 1 of 1" in printed
    assert "memory of the noise table in 8 processes" in printed
    assert read(tmp_path / "noise_memory.json")[1]["processes"] == 8


def test_ends_where_a_script_ends_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    main = BENCH["main"]
    monkeypatch.setitem(main.__globals__, "BENCHMARKS", {"noise_memory": ("--size", "many")})
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
