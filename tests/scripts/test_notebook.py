"""docs/notebook.ipynb: executed in a kernel by scripts/notebook.py, every cell works and shows what is stored."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "docs" / "notebook.ipynb"
nbformat = pytest.importorskip("nbformat")


def shown(path: Path) -> list[Any]:
    """For each cell of code, its source, and the kinds of what it shows."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    kinds = [{kind for output in cell.outputs for kind in output.get("data", {})} for cell in cells]
    return [(cell.source, sorted(kind)) for cell, kind in zip(cells, kinds, strict=True)]


def text(path: Path) -> str:
    return path.read_text()


def test_the_notebook_is_stored_with_what_it_shows() -> None:
    kinds = {kind for _, some in shown(STORED) for kind in some}
    assert kinds >= {"image/png", "image/gif", "text/html"}
    stored = text(STORED)
    assert STORED.stat().st_size < 500_000
    assert '"output_type": "error"' not in stored and not re.search(r"/(home|root|tmp|work|Users)/", stored)


@pytest.mark.slow
def test_every_cell_works_in_a_kernel(tmp_path: Path) -> None:
    for package in ("nbclient", "ipykernel", "pandas", "matplotlib", "imageio", "pygame"):
        pytest.importorskip(package)
    out = tmp_path / "again.ipynb"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # for the cell that starts `distes`
        "IPYTHONDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "notebook.py", "--out", out],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    assert shown(out) == shown(STORED)
    for what in ("<td>12 of 1,000</td>", "<td>45,837</td>", "'good enough', 20", "filmed in film.gif"):
        assert what in text(out) and what in text(STORED), what
