"""Chat models that were never trained for the task.

Labels and rationales by one structured answer, labels also by scoring.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import pandas as pd

from r2d import data, paths
from r2d.data import Dataset, Record
from r2d.errors import R2DError
from r2d.evaluation import metrics
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.llms.ask import Replies, Shot, Template, ask_all, template
from r2d.llms.chat import Chat
from r2d.llms.types import Totals
from r2d.models.decode import prediction
from r2d.models.sanity import majority
from r2d.recipes import Recipe


def worked_examples(dataset: Dataset, k: int) -> list[Shot]:
    """`k` of the training split, its labels in turn, as far as they have a rationale."""
    by_label = [
        [record for record in dataset.train if record.label == label and record.rationale]
        for label in dataset.labels
    ]
    rounds = max(map(len, by_label), default=0)
    in_turn = [records[i] for i in range(rounds) for records in by_label if i < len(records)]
    return [
        (_fields(record, dataset.labels), {"label": record.label, "rationale": record.rationale})
        for record in in_turn[:k]
    ]


def ask(recipe: Recipe, name: str, llm: str, chat: Chat) -> pd.DataFrame:
    """Ask `llm` about the first test cases of dataset `name`; returns its rows of `table`.

    Writes predictions, metrics and what it took to `runs/<profile>/<dataset>/zero-shot/<llm>/`
    (`few-shot-<k>` with k worked examples). A missing answer counts as an invalid label;
    `label_scored` is the likeliest of the label set, where the backend can tell.
    """
    settings = recipe.zero_shot
    dataset = data.load(name, recipe.datasets[name])
    if not dataset.labels:
        ours = "are open" if dataset.has_open_labels else "are each case's own"
        raise R2DError(
            f"Chat models choose from one label set, but the labels of {name} {ours}: leave it out."
        )
    records = dataset.test[: settings.cases]
    prompt = template("zero_shot", settings.prompt).choosing(label=dataset.labels)
    shots = worked_examples(dataset, settings.shots)
    before = replace(chat.totals)
    items = [_fields(record, dataset.labels) for record in records]
    replies = ask_all(chat, prompt, items, shots, f"{name} {llm}")
    likeliest = likeliest_labels(chat, prompt, records, dataset.labels, shots)
    predictions = []
    for record, answer, label in zip(records, replies.answers, likeliest, strict=True):
        predicted = prediction(record, answer["label"] if answer else "", dataset.labels)
        rationale = answer["rationale"] if answer else ""
        predictions.append(predicted | {"rationale": rationale, "label_scored": label})
    measured = {"answer": metrics.evaluate(predictions, dataset.labels, recipe.metrics)}
    if any(likeliest):
        scored = labels_only(predictions, "label_scored")
        measured["scored"] = metrics.evaluate(scored, dataset.labels, recipe.metrics)
    _write(recipe, name, llm, predictions, measured, replies, chat.totals.since(before))
    row = {
        "dataset": name,
        "kind": "zero-shot",
        "name": llm,
        "title": recipe.llms[llm].title + (f" ({len(shots)} examples)" if shots else ""),
        "parameters": recipe.llms[llm].parameters,
        "parse_rate": 1 - replies.missing_rate,
        "seeds": 1,
    }
    return pd.DataFrame([row | {"how": how} | _scores([m]) for how, m in measured.items()])


def likeliest_labels(
    chat: Chat,
    prompt: Template,
    records: Sequence[Record],
    labels: Sequence[str],
    shots: Sequence[Shot],
) -> list[str]:
    """The likeliest answer of each record among the labels; "" where the backend can't tell.

    So a small model's formatting does not decide. An option is the JSON object that the prompt asks
    for, with its label alone.
    """
    conversations = [prompt.messages(shots, **_fields(record, labels)) for record in records]
    options = [json.dumps({"label": label}, ensure_ascii=False) for label in labels]
    scores = chat.score(conversations, [options] * len(records), f"{prompt.name} label")
    if not scores:
        return [""] * len(records)
    return [labels[row.index(max(row))] for row in scores]


def table(
    recipe: Recipe, experiments: Sequence[str], answered: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """The rows of `ask`, and beside them others on the same test cases.

    Majority, and the fine-tuned runs of these experiments.
    """
    frames = list(answered)
    runs = grid.runs(recipe, experiments)
    for name in grid.datasets(recipe, experiments):
        dataset = data.load(name, recipe.datasets[name])
        records = dataset.test[: recipe.zero_shot.cases]
        rows = [_majority_row(recipe, dataset, records)]
        by_method: dict[str, list[Run]] = {}
        for run in runs:
            if run.dataset == name:
                by_method.setdefault(run.method, []).append(run)
        rows += [_tuned_row(recipe, dataset, records, seeds) for seeds in by_method.values()]
        frames += [pd.DataFrame([row]) for row in rows]
    return pd.concat(frames, ignore_index=True)


def _majority_row(recipe: Recipe, dataset: Dataset, records: Sequence[Record]) -> dict:
    predictions = [
        prediction(record, label, dataset.labels)
        for record, label in zip(records, majority(dataset.train, records), strict=True)
    ]
    return {
        "dataset": dataset.name,
        "parse_rate": None,
        "kind": "majority",
        "name": "majority",
        "title": "Majority class",
    } | _scores([metrics.evaluate(predictions, dataset.labels, recipe.metrics)])


def _tuned_row(
    recipe: Recipe, dataset: Dataset, records: Sequence[Record], runs: Sequence[Run]
) -> dict:
    """The row of one method's finished runs, which differ in the seed."""
    ids = {record.id for record in records}
    finished = [run.read() for run in runs]
    measured = []
    for each in finished:
        predictions = [row for row in each["predictions"] if row["id"] in ids]
        labels = labels_only(predictions, "label")
        measured.append(metrics.evaluate(labels, dataset.labels, recipe.metrics))
    return {
        "dataset": dataset.name,
        "parse_rate": None,
        "kind": "fine-tuned",
        "name": runs[0].method,
        "title": runs[0].title,
        "how": "generated",
        "parameters": finished[0]["env"].get("parameters"),
        "seeds": len(finished),
    } | _scores(measured)


