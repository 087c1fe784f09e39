"""Your own table: looked over before anything is trained, and made a dataset of a recipe.

Nothing here prints or quotes a question or a rationale.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d import paths, recipes
from r2d.data import tables
from r2d.data.record import as_text, canonical, category, options, some
from r2d.errors import R2DError

NOTEBOOK = "09_your_dataset"
NAME = "yours"  # what the dataset is called in the recipe
FIELDS = ("question", "label", "rationale")
EXAMPLE = (
    paths.CARDS / "example_tickets.csv"
)  # invented support tickets: label, and why the customer was sent there


@dataclass(frozen=True)
class Table:
    """A user's rows as texts by field, and where they came from; a field without a column is empty in every row.

    Where the files have a column `candidates`, each row has its own options there (none if they are not 2 or more texts).
    """

    train_file: str
    test_file: str
    columns: dict[str, str]
    train: list[dict[str, Any]]
    test: list[dict[str, Any]]
    digest: str

    @property
    def explained(self) -> int:
        """How many training rows have a rationale."""
        return sum(bool(row["rationale"]) for row in self.train)


def look(
    train_file: str,
    test_file: str = "",
    question: str = "question",
    label: str = "label",
    rationale: str = "rationale",
):
    """The `Table` in a file (CSV, TSV, JSON, JSONL, Parquet) or hub dataset; an empty `rationale` says there is none.

    Raises `R2DError` for an absent file or column, one column used twice, and labels that can't be learned.
    """
    columns = {
        name: column
        for name, column in zip(FIELDS, (question, label, rationale), strict=True)
        if column
    }
    if {"question", "label"} - set(columns):
        raise R2DError("Both a question column and a label column are needed: name them.")
    for one, other in (("question", "label"), ("label", "rationale"), ("question", "rationale")):
        if columns.get(one) == columns.get(other):
            raise R2DError(
                f"Column {columns[one]!r} is named both as {one} and as {other}: name another for one of them."
            )
    train_path = located(train_file)
    test_path = located(test_file) if test_file else ""
    if test_path == train_path:
        raise R2DError(
            "Training and test file are the same file: leave the test file out, and a part is held back by itself."
        )
    train = _rows(train_path, columns)
    test = _rows(test_path, columns) if test_path else []
    _expect_learnable(Path(train_path).name, columns["label"], train)
    digest = tables.digest(map(tables.find, filter(None, (train_path, test_path))))
    return Table(train_path, test_path, columns, train, test, digest)


def located(path: str) -> str:
    """Absolute path of a file, or `hub:<id>` for a name with a slash that is no file; raises `R2DError` with near names."""
    if path.startswith(tables.HUB):
        return path
    try:
        return str(tables.find(path).resolve())
    except R2DError:
        wanted = Path(path).expanduser()
        if (
            path.count("/") == 1
            and not wanted.is_absolute()
            and not wanted.parent.is_dir()
            and not wanted.suffix
        ):
            return tables.HUB + path
        folder = wanted.parent if wanted.parent.is_dir() else Path()
        near = difflib.get_close_matches(
            wanted.name, [p.name for p in folder.iterdir() if p.is_file()], 3
        )
        hint = (
            f"did you mean {some(near)}?"
            if near
            else "mend the path (relative to where you are, R2D_DATA or the project)."
        )
        raise R2DError(f"{path} is not there: {hint}") from None


def recipe(
    table: Table, profile: str, tuning: str, more: dict[str, Any] | None = None
) -> recipes.Recipe:
    """The profile's recipe with this table as its dataset `yours`, and `more` overrides on top.

    The recipe's profile has a name of its own that changes with the files' content, so a changed file is trained anew.
    """
    if tuning not in ("full", "lora", "qlora"):
        raise R2DError(f"Tuning {tuning!r} is not known: choose full, lora or qlora.")
    shipped = recipes.load(profile)
    kind = "invented example tickets" if Path(table.train_file) == EXAMPLE else "your own data"
    meaning = "; these numbers mean nothing" if profile == "smoke" else ""
    entry = {
        "card": "table",
        "path": table.train_file,
        "test_path": table.test_file or None,
        "columns": table.columns,
    }
    if not all(row["rationale"] for row in table.train + table.test):
        entry["missing_rationale"] = "label only"
    made = {
        "note": f"{profile} on {kind}, content {table.digest}{meaning}",
        f"datasets.{NAME}": entry,
    }
    titles = {"stage1": "Stage 1", "sft": "SFT", "r2d": "R2D"}
    for name in methods(table, tuning):
        if name not in shipped.methods:
            objective = name.partition("-")[0]
            init = {"init": f"stage1-{tuning}"} if objective == "r2d" else {}
            suffix = "" if tuning == "full" else f" ({'LoRA' if tuning == 'lora' else 'QLoRA'})"
            made[f"methods.{name}"] = {
                "objective": objective,
                "tuning": tuning,
                "title": titles[objective] + suffix,
                **init,
            }
    return recipes.load(profile, made | (more or {}))


def methods(table: Table, tuning: str) -> list[str]:
    """The methods this table allows, in the order they are trained: SFT alone where there are no rationales."""
    return [
        f"{objective}-{tuning}"
        for objective in (("stage1", "sft", "r2d") if table.explained else ("sft",))
    ]


def kind(row: dict[str, Any]) -> str:
    """The class of a row: its label or, among candidates of its own, their position; "" for a label outside them."""
    if "candidates" not in row:
        return row["label"]
    known = canonical(row["label"], row["candidates"])
    return category(known, row["candidates"]) if known else ""


def _rows(path: str, columns: dict[str, str]) -> list[dict[str, Any]]:
    source = tables.find(path)
    found, rows = tables.composed(*tables.table(source), columns.values())
    for field, column in columns.items():
        if column not in found:
            raise R2DError(_no_column(source.name, field, column, list(found)))
    texts = []
    for _, values in rows:
        texts.append({f: as_text((values or {}).get(columns.get(f))) or "" for f in FIELDS})
        if "candidates" in found:
            texts[-1]["candidates"] = options((values or {}).get("candidates")) or ()
    if not texts:
        raise R2DError(
            f"{source.name} has a header but no records: give it at least a few rows a label."
        )
    return texts


def _no_column(file: str, field: str, column: str, found: list[str]) -> str:
    near = difflib.get_close_matches(column, found, 1) or [
        c for c in found if c.strip().casefold() == column.casefold()
    ]
    hint = f"; did you mean {near[0]!r}?" if near else "."
    none = (
        " If there are no rationales, give an empty name: the label alone is learned then."
        if field == "rationale"
        else ""
    )
    return f"{file} has no column {column!r} for the {field}, only {some(found)}{hint}{none}"


def _expect_learnable(file: str, column: str, rows: list[dict[str, Any]]) -> None:
    labels = [label for label in map(kind, rows) if label]
    kinds = {label.casefold() for label in labels}
    if not kinds and any(row["label"] for row in rows):
        raise R2DError(
            f"{file}: no row's label (column {column!r}) is among its own candidates: write the option's text as the label, and "
            "the options as a list or with | between them; or rename column 'candidates' if it is none."
        )
    if not kinds:
        raise R2DError(
            f"{file}: column {column!r} is empty in every row: name the column that holds the labels."
        )
    if len(kinds) == 1 and "candidates" in rows[0]:
        raise R2DError(
            f"{file}: every row's label is its {kinds.pop()}, so only that would be learned: shuffle the candidates."
        )
    if len(kinds) == 1:
        raise R2DError(
            f"{file}: column {column!r} has one label only, so there is nothing to decide: name another column."
        )
    if 2 * len(kinds) > len(labels):
        raise R2DError(
            f"{file}: column {column!r} has {len(kinds)} different labels in {len(labels)} rows, too few to learn any: "
            "if it holds notes, name the label column, otherwise give more rows a label."
        )
