"""docs/results/: the tables are those of the figures that are kept, and what the pages name is there."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from scripts.benchmarks import tables
from scripts.benchmarks.report import RESULTS, ROOT

PAGES = sorted(tables.PAGES.glob("*.md"))


def test_the_tables_are_what_the_figures_give() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "benchmarks" / "tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_page_that_differs_is_named_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "results" / "failures.md"
    page.parent.mkdir(parents=True)
    whole = (tables.PAGES / "failures.md").read_text()
    page.write_text(whole.replace("| 0.93 |", "| 0.99 |"))
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "PAGES", page.parent)
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables.main() == 1 and page.read_text() != whole
    assert capsys.readouterr().out.startswith("docs/results/failures.md is not what the figures give\n")
    monkeypatch.setattr(sys, "argv", ["tables.py"])
    assert tables.main() == 0 and page.read_text() == whole
    assert capsys.readouterr().out == "docs/results/failures.md written\n"


def test_prose_around_a_table_stays() -> None:
    text = "before\n<!-- table: leaks -->\nold\n<!-- end -->\nafter\n"
    written = tables.filled(text)
    assert written.startswith("before\n<!-- table: leaks -->\n\n`python scripts/benchmarks/cluster/leaks.py`\n(")
    assert written.endswith(" |\n\n<!-- end -->\nafter\n") and "old" not in written
    assert tables.filled(written) == written


def test_every_table_is_on_a_page_once_and_every_file_in_a_table() -> None:
    named = [name for page in PAGES for name in re.findall(r"<!-- table: (.*) -->", page.read_text())]
    assert sorted(named) == sorted(tables.TABLES)
    used = {file for files, _ in tables.TABLES.values() for file in files}
    assert used == {file.stem for file in RESULTS.glob("*.json")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_rendered_and_names_what_is_there(page: Path) -> None:
    text = page.read_text()
    for before, after in pairwise(text.splitlines()):
        assert before.startswith("|") == after.startswith("|") or not (before.strip() and after.strip()), after
    for name in re.findall(r"(?:configs|scripts)/[\w./]+\w", text.replace("../", "")):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / link).exists(), link
