"""The site's navigation, made from the tables of links in pages that are indices.

A row whose first cell is a link to a page of docs/ is an entry; the heading above the table is its caption. So the
lists that a reader of the repository sees are the site's as well, and no page is in the one and not in the other:
Sphinx warns of a page that is in no list.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

ENTRY = re.compile(r"^\| \[[^]]*\]\(([\w./-]+)\.(?:md|ipynb)\) \|")
INDICES = ("README", "strategies", "results/README")


def add_lists(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname not in INDICES:
        return
    caption, lists = "", dict[str, list[str]]()
    for line in source[0].splitlines():
        if line.startswith("## "):
            caption = line.removeprefix("## ")
        elif entry := ENTRY.match(line):
            lists.setdefault(caption, []).append(entry[1])
    for caption, entries in lists.items():
        options = f":caption: {caption}\n" if caption and docname == app.config.root_doc else ""
        listed = "\n".join(dict.fromkeys(entries))
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n{options}\n{listed}\n```\n"


def write_index(app: Sphinx, error: Exception | None) -> None:
    """The root page is docs/README.md, where the repository shows it; a web server looks for index.html."""
    if error is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir) / f"{app.config.root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", add_lists)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
