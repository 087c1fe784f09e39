"""Tables for people: means over seeds, measures by name, costs, and the published numbers."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from r2d import files, paths
from r2d.errors import R2DError
from r2d.evaluation import stats
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import escape, spreadsheet

MEASURES = {
    "macro_f1": "Macro-F1",
    "accuracy": "Accuracy",
    "bertscore_f1": "BERTScore F1",
    "sentence_bleu": "Sentence BLEU",
    "corpus_bleu": "Corpus BLEU",
    "names_reason": "Names the true reason",
    "consistency": "Consistency",
    "sufficiency": "Sufficiency",
    "invalid_rate": "Invalid labels",
}
CURE = "delete it and rerun, which makes it again"
COSTS = {  # column of table 2 -> heading in units that people read, factor, whether a whole number
    "parameters": ("parameters (millions)", 1e-6, False),
    "trainable_share": ("trained (%)", 100, False),
    "peak_memory_mb": ("peak memory (MB)", 1, True),
    "steps": ("steps", 1, True),
    "seconds": ("training (s)", 1, False),
    "seconds_per_step": ("a step (ms)", 1000, False),
    "cpu_seconds_per_step": ("a step (ms of CPU)", 1000, False),
    "seconds_per_case": ("a test case (ms)", 1000, False),
    "latency_median": ("a case alone (ms)", 1000, False),
    "latency_p95": ("its 95th percentile (ms)", 1000, False),
}


def heading(measure: str, recipe: Recipe) -> str:
    """A measure's name for people; BERTScore's with its model, without which it says nothing."""
    if measure == "bertscore_f1":
        return f"{MEASURES[measure]} ({recipe.metrics.bertscore})"
    return MEASURES[measure]


def heading_in(name: str, metrics: dict) -> str:
    """The name for people of a measure of one run's `metrics.json`.

    BERTScore's has the model that its signature begins with.
    """
    stem = name.removesuffix("_given_gold")
    title = MEASURES[stem]
    if stem == "bertscore_f1":
        title += f" ({metrics['signatures'][stem].partition('_')[0]})"
    return title if stem == name else f"{title}, given the gold label"


def scores(metrics: dict) -> pd.DataFrame:
    """One run's `metrics.json`: a row a measure with value, interval over examples and cases."""
    rows = {}
    for name, measure in metrics["metrics"].items():
        low, high = measure["interval"] or (None, None)
        rows[heading_in(name, metrics)] = {
            "value": round(measure["value"], 3),
            "low": low,
            "high": high,
            "cases": measure["n"],
        }
    return pd.DataFrame(rows).T.astype({"cases": int}).round(3)


def headline(metrics: dict) -> str:
    """One run's label measures in words, those of them that it has."""
    shown = []
    for name in ("accuracy", "macro_f1", "invalid_rate"):
        if name in metrics["metrics"]:
            value = metrics["metrics"][name]["value"]
            share = f"{value:.1%}" if name == "invalid_rate" else f"{value:.3f}"
            shown.append(f"{MEASURES[name][0].lower()}{MEASURES[name][1:]} {share}")
    return ", ".join(shown)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds of every measure, a row a dataset and method.

    `_low` and `_high` are the ends of the seeds' intervals over examples, each averaged over seeds;
    `_seeds_low` and `_seeds_high` those of the 95 % t interval over seeds. Rows keep their order.
    """
    rows = []
    for (dataset, method), group in frame.groupby(["dataset", "method"], sort=False):
        row = {
            "profile": group["profile"].iloc[0],
            "dataset": dataset,
            "method": method,
            "title": group["title"].iloc[0],
            "seeds": len(group),
            "test_cases": int(group["test_cases"].iloc[0]),
        }
        for name in MEASURES:
            row |= _over_seeds(name, group)
        rows.append(row)
    return pd.DataFrame(rows)


def _over_seeds(name: str, group: pd.DataFrame) -> dict:
    """One measure's cells of `summarise`; empty where no seed has it."""
    values = group[name].dropna().tolist() if name in group else []
    seeds = {"mean": None, "sd": None, "interval": None}
    if values:
        seeds = stats.over_seeds(values)
    low, high = seeds["interval"] or (None, None)
    row = {
        name: seeds["mean"],
        f"{name}_sd": seeds["sd"],
        f"{name}_seeds_low": low,
        f"{name}_seeds_high": high,
    }
    for end in (f"{name}_low", f"{name}_high"):
        row[end] = group[end].mean() if end in group else None
    return row


