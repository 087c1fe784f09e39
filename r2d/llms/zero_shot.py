"""Chat models that were never trained for the task: labels and rationales by one structured answer, labels also by scoring."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import pandas as pd

from r2d import data, paths
from r2d.data import Dataset, Record
from r2d.errors import R2DError
from r2d.evaluation import metrics
from r2d.experiments import grid, run
from r2d.llms.ask import Asked, Shot, Template, ask_all, template
from r2d.llms.chat import Chat, Totals
from r2d.models import sanity
from r2d.models.decode import prediction
from r2d.recipes import Recipe


def worked(dataset: Dataset, k: int) -> list[Shot]:
    """`k` worked examples of the training split, its labels in turn, as far as they have a rationale."""
    by_label = {
        label: [r for r in dataset.train if r.label == label and r.rationale]
        for label in dataset.labels
    }
    turns = max(map(len, by_label.values()), default=0)
    found = [records[i] for i in range(turns) for records in by_label.values() if i < len(records)]
    return [
        (_fields(r, dataset.labels), {"label": r.label, "rationale": r.rationale})
        for r in found[:k]
    ]


def ask(recipe: Recipe, name: str, llm: str, chat: Chat) -> pd.DataFrame:
    """Ask `llm` about the first test cases of dataset `name`; returns its rows of `table`.

    Writes predictions, metrics and what it took to `runs/<profile>/<dataset>/zero-shot/<llm>/` (`few-shot-<k>` with k worked
    examples). A missing answer counts as an invalid label; `label_scored` is the likeliest of the label set, where the backend
    can tell.
    """
    dataset, settings = data.load(name, recipe.datasets[name]), recipe.zero_shot
    if not dataset.labels:
        raise R2DError(
            f"Chat models choose from one label set, but each case of {name} brings its own: leave {name} out."
        )
    records, prompt = (
        dataset.test[: settings.cases],
        template("zero_shot", settings.prompt).choosing(label=dataset.labels),
    )
    shots, before = worked(dataset, settings.shots), replace(chat.totals)
    asked = ask_all(
        chat, prompt, [_fields(r, dataset.labels) for r in records], shots, f"{name} {llm}"
    )
    best = scored(chat, prompt, records, dataset.labels, shots)
    rows = [
        _prediction(*each, dataset.labels)
        for each in zip(records, asked.answers, best, strict=True)
    ]
    found = {"answer": metrics.evaluate(rows, dataset.labels, recipe.metrics)}
    if any(best):
        found["scored"] = metrics.evaluate(
            _labels_only(rows, "label_scored"), dataset.labels, recipe.metrics
        )
    _write(recipe, name, llm, rows, found, asked, chat.totals.since(before))
    title = recipe.llms[llm].title + (f" ({len(shots)} examples)" if shots else "")
    named = {"dataset": name, "kind": "zero-shot", "name": llm, "title": title}
    shared = named | {
        "parameters": recipe.llms[llm].parameters,
        "parse_rate": 1 - asked.missing_rate,
        "seeds": 1,
    }
    return pd.DataFrame([shared | {"how": how} | _scores([each]) for how, each in found.items()])


def scored(
    chat: Chat,
    prompt: Template,
    records: Sequence[Record],
    labels: Sequence[str],
    shots: Sequence[Shot],
) -> list[str]:
    """The likeliest answer of each record among the labels, so that a small model's formatting does not decide; "" if unknown.

    An option is the JSON object that the prompt asks for, with its label alone.
    """
    conversations = [prompt.messages(shots, **_fields(r, labels)) for r in records]
    options = [[json.dumps({"label": label}, ensure_ascii=False) for label in labels]] * len(
        records
    )
    found = chat.score(conversations, options, f"{prompt.name} label")
    return (
        [labels[max(range(len(labels)), key=each.__getitem__)] for each in found]
        if found
        else [""] * len(records)
    )


def table(
    recipe: Recipe, experiments: Sequence[str], asked: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """The answers' rows, and beside them majority and the fine-tuned runs of these experiments on the same test cases."""
    frames = list(asked)
    for name in grid.datasets(recipe, experiments):
        dataset = data.load(name, recipe.datasets[name])
        records = dataset.test[: recipe.zero_shot.cases]
        same = {"dataset": name, "parse_rate": None}
        texts = sanity.ROWS["majority"](dataset.train, records, 0)
        majority = [row(r, text, dataset.labels) for r, text in zip(records, texts, strict=True)]
        found = _scores([metrics.evaluate(majority, dataset.labels, recipe.metrics)])
        frames.append(
            pd.DataFrame(
                [same | {"kind": "majority", "name": "majority", "title": "Majority class"} | found]
            )
        )
        runs = grid.runs(recipe, experiments)
        for method in dict.fromkeys(m for d, m, _ in runs if d == name):
            each = [
                run.read(paths.run(recipe.profile, *which))
                for which in runs
                if which[:2] == (name, method)
            ]
            wanted = {r.id for r in records}
            rows = [[p for p in one["predictions"] if p["id"] in wanted] for one in each]
            found = _scores(
                [
                    metrics.evaluate(_labels_only(part, "label"), dataset.labels, recipe.metrics)
                    for part in rows
                ]
            )
            named = {
                "kind": "fine-tuned",
                "name": method,
                "title": recipe.methods[method].title,
                "how": "generated",
            }
            size = {"parameters": each[0]["env"].get("parameters"), "seeds": len(each)}
            frames.append(pd.DataFrame([same | named | size | found]))
    return pd.concat(frames, ignore_index=True)


