"""What `make bench` makes of the scripts' results, tried on those that are kept."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCH = runpy.run_path(str(ROOT / "scripts" / "bench.py"))


@pytest.mark.parametrize("name", BENCH["BENCHMARKS"])
def test_reads_the_results_that_are_kept(name: str) -> None:
    results = json.loads((ROOT / "scripts" / "benchmarks" / "results" / f"{name}.json").read_text())
    rows = list(BENCH["BENCHMARKS"][name].rows(results))
    assert len(rows) >= len(results) // 2
    assert all(what and beside and 0 < ratio < 1000 for what, beside, ratio in rows)


@pytest.mark.parametrize("name", BENCH["BENCHMARKS"])
def test_runs_only_what_can_run_without_a_gpu(name: str) -> None:
    assert not name.startswith("gpu_")
    assert (ROOT / "scripts" / "benchmarks" / "speed" / f"{name}.py").is_file()


def test_prints_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    main = BENCH["main"]
    small = BENCH["BENCHMARKS"]["noise_memory"]._replace(arguments=("--size", "1000000"))
    monkeypatch.setitem(main.__globals__, "BENCHMARKS", {"noise_memory": small})
    monkeypatch.setattr(sys, "argv", ["bench.py", "--results", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "160")
    main()
    printed = capfd.readouterr().out
    assert "noise_memory.py, 1 of 1" in printed
    assert "memory of the noise table in 8 processes" in printed
    assert json.loads((tmp_path / "noise_memory.json").read_text())[1]["processes"] == 8


def test_ends_where_a_script_ends_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    main = BENCH["main"]
    broken = BENCH["BENCHMARKS"]["noise_memory"]._replace(arguments=("--size", "many"))
    monkeypatch.setitem(main.__globals__, "BENCHMARKS", {"noise_memory": broken})
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
