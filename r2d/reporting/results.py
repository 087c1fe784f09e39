"""From finished runs to tables: every number is read from a run directory, never passed on by hand."""

import io
from collections.abc import Sequence

import pandas as pd
import yaml

from r2d import paths
from r2d.errors import R2DError
from r2d.evaluation import stats
from r2d.experiments import grid, run
from r2d.experiments.grid import Run
from r2d.recipes import Recipe

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


def collect(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: its names, every measure with its interval over examples, and what it cost (seconds, MB)."""
    rows = []
    for dataset, method, seed in runs:
        found = _read(recipe, dataset, method, seed)
        chosen, env, training = (
            recipe.methods[method],
            found["env"],
            found["env"].get("training", {}),
        )
        row = {
            "profile": recipe.profile, "dataset": dataset, "method": method, "title": chosen.title, "seed": seed,
            "tuning": chosen.tuning if training else "", "test_cases": env["test_cases"],
        }  # fmt: skip
        for name, measure in found["metrics"].get("metrics", {}).items():
            row[name] = measure["value"]
            row[f"{name}_low"], row[f"{name}_high"] = measure["interval"] or (None, None)
        for name in ("parameters", "trainable", "peak_memory_mb"):
            row[name] = env.get(name)
        row |= {
            name: training.get(name)
            for name in ("steps", "best_step", "seconds", "seconds_per_step")
        }
        row["seconds_per_case"] = (
            env["test_seconds"] / env["test_cases"] if env["test_cases"] else None
        )
        rows.append(row)
    return pd.DataFrame(rows)


def per_class(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """F1 of every class of every run."""
    rows = []
    for dataset, method, seed in runs:
        for label, f1 in (
            _read(recipe, dataset, method, seed)["metrics"].get("per_class_f1", {}).items()
        ):
            rows.append(
                {
                    "dataset": dataset,
                    "method": method,
                    "seed": seed,
                    "label": label,
                    "f1": f1["value"],
                }
            )
    return pd.DataFrame(rows)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds of every measure, a row a dataset and method, in recipe order.

    `_low` and `_high` are the ends of the seeds' intervals over examples, each averaged over seeds; `_seeds_low` and
    `_seeds_high` those of the 95 % t interval over seeds.
    """
    rows = []
    for (dataset, method), group in frame.groupby(["dataset", "method"], sort=False):
        row = {
            "profile": group["profile"].iloc[0],
            "dataset": dataset,
            "method": method,
            "title": group["title"].iloc[0],
        }
        row |= {"seeds": len(group), "test_cases": int(group["test_cases"].iloc[0])}
        for name in MEASURES:
            values = group[name].dropna().tolist() if name in group else []
            over = (
                stats.over_seeds(values) if values else {"mean": None, "sd": None, "interval": None}
            )
            row[name], row[f"{name}_sd"] = over["mean"], over["sd"]
            row[f"{name}_seeds_low"], row[f"{name}_seeds_high"] = over["interval"] or (None, None)
            row |= {
                key: group[key].mean() if key in group else None
                for key in (f"{name}_low", f"{name}_high")
            }
        rows.append(row)
    return pd.DataFrame(rows)


def compare(
    recipe: Recipe, runs: Sequence[Run], dataset: str, against: Sequence[str], reference: str
) -> pd.DataFrame:
    """Paired permutation tests of accuracy, `reference` minus each other method, Holm-corrected.

    An example's value is its mean correctness over seeds, so examples, not seeds times examples, are the sample.
    """
    own = _correctness(recipe, runs, dataset, reference)
    rows = []
    for method in against:
        other = _correctness(recipe, runs, dataset, method)
        shared = own.index.intersection(other.index)
        found = stats.paired(own[shared], other[shared])
        low, high = found.pop("interval")
        seeds = sum((d, m) == (dataset, reference) for d, m, _ in runs)
        row = {"dataset": dataset, "method": reference, "against": method, "seeds": seeds}
        rows.append(row | found | {"low": low, "high": high})
    adjusted = stats.holm([row["p"] for row in rows]) if rows else []
    return pd.DataFrame([row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)])


