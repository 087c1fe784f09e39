"""The report site: the executed notebooks of a profile and an index over them, as HTML that needs no server and no network.

`python -m r2d.report PROFILE [--overrides JSON] [--open]` builds it and prints its path.
"""

import argparse
import html
import io
import json
import re
import shutil
import sys
import webbrowser
from pathlib import Path

import nbformat
from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils
from sphinx.util.logging import getLogger

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.recipes import Recipe
from r2d.reporting import site_index
from r2d.reporting.site_index import Page

SETTINGS = {
    "extensions": ["myst_nb", "r2d.report"],
    "nb_execution_mode": "off",
    "nb_output_stderr": "remove",  # progress bars and warnings of libraries; the executed notebook keeps them
    "nb_ipywidgets_js": {},  # would be fetched from a network
    "nb_render_markdown_format": "myst",
    "myst_enable_extensions": ["dollarmath"],
    "suppress_warnings": ["mystnb.unknown_mime_type", "misc.highlighting_failure", "myst.header"],
    "html_theme": "sphinx_book_theme",
    "html_math_renderer": "mathml",
    "html_static_path": ["_static"],
    "html_css_files": ["report.css"],
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
    """Build `runs/<profile>/report/` from executed notebooks, tables and figures; its `index.html`.

    The site replaces an earlier one only when it is whole. Raises `R2DError` for a missing file and for a broken reference.
    """
    out = paths.runs(recipe.profile) / "report"
    part = out.with_name(".report.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        pages = find(recipe)
        _lay_out(recipe, pages, part / "source")
        _sphinx(part, recipe, html.escape(site_index.stamp(recipe, pages)))
        shutil.rmtree(out, ignore_errors=True)
        (part / "html").rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out / "index.html"


def find(recipe: Recipe) -> list[Page]:
    """The pages of the executed notebooks: the story by number, then the runs by dataset, method and seed in recipe order."""
    folder = paths.runs(recipe.profile) / "notebooks"
    files = sorted(folder.glob("*.ipynb"))
    if not files:
        raise R2DError(
            f"There are no executed notebooks in {folder}; run `./run_all.sh` with this profile and settings first."
        )
    pages = [_page(recipe, file) for file in files]
    datasets, methods = list(recipe.datasets), list(recipe.methods)
    runs = [
        p for p in pages if p.run and p.run[0] in datasets and p.run[1] in methods
    ]  # not those of an earlier recipe
    runs.sort(key=lambda p: (datasets.index(p.run[0]), methods.index(p.run[1]), p.run[2]))
    return [p for p in pages if not p.run] + runs


def _page(recipe: Recipe, file: Path) -> Page:
    """One executed notebook; one that carries a run is named by its run, its question going below."""
    notebook = nbformat.read(file, as_version=4)
    known = notebook.metadata.get("papermill", {})
    given, minutes = known.get("parameters", {}), (known.get("duration") or 0) / 60
    first = notebook.cells[0]
    question = first.source.partition("\n")[0].lstrip("# ")
    number, _, about = file.stem.partition("-")
    if re.match(r"\d\d_", number):
        title = f"{number[:2]} {question.partition(':')[0]}" + (f": {about}" if about else "")
        return Page(file.stem, title, "Notebooks", title, minutes, None, notebook)
    which = given.get("dataset"), given.get("method"), given.get("seed")
    method = recipe.methods[which[1]].title if which[1] in recipe.methods else which[1]
    title, menu = f"{method} on {which[0]}, seed {which[2]}", f"{method}, seed {which[2]}"
    first.source = first.source.replace(f"# {question}", f"# {title}\n\n*{question}*", 1)
    return Page(file.stem, title, f"Runs on {which[0]}", menu, minutes, which, notebook)


def _lay_out(recipe: Recipe, pages: list[Page], source: Path) -> None:
    """Write what Sphinx reads: the notebooks, the index, the figures, the style."""
    for name in ("notebooks", "figures", "_static"):
        (source / name).mkdir(parents=True)
    shutil.copy(paths.PACKAGE / "reporting" / "site.css", source / "_static")
    for picture in paths.figures(recipe.profile).glob("*.png"):
        shutil.copy(picture, source / "figures")
    for page in pages:
        nbformat.write(page.notebook, source / f"{page.document}.ipynb")
    (source / "index.md").write_text(site_index.write(recipe, pages), encoding="utf-8")


def _sphinx(part: Path, recipe: Recipe, stamp: str) -> None:
    """Build `part/source` into `part/html`; any warning that is not suppressed stops."""
    title, said = f"r2d, profile {recipe.profile}", io.StringIO()
    settings = SETTINGS | {
        "project": title,
        "html_title": title,
        "html_theme_options": THEME | {"announcement": stamp},
    }
    with patch_docutils(), docutils_namespace():
        Sphinx(
            part / "source",
            None,
            part / "html",
            part / "doctrees",
            "html",
            settings,
            status=None,
            warning=said,
        ).build()
    warnings = [
        line for line in re.sub(r"\x1b\[[\d;]*m", "", said.getvalue()).splitlines() if line.strip()
    ]
    if warnings:
        first = warnings[0].replace(f"{part / 'source'}/", "")
        raise R2DError(
            f"The report was not built: {first} ({len(warnings)} warnings); mend the notebook it names and run it again."
        )
    for left in [
        part / "html" / ".buildinfo",
        part / "html" / "objects.inv",
        *(part / "html").rglob("*.map"),
    ]:
        left.unlink(missing_ok=True)  # for other sites and for the theme's developers


def setup(app: Sphinx) -> dict:
    """As an extension of Sphinx: formulas become MathML, which browsers draw without any script."""
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer, node) -> None:
    writer.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _displayed(writer, node) -> None:
    writer.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(node, as_block: bool) -> str:
    try:
        return latex2mathml.tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        getLogger(__name__).warning(
            "the formula %s cannot be read (%s)", node.astext(), error, location=node
        )
        return html.escape(node.astext())


def main() -> int:
    """Command line: prints the path of the site's index; 2 on a sentence for the user."""
    parser = argparse.ArgumentParser(
        prog="python -m r2d.report", description="Build the report site of a profile."
    )
    parser.add_argument("profile")
    parser.add_argument(
        "--overrides",
        type=json.loads,
        default={},
        metavar="JSON",
        help="the overrides the runs were made with",
    )
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    given = parser.parse_args()
    try:
        index = build(recipes.load(given.profile, given.overrides))
    except R2DError as error:
        print(error, file=sys.stderr)
        return 2
    print(index)
    if given.open:
        webbrowser.open(index.as_uri())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
