"""A recipe's dataset, read as its card says, checked, and cut into splits.

A card says what is fixed about a dataset, a recipe's `DataSettings` what of it is wanted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

from r2d.data import corpora, files, inline_options, tables, triage
from r2d.data.card import Card, load_card
from r2d.data.dataset import Dataset, check
from r2d.data.formats import Row
from r2d.data.record import FIELDS, Record, as_text, content_key, folded, listed
from r2d.data.splits import SPLITS, Splits, cut
from r2d.data.validate import Validator
from r2d.errors import R2DError
from r2d.recipes.settings import DataSettings

EXPERT_SHARE = 1 / 11  # of the paper's test set: 1,000 PQA-L beside 10,000 PQA-A
OF_TRIAGE = {"difficulty", "noise", "topics"}  # settings of the synthetic notes alone
Sizes = dict[str, float | None]


def load(name: str, settings: DataSettings) -> Dataset:
    """The dataset `name` of a recipe; equal settings and files give equal datasets.

    Test is cut first, then validation, then train, so that a longer train keeps the same test.
    Raises `R2DError` with one sentence for an absent or broken file, a bad row (unless
    `on_bad_rows` is "drop") or too few records.
    """
    card = load_card(settings.card)
    _expect_fitting(name, card, settings)
    validator = _validator(card, settings)
    usual = card.sizes[settings.split]
    sizes = {split: getattr(settings, split) or usual.get(split) for split in reversed(SPLITS)}
    splits, source = READERS[card.reader](card, settings, validator, sizes)
    dataset = Dataset(
        name=name,
        title=card.title,
        labels=validator.labels,
        splits={split: splits[split] for split in SPLITS},
        source=source,
        synthetic=card.synthetic,
        dropped=validator.dropped,
    )
    check(dataset, card.context_mark)
    return dataset


def content(settings: DataSettings) -> str | None:
    """Changes when the files that these settings read change; None for what is generated here."""
    card = load_card(settings.card)
    if card.reader == "triage":
        return None
    if card.reader == "table":
        return files.digest(files.find(path) for path in _table_files(card, settings) if path)
    return files.digest(corpora.files(card.reader, settings.path))


def _expect_fitting(name: str, card: Card, settings: DataSettings) -> None:
    """Refuse settings that the card has no use for."""
    if settings.split not in card.sizes:
        raise R2DError(
            f"Dataset {name}: `split` is {settings.split!r}; expected {listed(card.sizes)}."
        )
    if settings.rationale not in {"rationale", *card.rationales}:
        raise R2DError(
            f"Dataset {name}: `rationale` is {settings.rationale!r}; expected "
            f"{listed(card.rationales)}."
        )
    unused = {"path", "missing_rationale"} if card.reader == "triage" else set()
    unused |= {"test_path", "columns", "options_from"} if card.reader != "table" else set()
    unused |= OF_TRIAGE if card.reader != "triage" else set()
    unused |= {"labels", "options_from"} if card.labels else set()
    for key in sorted(unused):
        if getattr(settings, key) != DataSettings.model_fields[key].default:
            fitting = "triage" if key in OF_TRIAGE else "table"
            raise R2DError(
                f"Dataset {name}: `{key}` is not for card {settings.card}; remove it or use card "
                f"{fitting}."
            )
    strange = sorted(set(settings.columns) - set(FIELDS))
    if strange:
        raise R2DError(
            f"Dataset {name}: `columns` maps {listed(strange)}; a record's fields are "
            f"{listed(FIELDS)}."
        )


def _validator(card: Card, settings: DataSettings) -> Validator:
    known = settings.rationale in card.rationales
    return Validator(
        labels=card.labels or (),
        rationale=settings.rationale if known else card.rationales[0],
        context_mark=card.context_mark,
        drop=settings.on_bad_rows == "drop",
        unexplained=settings.missing_rationale == "label only",
        open_labels=settings.labels == "open",
        of_card=card.labels is not None,
        options_from=settings.options_from,
        columns=card.columns | settings.columns,
    )


def _triage(
    card: Card, settings: DataSettings, validator: Validator, sizes: Sizes
) -> tuple[Splits, str]:
    """Distinct synthetic notes from one stream, of which only those kept are held.

    Test notes are without noise: what is learned from may be wrong, what is measured by is not.
    """
    source = f"{card.source}, seed {settings.seed}, difficulty {settings.difficulty}"
    source += f", noise {settings.noise}" if settings.noise else ""
    source += f", {settings.topics} complaints" if settings.topics else ""

    def stream(noise: float) -> Iterator[Record]:
        most = 2 * int(sum(sizes.values()))
        notes = triage.generate(most, settings.seed, settings.difficulty, noise, settings.topics)
        return _distinct(validator.records(source, enumerate(notes, 1)))

    test = list(islice(stream(0.0), int(sizes["test"])))
    rest = islice(stream(settings.noise), len(test), None)  # the same notes: noise is in labels
    splits = {"test": test}
    for split in ("validation", "train"):
        splits[split] = list(islice(rest, int(sizes[split])))
    for split, size in sizes.items():
        if len(splits[split]) < size:
            raise R2DError(
                f"{source}: too few distinct notes for {split}; lower its size or raise the "
                "difficulty."
            )
    return splits, source


def _distinct(records: Iterable[Record]) -> Iterator[Record]:
    seen: set[bytes] = set()
    for record in records:
        key = content_key(record.question)
        if key not in seen:
            seen.add(key)
            yield record


def _pubmedqa(
    card: Card, settings: DataSettings, validator: Validator, sizes: Sizes
) -> tuple[Splits, str]:
    """PQA-L cut at random or by its 500 official test ids; or the paper's mix with PQA-A."""
    source, rows = corpora.pubmedqa("pqal", settings.path, card.source, card.get)
    labelled = list(validator.records(source, rows))
    if settings.split == "random":
        return cut(labelled, sizes, settings.seed, validator.context_mark), source
    if settings.split == "official":
        ids = corpora.official_test_ids(settings.path)
        test = [record for record in labelled if record.id in ids]
        if len(test) + validator.dropped < len(ids):
            raise R2DError(
                f"{source} lacks {len(ids) - len(test)} of the official test records. {card.get}"
            )
        pool = _apart([record for record in labelled if record.id not in ids], test, validator)
        return _around(test, pool, settings.seed, validator, sizes), source
    more, rows = corpora.pubmedqa("pqaa", settings.path, card.source, card.get)
    pool = _apart(validator.records(more, rows), labelled, validator)
    return _mixed(labelled, pool, settings.seed, validator, sizes), f"{source} and {more}"