def readable(table: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """A summary for people: `mean ± sd` over seeds in points of 100, a column a measure it has.

    Macro-F1 has its interval over examples in brackets. All cells are texts.
    """
    shown = table[["dataset", "title", "seeds"]].rename(columns={"title": "method"}).astype(str)
    for name in MEASURES:
        if table[name].notna().any():
            shown[heading(name, recipe)] = cells(table, name)
    return shown


def cells(table: pd.DataFrame, measure: str) -> list[str]:
    """One measure of a summary as `readable` shows it."""
    scale = 1 if measure == "corpus_bleu" else 100  # sacreBLEU's is in points already
    shown = []
    for _, row in table.iterrows():
        text = _cell(row[measure], row[f"{measure}_sd"], scale)
        if measure == "macro_f1" and pd.notna(row["macro_f1_low"]):
            low, high = row["macro_f1_low"], row["macro_f1_high"]
            text += f" [{100 * low:.0f}, {100 * high:.0f}]"
        shown.append(text)
    return shown


def _cell(mean: float | None, sd: float | None, scale: float) -> str:
    if pd.isna(mean):
        return "–"
    around = "" if pd.isna(sd) else f" ± {scale * sd:.1f}"
    return f"{scale * mean:.1f}{around}"


def costs(table_2: pd.DataFrame) -> pd.DataFrame:
    """Table 2 in the units of `COSTS`; a cost that an earlier run did not note has no column."""
    shown = table_2[["dataset", "title"]].rename(columns={"title": "method"})
    for name, (title, factor, whole) in COSTS.items():
        if name not in table_2:
            continue
        values = table_2[name] * factor
        shown[title] = values.round().astype("Int64") if whole else values
    return shown


def published() -> pd.DataFrame:
    """Every number of the paper that was found, with its mark and whether it compares with ours."""
    return pd.DataFrame(yaml.safe_load(paths.PUBLISHED.read_text(encoding="utf-8")))


def read(file: Path) -> pd.DataFrame:
    """A table as it was before it was written; a row-less one has a column dataset."""
    text = read_text(file)
    try:
        return spreadsheet.read(text) if text else pd.DataFrame({"dataset": []})
    except ValueError:  # pandas' own errors are, too
        raise R2DError(f"{file} is not a table, perhaps cut short; {CURE}.") from None


def read_text(file: Path) -> str:
    """The text of a result; `R2DError` naming the file where it is not there."""
    expect_there(file)
    return files.read_text(file, CURE).strip()


def expect_there(file: Path) -> None:
    """Raise `R2DError` where a file of the runs is missing."""
    if not file.is_file():
        raise R2DError(
            f"{file} is not there; run `./run_all.sh` with this profile and settings first."
        )


def folder(recipe: Recipe) -> Path:
    """Where a profile's tables are written."""
    return paths.runs(recipe.profile) / "results"


def write(recipe: Recipe, tables: dict[str, pd.DataFrame], findings: dict[str, list[str]]) -> None:
    """Write the tables as CSV, table 1 also for people, and the findings by heading.

    Below table 1 stand its origin and the published numbers on the same datasets.
    """
    folder(recipe).mkdir(parents=True, exist_ok=True)
    for name, part in tables.items():
        spreadsheet.write(part, folder(recipe) / f"{name}.csv")
    shown = readable(tables["table_1"], recipe)
    parts = [
        f"Profile: {escape.plain(recipe.note)}",
        escape.table(shown),
        _origin(recipe, tables["runs"]),
    ]
    known = published()
    known = known[known["dataset"].isin(tables["table_1"]["dataset"])]
    if len(known):
        parts.append("Published, and whether the rows above may be laid beside it:")
        known = known.drop(columns=["sd", "profiles"])
        parts.append(escape.table(known, decimals=2, markdown=set(known)))
    (folder(recipe) / "table_1.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_findings(recipe, findings)


def write_findings(
    recipe: Recipe, findings: dict[str, list[str]], file: str = "findings.md"
) -> None:
    """Write sentences by heading as Markdown; a heading without sentences is left out."""
    blocks = []
    for name, sentences in findings.items():
        if sentences:
            listed = "\n".join(f"- {escape.plain(sentence)}" for sentence in sentences)
            blocks.append(f"**{name}**\n\n{listed}")
    (folder(recipe) / file).write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def _origin(recipe: Recipe, frame: pd.DataFrame) -> str:
    """The command, device and minutes behind the rows of table 1."""
    named = frame[["dataset", "method", "seed"]].itertuples(index=False, name=None)
    runs = grid.with_starts([Run(recipe, *names) for names in named])
    envs = [run.read()["env"] for run in runs]
    devices = sorted(
        {f"{env['device']} ({env['kind']}, threads: {env['threads']})" for env in envs}
    )
    profile, _, overridden = recipe.profile.partition("+")
    command = f"`./run_all.sh {profile}`"
    if overridden:
        command += " with changed settings (each run's `config.yaml` holds them)"
    spent = (
        f"{len(envs)} runs (with the stage 1 that they start from), {_seconds(envs) / 60:.0f} "
        "minutes of training and testing"
    )
    return f"These rows: {spent} on {', '.join(devices)}, by {command}."


def _seconds(envs: Sequence[dict]) -> float:
    """Seconds of training and testing."""
    return sum(
        env.get("training", {}).get("seconds", 0) + env["test_seconds"] + env["probe_seconds"]
        for env in envs
    )
