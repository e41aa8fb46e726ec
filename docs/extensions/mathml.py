"""Formulas as MathML, which browsers draw by themselves: the site needs neither a network nor a script for them."""

import html

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator


class FormulaError(SphinxError):
    category = "A formula that latex2mathml cannot read"


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(f'<span class="math">{_mathml(node.astext(), "inline")}</span>')
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math-block">{_mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def _mathml(formula: str, display: str) -> str:
    try:
        made = convert(formula, display=display)
    except Exception as error:
        raise FormulaError(f"{formula}: {type(error).__name__} {error}") from error
    if "\\" in html.unescape(made) or "<mi>&</mi>" in made:  # what it does not know it passes through as text
        raise FormulaError(formula)
    return str(made)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
