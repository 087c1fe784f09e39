"""The executed notebooks that are kept with the project, to be read without running anything."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import nbformat

from r2d import paths, recipes
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

    They link to one another; where one is not among them, to that of another profile which is kept
    with the project, and else to the stored notebook.
    """
    pages = choose(recipe, site_pages.find(recipe))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = _of_others(recipe) | {page.source: folder / f"{page.stem}.ipynb" for page in pages}

    def to_file(match: re.Match) -> str:
        text, source = match.groups()
        file = files.get(source, paths.NOTEBOOKS / f"{source}.ipynb")
        return f"[{text}]({quote(os.path.relpath(file, folder))})"

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


def _of_others(recipe: Recipe) -> dict[str, Path]:
    """The executed notebooks that are kept of the other profiles, the first of each by its source.

    Such a file is called as its source, then as its dataset or run.
    """
    found: dict[str, Path] = {}
    for profile in recipes.profiles():
        kept = paths.committed(profile) / FOLDER
        for file in sorted(kept.glob("*.ipynb")) if profile != recipe.profile else ():
            found.setdefault(file.stem.partition("-")[0], file)
    return found


def _synthetic(recipe: Recipe, page: Page) -> bool:
    return not page.dataset or collect.dataset(recipe, page.dataset)["synthetic"]


def _distance(recipe: Recipe, page: Page) -> tuple:
    """How far a page is from the reference's first run."""
    if not page.run:
        return (False,)
    start = recipe.methods[recipe.reference].init
    explains = page.run.objective is not None and page.run.objective.explains
    return page.run.method not in (recipe.reference, start), not explains, page.run.seed
