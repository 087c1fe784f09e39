"""Readers: files of records as raw rows; what is wrong with a file is said in one sentence.

A row is `(number, values)`: the number an editor or spreadsheet shows (a CSV's header is row 1), and the values by
column, or `None` where the row is not a whole record. No message quotes the file's text.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from r2d import paths
from r2d.errors import R2DError

Row = tuple[int, dict[str, Any] | None]
HUB = "hub:"


@dataclass(frozen=True)
class HubTable:
    """One split of a hub dataset, written `hub:<id>[:<config>][@<revision>][#<split>]`; the split is train unless said.

    A dataset that is still a script can be read at the revision `refs/convert/parquet`, which the hub makes.
    """

    name: str

    @property
    def parts(self) -> tuple[str, str | None, str | None, str]:
        """Dataset id, configuration (None: the only one), revision (None: the newest) and split."""
        which, _, split = self.name.removeprefix(HUB).partition("#")
        which, _, revision = which.partition("@")
        repo, _, config = which.partition(":")
        return repo, config or None, revision or None, split or "train"


def find(path: str) -> Path | HubTable:
    """The file or folder `path`; a relative one is looked for here, in `R2D_DATA`, then in the project.

    `hub:<id>[:<config>][@<revision>][#<split>]` is a hub dataset, which is fetched when it is read. Raises `R2DError` when a
    file is in none of those places.
    """
    if path.startswith(HUB):
        return HubTable(path)
    wanted = Path(path).expanduser()
    for root in (Path.cwd(), paths.data(), paths.ROOT):
        if root and (root / wanted).exists():
            return root / wanted
    raise R2DError(
        f"{wanted} is not there: mend the path (relative to where you are, R2D_DATA or the project)."
    )


def digest(files: Iterable[Path | HubTable]) -> str:
    """Twelve hex digits over the content of files, in their order; a hub dataset counts by its name, an absent file as such."""
    whole = hashlib.sha256()
    for file in files:
        known = isinstance(file, Path) and file.is_file()
        whole.update(
            (
                _sha256(file, file.stat().st_size, file.stat().st_mtime_ns) if known else str(file)
            ).encode()
        )
    return whole.hexdigest()[:12]


def fingerprint(folder: Path) -> str:
    """Hash of a checkpoint folder: names, sizes and 17 MiB of each file, evenly spread; all of it would take minutes at 30B."""
    whole, kinds = hashlib.sha256(), {".bin", ".jinja", ".json", ".model", ".safetensors", ".txt"}
    for path in sorted(p for p in folder.iterdir() if p.suffix in kinds):
        size = path.stat().st_size
        whole.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for k in range(17):
                file.seek(max(0, size - (1 << 20)) * k // 16)
                whole.update(file.read(1 << 20))
    return whole.hexdigest()


@lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        raise R2DError(
            f"{path} can't be read ({error.strerror}): mend its permissions or copy it elsewhere."
        ) from None
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
            raise R2DError(
                f"{place}: a second JSON value begins; if each line is a record, name it .jsonl."
            ) from None
        raise R2DError(
            f"{place}: not JSON ({error.msg}), perhaps cut short; get the whole file again."
        ) from None


def table(path: Path | HubTable) -> tuple[list[str], Iterable[Row]]:
    """Column names and rows of a .csv, .tsv, .json, .jsonl or .parquet file, or of a hub dataset; values keep their types."""
    if isinstance(path, HubTable):
        return _hub(path)
    formats = {
        ".csv": _csv,
        ".tsv": _csv,
        ".json": _json,
        ".jsonl": _jsonl,
        ".ndjson": _jsonl,
        ".parquet": _parquet,
    }
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
                    yield (
                        number,
                        dict(zip(header, fields, strict=True))
                        if len(fields) == len(header)
                        else None,
                    )
        except csv.Error as error:
            raise R2DError(
                f"{path.name}, after row {number}: not CSV ({error}); mend the quotes there."
            ) from None

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
        raise R2DError(
            f"{path.name} is not a list of records: write `[{{...}}, {{...}}]`, one object a record."
        )
    return _objects(path, list(enumerate(rows, 1)))


def _jsonl(path: Path) -> tuple[list[str], Iterable[Row]]:
    lines = enumerate(text(path).split("\n"), 1)
    return _objects(
        path, [(number, parse(path, line, number)) for number, line in lines if line.strip()]
    )


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


def composed(
    columns: list[str], rows: Iterable[Row], wanted: Iterable[str]
) -> tuple[list[str], Iterable[Row]]:
    """The table with a column more for each of `wanted` that is a text over columns, e.g. `{premise} so: {hypothesis}`.

    Such a text over a column that is not there is left out; one over an empty cell is empty; a list of texts is joined.
    """
    texts = {text: re.findall(r"{([^{}]+)}", text) for text in wanted}
    texts = {text: names for text, names in texts.items() if names and set(names) <= set(columns)}

    def filled(values: dict[str, Any] | None) -> dict[str, Any] | None:
        if values is None:
            return None
        return values | {
            text: _fill(text, {n: values.get(n) for n in names}) for text, names in texts.items()
        }

    return [*columns, *texts], (
        (number, filled(values)) for number, values in rows
    ) if texts else rows


def _fill(text: str, cells: dict[str, Any]) -> str:
    cells = {
        name: " ".join(map(str, cell)) if isinstance(cell, list) else cell
        for name, cell in cells.items()
    }
    if any(cell is None or cell != cell or not str(cell).strip() for cell in cells.values()):
        return ""
    return re.sub(r"{([^{}]+)}", lambda found: str(cells[found[1]]).strip(), text)


def _hub(source: HubTable) -> tuple[list[str], Iterable[Row]]:
    """A hub dataset through `datasets`, class numbers as their names; its data files only, never its code."""
    from datasets import ClassLabel, load_dataset

    repo, config, revision, split = source.parts
    try:
        loaded = load_dataset(repo, config, split=split, revision=revision)
    except Exception as error:  # the hub, the network, the cache and the files each have their own
        raise R2DError(
            f"The hub dataset {repo!r} (configuration {config or 'default'}, split {split}) could not be loaded "
            f"({type(error).__name__}): check the name, the network and HF_TOKEN, or save it as a file and name that."
        ) from None
    names = {name: kind for name, kind in loaded.features.items() if isinstance(kind, ClassLabel)}

    def rows() -> Iterator[Row]:
        for number, values in enumerate(loaded, 1):
            known = {
                name: kind.int2str(values[name])
                for name, kind in names.items()
                if _is_class(values[name], kind)
            }
            yield number, values | dict.fromkeys(names) | known

    return loaded.column_names, rows()


def _is_class(value: Any, kind) -> bool:
    return isinstance(value, int) and 0 <= value < kind.num_classes
