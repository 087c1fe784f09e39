"""The formats of tables: column names and raw rows of a file or hub dataset.

A row is `(number, values)`: the number an editor or spreadsheet shows (a CSV's header is row 1),
and the values by column, or `None` where the row is not a whole record. No message quotes a cell.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from r2d.data.files import HubTable, Source, parse_json, read_bytes, read_json, read_text
from r2d.data.record import LONGEST_CELL
from r2d.errors import R2DError

Row = tuple[int, dict[str, Any] | None]
RawTable = tuple[list[str], Iterable[Row]]


def open_table(source: Source) -> RawTable:
    """Column names and rows of a .csv, .tsv, .json, .jsonl or .parquet file, or a hub dataset.

    Values keep their types.
    """
    if isinstance(source, HubTable):
        return _hub(source)
    ending = source.suffix.lower()
    if source.is_file() and ending not in FORMATS:
        raise R2DError(
            f"{source.name} has an unknown ending: expected one of {', '.join(FORMATS)}."
        )
    return FORMATS.get(ending, _json)(source)


def _csv(path: Path) -> RawTable:
    text = read_text(path).lstrip("\r\n")
    csv.field_size_limit(LONGEST_CELL)
    first_line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    delimiter = max(",;\t", key=first_line.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(lines)
    except csv.Error as error:
        raise R2DError(f"{path.name}, row 1: not CSV ({error}); mend the quotes there.") from None
    _expect_distinct(path, header)
    return header, _csv_rows(path, header, lines)


def _expect_distinct(path: Path, columns: list[str]) -> None:
    if len(set(columns)) < len(columns):
        raise R2DError(f"{path.name}: two columns have the same name; rename one.")


def _csv_rows(path: Path, header: list[str], lines: Iterator[list[str]]) -> Iterator[Row]:
    number = 1
    try:
        for number, cells in enumerate(lines, 2):
            if cells:
                whole = len(cells) == len(header)
                yield number, dict(zip(header, cells, strict=True)) if whole else None
    except csv.Error as error:
        raise R2DError(
            f"{path.name}, after row {number}: not CSV ({error}); mend the quotes there."
        ) from None


def _json(path: Path) -> RawTable:
    records = read_json(path)
    if not isinstance(records, list):
        raise R2DError(
            f"{path.name} is not a list of records: write `[{{...}}, {{...}}]`, "
            "one object a record."
        )
    return _objects(path, list(enumerate(records, 1)))


def _jsonl(path: Path) -> RawTable:
    text = read_text(path)
    if text.lstrip().startswith("["):
        raise R2DError(
            f"{path.name} begins with a list: name it .json if it is one list of records, or write "
            "one object a line."
        )
    lines = enumerate(text.split("\n"), 1)
    return _objects(
        path, [(number, parse_json(path, line, number)) for number, line in lines if line.strip()]
    )


def _objects(path: Path, records: list[tuple[int, Any]]) -> RawTable:
    if not records:
        raise R2DError(f"{path.name} has no records: get or write it again.")
    columns: dict[str, None] = {}
    rows: list[Row] = []
    for number, record in records:
        whole = isinstance(record, dict)
        rows.append((number, record if whole else None))
        if whole:
            columns |= dict.fromkeys(record)
    if not columns:
        raise R2DError(f"{path.name} has no objects: write one a record, its keys the columns.")
    return list(columns), rows


def _parquet(path: Path) -> RawTable:
    import pyarrow.parquet

    content = io.BytesIO(read_bytes(path))
    try:
        file = pyarrow.parquet.ParquetFile(content, page_checksum_verification=True)
        columns = file.schema_arrow.names
    except Exception:  # of a damaged file, whatever its bytes make of it
        raise _damaged(path) from None
    _expect_distinct(path, columns)
    return columns, _parquet_rows(path, file)


def _parquet_rows(path: Path, file) -> Iterator[Row]:
    number = 0
    try:
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield number, values
    except Exception:  # as above
        raise _damaged(path) from None


def _damaged(path: Path) -> R2DError:
    return R2DError(f"{path.name} is not a whole Parquet file: get or write it again.")


FORMATS = {
    ".csv": _csv,
    ".tsv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}


def _hub(table: HubTable) -> RawTable:
    """A hub dataset through `datasets`, class numbers as their names; never by its own code."""
    from datasets import load_dataset

    repo, config, revision, split = table.parts
    try:
        loaded = load_dataset(repo, config, split=split, revision=revision)
    except Exception as error:  # the hub, the network, the cache and the files each have their own
        raise _not_loaded(table, error) from None
    return loaded.column_names, _hub_rows(table, loaded)


def _hub_rows(table: HubTable, loaded) -> Iterator[Row]:
    from datasets import ClassLabel

    classes = {
        name: feature
        for name, feature in loaded.features.items()
        if isinstance(feature, ClassLabel)
    }
    number = 0
    try:
        for values in loaded:
            number += 1
            yield number, _with_class_names(values, classes)
    except Exception as error:  # as above
        raise _not_loaded(table, error) from None


def _not_loaded(table: HubTable, error: Exception) -> R2DError:
    repo, config, _, split = table.parts
    return R2DError(
        f"The hub dataset {repo!r} (configuration {config or 'default'}, split {split}) could not "
        f"be loaded ({type(error).__name__}): check the name, the network and HF_TOKEN, or save it "
        "as a file and name that."
    )


def _with_class_names(values: dict[str, Any], classes: dict) -> dict[str, Any]:
    """The values with names in place of class numbers, None for a number that is no class."""
    named = {}
    for column, feature in classes.items():
        number = values[column]
        known = isinstance(number, int) and 0 <= number < feature.num_classes
        named[column] = feature.int2str(number) if known else None
    return values | named
