#!/usr/bin/env python3
"""Executes docs/notebook.ipynb anew, in an empty folder, and writes its outputs into it.

    python scripts/notebook.py [--out FILE]

It needs the extras plots, video, render and dev. A cell that fails ends it, with the cell's traceback.
"""

import argparse
import re
import tempfile
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"


def main() -> None:
    """Executes and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=NOTEBOOK, metavar="FILE", help="(default: docs/notebook.ipynb)")
    out = parser.parse_args().out.resolve()
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the hours at which it ran
        for output in cell.get("outputs", ()):
            text = output.get("data", {}).get("text/plain", "")
            output.get("data", {}).update({"text/plain": re.sub(r" at 0x[0-9a-f]+", "", text)} if text else {})
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},  # which knows commands of the shell
    }
    nbformat.write(notebook, out)
    print(f"Wrote {out}.")


if __name__ == "__main__":
    main()
