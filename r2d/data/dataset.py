"""Every dataset as records in splits that share no question.

A dataset's card (`r2d/datasets/<card>.yaml`) says how it is read, its labels and usual sizes; a recipe's
`DataSettings` say what of it is wanted.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import yaml

from r2d import paths
from r2d.data import corpora, tables
from r2d.data.record import (
    FIELDS,
    SPLITS,
    Dataset,
    Gate,
    Record,
    Splits,
    as_text,
    canonical,
    content_key,
    some,
)
from r2d.data.splits import cut
from r2d.errors import R2DError
from r2d.recipes.settings import DataSettings, Settings

__all__ = ["Card", "Dataset", "Record", "canonical", "card", "cards", "check", "load"]
EXPERT_SHARE = 1 / 11  # of the paper's test set: 1,000 PQA-L beside 10,000 PQA-A


class Card(Settings):
    """What is fixed about a dataset; `rationales[0]` is meant by "rationale" where that is not among them.

    `sizes` holds, for each kind of split, the usual sizes: below 1 a share, left out all that remains. `path` and
    `test_path` are where a table is, unless the recipe says.
    """

    title: str
    reader: Literal["triage", "pubmedqa", "bioasq", "table"]
    synthetic: bool
    licence: str
    source: str
    get: str
    labels: tuple[str, ...] | None = None
    rationales: tuple[str, ...]
    path: str | None = None
    test_path: str | None = None
    columns: dict[str, str] = {}
    context_mark: str | None = None
    sizes: dict[str, dict[str, float]]


def cards() -> list[str]:
    """Names of the cards that are shipped; other files beside them say no reader."""
    files = paths.CARDS.glob("*.yaml")
    return sorted(file.stem for file in files if "\nreader:" in file.read_text(encoding="utf-8"))


def card(name: str) -> Card:
    """The card `name`; raises `R2DError` naming those that exist."""
    if name not in cards():
        raise R2DError(f"Dataset card {name!r} is not known: choose one of {', '.join(cards())}.")
    return Card(**yaml.safe_load((paths.CARDS / f"{name}.yaml").read_text(encoding="utf-8")))


def load(name: str, settings: DataSettings) -> Dataset:
    """The dataset `name` of a recipe: read, checked and cut; equal settings and files give equal datasets.

    Test is cut first, then validation, then train, so that a longer train keeps the same test. Raises `R2DError`
    with one sentence for an absent or broken file, a bad row (unless `on_bad_rows` is "drop") or too few records.
    """
    chosen = card(settings.card)
    _expect_fitting(name, chosen, settings)
    gate = Gate(
        labels=chosen.labels or (),
        rationale=settings.rationale
        if settings.rationale in chosen.rationales
        else chosen.rationales[0],
        context_mark=chosen.context_mark,
        drop=settings.on_bad_rows == "drop",
        unexplained=settings.missing_rationale == "label only",
        columns=chosen.columns | settings.columns,
    )
    usual = chosen.sizes[settings.split]
    sizes = {split: getattr(settings, split) or usual.get(split) for split in reversed(SPLITS)}
    read = {"triage": _triage, "pubmedqa": _pubmedqa, "bioasq": _bioasq, "table": _table}[
        chosen.reader
    ]
    splits, source = read(chosen, settings, gate, sizes)
    ordered = {split: splits[split] for split in SPLITS}
    dataset = Dataset(
        name, chosen.title, gate.labels, ordered, source, chosen.synthetic, gate.dropped
    )
    check(dataset, chosen.context_mark)
    return dataset


def content(settings: DataSettings) -> str | None:
    """Changes when the files that these settings read change; None for what is generated here."""
    chosen = card(settings.card)
    if chosen.reader == "triage":
        return None
    if chosen.reader == "table":
        return tables.digest(map(tables.find, filter(None, _table_files(chosen, settings))))
    return tables.digest(corpora.files(chosen.reader, settings.path))


def _expect_fitting(name: str, chosen: Card, settings: DataSettings) -> None:
    """Refuse settings that the card has no use for."""
    if settings.split not in chosen.sizes:
        raise R2DError(
            f"Dataset {name}: `split` is {settings.split!r}; expected {some(chosen.sizes)}."
        )
    if settings.rationale not in {"rationale", *chosen.rationales}:
        raise R2DError(
            f"Dataset {name}: `rationale` is {settings.rationale!r}; expected {some(chosen.rationales)}."
        )
    unused = {"path", "missing_rationale"} if chosen.reader == "triage" else set()
    unused |= {"test_path", "columns"} if chosen.reader != "table" else set()
    for key in sorted(unused):
        if getattr(settings, key) != DataSettings.model_fields[key].default:
            raise R2DError(
                f"Dataset {name}: `{key}` is not for card {settings.card}; remove it or use card table."
            )
    strange = sorted(set(settings.columns) - set(FIELDS))
    if strange:
        raise R2DError(
            f"Dataset {name}: `columns` maps {some(strange)}; a record's fields are {some(FIELDS)}."
        )


def check(dataset: Dataset, context_mark: str | None = None) -> None:
    """Raise `R2DError` if a split is empty, a label is not the dataset's, or two splits share a question."""
    home: dict[bytes, str] = {}
    known = set(dataset.labels)
    for split, records in dataset.splits.items():
        if not records:
            raise R2DError(
                f"Dataset {dataset.name}: {split} has no records; give more data or smaller other splits."
            )
        for position, record in enumerate(records, 1):
            where = f"Dataset {dataset.name}, record {position} of {split}"
            if record.label not in (record.candidates or known):
                raise R2DError(
                    f"{where}: its label is not in the label set; load it through `r2d.data.load`."
                )
            other = home.setdefault(content_key(record.question, context_mark), split)
            if other != split:
                raise R2DError(
                    f"{where}: its question is also in {other}; remove it from one of them."
                )


