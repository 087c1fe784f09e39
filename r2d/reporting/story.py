"""The executed notebooks that are kept with the project, to be read without running anything."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import nbformat

from r2d import paths
from r2d.recipes import Recipe
from r2d.reporting import collect, site_pages
from r2d.reporting.site_pages import Page

FOLDER = "notebooks"  # beside a profile's committed figures
KEPT = ("parameters", "duration")  # of what papermill records, the rest of which is about a machine


def choose(recipe: Recipe, pages: Sequence[Page]) -> list[Page]:
    """One page of each notebook: of the reference's first run, its stage 1, a method beside it.

    That method is the first which learns to explain, as there is more to read. Pages of notes that
    are not synthetic are left out.
    """
    shown = [page for page in pages if _synthetic(recipe, page)]
    chosen: dict[str, Page] = {}
    for page in sorted(shown, key=lambda page: _distance(recipe, page)):
        chosen.setdefault(page.source, page)
    return sorted(chosen.values(), key=lambda page: page.source)


def keep(recipe: Recipe, folder: Path) -> None:
    """Write the chosen notebooks into `folder`, in place of what is there.

    They link to one another, and to the stored notebook where one is not among them.
    """
    pages = choose(recipe, site_pages.find(recipe))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stored = quote(os.path.relpath(paths.NOTEBOOKS, folder))
    names = {page.source: page.stem for page in pages}

    def to_file(match: re.Match) -> str:
        text, source = match.groups()
        return f"[{text}]({names.get(source, f'{stored}/{source}')}.ipynb)"

    executed = paths.runs(recipe.profile) / "notebooks"
    for page in pages:
        notebook = nbformat.read(executed / f"{page.stem}.ipynb", as_version=4)
        for cell in notebook.cells:
            cell.metadata.pop("papermill", None)
            if cell.cell_type == "markdown":
                cell.source = site_pages.LINK.sub(to_file, cell.source)
            else:
                cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
        record = notebook.metadata.get("papermill", {})
        notebook.metadata["papermill"] = {name: record.get(name) for name in KEPT}
        paths.write(folder / f"{page.stem}.ipynb", f"{nbformat.writes(notebook)}\n")


def _synthetic(recipe: Recipe, page: Page) -> bool:
    return not page.dataset or collect.dataset(recipe, page.dataset)["synthetic"]


def _distance(recipe: Recipe, page: Page) -> tuple:
    """How far a page is from the reference's first run."""
    if not page.run:
        return (False,)
    start = recipe.methods[recipe.reference].init
    explains = page.run.objective is not None and page.run.objective.explains
    return page.run.method not in (recipe.reference, start), not explains, page.run.seed