def sentence(recipe: Recipe, row: pd.Series) -> str:
    """One comparison in words; a difference inside its noise is written as such."""
    a, b = (recipe.methods[row[name]].title for name in ("method", "against"))
    around = f"95 % interval {100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
    size = f"{100 * row['difference']:+.1f} points of accuracy ({around})"
    where = f"{row['dataset']} ({row['seeds']:.0f} seed{'s' if row['seeds'] > 1 else ''})"
    if row["p_holm"] >= 0.05:
        return f"{a} and {b} can't be told apart on {where}: {size}, corrected p = {row['p_holm']:.2g}."
    verb = "beats" if row["difference"] > 0 else "is beaten by"
    return f"{a} {verb} {b} on {where}: {size}, corrected p = {row['p_holm']:.2g}."


def curves(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """The training logs of runs: one row a logged step, with losses, schedules and validation scores."""
    frames = []
    for dataset, method, seed in runs:
        log = _read(recipe, dataset, method, seed)["log"]
        if log:
            frames.append(pd.DataFrame(log).assign(dataset=dataset, method=method, seed=seed))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def parse(text: str) -> pd.DataFrame:
    """A table from the CSV text that was written; only an empty cell is missing, since a class may be called "None"."""
    if not text.strip():
        return pd.DataFrame({"dataset": []})
    return pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])


def confusion(recipe: Recipe, dataset: str, method: str, seed: int) -> pd.DataFrame:
    """Confusion counts of one run: rows gold, columns predicted, the last one invalid labels."""
    found = _read(recipe, dataset, method, seed)["metrics"]
    return pd.DataFrame(
        found["confusion"], index=found["labels"], columns=[*found["labels"], "invalid"]
    )


def signatures(recipe: Recipe, runs: Sequence[Run]) -> dict[str, str]:
    """Every measure's signature, as the runs recorded it."""
    found: dict[str, str] = {}
    for which in runs:
        found |= _read(recipe, *which)["metrics"].get("signatures", {})
    return found


def published() -> pd.DataFrame:
    """Every number of the paper that was found, each with its mark and why it is or is not comparable with ours."""
    entries = yaml.safe_load(paths.PUBLISHED.read_text(encoding="utf-8"))
    return pd.DataFrame(entries)


def scores(metrics: dict) -> pd.DataFrame:
    """One run's `metrics.json` for people: a row a measure with its value, its interval over examples and how many they were."""
    rows = {}
    for name, found in metrics["metrics"].items():
        low, high = found["interval"] or (None, None)
        rows[titled(name, metrics)] = {
            "value": round(found["value"], 3),
            "low": low,
            "high": high,
            "cases": found["n"],
        }
    return pd.DataFrame(rows).T.astype({"cases": int}).round(3)


def titled(name: str, metrics: dict) -> str:
    """A measure of a run's `metrics.json` by its name for people, BERTScore's with the model its signature begins with."""
    stem = name.removesuffix("_given_gold")
    model = f" ({metrics['signatures'][stem].partition('_')[0]})" if stem == "bertscore_f1" else ""
    return MEASURES[stem] + model + (", given the gold label" if stem != name else "")


def heading(measure: str, recipe: Recipe) -> str:
    """A measure's name for people; BERTScore's with the model that computed it, without which it says nothing."""
    return MEASURES[measure] + (
        f" ({recipe.metrics.bertscore})" if measure == "bertscore_f1" else ""
    )