def _triage(chosen: Card, settings: DataSettings, gate: Gate, sizes: dict) -> tuple[Splits, str]:
    """Distinct synthetic notes from one stream, of which only those kept are held."""
    from r2d.data import triage

    source = f"{chosen.source}, seed {settings.seed}, difficulty {settings.difficulty}"
    notes = triage.generate(2 * int(sum(sizes.values())), settings.seed, settings.difficulty)
    stream = _distinct(gate.records(source, enumerate(notes, 1)))
    splits = {split: list(islice(stream, int(size))) for split, size in sizes.items()}
    for split, size in sizes.items():
        if len(splits[split]) < size:
            raise R2DError(
                f"{source}: too few distinct notes for {split}; lower its size or raise the difficulty."
            )
    return splits, source


def _distinct(records: Iterator[Record]) -> Iterator[Record]:
    seen: set[bytes] = set()
    for record in records:
        key = content_key(record.question)
        if key not in seen:
            seen.add(key)
            yield record


def _pubmedqa(chosen: Card, settings: DataSettings, gate: Gate, sizes: dict) -> tuple[Splits, str]:
    """PQA-L cut at random or by its 500 official test ids; or the paper's test set of PQA-A and PQA-L."""
    source, rows = corpora.pubmedqa("pqal", settings.path, chosen.source, chosen.get)
    labelled = list(gate.records(source, rows))
    if settings.split == "random":
        return cut(labelled, sizes, settings.seed, gate.context_mark), source
    if settings.split == "official":
        ids = corpora.test_ids(settings.path)
        fixed = [record for record in labelled if record.id in ids]
        if len(fixed) + gate.dropped < len(ids):
            raise R2DError(
                f"{source} lacks {len(ids) - len(fixed)} of the official test records. {chosen.get}"
            )
        pool = _apart([record for record in labelled if record.id not in ids], fixed, gate)
        return _around(fixed, pool, settings.seed, gate, sizes), source
    more, rows = corpora.pubmedqa("pqaa", settings.path, chosen.source, chosen.get)
    expert = max(1, round(sizes["test"] * EXPERT_SHARE))
    pool = _apart(gate.records(more, rows), labelled, gate)
    splits = cut(pool, sizes | {"test": sizes["test"] - expert}, settings.seed, gate.context_mark)
    splits["test"] += cut(labelled, {"test": expert}, settings.seed, gate.context_mark)["test"]
    return splits, f"{source} and {more}"


def _apart(records: Iterable[Record], fixed: list[Record], gate: Gate) -> list[Record]:
    """The records whose question is not in `fixed`; the others count as dropped."""
    taken = gate.keys(fixed)
    records = list(records)
    kept = [record for record in records if gate.key(record) not in taken]
    gate.dropped += len(records) - len(kept)
    return kept


