"""The report site: executed notebooks as HTML that needs no server and no network.

Notebook 00 is its first page.
"""

import html
import io
import re
import shutil
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from r2d import paths
from r2d.errors import R2DError
from r2d.recipes import Recipe
from r2d.reporting import mathml, page_titles, site_pages
from r2d.reporting.site_pages import Page

SETTINGS = {
    "extensions": ["myst_nb", mathml.__name__, page_titles.__name__],
    "nb_execution_mode": "off",
    "nb_code_prompt_show": "Show the code",
    "nb_code_prompt_hide": "Hide the code",
    # Progress bars and warnings of libraries go; the executed notebook keeps them.
    "nb_output_stderr": "remove",
    "nb_ipywidgets_js": {},  # would be fetched from a network
    "nb_render_markdown_format": "gfm",  # in which an output can't name a directive or a role
    "myst_enable_extensions": ["dollarmath"],
    "suppress_warnings": ["mystnb.unknown_mime_type", "misc.highlighting_failure", "myst.header"],
    "html_theme": "sphinx_book_theme",
    "html_math_renderer": "mathml",
    "html_static_path": ["_static"],
    "html_css_files": ["site.css"],
    "html_context": {"default_mode": "light"},
    "html_copy_source": False,
    "html_use_index": False,
    "html_show_copyright": False,
    "html_permalinks": False,
}
THEME = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "max_navbar_depth": 1,
    "navbar_persistent": [],
    "footer_content_items": [],
    "search_bar_text": "Search",
}


def build(recipe: Recipe) -> Path:
    """Build `runs/<profile>/report/` from executed notebooks and tables; its `index.html`.

    The site replaces an earlier one only when it is whole. Raises `R2DError` for a missing file
    and for a broken reference.
    """
    out = paths.runs(recipe.profile) / "report"
    part = out.with_name(".report.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        pages = site_pages.find(recipe)
        site_pages.link_executed(recipe, pages)
        _lay_out(recipe, pages, part / "source")
        _sphinx(recipe, part, html.escape(site_pages.stamp(recipe, pages)))
        shutil.rmtree(out, ignore_errors=True)
        (part / "html").rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out / "index.html"


def _lay_out(recipe: Recipe, pages: list[Page], source: Path) -> None:
    """Write what Sphinx reads: the notebooks, the page about how they were run, the style."""
    for name in ("notebooks", "_static"):
        (source / name).mkdir(parents=True)
    shutil.copytree(site_pages.TEXTS, source / site_pages.TEXTS.name)
    shutil.copy(Path(__file__).with_name("site.css"), source / "_static")
    about = site_pages.how_it_was_run(recipe, pages)
    (source / f"{site_pages.HOW}.md").write_text(about, encoding="utf-8")
    site_pages.link(pages)
    for page in pages:
        if page.document == "index":
            page.notebook.cells.append(nbformat.v4.new_markdown_cell(site_pages.menu(pages)))
        nbformat.write(page.notebook, source / f"{page.document}.ipynb")


def _sphinx(recipe: Recipe, part: Path, stamp: str) -> None:
    """Build `part/source` into `part/html`; any warning that is not suppressed stops."""
    title = f"r2d, profile {recipe.profile}"
    settings = SETTINGS | {
        "project": title,
        "html_title": title,
        "html_theme_options": THEME | {"announcement": stamp},
    }
    source, out, doctrees = (part / name for name in ("source", "html", "doctrees"))
    log = io.StringIO()
    with patch_docutils(), docutils_namespace():
        Sphinx(source, None, out, doctrees, "html", settings, status=None, warning=log).build()
    lines = re.sub(r"\x1b\[[\d;]*m", "", log.getvalue()).splitlines()
    warnings = [line for line in lines if line.strip()]
    if warnings:
        first = warnings[0].replace(f"{source}/", "")
        first = first.replace("index.ipynb", f"notebooks/{site_pages.FIRST}.ipynb")
        raise R2DError(
            f"The report was not built: {first} ({len(warnings)} warnings); mend the notebook it "
            "names and run it again."
        )
    # For other sites, and for the theme's developers.
    for left in (out / ".buildinfo", out / "objects.inv", *out.rglob("*.map")):
        left.unlink(missing_ok=True)