def _apart(records: Iterable[Record], fixed: list[Record], validator: Validator) -> list[Record]:
    """The records whose question is not in `fixed`; the others count as dropped."""
    taken = validator.keys(fixed)
    kept = []
    for record in records:
        if validator.key(record) in taken:
            validator.dropped += 1
        else:
            kept.append(record)
    return kept


def _around(
    test: list[Record], pool: list[Record], seed: int, validator: Validator, sizes: Sizes
) -> Splits:
    """Splits whose test is `test`, or as much of it as is wanted."""
    mark = validator.context_mark
    if sizes["test"]:
        test = cut(test, {"test": sizes["test"]}, seed, mark)["test"]
    rest = {split: size for split, size in sizes.items() if split != "test"}
    return {"test": test} | cut(pool, rest, seed, mark)


def _mixed(
    expert: list[Record], pool: list[Record], seed: int, validator: Validator, sizes: Sizes
) -> Splits:
    """Splits of `pool` whose test has the paper's share of expert-labelled records."""
    mark = validator.context_mark
    number = max(1, round(sizes["test"] * EXPERT_SHARE))
    splits = cut(pool, sizes | {"test": sizes["test"] - number}, seed, mark)
    splits["test"] += cut(expert, {"test": number}, seed, mark)["test"]
    return splits


def _bioasq(
    card: Card, settings: DataSettings, validator: Validator, sizes: Sizes
) -> tuple[Splits, str]:
    source, rows = corpora.bioasq(settings.path, card.get)
    records = list(validator.records(source, rows))
    return cut(records, sizes, settings.seed, validator.context_mark), source


def _table(
    card: Card, settings: DataSettings, validator: Validator, sizes: Sizes
) -> tuple[Splits, str]:
    """A user's file, cut; or cut around the test rows of a second file.

    The table says what the labels are where the card does not.
    """
    path, test_path = _table_files(card, settings)
    if not path:
        raise R2DError(f"Card {settings.card} needs a file. {card.get}")
    file = files.find(path)
    needed = {"question", "label", *settings.columns}
    needed |= set() if validator.unexplained else {validator.rationale}
    fields, rows = _rows(file, validator, needed)
    validator.own_candidates = "candidates" in fields and not validator.open_labels
    if validator.own_candidates or validator.open_labels:
        validator.labels = ()
    elif not card.labels:
        validator.labels = _labels(file.name, validator.columns["label"], rows)
    if not test_path:
        return cut(list(validator.records(file.name, rows)), sizes, settings.seed), file.name
    test_file = files.find(test_path)
    needed |= {"candidates"} if validator.own_candidates and not settings.options_from else set()
    _, test_rows = _rows(test_file, validator, needed)
    test = list(validator.records(test_file.name, test_rows))
    pool = list(validator.records(file.name, rows, validator.keys(test)))
    splits = _around(test, pool, settings.seed, validator, sizes | {"test": settings.test})
    return splits, f"{file.name} and {test_file.name}"


def _rows(file: files.Source, validator: Validator, needed: set[str]) -> tuple[set, list[Row]]:
    """A table's fields and rows, with the options of its questions where they are to be read."""
    cures = {field: f"Set `columns.{field}` to the right one." for field in FIELDS}
    fields, rows = tables.read(file, validator.columns, needed, cures)
    if validator.options_from is None:
        return fields, rows
    return fields | {"candidates"}, inline_options.read_out(rows, validator.options_from)


def _table_files(card: Card, settings: DataSettings) -> tuple[str | None, str | None]:
    """Where a table's rows and its test rows are: as the recipe says, else as the card does."""
    if settings.path:
        return settings.path, settings.test_path
    return card.path, settings.test_path or card.test_path


def _labels(file: str, column: str, rows: list[Row]) -> tuple[str, ...]:
    """The sorted labels of the rows, each in its commonest spelling; notes are refused."""
    spellings: dict[str, Counter] = defaultdict(Counter)
    for _, values in rows:
        label = as_text(values["label"]) if values else ""
        if label:
            spellings[folded(label)][label] += 1
    if len(spellings) > max(20, len(rows) // 2):
        raise R2DError(
            f"{file}: column {column!r} has {len(spellings)} different labels; map `label` to "
            "another, or `candidates` to the options of multiple choice, or set `options_from` or "
            "`labels: open`."
        )
    return tuple(sorted(_commonest(counts) for counts in spellings.values()))


def _commonest(counts: Counter) -> str:
    """The most frequent spelling, of equally frequent ones the first in the alphabet."""
    return min(counts, key=lambda spelling: (-counts[spelling], spelling))


READERS = {"triage": _triage, "pubmedqa": _pubmedqa, "bioasq": _bioasq, "table": _table}
