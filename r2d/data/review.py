"""A user's table before anything is left out of it: what is in its rows, and what to mend first.

A row is its texts by `question`, `label` and `rationale`, and its `candidates` where it has some.
"""

import difflib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from r2d.data.describe import lengths_of
from r2d.data.record import content_key, folded, listed, raw_category
from r2d.method import prompts

TextRow = dict[str, Any]
FIELDS = ("question", "label", "rationale")
RARE = 10  # training rows of a label
ENOUGH = 300  # training rows
MOST_SHOWN = 10
DROP = 'overrides={"datasets.yours.on_bad_rows": "drop"}'


def report(
    train: list[TextRow],
    test: list[TextRow],
    tokenizer,
    limits: tuple[int, int],
    sample: int = 2000,
    open_labels: bool = False,
) -> dict:
    """What is in a table's rows, for `advice`.

    Counts are rows, shares are of the training rows that have what is asked. Questions are equal
    but for case and blanks.
    """
    rows = train + test
    whole = [row for row in train if row["question"] and raw_category(row)]
    explained = [row for row in whole if row["rationale"]]
    labels_of = _labels_by_question(whole)
    questions = [content_key(row["question"]) for row in test if row["question"]]
    return {
        "rows": {"train": len(train), "test": len(test)},
        **_labels(rows, whole),
        "open labels": open_labels,
        "missing": {field: sum(not row[field] for row in rows) for field in FIELDS},
        "outside": sum(bool(row["label"]) and not raw_category(row) for row in rows),
        "explained": len(explained),
        "duplicates": len(whole) - len(labels_of),
        "contradictions": sum(len(labels) > 1 for labels in labels_of.values()),
        "leaks": sum(question in labels_of for question in questions),
        "label in question": _share_stating(whole, "question"),
        "label in rationale": _share_stating(explained, "rationale"),
        "lengths": _lengths(whole[:sample], tokenizer, limits),
    }


def advice(report: dict) -> list[str]:
    """A `report` in sentences: what to mend first; a sound table gets one that says so."""
    sentences = [*_about_rows(report), *_about_labels(report), *_about_texts(report)]
    return sentences or ["Nothing stands in the way of training."]


def _labels(rows: list[TextRow], whole: list[TextRow]) -> dict:
    """How often each label is trained, which spellings are one label, which labels look alike."""
    spellings: dict[str, Counter] = defaultdict(Counter)
    for label in filter(None, map(raw_category, rows)):
        spellings[folded(label)][label] += 1
    names = {key: counts.most_common(1)[0][0] for key, counts in spellings.items()}
    cases = Counter(names[folded(raw_category(row))] for row in whole)
    return {
        "labels": {name: cases[name] for name in sorted(names.values())},
        "merged": {
            names[key]: sorted(counts) for key, counts in spellings.items() if len(counts) > 1
        },
        "alike": _alike(list(names.values())),
    }


def _labels_by_question(rows: list[TextRow]) -> dict[bytes, set[str]]:
    labels: dict[bytes, set[str]] = defaultdict(set)
    for row in rows:
        labels[content_key(row["question"])].add(folded(row["label"]))
    return labels


def _alike(names: list[str]) -> list[tuple[str, str]]:
    """Pairs of labels that differ in blanks or by a letter or two of many."""
    pairs = []
    for one, other in itertools.combinations(sorted(names)[:100], 2):
        ratio = difflib.SequenceMatcher(None, one.casefold(), other.casefold()).ratio()
        same_letters = "".join(one.split()) == "".join(other.split())
        if same_letters or (ratio > 0.9 and len(one) > 6):
            pairs.append((one, other))
    return pairs


def _share_stating(rows: list[TextRow], field: str) -> float:
    """Share of rows whose text has the row's own label in it, as whole words."""
    stating = sum(_states(row[field].casefold(), row["label"].casefold()) for row in rows)
    return stating / len(rows) if rows else 0.0


