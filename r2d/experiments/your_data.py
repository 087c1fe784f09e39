"""A user's own table: read before anything is trained, and made a dataset of a recipe.

Nothing here prints or quotes a question or a rationale.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d import paths, recipes
from r2d.data import Record, files, inline_options, tables
from r2d.data.record import as_text, folded, options, raw_category, text_fault
from r2d.errors import R2DError

NOTEBOOK = "09_your_dataset"
NAME = "yours"  # what the dataset is called in the recipe
FIELDS = ("question", "label", "rationale")
LABELS, OPTIONS_FROM = f"datasets.{NAME}.labels", f"datasets.{NAME}.options_from"
# 300 invented triage notes of `data.triage`: enough to learn something, too few to learn all.
EXAMPLE = paths.CARDS / "example_notes.csv"
TITLES = {"stage1": "Stage 1", "sft": "SFT", "r2d": "R2D"}
TUNING_SUFFIXES = {"full": "", "lora": " (LoRA)", "qlora": " (QLoRA)"}


@dataclass(frozen=True)
class Table:
    """A user's rows as texts by field, and where they came from.

    A field without a column is empty in every row. Where the files have a column `candidates`, or
    the questions their options after `options_from`, each row has its own options there (none if
    they are not 2 or more texts); not with `open_labels`, which may be any text.
    """

    train_file: str
    test_file: str
    columns: dict[str, str]
    train: list[dict[str, Any]]
    test: list[dict[str, Any]]
    digest: str
    options_from: str | None = None
    open_labels: bool = False

    @property
    def explained(self) -> int:
        """How many training rows have a rationale."""
        return sum(bool(row["rationale"]) for row in self.train)


def read_table(
    train_file: str,
    test_file: str = "",
    question: str = "question",
    label: str = "label",
    rationale: str = "rationale",
    options_from: str | None = None,
    open_labels: bool = False,
    to_learn: bool = True,
) -> Table:
    """The table in a file (CSV, TSV, JSON, JSONL, Parquet) or hub dataset.

    An empty `rationale` says that there is none. `options_from` is what stands before the options
    in a question; with `open_labels` a label may be any text. Raises `R2DError` for an absent file
    or column, one column used twice, no label in any row and, `to_learn`, labels that can't be.
    """
    named = {"question": question, "label": label, "rationale": rationale}
    columns = {field: column for field, column in named.items() if column}
    _expect_distinct(columns)
    train_path = files.located(train_file)
    test_path = files.located(test_file) if test_file else ""
    if test_path == train_path:
        raise R2DError(
            "Training and test file are the same file: leave the test file out, and a part is held "
            "back by itself."
        )
    if open_labels and options_from:
        raise R2DError("Open labels are not chosen from options: leave one of the two out.")
    train = _rows(train_path, columns, options_from, open_labels)
    test = _rows(test_path, columns, options_from, open_labels) if test_path else []
    file = Path(train_path).name
    if options_from:
        _expect_options(file, options_from, train)
    _expect_labels(file, columns["label"], train)
    if to_learn:
        _expect_learnable(file, columns["label"], train, open_labels)
    digest = files.digest(files.find(path) for path in (train_path, test_path) if path)
    return Table(train_path, test_path, columns, train, test, digest, options_from, open_labels)


def label_overrides(labels: str, options_from: str) -> dict[str, str]:
    """How labels are meant, as overrides of a recipe: `closed` or `open`, and where options are."""
    overrides = {}
    if labels != "closed":
        overrides[LABELS] = labels
    if options_from:
        overrides[OPTIONS_FROM] = options_from
    return overrides


def label_options(overrides: dict[str, Any]) -> dict[str, Any]:
    """The same as arguments of `read_table`, from a recipe's overrides."""
    return {
        "options_from": overrides.get(OPTIONS_FROM),
        "open_labels": overrides.get(LABELS) == "open",
    }


def recipe(
    table: Table, profile: str, tuning: str, more: dict[str, Any] | None = None
) -> recipes.Recipe:
    """The profile's recipe with this table as its dataset `yours`, and `more` overrides on top.

    The recipe's profile has a name of its own that changes with the files' content, so a changed
    file is trained anew.
    """
    if tuning not in TUNING_SUFFIXES:
        raise R2DError(f"Tuning {tuning!r} is not known: choose full, lora or qlora.")
    shipped = recipes.load(profile)
    example = Path(table.train_file) == EXAMPLE
    origin = "invented example notes" if example else "your own data"
    meaning = "; these numbers mean nothing" if profile == "smoke" else ""
    overrides = {
        "note": f"{profile} on {origin}, content {table.digest}{meaning}",
        f"datasets.{NAME}": _entry(table),
    }
    for name in methods(table, tuning):
        if name not in shipped.methods:
            overrides[f"methods.{name}"] = _method(name, tuning)
    return recipes.load(profile, overrides | (more or {}))


def methods(table: Table, tuning: str) -> list[str]:
    """The methods this table allows, in the order they are trained.

    SFT alone where there are no rationales.
    """
    objectives = ("stage1", "sft", "r2d") if table.explained else ("sft",)
    return [f"{objective}-{tuning}" for objective in objectives]


