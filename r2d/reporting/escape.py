"""What others wrote, shown as they wrote it: no cell, label or title is read as Markdown or HTML.

Everything that a table, a recipe or a model brings goes through here on its way to a page.
"""

import html
import re
from collections.abc import Collection
from numbers import Number
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype
from pandas.io.formats.style import Styler
from tabulate import tabulate

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MARKS = re.compile(r"([`*_\[\]<>|#&~])")  # those that mean something anywhere in a line
# Those that mean something where a line begins: of lists, headings, comments and targets.
FIRST = re.compile(r"^(?:([=:%]|[-+](?!\d))|(\d+)([.)])(?=\s))")
OF_NUMBERS = re.compile(r"[-+–±\d.,%\[\]\s]*")  # a cell that holds nothing else needs no escapes
# A formula's marks: in a backslash's stead, which JupyterLab's formulas begin with themselves.
DOLLAR, BACKSLASH = "&#36;", "&#92;"


def plain(text: str) -> str:
    """A text as one line of Markdown that says just that: on GitHub, in JupyterLab, in MyST."""
    line = MARKS.sub(r"\\\1", one_line(text).replace("\\", "\0")).replace("\0", BACKSLASH)
    return FIRST.sub(r"\2\\\1\3", line).replace("$", DOLLAR)


def code(text: str) -> str:
    """A text as one code span of Markdown, whatever it holds."""
    line = one_line(text)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    if line.startswith("`") or line.endswith("`"):
        line = f" {line} "
    return f"{fence}{line}{fence}"


def one_line(text: str) -> str:
    """A text without line breaks and control characters."""
    return " ".join(CONTROL.sub(" ", text).split())


def table(frame: pd.DataFrame, decimals: int = 1, markdown: Collection[str] = ()) -> str:
    """A table as Markdown, a dash in empty cells, without its index.

    Texts in the columns `markdown` are Markdown already.
    """
    rows = [
        [
            value if name in markdown and isinstance(value, str) else _cell(value, decimals)
            for name, value in zip(frame.columns, row, strict=True)
        ]
        for row in frame.itertuples(index=False, name=None)
    ]
    sides = ["right" if is_numeric_dtype(dtype) else "left" for dtype in frame.dtypes]
    headers = [plain(str(name)) for name in frame.columns]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=sides)


def _cell(value: Any, decimals: int) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.{decimals}f}"
    text = str(value)
    return text if OF_NUMBERS.fullmatch(text) else plain(text)


def shown(markdown: str):
    """Markdown for a notebook's `display`, in which JupyterLab sees no formula in others' texts.

    It looks for them in what Markdown has become; a mark alone in an element begins none.
    """
    from IPython.display import Markdown

    for mark in (DOLLAR, BACKSLASH):
        markdown = markdown.replace(mark, f"<span>{mark}</span>")
    return Markdown(markdown)


def styled(frame: pd.DataFrame) -> Styler:
    """A frame as a table to style, whose cells, labels and names are texts whatever they hold.

    They are escaped here, so no later `format` of the style should do it again.
    """
    escaped = frame.copy()
    for place, dtype in enumerate(frame.dtypes):
        if not is_numeric_dtype(dtype):
            escaped.isetitem(place, frame.iloc[:, place].astype(object).map(_html))
    escaped.index, escaped.columns = _labels(frame.index), _labels(frame.columns)
    return escaped.style.set_table_attributes('class="tex2jax_ignore mathjax_ignore"')


def _labels(index: pd.Index) -> pd.Index:
    """Row or column labels, and their names, as HTML."""
    if isinstance(index, pd.MultiIndex):
        labels = index.set_levels([level.map(_html) for level in index.levels])
    else:
        labels = index.map(_html)
    return labels.set_names([_html(name) for name in index.names])


def _html(value: Any) -> Any:
    """A text, or anything that is neither a number nor missing, as HTML."""
    if isinstance(value, Number) or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return value
    return html.escape(str(value))
