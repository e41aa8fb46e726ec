"""Links from a page to files outside docs/.

CONTRIBUTING.md and CHANGELOG.md become pages of the site, copied into `docs/_root/` before it is built. Another file is
offered as a download; README.md and the names of folders stay as text.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.typing import ExtensionMetadata

COPIED = ("CONTRIBUTING.md", "CHANGELOG.md")
COPIES = "_root"
LINK = re.compile(r"(?<!!)\[([^]]*)\]\(((?:\.\./)+[\w./-]*)(#[\w-]*)?\)")


def copy(app: Sphinx, config: Config) -> None:
    folder = Path(app.srcdir, COPIES)
    folder.mkdir(exist_ok=True)
    for name in COPIED:
        text = (Path(app.srcdir).parent / name).read_text(encoding="utf-8").replace("](docs/", "](../")
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
            (folder / name).write_text(text, encoding="utf-8")


def mend(app: Sphinx, docname: str, source: list[str]) -> None:
    source_dir = Path(app.srcdir)
    folder = (source_dir / docname).parent

    def instead(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(source_dir):
            return link[0]
        if target.name in COPIED and target.parent == source_dir.parent:
            up = "../" * len(folder.relative_to(source_dir).parts)
            return f"[{link[1]}]({up}{COPIES}/{target.name}{link[3] or ''})"
        if target.is_dir() or target.suffix == ".md":
            return link[1]
        return f"{{download}}`{link[1].strip('`')} <{link[2]}>`"

    source[0] = LINK.sub(instead, source[0])
    if docname == app.config.root_doc:
        listed = "\n".join(f"{COPIES}/{Path(name).stem}" for name in COPIED)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: Project\n\n{listed}\n```\n"


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("config-inited", copy)
    app.connect("source-read", mend, priority=900)  # after the lists of `navigation`
    return {"parallel_read_safe": True, "parallel_write_safe": True}
