"""What notebook 00 shows, each part as Markdown: in short, asked, read, found, spent, published.

Results are read from the last run's figures, or from those that a clone brings along; a part that
is not there yet says how to get it.
"""

import re
from pathlib import Path

import pandas as pd

from r2d.experiments import grid
from r2d.recipes import Recipe
from r2d.reporting import changes, collect, escape, gallery, tables, takeaway
from r2d.reporting.gallery import FINDINGS

NOTHING = "No results yet: run `./run_all.sh` first."
NO_TABLE = "This profile has no such table: its findings and figures are below."


def in_short(recipe: Recipe) -> str:
    """The results in five sentences, whichever way the tests went."""
    return "\n".join(f"- {sentence}" for sentence in takeaway.sentences(recipe))


def experiments(recipe: Recipe) -> str:
    """The recipe's experiments, and how many of their runs are finished on this machine."""
    rows = []
    for name, experiment in recipe.experiments.items():
        runs = grid.runs(recipe, [name])
        finished = sum((run.folder / "metrics.json").is_file() for run in runs)
        rows.append(
            {
                "": name,
                "experiment": experiment.title,
                "datasets": ", ".join(experiment.datasets),
                "methods": "; ".join(grid.titles(recipe, name)),
                "seeds": len(experiment.seeds),
                "runs here": f"{finished} of {len(runs)}",
            }
        )
    return escape.table(pd.DataFrame(rows))


def datasets(recipe: Recipe) -> str:
    """The datasets as notebook 01 found them on this machine: what they are, sizes, source."""
    rows = []
    for name in recipe.datasets:
        if not collect.data_file(recipe, name).is_file():
            continue
        noted = collect.dataset(recipe, name)
        sizes = [f"{count:,} {split}" for split, count in noted["counts"].items()]
        rows.append(
            {
                "dataset": name,
                "what it is": noted["title"],
                "cases are": "**synthetic**" if noted["synthetic"] else "real",
                "cases": ", ".join(sizes),
                "source": noted["source"],
            }
        )
    if not rows:
        return "None was read on this machine: notebook 01_data does."
    return escape.table(pd.DataFrame(rows), markdown=["cases are"])


def table_1(recipe: Recipe) -> str:
    """Notebook 06's table with its origin; a value and its interval stay on one line."""
    text = _read(recipe, "table_1.md")
    if text is None:
        return _no_table(recipe)
    _, table, *origin = text.split("\n\n")[:3]
    kept_together = re.sub(r"(?<=[\d,±]) (?=[\d\[±])", "\u00a0", table)
    return "\n\n".join([kept_together, *origin])


def findings(recipe: Recipe) -> str:
    """The sentences that the notebooks generated, each experiment's under its title.

    Of a changed recipe, first what the change did.
    """
    text = _read(recipe, FINDINGS)
    if text is None:
        return NOTHING
    for name, experiment in recipe.experiments.items():
        text = text.replace(f"**{name}**", f"**{name}: {escape.plain(experiment.title)}**")
    before_and_after = _read(recipe, changes.TEXT)
    return f"{before_and_after}\n\n{text}" if before_and_after else text


def costs(recipe: Recipe) -> str:
    """Table 2."""
    file = _file(recipe, "table_2.csv")
    return escape.table(tables.costs(tables.read(file))) if file.is_file() else _no_table(recipe)


def published(recipe: Recipe) -> str:
    """Each published number with its mark, and every R2D row of table 1 on the same dataset."""
    file = _file(recipe, "table_1.csv")
    if not file.is_file():
        return _no_table(recipe)
    table_1 = tables.read(file)
    staged = [name for name, m in recipe.methods.items() if m.objective.startswith("r2d")]
    ours_only = table_1[table_1["method"].isin(staged)]
    column = f"ours, profile {recipe.profile}"
    rows = []
    for _, row in tables.published().iterrows():
        measure = tables.heading(row["measure"], recipe)
        same = ours_only[ours_only["dataset"] == row["dataset"]]
        values = zip(same["title"], tables.cells(same, row["measure"]), strict=True)
        ours = [f"{escape.plain(title)} {value}" for title, value in values]
        around = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.2f}"
        rows.append(
            {
                "dataset": row["dataset"],
                "measure": measure,
                "published": f"{row['value']:.2f}{around} ({row['method']})",
                "mark": row["mark"],
                column: "; ".join(ours) or "not measured in this profile",
                "comparable?": row["comparable"],
            }
        )
    marks = "[2nd]: second-hand, not read in the paper itself."
    return f"{escape.table(pd.DataFrame(rows), markdown=['mark', column])}\n\n{marks}"


def _no_table(recipe: Recipe) -> str:
    """What stands in the place of a table that is not there."""
    return NOTHING if grid.in_tables(list(recipe.experiments)) else NO_TABLE


def _file(recipe: Recipe, name: str) -> Path:
    return gallery.folder(recipe) / name


def _read(recipe: Recipe, name: str) -> str | None:
    file = _file(recipe, name)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