def _fields(record: Record, labels: Sequence[str]) -> dict:
    return {"question": record.question, "labels": list(labels)}


def labels_only(predictions: Sequence[dict], key: str) -> list[dict]:
    """Predictions whose label is in `key`, without their rationales; what is true of them stays."""
    names = ("id", "gold", "rationale_gold", "reason", "kind", "facts")
    return [
        {name: each[name] for name in names if name in each} | {"label": each[key], "rationale": ""}
        for each in predictions
    ]


def _scores(measured: Sequence[dict]) -> dict:
    """Macro-F1 with its interval and accuracy, each a mean over runs."""
    f1 = [each["metrics"]["macro_f1"] for each in measured]
    intervals = [each["interval"] or (each["value"], each["value"]) for each in f1]
    accuracies = [each["metrics"]["accuracy"]["value"] for each in measured]
    return {
        "macro_f1": _mean([each["value"] for each in f1]),
        "accuracy": _mean(accuracies),
        "macro_f1_low": _mean([low for low, _ in intervals]),
        "macro_f1_high": _mean([high for _, high in intervals]),
        "cases": measured[0]["n"],
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _write(
    recipe: Recipe,
    name: str,
    llm: str,
    predictions: list[dict],
    measured: dict,
    replies: Replies,
    spent: Totals,
) -> None:
    """The files of `ask`."""
    k = recipe.zero_shot.shots
    folder = paths.runs(recipe.profile) / name / (f"few-shot-{k}" if k else "zero-shot") / llm
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "model": recipe.llms[llm].model_dump(),
        "zero_shot": recipe.zero_shot.model_dump(),
        "totals": asdict(spent),
    }
    record |= {key: value for key, value in asdict(replies).items() if key != "answers"}
    paths.write_lines(folder / "predictions.jsonl", predictions)
    paths.write(folder / "metrics.json", json.dumps(metrics.rounded(measured), indent=1))
    paths.write(folder / "env.json", json.dumps(record, indent=1))
