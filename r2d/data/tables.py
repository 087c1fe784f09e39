"""The one reader of tables: the rows of a file or hub dataset by field, whatever its columns are.

A column may be composed: `{premise} so: {hypothesis}` is a text over two of them.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from r2d.data.files import Source, find
from r2d.data.formats import Row, open_table
from r2d.data.record import as_text, listed, text_fault
from r2d.errors import R2DError

BRACES = re.compile(r"{([^{}]+)}")


def read(
    source: Source,
    columns: Mapping[str, str],
    needed: Collection[str],
    cures: Mapping[str, str] | None = None,
) -> tuple[set[str], list[Row]]:
    """The fields of `columns` (field to column) that the table has, and its rows by field.

    Without an id column a row's position is its id. Raises `R2DError` for a table without rows and
    for a field of `needed` whose column is not there; `cures` says, by field, how to mend that.
    """
    names, rows = open_table(source)
    available, rows = composed(names, rows, columns.values())
    for field, column in columns.items():
        if field in needed and column not in available:
            absent = _absent(source.name, field, column, names, columns.values())
            raise R2DError(f"{absent} {(cures or {}).get(field, '')}".strip())
    present = {field: column for field, column in columns.items() if column in available}
    by_field: list[Row] = []
    for position, (number, values) in enumerate(rows, 1):
        if values is not None:
            fields = {field: values.get(column) for field, column in present.items()}
            values = {"id": str(position)} | fields
        by_field.append((number, values))
    if not by_field:
        raise R2DError(f"{source.name} has a header but no records: give it at least one row.")
    return set(present), by_field


def cases(file: str | Path, column: str) -> tuple[list[str], list[Any]]:
    """The texts in a file's `column`, and the cells of its column `candidates`: () without one.

    Raises `R2DError` for an absent file or column and for a case without a text.
    """
    source = find(str(file))
    columns = {"question": column, "candidates": "candidates"}
    cures = {"question": "Name it with --question-column."}
    _, rows = read(source, columns, ["question"], cures)
    texts, candidates = [], []
    for number, (_, values) in enumerate(rows, 1):
        text = as_text(values["question"]) if values else ""
        if not text:
            raise R2DError(
                f"{source.name}: case {number} has no text in column {column!r}: fill it in or "
                "take that row out."
            )
        if fault := text_fault(text):
            raise R2DError(f"{source.name}, case {number}: {fault}.")
        texts.append(text)
        candidates.append(values.get("candidates") or ())
    return texts, candidates


def composed(
    columns: list[str], rows: Iterable[Row], wanted: Iterable[str]
) -> tuple[list[str], Iterable[Row]]:
    """The table with a column more for each of `wanted` that is a text over columns.

    A text over a column that is not there is left out; one over an empty cell is empty; a list of
    texts is joined.
    """
    templates = [text for text in dict.fromkeys(wanted) if _can_fill(text, columns)]
    if not templates:
        return columns, rows
    filled = ((number, _with_texts(values, templates)) for number, values in rows)
    return [*columns, *templates], filled


def _can_fill(text: str, columns: list[str]) -> bool:
    names = BRACES.findall(text)
    return bool(names) and set(names) <= set(columns)


def _with_texts(values: dict[str, Any] | None, templates: list[str]) -> dict[str, Any] | None:
    if values is None:
        return None
    return values | {text: _fill(text, values) for text in templates}


def _fill(text: str, values: dict[str, Any]) -> str:
    cells = {name: _cell(values.get(name)) for name in BRACES.findall(text)}
    if not all(cells.values()):
        return ""
    return BRACES.sub(lambda match: cells[match[1]], text)


def _cell(value: Any) -> str:
    """A cell of a composed text; empty for what is no text and no list of texts."""
    parts = [as_text(part) for part in (value if isinstance(value, list) else [value])]
    return "" if None in parts else " ".join(parts).strip()


def _absent(file: str, field: str, column: str, names: list[str], wanted: Iterable[str]) -> str:
    """A column that is not there, and those that are, as far as they can't be cells.

    Without a header row the names are the first record's cells: they are listed only where one of
    them is a column that is wanted, and else none but what is close to one.
    """
    lacking = [name for name in BRACES.findall(column) if name not in names]
    column = lacking[0] if lacking else column
    absent = f"{file} has no column {column!r} for the {field}"
    if any(len(name) > 40 or len(name.split()) > 4 for name in names):
        return f"{absent}, and names too long to be columns: add a header row, or shorten them."
    asked = {name for text in wanted for name in BRACES.findall(text) or [text]} | {column}
    known = {name.strip().casefold() for name in asked}
    shown = names
    if not any(name.strip().casefold() in known for name in names):
        close = {name for each in asked for name in difflib.get_close_matches(each, names, 3, 0.8)}
        shown = [name for name in names if name in close]
    near = difflib.get_close_matches(column, shown, 1)
    near += [name for name in shown if name.strip().casefold() == column.casefold()]
    hint = f"; did you mean {near[0]!r}?" if near else "."
    if shown == names:
        return f"{absent}, only {listed(names)}{hint}"
    if near:
        return f"{absent}{hint}"
    return (
        f"{absent}; those it has may be the cells of a first record, so they are not shown: add a "
        "header row if there is none."
    )
