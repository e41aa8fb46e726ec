"""What the benchmarks share: the table that they print, and the file of their figures."""

import json
import sys
from pathlib import Path

import pytest

from scripts.benchmarks.report import RESULTS, ROOT, Table, command, command_line, keep, read


def test_a_table_has_columns_of_set_width(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(("net", "<6"), ("steps", ">8,"), ("ratio", ">7.2f"))
    table.row("mlp", 12345, 1.234)
    table.row("cnn", None, "none")
    table.row("gru")
    assert capsys.readouterr().out.splitlines() == [
        "net      steps  ratio",
        "mlp     12,345   1.23",
        "cnn          -   none",
        "gru",
    ]


@pytest.mark.parametrize("figures", [[{"a": 1, "b": [1, 2]}, {"a": 2}], {"rows": [1], "limit": 40.0}, []])
def test_figures_are_kept_with_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: object
) -> None:
    file = tmp_path / "figures.json"
    argv = [str(ROOT / "scripts/benchmarks/speed/envs.py"), "--json", str(file), "--env", "CartPole-v1"]
    monkeypatch.setattr(sys, "argv", argv)
    keep(command_line("About.").parse_known_args()[0].json, figures)
    assert read(file) == figures
    about = json.loads(file.read_text())
    assert about["command"] == "python scripts/benchmarks/speed/envs.py --env CartPole-v1"
    assert "cores" in about["machine"] and "torch" in about["versions"] and about["date"].count("-") == 2
    assert "evotorch" not in about["versions"]


def test_a_command_is_kept_without_the_file_of_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts/chaos.py"), "--local", "--json=a file", "--seed", "3"])
    assert command() == "python scripts/chaos.py --local --seed 3"


def test_nothing_is_kept_where_no_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["envs.py"])
    keep(command_line("About.").parse_args().json, [])


def test_a_row_has_a_line_of_its_own(tmp_path: Path) -> None:
    keep(tmp_path / "figures.json", [{"ends": [[1, 2], [3, 4]]}, {"ends": []}])
    assert '\n  {"ends": [[1, 2], [3, 4]]},\n  {"ends": []}\n ]\n}\n' in (tmp_path / "figures.json").read_text()


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_all_that_is_kept_says_where_it_comes_from(file: Path) -> None:
    kept = json.loads(file.read_text())
    assert list(kept) == ["command", "date", "machine", "versions", "figures"]
    assert kept["figures"] and kept["machine"] and kept["date"]
    words = kept["command"].split()
    assert (ROOT / words[1]).is_file()
