"""Readers: files of records as raw rows; what is wrong with a file is said in one sentence.

A row is `(number, values)`: the number an editor or spreadsheet shows (a CSV's header is row 1), and the values by
column, or `None` where the row is not a whole record. No message quotes the file's text.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from r2d import R2DError, paths

Row = tuple[int, dict[str, Any] | None]


def find(path: str) -> Path:
    """The file or folder `path`; a relative one is looked for here, in `R2D_DATA`, then in the project.

    Raises `R2DError` when it is in none of them.
    """
    wanted = Path(path).expanduser()
    for root in (Path.cwd(), paths.data(), paths.ROOT):
        if root and (root / wanted).exists():
            return root / wanted
    raise R2DError(f"{wanted} is not there: mend the path (relative to where you are, R2D_DATA or the project).")


def text(path: Path) -> str:
    """The whole of a UTF-8 file, without its byte order mark; raises `R2DError` for every fault of the file."""
    raw = _bytes(path)
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        guess = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
        raise R2DError(
            f"{path.name} is not UTF-8 at byte offset {error.start}: save it as UTF-8, or convert it, "
            f"e.g. `iconv -f {guess} -t UTF-8 {path.name} > new-{path.name}`."
        ) from None


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise R2DError(f"{path} is a folder: name the file in it.")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise R2DError(f"{path} is not there: mend the path.") from None
    except OSError as error:
        raise R2DError(f"{path} can't be read ({error.strerror}): mend its permissions or copy it elsewhere.") from None
    if not raw.removeprefix(b"\xef\xbb\xbf").strip():
        raise R2DError(f"{path.name} is empty: get or write it again.")
    return raw


def parse(path: Path, body: str, line: int = 1) -> Any:
    """The JSON value in `body`, which starts at `line` of the file; raises `R2DError` naming line and column."""
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        place = f"{path.name}, line {line + error.lineno - 1}, column {error.colno}"
        if error.msg == "Extra data":
            raise R2DError(f"{place}: a second JSON value begins; if each line is a record, name it .jsonl.") from None
        raise R2DError(f"{place}: not JSON ({error.msg}), perhaps cut short; get the whole file again.") from None


def table(path: Path) -> tuple[list[str], Iterable[Row]]:
    """Column names and rows of a .csv, .tsv, .json, .jsonl or .parquet file; values keep the file's types."""
    formats = {".csv": _csv, ".tsv": _csv, ".json": _json, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
    if path.is_file() and path.suffix.lower() not in formats:
        raise R2DError(f"{path.name} has an unknown ending: expected one of {', '.join(formats)}.")
    return formats.get(path.suffix.lower(), _json)(path)


def _csv(path: Path) -> tuple[list[str], Iterable[Row]]:
    body = text(path).lstrip("\r\n")
    csv.field_size_limit(2**31 - 1)
    delimiter = max(",;\t", key=re.split(r"[\r\n]", body, maxsplit=1)[0].count)
    lines = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)

    def rows() -> Iterator[Row]:
        number = 1
        try:
            for number, fields in enumerate(lines, 2):
                if fields:
                    yield number, dict(zip(header, fields, strict=True)) if len(fields) == len(header) else None
        except csv.Error as error:
            raise R2DError(f"{path.name}, after row {number}: not CSV ({error}); mend the quotes there.") from None

    try:
        header = next(lines)
    except csv.Error as error:
        raise R2DError(f"{path.name}, row 1: not CSV ({error}); mend the quotes there.") from None
    if len(set(header)) < len(header):
        raise R2DError(f"{path.name}: two columns have the same name; rename one.")
    return header, rows()


def _json(path: Path) -> tuple[list[str], Iterable[Row]]:
    rows = parse(path, text(path))
    if not isinstance(rows, list):
        raise R2DError(f"{path.name} is not a list of records: write `[{{...}}, {{...}}]`, one object a record.")
    return _objects(path, list(enumerate(rows, 1)))


def _jsonl(path: Path) -> tuple[list[str], Iterable[Row]]:
    lines = enumerate(text(path).split("\n"), 1)
    return _objects(path, [(number, parse(path, line, number)) for number, line in lines if line.strip()])


def _objects(path: Path, rows: list[tuple[int, Any]]) -> tuple[list[str], list[Row]]:
    if not rows:
        raise R2DError(f"{path.name} has no records: get or write it again.")
    whole = [(number, values if isinstance(values, dict) else None) for number, values in rows]
    return list(dict.fromkeys(key for _, values in whole for key in values or ())), whole


def _parquet(path: Path) -> tuple[list[str], Iterable[Row]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(_bytes(path)))
    except pyarrow.ArrowException:
        raise R2DError(f"{path.name} is not a whole Parquet file: get or write it again.") from None
    rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
    return file.schema_arrow.names, enumerate(rows, 1)
