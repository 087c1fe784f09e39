"""An extension of Sphinx: formulas become MathML, which browsers draw without any script."""

import html

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger


def setup(app: Sphinx) -> dict:
    """What Sphinx calls."""
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer, node) -> None:
    writer.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _displayed(writer, node) -> None:
    writer.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(node, as_block: bool) -> str:
    formula = node.astext()
    try:
        return latex2mathml.tex2mathml(formula, as_block=as_block)
    except MathError as error:
        problem = "the formula %s cannot be read (%s)"
        getLogger(__name__).warning(problem, formula, error, location=node)
        return html.escape(formula)
