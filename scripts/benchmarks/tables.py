#!/usr/bin/env python3
"""Writes the tables of docs/results/ from the figures in scripts/benchmarks/results/.

    python scripts/benchmarks/tables.py [--check]

A page is written by hand, but for what stands between `<!-- table: NAME -->` and `<!-- end -->`: where the figures come
from, and the table. The functions that make tables lie in `result_tables.py` of the folder whose scripts measure them.
With `--check` nothing is written: exit code 1 if a page is not what the figures give.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scripts.benchmarks.cluster.result_tables import CLUSTER  # noqa: E402, after the path
from scripts.benchmarks.learning.result_tables import LEARNING  # noqa: E402
from scripts.benchmarks.peers.result_tables import PEERS  # noqa: E402
from scripts.benchmarks.report import RESULTS  # noqa: E402
from scripts.benchmarks.speed.result_tables import SPEED  # noqa: E402

PAGES = ROOT / "docs" / "results"
TABLES = {**LEARNING, **SPEED, **CLUSTER, **PEERS}
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def source(kept: dict[str, Any]) -> str:
    """How, when and where a file's figures were measured."""
    versions = ", ".join(f"{name} {version}" for name, version in (kept["versions"] or {}).items())
    where = f"{kept['date']}, on {kept['machine']}"
    return f"`{kept['command']}`\n({where}{f'; {versions}' if versions else ''})\n"


def block(name: str) -> str:
    """The generated part of a page.

    Args:
        name: Of the table.
    """
    files, make = TABLES[name]
    kept = [json.loads((RESULTS / f"{file}.json").read_text()) for file in files]
    head, rows = make(*(one["figures"] for one in kept))
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([*map(source, kept), *(f"| {' | '.join(cells)} |" for cells in lines), "", ""])


def filled(text: str) -> str:
    """A page with its tables.

    Args:
        text: The page as it is.
    """
    return BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2])}{found[3]}", text)


def main() -> int:
    """Writes or compares all pages, and says which differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page would change")
    options = parser.parse_args()
    changed = [page for page in sorted(PAGES.glob("*.md")) if filled(page.read_text()) != page.read_text()]
    for page in changed:
        print(f"{page.relative_to(ROOT)} {'is not what the figures give' if options.check else 'written'}")
        if not options.check:
            page.write_text(filled(page.read_text()))
    if changed and options.check:
        print("Run python scripts/benchmarks/tables.py")
    return int(bool(changed) and options.check)


if __name__ == "__main__":
    raise SystemExit(main())