def sentences(frame: pd.DataFrame) -> list[str]:
    """Per dataset: the smallest fine-tuned model that does as well as the best zero-shot one, and how much smaller it is.

    Intervals that overlap, and a zero-shot model whose interval holds the majority class, are said to.
    """
    lines = []
    for dataset, rows in frame.groupby("dataset", sort=False):
        tuned, zero = (
            rows[(rows["kind"] == kind) & rows["parameters"].notna()]
            for kind in ("fine-tuned", "zero-shot")
        )
        if tuned.empty or zero.empty:
            continue
        best = zero.loc[zero["macro_f1"].idxmax()]
        enough = tuned[tuned["macro_f1"] >= best["macro_f1"]]
        mine = (
            tuned.loc[tuned["macro_f1"].idxmax()]
            if enough.empty
            else enough.loc[enough["parameters"].idxmin()]
        )
        floor = rows.loc[rows["kind"] == "majority", "macro_f1"].max()
        doubts = ["Their intervals overlap."] if _overlap(mine, best) else []
        if best["macro_f1_low"] <= floor <= best["macro_f1_high"]:
            doubts.append("The majority class is inside that model's interval.")
        smaller = f"{best['parameters'] / mine['parameters']:.0f} times smaller than"
        verb = (
            "is the best fine-tuned model and does not reach" if enough.empty else f"is {smaller}"
        )
        cases = f"{int(best['cases'])} test cases"
        said = f"On {dataset} {_named(mine)} {verb} the best zero-shot model here, {_named(best)}; {cases}."
        lines.append(" ".join([said, *doubts]))
    return lines


def _named(row: pd.Series) -> str:
    return f"{row['title']} ({row['how']}, macro-F1 {100 * row['macro_f1']:.1f})"


def _overlap(one: pd.Series, other: pd.Series) -> bool:
    return (
        one["macro_f1_low"] <= other["macro_f1_high"]
        and other["macro_f1_low"] <= one["macro_f1_high"]
    )


def _fields(record: Record, labels: Sequence[str]) -> dict:
    return {"question": record.question, "labels": list(labels)}


def _prediction(record: Record, answer: dict | None, best: str, labels: Sequence[str]) -> dict:
    made = row(record, answer["label"] if answer else "", labels)
    return made | {"rationale": answer["rationale"] if answer else "", "label_scored": best}


def _labels_only(rows: Sequence[dict], key: str) -> list[dict]:
    names = ("id", "gold", "rationale_gold", "reason")
    return [
        {name: each[name] for name in names} | {"label": each[key], "rationale": ""}
        for each in rows
    ]


def _scores(found: Sequence[dict]) -> dict:
    """Macro-F1 with its interval and accuracy, each a mean over runs."""
    measures = [each["metrics"] for each in found]
    made = {
        name: sum(m[name]["value"] for m in measures) / len(measures)
        for name in ("macro_f1", "accuracy")
    }
    ends = [m["macro_f1"]["interval"] or [m["macro_f1"]["value"]] * 2 for m in measures]
    low, high = (sum(end[i] for end in ends) / len(ends) for i in (0, 1))
    return made | {"macro_f1_low": low, "macro_f1_high": high, "cases": found[0]["n"]}


def _write(
    recipe: Recipe, name: str, llm: str, rows: list[dict], found: dict, asked: Asked, spent: Totals
) -> None:
    k = recipe.zero_shot.shots
    folder = paths.runs(recipe.profile) / name / (f"few-shot-{k}" if k else "zero-shot") / llm
    folder.mkdir(parents=True, exist_ok=True)
    took = {
        "model": recipe.llms[llm].model_dump(),
        "zero_shot": recipe.zero_shot.model_dump(),
        "totals": asdict(spent),
    }
    took |= {k: v for k, v in asdict(asked).items() if k != "answers"}
    paths.write_lines(folder / "predictions.jsonl", rows)
    paths.write(folder / "metrics.json", json.dumps(found, indent=1))
    paths.write(folder / "env.json", json.dumps(took, indent=1))
