"""Writes the glossary of metrics into docs/monitoring.md."""

import re
from pathlib import Path

from distes.runs.monitors.glossary import markdown

PAGE = Path(__file__).resolve().parents[1] / "docs" / "monitoring.md"


def main() -> None:
    """Replaces the table under the heading "Glossary"."""
    page = PAGE.read_text()
    written = re.sub(r"(?<=## Glossary\n\n).*?(?=\n## |\Z)", lambda _: _paragraph(page) + markdown(), page, flags=re.S)
    PAGE.write_text(written)


def _paragraph(page: str) -> str:
    """What stands between the heading and the table."""
    return page.partition("## Glossary\n\n")[2].partition("| in TensorBoard")[0]


if __name__ == "__main__":
    main()
