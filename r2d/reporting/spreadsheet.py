"""CSVs for people: a text that a spreadsheet would run as a formula gets an apostrophe before it.

So says OWASP's advice on CSV injection. Numbers stay numbers; `original` takes the mark off again.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

# Also the wide forms, which some spreadsheets take for the narrow ones.
FORMULA = re.compile(r"[\s\ufeff]*[=+\-@＝＋－＠]|[\t\r\n]")
NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*%?\s*")
MARK = "'"
REMARK = f"a text that a spreadsheet would take for a formula begins with {MARK}"


def neutral(value: Any) -> Any:
    """A cell as a spreadsheet may open it; one that is no text stays as it is."""
    return f"{MARK}{value}" if isinstance(value, str) and _is_formula(value) else value


def original(value: Any) -> Any:
    """What `neutral` was given."""
    if isinstance(value, str) and value.startswith(MARK) and _is_formula(value):
        return value.removeprefix(MARK)
    return value


def write(frame: pd.DataFrame, file: Path, **options) -> None:
    """Write a frame as CSV without its index; `options` go to pandas."""
    safe = frame.rename(columns=neutral)
    for place, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            safe.isetitem(place, frame.iloc[:, place].map(neutral))
    safe.to_csv(file, index=False, **options)


def write_rows(rows: Sequence[dict], file: TextIO) -> bool:
    """Write rows, which have the same keys, as CSV; whether a cell had to be marked."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    safe = [[neutral(value) for value in line] for line in lines]
    csv.writer(file).writerows(safe)
    return safe != lines


def read(text: str) -> pd.DataFrame:
    """A table as it was before `write`.

    Only an empty cell is missing: a class may be called "None".
    """
    frame = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])
    for place, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            frame.isetitem(place, frame.iloc[:, place].map(original))
    return frame.rename(columns=original)


def _is_formula(text: str) -> bool:
    """Whether it begins as a formula does, also below marks that are there already."""
    return bool(FORMULA.match(text.lstrip(MARK))) and not NUMBER.fullmatch(text)
