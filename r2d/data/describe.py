"""What a dataset looks like before anything is trained on it."""

import difflib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from r2d.data import Dataset
from r2d.data.record import content_key, some
from r2d.experiments.your_data import kind
from r2d.method import prompts

Row = dict[str, Any]
FIELDS = ("question", "label", "rationale")
RARE, ENOUGH, SHOWN = 10, 300, 10
DROP = 'overrides={"datasets.yours.on_bad_rows": "drop"}'


def balance(dataset: Dataset) -> pd.DataFrame:
    """Cases and share of every label in every split, in label order; an absent label has 0."""
    rows = []
    for split, records in dataset.splits.items():
        counts = Counter(r.category for r in records)
        for label in dataset.categories:
            rows.append(
                {
                    "split": split,
                    "label": label,
                    "cases": counts[label],
                    "share": counts[label] / len(records),
                }
            )
    return pd.DataFrame(rows)


def lengths(
    dataset: Dataset, tokenizer, limits: tuple[int, int], sample: int = 2000
) -> pd.DataFrame:
    """Token lengths of the first `sample` training inputs, rationales and labels, and the share that a limit cuts."""
    cases = [(r.text, r.label, r.rationale) for r in dataset.train[:sample]]
    return _lengths(cases, dataset.labels or {label for _, label, _ in cases}, tokenizer, limits)


def _lengths(
    cases: Sequence[tuple[str, str, str]], labels: Iterable[str], tokenizer, limits: tuple[int, int]
) -> pd.DataFrame:
    texts = {
        "input": ([prompts.explain(case, label) for case, label, _ in cases], limits[0]),
        "rationale": ([rationale for *_, rationale in cases if rationale], limits[1]),
        "label": (list(labels), None),
    }
    rows = []
    for name, (values, limit) in texts.items():
        if values:  # a table without rationales has none
            found = pd.Series([len(ids) for ids in tokenizer(values)["input_ids"]])
            over = float((found > limit).mean()) if limit else 0.0
            quantiles = {
                "median": found.median(),
                "95 %": found.quantile(0.95),
                "longest": int(found.max()),
            }
            rows.append({"text": name, **quantiles, "limit": limit or "–", "share cut": over})
    return pd.DataFrame(rows)


def report(
    train: list[Row], test: list[Row], tokenizer, limits: tuple[int, int], sample: int = 2000
) -> dict:
    """What is in raw rows (texts by `question`, `label`, `rationale`), before any is left out; for `advice`.

    Counts are rows, shares are of the training rows that have what is asked. Questions are equal but for case and blanks.
    """
    rows = train + test
    whole = [row for row in train if row["question"] and kind(row)]
    spelled: dict[str, Counter] = defaultdict(Counter)
    for label in filter(None, map(kind, rows)):
        spelled[label.casefold()][label] += 1
    names = {folded: each.most_common(1)[0][0] for folded, each in spelled.items()}
    counts = Counter(names[kind(row).casefold()] for row in whole)
    groups: dict[bytes, set[str]] = defaultdict(set)
    for row in whole:
        groups[content_key(row["question"])].add(row["label"].casefold())
    asked = [row for row in whole if row["rationale"]]
    cases = [
        (prompts.case(row["question"], row.get("candidates", ())), row["label"], row["rationale"])
        for row in whole[:sample]
    ]
    return {
        "rows": {"train": len(train), "test": len(test)},
        "labels": {name: counts[name] for name in sorted(names.values())},
        "merged": {
            names[folded]: sorted(each) for folded, each in spelled.items() if len(each) > 1
        },
        "alike": _alike(list(names.values())),
        "missing": {field: sum(not row[field] for row in rows) for field in FIELDS},
        "outside": sum(bool(row["label"]) and not kind(row) for row in rows),
        "explained": len(asked),
        "duplicates": len(whole) - len(groups),
        "contradictions": sum(len(labels) > 1 for labels in groups.values()),
        "leaks": sum(content_key(row["question"]) in groups for row in test if row["question"]),
        "label in question": _share_stating(whole, "question"),
        "label in rationale": _share_stating(asked, "rationale"),
        "lengths": _lengths(cases, {label for _, label, _ in cases}, tokenizer, limits),
    }


