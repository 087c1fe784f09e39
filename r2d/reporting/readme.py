"""The README's block of results and the figure of the method, made by code and never typed."""

import re
from pathlib import Path

import pandas as pd

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.recipes import Recipe
from r2d.reporting import escape, method_figure, tables
from r2d.reporting.gallery import FINDINGS

START, END = "<!-- results: made by ./run_all.sh figures -->", "<!-- end of results -->"
DATASET = "triage"
FIGURE = f"fig1a_main_{DATASET}"
SHOWN = ("macro_f1", "names_reason", "sentence_bleu")
# The two trained baselines, and the part of the method that is new in it.
COMPARED = ("sft-full", "dss-full", "r2d-full-no-sampling")


def rewrite() -> None:
    """Draw the method and rewrite README.md's block from `figures/mini/`."""
    method_figure.draw(paths.ROOT / "figures")
    readme = paths.ROOT / "README.md"
    text = filled(readme.read_text(encoding="utf-8"), block(paths.committed("mini")))
    paths.write(readme, text)


def filled(text: str, block: str, start: str = START, end: str = END) -> str:
    """`text` with `block` between the markers; `R2DError` when they are not there."""
    if text.count(start) != 1 or text.count(end) != 1:
        raise R2DError(f"The text to fill needs one line {start} and one line {end}.")
    head, rest = text.split(start)
    return f"{head}{start}\n\n{block}\n\n{end}{rest.split(end)[1]}"


def block(folder: Path) -> str:
    """One table, three sentences and one figure from a shipped profile's figures folder."""
    recipe = recipes.load(folder.name)
    for name in ("table_1.csv", "table_1.md", "table_2.csv", FINDINGS, f"{FIGURE}.png"):
        if not (folder / name).is_file():
            raise R2DError(f"{folder / name} is not there; run `./run_all.sh` first.")
    place = f"figures/{folder.name}"
    origin = (folder / "table_1.md").read_text(encoding="utf-8").split("\n\n")[2]
    origin = origin.replace("These rows", f"All of [table 1]({place}/table_1.md)")
    parts = [
        f"Profile {escape.plain(recipe.note)}",
        escape.table(_table(folder, recipe)),
        "Points of 100, mean ± standard deviation over seeds; in brackets the 95 % interval over "
        f"test cases. {origin}",
        _sentences((folder / FINDINGS).read_text(encoding="utf-8"), recipe),
        f"All comparisons: [findings.md]({place}/findings.md); the other tables and figures are in "
        f"[{place}/]({place}).",
        f"![Labels and rationales of every method]({place}/{FIGURE}.png)",
    ]
    return "\n\n".join(parts)


def _table(folder: Path, recipe: Recipe) -> pd.DataFrame:
    """Six columns: method, seeds, three measures and training time."""
    table_1 = tables.read(folder / "table_1.csv")
    rows = table_1[table_1["dataset"] == DATASET]
    shown = rows[["title", "seeds"]].rename(columns={"title": "method"}).astype(str)
    for name in SHOWN:
        shown[tables.heading(name, recipe)] = tables.cells(rows, name)
    table_2 = tables.read(folder / "table_2.csv")
    costs = table_2[table_2["dataset"] == DATASET].set_index("method")["seconds"]
    shown["Training, stage 1 included"] = [
        _training(method, recipe, costs) for method in rows["method"]
    ]
    return shown


def _training(method: str, recipe: Recipe, costs: pd.Series) -> str:
    stages = [name for name in (method, recipe.methods[method].init) if name]
    if not set(stages) <= set(costs.index):
        return "–"
    return f"{sum(costs[name] for name in stages):.0f} s"


def _sentences(findings: str, recipe: Recipe) -> str:
    """The reference against each of `COMPARED`, as a list, in the words of the tests."""
    reference = escape.plain(recipe.methods[recipe.reference].title)
    chosen = []
    for method in COMPARED:
        other = re.escape(escape.plain(recipe.methods[method].title))
        verdict = rf"(beats|is beaten by) {other}|and {other} can't be told apart"
        line = re.search(rf"^- {re.escape(reference)} ({verdict}) on {DATASET} .*$", findings, re.M)
        if line is None:
            raise R2DError(
                f"The findings hold no comparison with {method} on {DATASET}; run `./run_all.sh` "
                "first."
            )
        chosen.append(line[0])
    return "\n".join(chosen)
