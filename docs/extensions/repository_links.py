"""Links from a page to files outside docs/: a file is offered as a download, the name of a folder stays as text."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

LINK = re.compile(r"(?<!!)\[([^]]*)\]\(((?:\.\./)+[\w./-]*)(#[\w-]*)?\)")


def mend(app: Sphinx, docname: str, source: list[str]) -> None:
    folder = Path(app.srcdir, docname).parent

    def instead(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(app.srcdir):
            return link[0]
        return link[1] if target.is_dir() else f"{{download}}`{link[1].strip('`')} <{link[2]}>`"

    source[0] = LINK.sub(instead, source[0])


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
