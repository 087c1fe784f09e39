"""The pages of the report site: its executed notebooks, and one about how they were run."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nbformat
import pandas as pd

from r2d import paths
from r2d.errors import R2DError
from r2d.experiments import directory, grid
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import collect, escape, tables

FIRST = "00_overview"
HOW = "how_it_was_run"  # the page of environment and minutes
TEXTS = Path(__file__).with_name("pages")  # what the README has no room for
# From one notebook to another, by the name that it is stored or was executed under.
LINK = re.compile(r"\[([^\[\]]*)\]\((?:[^()\s]*/)?(\d\d_\w+)[^()\s/]*\.ipynb\)")
RUN_TABLES = ("runs.csv", "e2_sources.csv", "e3_ablations.csv", "e7_runs.csv")  # a row a run


@dataclass(frozen=True)
class Page:
    """An executed notebook in the site: title, section of the menu, its shorter name there.

    `source` is the stored notebook that was executed, e.g. `03_stage2`; `dataset` is empty for one
    that is about all of them.
    """

    stem: str
    source: str
    title: str
    section: str
    menu: str
    minutes: float
    dataset: str
    run: Run | None
    notebook: nbformat.NotebookNode

    @property
    def document(self) -> str:
        """Its name in the site; the overview is the first page."""
        return "index" if self.stem == FIRST else f"notebooks/{self.stem}"


def find(recipe: Recipe) -> list[Page]:
    """The executed notebooks: the story by number, then the runs in the recipe's order.

    Runs of an earlier recipe are left out. Raises `R2DError` where there is no overview.
    """
    folder = paths.runs(recipe.profile) / "notebooks"
    files = sorted(folder.glob("*.ipynb"))
    if not files:
        raise R2DError(
            f"There are no executed notebooks in {folder}; run `./run_all.sh` with this profile "
            "and settings first."
        )
    pages = [_page(recipe, file) for file in files]
    if FIRST not in {page.stem for page in pages}:
        raise R2DError(
            f"{folder / FIRST}.ipynb is not there; run `./run_all.sh` with this profile and "
            "settings first."
        )
    datasets, methods = list(recipe.datasets), list(recipe.methods)

    def order(page: Page) -> tuple:
        return datasets.index(page.run.dataset), methods.index(page.run.method), page.run.seed

    runs = {}
    for page in pages:
        if page.run and page.run.dataset in datasets and page.run.method in methods:
            runs.setdefault(page.run, page)  # before one that has an earlier kind of name
    story = [page for page in pages if not page.run]
    places = {name: place for place, name in enumerate(datasets)}
    story.sort(key=lambda page: (page.source, places.get(page.dataset, -1)))
    return story + sorted(runs.values(), key=order)


def _page(recipe: Recipe, file: Path) -> Page:
    """One executed notebook; one that carries a run is named by it, its question going below."""
    notebook = _read(file)
    record = notebook.metadata.get("papermill", {})
    minutes = (record.get("duration") or 0) / 60
    first = notebook.cells[0]
    question = first.source.partition("\n")[0].lstrip("# ")
    given = record.get("parameters", {})
    source, _, about = file.stem.partition("-")
    if "method" not in given:
        title = f"{source[:2]} {question.partition(':')[0]}"
        if about:
            title += f": {about}"
        return Page(file.stem, source, title, "Notebooks", title, minutes, about, None, notebook)
    run = Run(recipe, given.get("dataset"), given.get("method"), given.get("seed"))
    method, source = run.method, ""
    if run.method in recipe.methods:
        method, source = run.title, grid.notebook(recipe, run.method)
    title = f"{method} on {run.dataset}, seed {run.seed}"
    heading = f"# {escape.plain(title)}\n\n*{question}*"
    first.source = first.source.replace(f"# {question}", heading, 1)
    menu, section = f"{method}, seed {run.seed}", f"Runs on {run.dataset}"
    return Page(file.stem, source, title, section, menu, minutes, run.dataset, run, notebook)


def _read(file: Path) -> nbformat.NotebookNode:
    try:
        return nbformat.read(file, as_version=4)
    except (OSError, ValueError, AttributeError, KeyError):
        raise R2DError(
            f"{file} is not a notebook, perhaps cut short; delete it and rerun, which makes it "
            "again."
        ) from None


def link(pages: Sequence[Page]) -> None:
    """Point the notebooks' links at pages of the site, the nearest where several came of one.

    A link to a notebook that was not executed becomes plain text.
    """
    for page in pages:

        def to_page(match: re.Match, page: Page = page) -> str:
            text, source = match.groups()
            target = _nearest(page, source, pages)
            return f"[{text}](/{target.document}.ipynb)" if target else text

        for cell in page.notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = LINK.sub(to_page, cell.source)


def link_executed(recipe: Recipe, pages: Sequence[Page]) -> None:
    """Point the links in the executed notebooks' files at one another, as JupyterLab follows them.

    A link to a notebook that was not executed leads to the stored one. The files keep their times,
    by which the workflow knows them.
    """
    folder = paths.runs(recipe.profile) / "notebooks"
    stored = quote(os.path.relpath(paths.NOTEBOOKS, folder))
    for page in pages:

        def to_file(match: re.Match, page: Page = page) -> str:
            text, source = match.groups()
            target = _nearest(page, source, pages)
            place = target.stem if target else f"{stored}/{source}"
            return f"[{text}]({place}.ipynb)"

        file = folder / f"{page.stem}.ipynb"
        before, times = file.read_text(encoding="utf-8"), file.stat()
        after = LINK.sub(to_file, before)
        if after != before:
            paths.write_notes(file, after)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def _nearest(page: Page, source: str, pages: Sequence[Page]) -> Page | None:
    """The page that came of a stored notebook: of the same dataset, of the same training, seed."""

    def distance(other: Page) -> tuple[bool, bool, bool]:
        ours, theirs = page.run, other.run
        if not ours or not theirs:
            return page.dataset not in ("", other.dataset), False, False
        kin = theirs.start == ours or ours.start == theirs
        return ours.dataset != theirs.dataset, not kin, ours.seed != theirs.seed

    return min((each for each in pages if each.source == source), key=distance, default=None)


def menu(pages: Sequence[Page]) -> str:
    """The site's menu, in MyST: a list of pages under every heading."""
    sections: dict[str, list[str]] = {"Notebooks": [], "More": [f"How it was run <{HOW}>"]}
    sections["More"] += [f"{TEXTS.name}/{file.stem}" for file in sorted(TEXTS.glob("*.md"))]
    for page in pages:
        sections.setdefault(page.section, []).append(_entry(page))
    return "\n\n".join(_toctree(title, entries) for title, entries in sections.items())


