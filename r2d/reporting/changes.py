"""What a changed recipe changed: each run that it made anew beside the shipped recipe's.

The shipped recipe's runs are those of this machine. Where they are not here, the committed figures
have their scores, of which no test can be made.
"""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from r2d import data, paths
from r2d.evaluation import comparison
from r2d.evaluation.comparison import LEVEL
from r2d.experiments import directory, grid
from r2d.experiments.run import Run
from r2d.method.objective import named
from r2d.recipes import Recipe
from r2d.reporting import collect, comparisons, escape, manifest, spreadsheet, tables

TABLE, TEXT = "changes.csv", "changes.md"
# Figures whose tables have a row a run.
COMMITTED = ("fig1a_main", "fig2_sources", "fig3_ablations")
ORIGINS = {"runs": "the runs of profile {} here", "figures": "figures/{}, without predictions"}
COLUMNS = ("dataset", "method", "title", "measure", "before", "after", "difference", "low", "high")
COLUMNS += ("p", "p_holm", "runs_before", "runs_after", "cases", "origin", "untested")


def write(recipe: Recipe, experiments: Sequence[str]) -> str:
    """Compare the changed runs of these experiments; writes `changes.csv` and `.md`.

    Returns the text, in Markdown. A shipped recipe has nothing to compare, and nothing is written.
    """
    if recipe.profile == grid.as_shipped(recipe).profile:
        return "The recipe is the shipped one: there is no before and after."
    experiments = grid.in_tables(experiments)
    table = compare(recipe, experiments)
    text = markdown(recipe, table, len(grid.runs(recipe, experiments)))
    folder = tables.folder(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    spreadsheet.write(table, folder / TABLE)
    (folder / TEXT).write_text(f"{text}\n", encoding="utf-8")
    return text


def written(recipe: Recipe) -> str:
    """The text of the last comparison; a sentence where the run had none of its experiments."""
    file = tables.folder(recipe) / TEXT
    return tables.read_text(file) if file.is_file() else "No table of before and after was made."


def compare(recipe: Recipe, experiments: Sequence[str]) -> pd.DataFrame:
    """A row a dataset, changed method and measure: means over runs before and after.

    `difference` is after minus before. Where the predictions of both are here and of the same
    cases, it has a corrected interval and p, as in `comparison`; elsewhere `untested` says why not.
    `origin` is what the scores before were read from.
    """
    shipped = grid.as_shipped(recipe)
    by_method: dict[tuple, list[Run]] = {}
    for run in grid.changed(recipe, experiments):
        by_method.setdefault((run.dataset, run.method), []).append(run)
    rows = [row for runs in by_method.values() for row in _rows(shipped, runs)]
    families: dict[tuple, list[dict]] = {}
    for row in rows:
        if "p" in row:
            families.setdefault((row["dataset"], row["measure"]), []).append(row)
    for family in families.values():
        for row, test in zip(family, comparison.corrected(family), strict=True):
            row.update(test)
    return pd.DataFrame(rows, columns=COLUMNS)


def markdown(recipe: Recipe, table: pd.DataFrame, runs: int) -> str:
    """The comparison for people: what was changed, before and after, and what that can say.

    `runs` is how many runs the chosen experiments have.
    """
    shipped = grid.as_shipped(recipe)
    heading = f"**Before and after**: {'; '.join(_settings(shipped, recipe))}"
    if table.empty:
        return f"{heading}\n\nNothing to compare: these settings change none of the {runs} runs."
    anew = int(table.groupby(["dataset", "method"])["runs_after"].first().sum())
    origins = {
        name: sorted(set(rows["title"])) for name, rows in table.groupby("origin", sort=False)
    }
    known = [ORIGINS[name].format(shipped.profile) for name in origins if name]
    before = f"Before: {' and '.join(known)}. " if known else ""
    remarks = [
        f"Points of 100, means over runs, whose number is in brackets. {before}The other "
        f"{runs - anew} of {runs} runs are as they were."
    ]
    if table["p"].notna().any():
        remarks.append(
            "Intervals of 95 % and p take seeds and test cases as random and are corrected for the "
            "methods compared; those of one run are about two models, not about methods."
        )
    if "" in origins:
        remarks.append(
            f"Nothing is known of {escape.plain(', '.join(origins['']))} before: "
            f"`./run_all.sh {shipped.profile}` makes the runs that the shipped recipe has."
        )
    shown = pd.DataFrame([_shown(row) for _, row in table.iterrows()])
    return "\n\n".join([heading, escape.table(shown), " ".join(remarks)])


def _rows(shipped: Recipe, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One method's rows on a dataset, a measure each."""
    twins = [twin for run in runs if (twin := grid.before(shipped, run))]
    before, origin, untested = _before(shipped, runs[0], twins)
    metrics_before = [] if untested else [twin.read()["metrics"] for twin in twins]
    after, metrics = collect.runs(runs), [run.read()["metrics"] for run in runs]
    rows = []
    for measure in comparisons.measures(metrics):
        name = "accuracy" if measure == "correct" else measure
        row = {
            "dataset": runs[0].dataset,
            "method": runs[0].method,
            "title": runs[0].title,
            "measure": name,
            "after": after[name].mean(),
            "runs_before": len(before),
            "runs_after": len(after),
            "origin": origin,
            "untested": untested,
        }
        if name in before:
            row["before"] = before[name].mean()
            row["difference"] = row["after"] - row["before"]
        if metrics_before and measure in comparisons.measures(metrics_before):
            test = comparisons.test(metrics, metrics_before, measure)
            row |= test | {"cases": test["parts"].cases}
        rows.append(row)
    return rows


def _before(shipped: Recipe, run: Run, twins: Sequence[Run]) -> tuple[pd.DataFrame, str, str]:
    """The rows of the shipped recipe's runs, their origin, and why no test can be made of them."""
    if not twins:
        return pd.DataFrame(), "", "not run"
    other = "" if _same_cases(run, twins[0]) else "other test cases"
    if all(map(_is_finished, twins)):
        return collect.runs(twins), "runs", other
    rows = _committed(shipped, twins)
    return (rows, "figures", other or "no predictions") if len(rows) else (rows, "", "not run")


def _is_finished(run: Run) -> bool:
    """Whether a run is here and whole, under its present settings and by the present measures."""
    whole = directory.is_whole(run.folder, run.settings)
    return whole and directory.metrics_key(run.folder) == run.key


def _same_cases(run: Run, twin: Run) -> bool:
    """Whether the test cases that two runs share by their ids are the same cases."""
    if run.settings["dataset"] == twin.settings["dataset"]:
        return True
    one, other = (_cases(each) for each in (run, twin))
    shared = one.keys() & other.keys()
    return len(shared) > 1 and all(one[name] == other[name] for name in shared)


def _cases(run: Run) -> dict[str, tuple[str, str]]:
    loaded = data.load(run.dataset, run.recipe.data(run.dataset, run.method))
    return {record.id: (record.question, record.label) for record in loaded.test}


def _committed(shipped: Recipe, twins: Sequence[Run]) -> pd.DataFrame:
    """The rows of these runs in the committed figures, if those are of the present recipe."""
    folder, dataset = paths.committed(shipped.profile), twins[0].dataset
    known = manifest.read(folder)
    names = [f"{name}_{dataset}" for name in COMMITTED]
    frames = [
        tables.read(folder / f"{name}.csv")
        for name in names
        if name in known and known[name]["recipe"] == shipped.fingerprint()
    ]
    if not frames:
        return pd.DataFrame()
    rows = pd.concat(frames).drop_duplicates(["method", "seed"])
    seeds = [twin.seed for twin in twins]
    return rows[(rows["method"] == twins[0].method) & rows["seed"].isin(seeds)]


def _settings(shipped: Recipe, recipe: Recipe) -> list[str]:
    """Each changed setting with its value and the shipped one, as Markdown."""
    before, after = (_flat(each.model_dump(mode="json")) for each in (shipped, recipe))
    for key in after.keys() - before.keys():
        if ".objective_overrides." in key:  # what the objective has of itself
            _, method, _, name = key.split(".")
            before[key] = getattr(named(shipped.methods[method].objective), name)
    changed = [key for key in {**after, **before} if before.get(key) != after.get(key)]
    return [
        f"{escape.code(key)} is {_value(after, key)} instead of {_value(before, key)}"
        for key in changed
        if key != "profile"
    ]


def _value(settings: dict[str, Any], key: str) -> str:
    return escape.code(json.dumps(settings[key])) if key in settings else "unset"


def _flat(settings: dict[str, Any], begin: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    flat = {}
    for key, value in settings.items():
        inner = _flat(value, f"{begin}{key}.") if isinstance(value, dict) else {begin + key: value}
        flat.update(inner)
    return flat


def _shown(row: pd.Series) -> dict[str, str]:
    return {
        "dataset": row["dataset"],
        "method": row["title"],
        "measure": tables.MEASURES[row["measure"]],
        "before": _score(row["before"], row["runs_before"]),
        "after": _score(row["after"], row["runs_after"]),
        "after - before": "–" if pd.isna(row["difference"]) else comparisons.in_points(row),
        "told apart?": _verdict(row),
    }


def _score(value: float, runs: int) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.1f} ({runs})"


def _verdict(row: pd.Series) -> str:
    if pd.isna(row["p"]):
        return f"not tested: {row['untested'] or 'not measured before'}"
    answer = "yes" if row["p_holm"] < LEVEL else "no"
    if min(row["runs_before"], row["runs_after"]) < 2:
        answer += ", of two models"
    return f"{answer} ({comparisons.p_value(row)})"
