"""Docstrings as Sphinx wants them.

Ours are plain text: a sentence that ends with a colon announces an indented block, such as a formula or a program. In
reStructuredText that block needs two colons, or its lines would be joined and its asterisks would be emphasis.
"""

import re

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

# As restructuredText reads them, outside of code: |name| is a substitution, *args is emphasis, name_ a link.
CODE = re.compile(r"(`[^`]*`)")


def announce_blocks(lines: list[str]) -> list[str]:
    done, block = list[str](), None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is not None:
            done.append(line)
            continue
        ahead = [one for one in lines[number + 1 :] if one.strip()][:1]
        deeper = bool(ahead) and len(ahead[0]) - len(ahead[0].lstrip()) > indent
        if line.endswith(":") and not line.endswith("::") and deeper and not lines[number + 1].strip():
            block, line = indent, f"{line}:"
        done.append("".join(part if part.startswith("`") else _escaped(part) for part in CODE.split(line)))
    return done


def _escaped(text: str) -> str:
    return re.sub(r"(?<=\w)_(?!\w)|[*|]", lambda mark: f"\\{mark[0]}", text)


def prepare(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = announce_blocks(lines)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("autodoc-process-docstring", prepare, priority=100)  # before napoleon reads the sections
    return {"parallel_read_safe": True, "parallel_write_safe": True}
