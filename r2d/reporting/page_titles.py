"""An extension of Sphinx: titles are texts where the theme puts them into a page as they are."""

import html

from sphinx.application import Sphinx

AS_THEY_ARE = ("pagetitle", "root_title")


def setup(app: Sphinx) -> dict:
    """What Sphinx calls."""
    app.connect("html-page-context", _escape, priority=900)  # after the theme has set them
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _escape(app, name: str, template: str, context: dict, doctree) -> None:
    for key in AS_THEY_ARE:
        if key in context:
            context[key] = html.escape(context[key])