def _toctree(title: str, entries: Sequence[str]) -> str:
    options = f":hidden:\n:titlesonly:\n:caption: {escape.one_line(title)}"
    listed = "\n".join(entries)
    longest = max((len(run) for run in re.findall("`+", listed)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{{toctree}}\n{options}\n\n{listed}\n{fence}"


def _entry(page: Page) -> str:
    """An entry of a toctree, whose titles are no Markdown, only lines."""
    target = "self" if page.document == "index" else page.document
    return f"{escape.one_line(page.menu)} <{target}>"


def stamp(recipe: Recipe, pages: Sequence[Page]) -> str:
    """What stands at the top of every page: the profile's note, and which data are synthetic."""
    datasets = dict.fromkeys(page.run.dataset for page in pages if page.run)
    for name in datasets:
        tables.expect_there(collect.data_file(recipe, name))
    synthetic = [name for name in datasets if collect.dataset(recipe, name)["synthetic"]]
    if not synthetic:
        return f"Profile {recipe.note}."
    return f"Profile {recipe.note}. Synthetic data: {', '.join(synthetic)}."


def how_it_was_run(recipe: Recipe, pages: Sequence[Page]) -> str:
    """The page, in Markdown, of what the site's numbers come from: runs, environment, minutes."""
    environments = _environments(pages)
    in_tables = _in_tables(recipe, environments)
    others = len(environments) - len(in_tables)
    commits = escape.plain(", ".join(sorted({env["commit"] for env in environments.values()})))
    origin = (
        f"The tables and figures here were read from the files of {len(in_tables)} runs; "
        + (f"{others} more of this profile were not chosen for them. " if others else "")
        + f"The notebooks in the menu are the ones that made them (commit {commits}). This is not "
        "by the authors of the [paper](https://arxiv.org/abs/2512.20074)."
    )
    parts = [
        "# How it was run",
        origin,
        "## Environment",
        _environment(environments.values()),
        "## Notebooks and minutes",
        _minutes(pages, environments),
    ]
    return "\n\n".join(parts) + "\n"


def _environments(pages: Sequence[Page]) -> dict[Run, dict]:
    """Run -> its env.json."""
    runs = [page.run for page in pages if page.run]
    for run in runs:
        tables.expect_there(run.folder / directory.ENV)
    return {run: directory.read_file(run.folder, directory.ENV) for run in runs}


def _in_tables(recipe: Recipe, known: Collection[Run]) -> set[Run]:
    """The runs that the tables have, all where none names runs.

    `known` are those with an executed notebook, as each has to have one.
    """
    found = set()
    files = [tables.folder(recipe) / name for name in RUN_TABLES]
    for file in files:
        if not file.is_file():
            continue
        named = tables.read(file)[["dataset", "method", "seed"]]
        for names in named.itertuples(index=False, name=None):
            found.add(Run(recipe, *names))
            if Run(recipe, *names) not in known:
                notebook = f"{grid.executed(Run(recipe, *names))}.ipynb"
                raise R2DError(
                    f"The tables hold a run whose executed notebook {notebook} is not there; run "
                    "`./run_all.sh` again."
                )
    return found or set(known)


def _environment(environments: Iterable[dict]) -> str:
    """Versions, device and commit of the runs; several values where the runs differ."""
    values: dict[str, dict[str, None]] = {}
    for env in environments:
        described = {
            "Python": env["python"],
            **env["packages"],
            "device": f"{env['device']} ({env['kind']})",
            "threads": env["threads"],
            "commit": env["commit"],
        }
        for name, value in described.items():
            values.setdefault(name, {})[str(value)] = None
    rows = [{"": name, "of the runs": ", ".join(seen)} for name, seen in values.items()]
    return escape.table(pd.DataFrame(rows))


def _minutes(pages: Sequence[Page], environments: dict[Run, dict]) -> str:
    rows = []
    for page in pages:
        seconds = environments.get(page.run, {}).get("training", {}).get("seconds")
        link = f"[{escape.plain(page.title)}]({page.document})"
        rows.append({"notebook": link, "minutes": page.minutes, "training (s)": seconds})
    table = pd.DataFrame(rows)
    return (
        f"{len(pages)} notebooks took {table['minutes'].sum():.1f} minutes, one after another; one "
        f"that found its run finished only read it.\n\n"
        f"{escape.table(table, markdown=['notebook'])}"
    )
