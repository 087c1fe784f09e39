"""Tables for people: means over seeds, measures by name, costs, and the published numbers."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from r2d import files, paths
from r2d.data import load_card
from r2d.errors import R2DError
from r2d.evaluation import stats, support
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.method.objective import OBJECTIVES, named
from r2d.recipes import Recipe
from r2d.reporting import escape, kinds, spreadsheet, undertrained

MEASURES = {
    "macro_f1": "Macro-F1",
    "accuracy": "Accuracy",
    "agreement": "Agreement of label and rationale",
    "agreement_right": "Agreement, decided right",
    "agreement_wrong": "Agreement, decided wrong",
    "follows_label": "Follows a forced label",
    "names_reason": "Names the true reason",
    "names_modifier": "Names the modifier",
    "denies_present": "Denies what is present",
    "sentence_bleu": "Sentence BLEU",
    "corpus_bleu": "Corpus BLEU",
    "bertscore_f1": "BERTScore F1",
    "degenerate": "Degenerate rationales",
    "copied": "Copied rationales",
    "consistency": "Consistency (Reason2Decide-C)",
    "sufficiency": "Sufficiency (Reason2Decide-C)",
    "invalid_rate": "Invalid labels",
}
TABLE_1 = ("macro_f1", "agreement", "agreement_wrong", "follows_label", "names_reason")
TABLE_1 += ("degenerate",)
LIKENESS = ("sentence_bleu", "bertscore_f1", "corpus_bleu", "copied")  # table 1c
TABLE_1B = (
    "Table 1b. Accuracy / agreement of label and rationale by kind of case, in brackets its cases:"
)
TABLE_1C = "Table 1c. Likeness of rationales to the gold ones, and copies of training rationales:"
# What says nothing of degenerate rationales: marked where at least this share of them is.
OF_RATIONALES = ("agreement", "agreement_wrong", "follows_label", "names_reason", "sentence_bleu")
OF_RATIONALES += ("corpus_bleu", "bertscore_f1", "consistency", "sufficiency")
IN_WORDS = {  # a measure inside a sentence
    "macro_f1": "macro-F1",
    "correct": "accuracy",
    "agreement": "agreement",
    "follows_label": "following a forced label",
    "names_reason": "naming the true reason",
    "bertscore_f1": "BERTScore F1",
    "gap": "the exposure gap (own minus gold label)",
}
INFLATED = 0.1
TOTALS = {  # what a run and its stage 1 were trained for, by the column that one run has of it
    "total_steps": "steps",
    "total_target_tokens": "target_tokens",
}
CURE = "delete it and rerun, which makes it again"
COSTS = {  # column of table 2 -> heading in units that people read, factor, whether a whole number
    "parameters": ("parameters (millions)", 1e-6, False),
    "trainable_share": ("trained (%)", 100, False),
    "peak_memory_mb": ("peak memory (MB)", 1, True),
    "steps": ("steps", 1, True),
    "target_tokens": ("target tokens (thousands)", 1e-3, True),
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
    `_seeds_low` and `_seeds_high` those of the 95 % t interval over seeds, `_method_low` and
    `_method_high` those of `collect.runs`, in which both are random. What the runs were trained
    for, stage 1 included, is a mean over them with `_min` and `_max`. Rows keep their order.
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
            "undertrained": int(group["undertrained"].sum()) if "undertrained" in group else 0,
        }
        for name in MEASURES:
            row |= _over_seeds(name, group)
        for name in TOTALS:
            row |= _spread(name, group)
        if "reader" in group and group["reader"].notna().any():
            row["reader"] = group["reader"].dropna().iloc[0]
            row |= {name: group[name].mean() for name in ("reader_on_gold", "reader_chance")}
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
    ends = [f"{name}{of}_{end}" for of in ("", "_method") for end in ("low", "high")]
    for end in ends:
        row[end] = group[end].mean() if end in group else None
    return row


def _spread(name: str, group: pd.DataFrame) -> dict:
    """Mean, least and most of a column over seeds; empty where it is not known of all of them."""
    known = name in group and group[name].notna().all()
    values = group[name] if known else pd.Series([math.nan])
    return {name: values.mean(), f"{name}_min": values.min(), f"{name}_max": values.max()}


def readable(table: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Table 1 for people: `mean ± sd` over seeds in points of 100, a column a measure it has.

    Macro-F1 has its interval in brackets, over seeds and examples; accuracy is shown where labels
    are open or a dataset taught nothing, and invalid labels where there are any. All cells are
    texts.
    """
    names = list(TABLE_1)
    if table["macro_f1"].isna().any() or unlearned(table, recipe):
        names.insert(1, "accuracy")
    if (table["invalid_rate"] > 0).any():
        names.append("invalid_rate")
    return _readable(table, recipe, names)