def advice(found: dict) -> list[str]:
    """A `report` in sentences: what to mend first; a sound table gets one that says so."""
    return [*_about_rows(found), *_about_labels(found), *_about_texts(found)] or [
        "Nothing stands in the way of training."
    ]


def _about_rows(found: dict) -> Iterator[str]:
    for field in ("question", "label"):
        if number := found["missing"][field]:
            yield f"{number} row(s) have no {field}: fill them in, or leave them out with {DROP}."
    if number := found["outside"]:
        yield f"{number} row(s) have a label that is not among their candidates: mend one of them, or use {DROP}."
    if number := found["leaks"]:
        yield f"{number} test question(s) are also in the training rows, which flatters the model: remove them, or use {DROP}."
    if number := found["duplicates"]:
        yield f"{number} training row(s) repeat a question: they are kept in one split, but teach nothing new."
    if number := found["contradictions"]:
        yield f"{number} question(s) have different labels in different rows: decide which is right."
    if not found["explained"]:
        yield "There are no rationales: only SFT can be trained; `python -m r2d write-rationales` has a chat model write some."
    elif number := found["missing"]["rationale"]:
        yield f"{number} row(s) have no rationale: they teach the label only."


def _about_labels(found: dict) -> Iterator[str]:
    for name, spellings in list(found["merged"].items())[:SHOWN]:
        yield f"Labels {some(spellings)} differ in case only and are taken as {name!r}."
    for one, other in found["alike"][:SHOWN]:
        yield f"Labels {some([one, other])} look alike: if they mean the same, write them the same."
    if rare := [name for name, cases in found["labels"].items() if cases < RARE]:
        yield f"Fewer than {RARE} training rows have label {some(rare)}: give more, or join such labels into one."
    top = max(found["labels"], key=found["labels"].get)
    share = found["labels"][top] / max(1, sum(found["labels"].values()))
    if share > 0.6:
        yield f"{share:.0%} of the rows are {some([top])}: read macro-F1, not accuracy, which always answering that would reach."
    if (rows := sum(found["labels"].values())) < ENOUGH:
        yield f"{rows} training rows are few: expect wide intervals, and look at them before any mean."


def _about_texts(found: dict) -> Iterator[str]:
    for _, row in found["lengths"].iterrows():
        if row["share cut"] > 0.02:
            key = "max_input_tokens" if row["text"] == "input" else "max_rationale_tokens"
            wanted = int(-(-row["95 %"] // 16) * 16)
            yield (
                f"{row['share cut']:.0%} of the {row['text']}s are longer than {row['limit']} tokens and lose their end: "
                f'set overrides={{"{key}": {wanted}}} to keep 95 % whole, at a price in time and memory.'
            )
    if (share := found["label in question"]) > 0.2:
        yield f"{share:.0%} of the questions contain the words of their own label: make sure that they do not give it away."
    if (share := found["label in rationale"]) > 0.2:
        yield (
            f"{share:.0%} of the rationales state their label: consistency and sufficiency will then measure copying; "
            "rationales that argue without naming the label say more."
        )


def _alike(names: list[str]) -> list[tuple[str, str]]:
    """Pairs of labels that differ in blanks or by a letter or two of many."""
    pairs = itertools.combinations(sorted(names)[:100], 2)
    close = [
        (a, b, difflib.SequenceMatcher(None, a.casefold(), b.casefold()).ratio()) for a, b in pairs
    ]
    return [
        (a, b)
        for a, b, ratio in close
        if "".join(a.split()) == "".join(b.split()) or (ratio > 0.9 and len(a) > 6)
    ]


def _share_stating(rows: list[Row], field: str) -> float:
    """Share of rows whose text has the row's own label in it, as whole words."""

    def states(row: Row) -> bool:
        label, text = row["label"].casefold(), row[field].casefold()
        return label in text and bool(re.search(rf"\b{re.escape(label)}\b", text))

    return sum(map(states, rows)) / len(rows) if rows else 0.0