def _states(text: str, label: str) -> bool:
    return label in text and bool(re.search(rf"\b{re.escape(label)}\b", text))


def _lengths(rows: list[TextRow], tokenizer, limits: tuple[int, int]):
    cases = [
        (prompts.case(row["question"], row.get("candidates", ())), row["label"], row["rationale"])
        for row in rows
    ]
    return lengths_of(cases, {label for _, label, _ in cases}, tokenizer, limits)


def _about_rows(report: dict) -> Iterator[str]:
    missing = report["missing"]
    for field in ("question", "label"):
        if missing[field]:
            yield (
                f"{missing[field]} row(s) have no {field}: fill them in, or leave them out with "
                f"{DROP}."
            )
    if report["outside"]:
        yield (
            f"{report['outside']} row(s) have a label that is not among their candidates: mend one "
            f"of them, or use {DROP}."
        )
    if report["leaks"]:
        yield (
            f"{report['leaks']} test question(s) are also in the training rows, which flatters the "
            f"model: remove them, or use {DROP}."
        )
    if report["duplicates"]:
        yield (
            f"{report['duplicates']} training row(s) repeat a question: they are kept in one "
            "split, but teach nothing new."
        )
    if report["contradictions"]:
        yield (
            f"{report['contradictions']} question(s) have different labels in different rows: "
            "decide which is right."
        )
    if not report["explained"]:
        yield (
            "There are no rationales: only SFT can be trained; `python -m r2d write-rationales` "
            "has a chat model write some."
        )
    elif missing["rationale"]:
        yield f"{missing['rationale']} row(s) have no rationale: they teach the label only."


def _about_labels(report: dict) -> Iterator[str]:
    cases = report["labels"]
    total = sum(cases.values())
    if report["open labels"]:
        yield (
            f"{len(cases)} different labels are learned as texts in {total} rows: accuracy is "
            "their one measure."
        )
    else:
        yield from _about_label_set(report, total)
    if total < ENOUGH:
        yield (
            f"{total} training rows are few: expect wide intervals, and look at them before any "
            "mean."
        )


def _about_label_set(report: dict, total: int) -> Iterator[str]:
    cases = report["labels"]
    for name, spellings in list(report["merged"].items())[:MOST_SHOWN]:
        yield (f"Labels {listed(spellings)} differ in case only and are taken as {listed([name])}.")
    for pair in report["alike"][:MOST_SHOWN]:
        yield f"Labels {listed(pair)} look alike: if they mean the same, write them the same."
    rare = [name for name in cases if cases[name] < RARE]
    if rare:
        yield (
            f"Fewer than {RARE} training rows have label {listed(rare)}: give more, or join such "
            "labels into one."
        )
    commonest = max(cases, key=cases.get)
    share = cases[commonest] / max(1, total)
    if share > 0.6:
        yield (
            f"{share:.0%} of the rows are {listed([commonest])}: read macro-F1, not accuracy, "
            "which always answering that would reach."
        )


def _about_texts(report: dict) -> Iterator[str]:
    for _, row in report["lengths"].iterrows():
        if row["share cut"] > 0.02:
            key = "max_input_tokens" if row["text"] == "input" else "max_rationale_tokens"
            wanted = int(-(-row["95 %"] // 16) * 16)  # rounded up to a multiple of 16
            yield (
                f"{row['share cut']:.0%} of the {row['text']}s are longer than {row['limit']} "
                f'tokens and lose their end: set overrides={{"{key}": {wanted}}} to keep 95 % '
                "whole, at a price in time and memory."
            )
    if report["label in question"] > 0.2 and not report["open labels"]:
        yield (
            f"{report['label in question']:.0%} of the questions contain the words of their own "
            "label: make sure that they do not give it away."
        )
    if report["label in rationale"] > 0.2:
        yield (
            f"{report['label in rationale']:.0%} of the rationales state their label: consistency "
            "and sufficiency will then measure copying; rationales that argue without naming the "
            "label say more."
        )