def likeness(table: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Table 1c for people: how like the gold rationales are, of the methods that write some."""
    return _readable(table[table["bertscore_f1"].notna()], recipe, LIKENESS)


def _readable(table: pd.DataFrame, recipe: Recipe, names: Sequence[str]) -> pd.DataFrame:
    shown = table[["dataset", "title", "seeds"]].rename(columns={"title": "method"}).astype(str)
    shown["method"] = undertrained.titles(table)
    for name in names:
        if table[name].notna().any():
            shown[heading(name, recipe)] = cells(table, name)
    return shown


def cells(table: pd.DataFrame, measure: str) -> list[str]:
    """One measure of a summary as `readable` shows it; one of degenerate rationales has a †."""
    scale = 1 if measure == "corpus_bleu" else 100  # sacreBLEU's is in points already
    shown = []
    for _, row in table.iterrows():
        text = _cell(row[measure], row[f"{measure}_sd"], scale)
        if measure == "macro_f1":
            text += _interval(row)
        inflated = measure in OF_RATIONALES and row["degenerate"] >= INFLATED
        shown.append(f"{text} †" if inflated and pd.notna(row[measure]) else text)
    return shown


def _interval(row: pd.Series) -> str:
    """Macro-F1's interval over seeds and examples, or else over examples, in brackets."""
    for of in ("_method", ""):
        low, high = row.get(f"macro_f1{of}_low"), row.get(f"macro_f1{of}_high")
        if pd.notna(low):
            return f" [{100 * low:.0f}, {100 * high:.0f}]"
    return ""


def titled(title: str, table: pd.DataFrame) -> list[str]:
    """A table as Markdown under its title; nothing where it has no rows."""
    return [title, escape.table(table)] if len(table) else []


def unlearned(frame: pd.DataFrame, recipe: Recipe) -> list[str]:
    """The datasets beside the profile's first one on which no network learned to decide.

    None of them is more accurate there, on average over its runs, than the majority class or
    TF-IDF; what they score then says nothing about the methods. `frame` has a row a method or run.
    """
    first = next(iter(recipe.datasets))
    found = []
    for dataset, rows in frame.groupby("dataset", sort=False):
        accuracy = rows.groupby("method")["accuracy"].mean()
        known = [name for name in accuracy.index if name in recipe.methods]
        objectives = {name: recipe.methods[name].objective for name in known}
        floor = [accuracy[n] for n, kind in objectives.items() if kind in ("majority", "tfidf")]
        networks = [accuracy[name] for name, kind in objectives.items() if kind in OBJECTIVES]
        if dataset != first and floor and networks and max(networks) <= min(floor):
            found.append(dataset)
    return found


def unlearned_sentences(frame: pd.DataFrame, recipe: Recipe) -> list[str]:
    """What has to be said of the datasets that are `unlearned`, a sentence each."""
    sentences = []
    for dataset in unlearned(frame, recipe):
        rows = frame[frame["dataset"] == dataset]
        accuracy = rows.groupby("title", sort=False)["accuracy"].mean()
        listed = ", ".join(f"{title} {100 * value:.1f}" for title, value in accuracy.items())
        sentences.append(
            f"No network learned to decide on {dataset} at this scale (accuracy: {listed}): these "
            "rows say nothing about the methods, which are not compared there."
        )
    return sentences


def stamp(recipe: Recipe, datasets: Sequence[str]) -> str:
    """The profile's note, and which of the datasets, or cards, are synthetic."""
    cards = {entry.card: entry.card for entry in recipe.datasets.values()}
    cards |= {name: entry.card for name, entry in recipe.datasets.items()}
    known = [name for name in dict.fromkeys(datasets) if name in cards]
    synthetic = [name for name in known if load_card(cards[name]).synthetic]
    return f"{recipe.note}; synthetic: {', '.join(synthetic)}" if synthetic else recipe.note


def sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """Table 4 for people: chat models that were never trained beside the fine-tuned ones.

    `frame` is what `llms.zero_shot.table` gives; macro-F1 has its interval over examples.
    """
    rows = []
    for _, row in frame.iterrows():
        shown = {"dataset": row["dataset"], "model": row["title"], "kind": row["kind"]}
        shown["label"] = row["how"] if pd.notna(row["how"]) else "–"
        size = row["parameters"]
        shown["parameters (millions)"] = f"{size / 1e6:,.1f}" if pd.notna(size) else "–"
        shown["Macro-F1"] = _cell(row["macro_f1"], None, 100) + _interval(row)
        shown["Accuracy"] = _cell(row["accuracy"], None, 100)
        seeds = row.get("seeds")
        shown["seeds"] = f"{seeds:.0f}" if pd.notna(seeds) else "–"
        rows.append(shown | {"cases": row["cases"]})
    return pd.DataFrame(rows)


def remarks(table: pd.DataFrame) -> list[str]:
    """What has to be said below table 1: who judged, what is degenerate, what is undertrained."""
    marked = table[table["degenerate"] >= INFLATED]
    degenerate = [
        f"† {row['title']} on {row['dataset']}: {row['degenerate']:.0%} of its rationales are "
        "blank, a single word, or one text for more than half of the cases. The scores of such "
        "texts say nothing."
        for _, row in marked.iterrows()
    ]
    return _judges(table) + degenerate + undertrained.remarks(table)


def unlike_prompts(table: pd.DataFrame, recipe: Recipe) -> list[str]:
    """What has to be said beside agreement where only some rationale prompts name a label."""
    titles: dict[bool, list[str]] = {True: [], False: []}
    explaining = table[table["agreement"].notna()].drop_duplicates("method")
    for _, row in explaining.iterrows():
        chosen = recipe.methods[row["method"]]
        objective = named(chosen.objective, chosen.objective_overrides)
        titles[objective.names_label].append(row["title"])
    told, untold = ("; ".join(titles[names_label]) for names_label in (True, False))
    if not told or not untold:
        return []
    return [
        "Agreement: the rationale prompts of some methods name the label that the rationale has to "
        f"agree with ({told}), those of others name none ({untold})."
    ]


def _judges(table: pd.DataFrame) -> list[str]:
    """How far agreement may be trusted that a judge found, a line a dataset."""
    if "reader" not in table:
        return []
    judged = table[table["reader"].notna() & (table["reader"] != support.GRAMMAR)]
    return [
        f"Agreement on {row['dataset']} is what {row['reader']} says, which reads the label of "
        f"{row['reader_on_gold']:.1%} of the gold rationales of test (by chance "
        f"{row['reader_chance']:.1%})."
        for _, row in judged.drop_duplicates("dataset").iterrows()
    ]


def _cell(mean: float | None, sd: float | None, scale: float) -> str:
    if pd.isna(mean):
        return "–"
    around = "" if pd.isna(sd) else f" ± {scale * sd:.1f}"
    return f"{scale * mean:.1f}{around}"


def costs(table_2: pd.DataFrame) -> pd.DataFrame:
    """Table 2 in the units of `COSTS`; a cost that an earlier run did not note has no column."""
    names = [name for name in ("dataset", "title", "precision") if name in table_2]
    shown = table_2[names].rename(columns={"title": "method"})
    for name, (title, factor, whole) in COSTS.items():
        if name not in table_2 or table_2[name].isna().all():
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

    Below table 1 stand its origin, tables 1b (by kind of case) and 1c (likeness to gold
    rationales), and the published numbers on the same datasets.
    """
    folder(recipe).mkdir(parents=True, exist_ok=True)
    for name, part in tables.items():
        spreadsheet.write(part, folder(recipe) / f"{name}.csv")
    table_1 = tables["table_1"]
    said = [*unlike_prompts(table_1, recipe), *remarks(table_1)]
    said += unlearned_sentences(table_1, recipe)
    parts = [
        f"Profile: {escape.plain(stamp(recipe, table_1['dataset']))}",
        escape.table(readable(table_1, recipe)),
        "\n".join([*map(escape.plain, said), _origin(recipe, tables["runs"])]),
    ]
    parts += titled(TABLE_1B, kinds.table(tables.get("by_kind", pd.DataFrame())))
    parts += titled(TABLE_1C, likeness(table_1, recipe))
    known = published()
    known = known[known["dataset"].isin(table_1["dataset"])]
    if len(known):
        parts.append("Published, and whether the rows above may be laid beside it:")
        known = known.drop(columns=["sd", "profiles"])
        parts.append(escape.table(known, decimals=2, markdown=set(known)))
    (folder(recipe) / "table_1.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_findings(recipe, findings)


def write_findings(
    recipe: Recipe, findings: dict[str, list[str]], file: str = "findings.md"
) -> None:
    """Write sentences by heading as Markdown; a heading without sentences is left out.

    An experiment's heading has its title, too.
    """
    blocks = []
    for name, sentences in findings.items():
        if sentences:
            known = recipe.experiments.get(name)
            heading = f"{name}: {escape.plain(known.title)}" if known else name
            listed = "\n".join(f"- {escape.plain(sentence)}" for sentence in sentences)
            blocks.append(f"**{heading}**\n\n{listed}")
    (folder(recipe) / file).write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def _origin(recipe: Recipe, frame: pd.DataFrame) -> str:
    """The command, device and minutes behind the rows of table 1."""
    named = frame[["dataset", "method", "seed"]].itertuples(index=False, name=None)
    runs = grid.with_starts([Run(recipe, *names) for names in named])
    finished = [run.read() for run in runs]
    envs = [each["env"] for each in finished]
    trained = [each["config"]["train"] for each in finished if each["config"].get("train")]
    precisions = sorted({settings["precision"] for settings in trained})
    numbers = f" in {' and '.join(precisions)}" if precisions else ""
    devices = sorted(
        {f"{env['device']} ({env['kind']}, threads: {env['threads']})" for env in envs}
    )
    profile, _, overridden = recipe.profile.partition("+")
    command = f"`./run_all.sh {profile}`"
    if overridden:
        command += " with changed settings (each run's `config.yaml` holds them)"
    spent = (
        f"{len(envs)} runs (with the stage 1 that they start from), {_seconds(envs) / 60:.0f} "
        f"minutes of training{numbers} and testing"
    )
    return f"These rows: {spent} on {', '.join(devices)}, by {command}."


def _seconds(envs: Sequence[dict]) -> float:
    """Seconds of training and testing."""
    return sum(
        env.get("training", {}).get("seconds", 0) + env["test_seconds"] + env["probe_seconds"]
        for env in envs
    )