def _around(fixed: list[Record], pool: list[Record], seed: int, gate: Gate, sizes: dict) -> Splits:
    """Splits whose test is `fixed`, or as much of it as is wanted."""
    rest = {split: size for split, size in sizes.items() if split != "test"}
    test = (
        cut(fixed, {"test": sizes["test"]}, seed, gate.context_mark)["test"]
        if sizes["test"]
        else fixed
    )
    return {"test": test} | cut(pool, rest, seed, gate.context_mark)


def _bioasq(chosen: Card, settings: DataSettings, gate: Gate, sizes: dict) -> tuple[Splits, str]:
    source, rows = corpora.bioasq(settings.path, chosen.get)
    return cut(list(gate.records(source, rows)), sizes, settings.seed, gate.context_mark), source


def _table_files(chosen: Card, settings: DataSettings) -> tuple[str | None, str | None]:
    """Where a table's rows and its test rows are: as the recipe says, else as the card does."""
    return settings.path or chosen.path, settings.test_path or (
        None if settings.path else chosen.test_path
    )


def _table(chosen: Card, settings: DataSettings, gate: Gate, sizes: dict) -> tuple[Splits, str]:
    """A user's file, cut; or cut around the test rows of a second file."""
    path, test_path = _table_files(chosen, settings)
    if not path:
        raise R2DError(f"Card {settings.card} needs a file. {chosen.get}")
    file = tables.find(path)
    needed = {"question", "label", *settings.columns} | (
        set() if gate.unexplained else {gate.rationale}
    )
    there, rows = _mapped(file, gate, needed)
    rows, gate.choice = list(rows), "candidates" in there
    if not rows:
        raise R2DError(
            f"{file.name} has a header but no records: give it at least one row a split."
        )
    gate.labels = () if gate.choice else chosen.labels or _labels(file, rows, gate)
    if not test_path:
        return cut(list(gate.records(file.name, rows)), sizes, settings.seed), file.name
    test_file = tables.find(test_path)
    fixed = list(
        gate.records(
            test_file.name, _mapped(test_file, gate, needed | ({"candidates"} & set(there)))[1]
        )
    )
    pool = list(gate.records(file.name, rows, gate.keys(fixed)))
    sizes = sizes | {"test": settings.test}
    return _around(fixed, pool, settings.seed, gate, sizes), f"{file.name} and {test_file.name}"


def _mapped(
    file: Path, gate: Gate, needed: set[str]
) -> tuple[dict[str, str], Iterator[tables.Row]]:
    """The fields that are there, and rows under their names; without an id column the position is the id."""
    columns, rows = tables.composed(*tables.table(file), gate.columns.values())
    for name in sorted(needed, key=FIELDS.index):
        if gate.columns[name] not in columns:
            raise R2DError(_no_column(file, name, gate.columns[name], columns))
    there = {name: column for name, column in gate.columns.items() if column in columns}

    def named() -> Iterator[tables.Row]:
        for position, (row, values) in enumerate(rows, 1):
            fallback = {} if "id" in there else {"id": str(position)}
            yield (
                row,
                values and fallback | {name: values.get(column) for name, column in there.items()},
            )

    return there, named()


def _no_column(file: Path, name: str, column: str, columns: list[str]) -> str:
    """What is there instead, unless the names are the first record of a file without a header row."""
    absent = f"{file.name} has no column {column!r} for {name}"
    if any(len(each) > 40 or len(each.split()) > 4 for each in columns):
        return f"{absent}, and names too long to be columns: add a header row, or shorten them."
    near = difflib.get_close_matches(column, columns, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{absent}, only {some(columns)}: set `columns.{name}` to the right one{hint}."


def _labels(file: Path, rows: list[tables.Row], gate: Gate) -> tuple[str, ...]:
    """The sorted labels of the rows, each in its commonest spelling; a column of notes is refused."""
    spellings: dict[str, Counter] = defaultdict(Counter)
    for _, values in rows:
        label = as_text(values["label"]) if values else ""
        if label:
            spellings[label.casefold()][label] += 1
    if len(spellings) > max(20, len(rows) // 2):
        column = gate.columns["label"]
        raise R2DError(
            f"{file.name}: column {column!r} has {len(spellings)} different labels; map `label` to another."
        )
    return tuple(
        sorted(min(each, key=lambda text: (-each[text], text)) for each in spellings.values())
    )