def parameters(
    table: Table, profile: str, tuning: str, seed: int, overrides: dict[str, Any]
) -> dict[str, Any]:
    """What notebook 09 is told of the table and of how to train on it."""
    columns = {f"{field}_column": table.columns.get(field, "") for field in FIELDS}
    sources = {"train_file": table.train_file, "test_file": table.test_file}
    how = {"profile": profile, "tuning": tuning, "seed": seed, "overrides": overrides}
    return sources | columns | how


def labelled(table: Table) -> list[Record]:
    """The training rows that have a question and a label, as records without a rationale."""
    rows = [row for row in table.train if row["question"] and row["label"]]
    records = []
    for number, row in enumerate(rows, 1):
        candidates = tuple(row.get("candidates", ()))
        record = Record(str(number), row["question"], row["label"], "", candidates=candidates)
        records.append(record)
    return records


def _entry(table: Table) -> dict[str, Any]:
    """The table as an entry of a recipe's `datasets`."""
    entry = {
        "card": "table",
        "path": table.train_file,
        "test_path": table.test_file or None,
        "columns": table.columns,
    }
    if not all(row["rationale"] for row in table.train + table.test):
        entry["missing_rationale"] = "label only"
    if table.options_from:
        entry["options_from"] = table.options_from
    if table.open_labels:
        entry["labels"] = "open"
    return entry


def _method(name: str, tuning: str) -> dict[str, str]:
    """A method that the profile lacks as an entry of a recipe's `methods`."""
    objective = name.partition("-")[0]
    entry = {
        "objective": objective,
        "tuning": tuning,
        "title": TITLES[objective] + TUNING_SUFFIXES[tuning],
    }
    if objective == "r2d":
        entry["init"] = f"stage1-{tuning}"
    return entry


def _expect_distinct(columns: dict[str, str]) -> None:
    if not {"question", "label"} <= set(columns):
        raise R2DError("Both a question column and a label column are needed: name them.")
    for one, other in (("question", "label"), ("label", "rationale"), ("question", "rationale")):
        if columns.get(one) == columns.get(other):
            raise R2DError(
                f"Column {columns[one]!r} is named both as {one} and as {other}: name another for "
                "one of them."
            )


def _rows(
    path: str, columns: dict[str, str], options_from: str | None, open_labels: bool
) -> list[dict[str, Any]]:
    """A file's rows as texts; what is no text, can't be learned from or is not there is empty."""
    cures = {
        "rationale": "If there are no rationales, give an empty name: the label alone is learned "
        "then."
    }
    fields, rows = tables.read(
        files.find(path), columns | {"candidates": "candidates"}, columns, cures
    )
    if options_from:
        rows = inline_options.read_out(rows, options_from)
    texts = []
    for _, values in rows:
        values = values or {}
        row: dict[str, Any] = {field: _sound(values.get(field)) for field in FIELDS}
        if options_from or ("candidates" in fields and not open_labels):
            known = options(values.get("candidates")) or ()
            row["candidates"] = () if any(map(text_fault, known)) else known
        texts.append(row)
    return texts


def _sound(value: Any) -> str:
    text = as_text(value) or ""
    return "" if text_fault(text) else text


def _expect_options(file: str, marker: str, rows: list[dict[str, Any]]) -> None:
    """Refuse a marker after which no question has options."""
    if not any(row["candidates"] for row in rows):
        raise R2DError(
            f"{file}: no question has options after {marker!r}: write them as A. ... B. ..., or "
            "mend what should stand before them."
        )


def _expect_labels(file: str, column: str, rows: list[dict[str, Any]]) -> None:
    """Refuse a label column without a label."""
    if any(map(raw_category, rows)):
        return
    if any(row["label"] for row in rows):
        raise R2DError(
            f"{file}: no row's label (column {column!r}) is among its own candidates: write the "
            "option's text as the label, and the options as a list or with | between them; or "
            "rename column 'candidates' if it is none."
        )
    raise R2DError(
        f"{file}: column {column!r} is empty in every row: name the column that holds the labels."
    )


def _expect_learnable(
    file: str, column: str, rows: list[dict[str, Any]], open_labels: bool
) -> None:
    """Refuse a label column of which nothing can be learned."""
    labels = [label for label in map(raw_category, rows) if label]
    classes = {folded(label) for label in labels}
    if len(classes) == 1 and "candidates" in rows[0]:
        raise R2DError(
            f"{file}: every row's label is its {classes.pop()}, so only that would be learned: "
            "shuffle the candidates."
        )
    if len(classes) == 1:
        raise R2DError(
            f"{file}: column {column!r} has one label only, so there is nothing to decide: name "
            "another column."
        )
    if 2 * len(classes) > len(labels) and not open_labels:
        raise R2DError(
            f"{file}: column {column!r} has {len(classes)} different labels in {len(labels)} rows, "
            "too few to learn any: if it holds notes, name the label column; if each row has "
            "options of its own, give them in a column `candidates`, or read them out of the "
            "question (--options-from 'Answer Choices:'); else give more rows a label, or learn "
            "labels as free text (--labels open)."
        )
