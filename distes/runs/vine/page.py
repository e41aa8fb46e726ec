"""Puts a run's populations into one HTML file that needs no network and no library."""

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def page(data: Mapping[str, Any]) -> str:
    """Returns the page.

    Args:
        data: What `distes.api.replay.vine.vine_data` returns.
    """
    folder = files(__package__)
    template, style, script = ((folder / name).read_text() for name in ("vine.html", "vine.css", "vine.js"))
    # "<" would let a name in the data end the script element
    inlined = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        template.replace("{{title}}", html.escape(str(data["run"])))
        .replace("{{style}}", style)
        .replace("{{script}}", script)
        .replace("{{data}}", inlined)
    )
