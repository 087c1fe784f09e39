"""The tables of E9 for people: methods by their titles, points of 100, a column a size and noise.

Notebook 10 shows them; `e9_runs.csv`, `e9_tests.csv` and `e9_cap_tests.csv` have every number.
"""

import pandas as pd

from r2d.recipes import Recipe
from r2d.reporting import comparisons
from r2d.reporting.learning_curves import MARGIN, families
from r2d.reporting.tables import IN_WORDS

EMPTY = "–"
KEPT = {"no": "yes", "yes": "no", "unclear": "not told"}  # by what `cap_tests` says a cap loses


def runs(frame: pd.DataFrame) -> pd.DataFrame:
    """How many runs each method has at each size and noise, of `learning_curves.with_sizes`."""
    return _by_size(frame, "seed", "count", decimals=0)


def macro_f1(frame: pd.DataFrame) -> pd.DataFrame:
    """The mean macro-F1 of each method's runs at each size and noise, in points of 100."""
    named = frame[["dataset", "title", "noise", "notes"]]
    return _by_size(named.assign(points=100 * frame["macro_f1"]), "points", "mean", decimals=1)


def tests(recipe: Recipe, found: pd.DataFrame) -> pd.DataFrame:
    """`learning_curves.tests`: a row a question, pair of methods and measure, a column a size.

    A cell is the difference in points of 100 with its corrected interval. Where it tells the two
    methods apart it is bold, and its corrected p follows; all these cells are Markdown.
    """
    columns = sizes(found)
    rows = []
    for family in families(found):
        first = family.iloc[0]
        titles = [recipe.methods[first[name]].title for name in ("method", "against")]
        row = {"dataset": first["dataset"], "question": first["question"]}
        row |= {"methods": " minus ".join(titles), "measure": IN_WORDS[first["measure"]]}
        clear = comparisons.are_clear(family)
        cells = {
            _size(test): _difference(test, told)
            for (_, test), told in zip(family.iterrows(), clear, strict=True)
        }
        rows.append(row | {name: cells.get(name, EMPTY) for name in columns})
    return _of_one_dataset(pd.DataFrame(rows))


def caps(found: pd.DataFrame) -> pd.DataFrame:
    """`learning_curves.cap_tests`: a row a cap, the gap and following a label as differences.

    In points of 100 with their corrected intervals, and beside each whether the cap keeps within
    `MARGIN` of no loss. Empty where there are no caps.
    """
    if found.empty:
        return found
    smallest = f"{found['cap'].min():g}"
    points = f"{100 * MARGIN:.0f} points"
    headings = {
        "gap": ("Exposure gap (own - gold)", f"closed to {points}?"),
        "follows_label": (f"Labels followed, minus cap {smallest}'s", f"within {points}?"),
    }
    rows: dict[float, dict] = {}
    for _, test in found.sort_values("cap", kind="stable").iterrows():
        row = rows.setdefault(test["cap"], {"cap": f"{test['cap']:g}", "method": test["title"]})
        difference, kept = headings[test["measure"]]
        row |= {difference: comparisons.in_points(test), kept: KEPT[test["loses"]]}
    return pd.DataFrame(rows.values()).fillna(EMPTY)


def sizes(frame: pd.DataFrame) -> list[str]:
    """The sizes and noise levels of some rows in words, each once: without noise first, by size."""
    places = frame[["noise", "notes"]].drop_duplicates().sort_values(["noise", "notes"])
    return [_size(place) for _, place in places.iterrows()]


def _size(row: pd.Series) -> str:
    text = f"{row['notes']:,.0f} notes"
    return f"{text}, {row['noise']:.0%} of labels wrong" if row["noise"] else text


def _by_size(frame: pd.DataFrame, values: str, by: str, decimals: int) -> pd.DataFrame:
    """A row a dataset and method, a column a size and noise; all cells are texts."""
    rows = []
    for (dataset, title), own in frame.groupby(["dataset", "title"], sort=False):
        found = own.groupby(["noise", "notes"], as_index=False)[values].agg(by)
        cells = {_size(cell): f"{cell[values]:.{decimals}f}" for _, cell in found.iterrows()}
        names = {"dataset": dataset, "method": title}
        rows.append(names | {name: cells.get(name, EMPTY) for name in sizes(frame)})
    return _of_one_dataset(pd.DataFrame(rows))


def _difference(test: pd.Series, told: bool) -> str:
    text = comparisons.in_points(test)
    return f"**{text}**, {comparisons.p_value(test).replace('<', '&lt;')}" if told else text


def _of_one_dataset(table: pd.DataFrame) -> pd.DataFrame:
    """The table without its column of datasets where that says the same in every row."""
    return table.drop(columns="dataset") if len(set(table.get("dataset", ()))) == 1 else table