def readable(table: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """The summary for people: `mean ± sd` over seeds in points of 100, one column a measure that has values.

    Macro-F1 has its interval over examples in brackets.
    """
    shown = table[["dataset", "title", "seeds"]].rename(columns={"title": "method"})
    for name in MEASURES:
        if table[name].notna().any():
            scale, column = 1 if name == "corpus_bleu" else 100, heading(name, recipe)
            shown[column] = [
                _cell(m, s, scale) for m, s in zip(table[name], table[f"{name}_sd"], strict=True)
            ]
            if name == "macro_f1":
                ends = zip(shown[column], table[f"{name}_low"], table[f"{name}_high"], strict=True)
                shown[column] = [
                    f"{cell} [{100 * low:.0f}, {100 * high:.0f}]" for cell, low, high in ends
                ]
    return shown


def write(recipe: Recipe, tables: dict[str, pd.DataFrame], findings: dict[str, list[str]]) -> None:
    """Write the tables as CSV, table 1 also for people with the published numbers below, and the findings, by heading."""
    folder = paths.runs(recipe.profile) / "results"
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in tables.items():
        part.to_csv(folder / f"{name}.csv", index=False)
    known = published()
    known = known[known["dataset"].isin(tables["table_1"]["dataset"])].drop(
        columns=["sd", "profiles"]
    )
    lines = [
        f"Profile: {recipe.note}",
        readable(tables["table_1"], recipe).to_markdown(index=False, disable_numparse=True),
    ]
    lines.append(_origin(recipe, tables["runs"]))
    if len(known):
        lines += [
            "Published, and whether the rows above may be laid beside it:",
            known.to_markdown(index=False, floatfmt=".2f"),
        ]
    (folder / "table_1.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    say(recipe, findings)


def _origin(recipe: Recipe, frame: pd.DataFrame) -> str:
    """The command, device and minutes behind the rows of table 1."""
    runs = grid.with_starts(
        recipe, list(frame[["dataset", "method", "seed"]].itertuples(index=False, name=None))
    )
    envs = [_read(recipe, *which)["env"] for which in runs]
    minutes = (
        sum(
            e.get("training", {}).get("seconds", 0) + e["test_seconds"] + e["probe_seconds"]
            for e in envs
        )
        / 60
    )
    devices = sorted({f"{e['device']} ({e['kind']}, threads: {e['threads']})" for e in envs})
    profile, _, changed = recipe.profile.partition("+")
    made = f"`./run_all.sh {profile}`" + (
        " with changed settings (each run's `config.yaml` holds them)" if changed else ""
    )
    spent = f"{len(envs)} runs (with the stage 1 that they start from), {minutes:.0f} minutes of training and testing"
    return f"These rows: {spent} on {', '.join(devices)}, by {made}."


def say(recipe: Recipe, findings: dict[str, list[str]], file: str = "findings.md") -> None:
    """Write sentences by heading as Markdown into the results; a heading without sentences is left out."""
    said = [
        f"**{name}**\n\n" + "\n".join(f"- {line}" for line in lines)
        for name, lines in findings.items()
        if lines
    ]
    (paths.runs(recipe.profile) / "results" / file).write_text(
        "\n\n".join(said) + "\n", encoding="utf-8"
    )


def _cell(mean: float | None, sd: float | None, scale: float) -> str:
    if pd.isna(mean):
        return "–"
    return f"{scale * mean:.1f}" + ("" if pd.isna(sd) else f" ± {scale * sd:.1f}")


def _correctness(recipe: Recipe, runs: Sequence[Run], dataset: str, method: str) -> pd.Series:
    seeds = [seed for d, m, seed in runs if (d, m) == (dataset, method)]
    if not seeds:
        raise R2DError(
            f"There is no run of {method} on {dataset} to compare; add it to the experiment."
        )
    parts = [_read(recipe, dataset, method, seed)["metrics"]["per_example"] for seed in seeds]
    return pd.concat(
        [pd.Series(p["correct"], index=p["id"], dtype=float) for p in parts], axis=1
    ).mean(axis=1)


def _read(recipe: Recipe, dataset: str, method: str, seed: int) -> dict:
    return run.read(paths.run(recipe.profile, dataset, method, seed))
