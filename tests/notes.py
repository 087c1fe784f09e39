"""Invented rows of notes, written in any format, and the sentence that loading them gives."""

import csv
import json
import random
from pathlib import Path

import pandas
import pytest

from r2d import data
from r2d.errors import R2DError
from r2d.recipes.settings import DataSettings

TICKETS = Path(__file__).with_name("tickets.csv")  # invented support tickets
SECRET = "zebrafever overnight"  # stands in every note, and must stand in no message
DROP = ", or set `on_bad_rows: drop` to leave such rows out."  # ends what is said of a row


def settings(card="table", **values) -> DataSettings:
    return DataSettings(card=card, **values)


def load(path, **values) -> data.Dataset:
    """The dataset in a file."""
    return data.load("mine", settings(path=str(path), **values))


def rows(count=60, labels=("home", "None", "ED")) -> list[dict]:
    return [
        {
            "id": f"n{i}",
            "question": f'note {i}: {SECRET}, "quoted", commas\nand a line — ünïcode {i}',
            "label": labels[i % len(labels)],
            "rationale": f"because {i} {SECRET}",
        }
        for i in range(count)
    ]


PLACES = ("the shed", "the cellar", "the attic", "the old garage behind the house")
THINGS = ("rake", "jam", "trunk", "bicycle")


def riddles(count: int = 40) -> list[dict]:
    """Multiple choice: two to four places each, in another order every time."""
    rng, riddles = random.Random(0), []
    for i in range(count):
        label = rng.choice(PLACES)
        others = rng.sample([place for place in PLACES if place != label], rng.randint(1, 3))
        thing = THINGS[PLACES.index(label)]
        riddles.append(
            {
                "question": f"{i}: where is the {thing}?",
                "label": label,
                "rationale": f"A {thing} is kept there.",
                "candidates": rng.sample([label, *others], len(others) + 1),
            }
        )
    return riddles


def write(path: Path, content) -> Path:
    """Write rows in the format that the ending names, or text or bytes as they are."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in content]
        path.write_text("".join(lines), encoding="utf-8")
    elif path.suffix == ".parquet":
        pandas.DataFrame(content).to_parquet(path)
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


def sentence(call, *given, **named) -> str:
    """What a call that must fail says: one sentence that quotes no note."""
    with pytest.raises(R2DError) as caught:
        call(*given, **named)
    message = str(caught.value)
    assert SECRET not in message and SECRET[:10] not in message
    assert "\n" not in message and message.endswith((".", "?"))
    return message


def complaint(**values) -> str:
    """The sentence that loading gives."""
    return sentence(data.load, "mine", settings(**values))


def questions(split) -> set[str]:
    return {" ".join(record.question.casefold().split()) for record in split}


def everything(dataset) -> list:
    return [record for split in dataset.splits.values() for record in split]


def assert_disjoint(dataset) -> None:
    seen = [questions(dataset.splits[split]) for split in ("train", "validation", "test")]
    assert all(seen) and len(set.union(*seen)) == sum(map(len, seen))


def hub_pairs(folder: Path, monkeypatch) -> str:
    """A stand-in for a hub dataset, as `hub:...`, with what hub datasets have.

    That is Parquet with class numbers and booleans; 60 training and 12 test rows.
    """
    from datasets import ClassLabel, Dataset, Features, Value

    text = Value("string")
    columns = {"premise": text, "hypothesis": text, "explanation_1": text, "answer": Value("bool")}
    label = ClassLabel(names=["entailment", "neutral", "contradiction"])
    (folder / "pairs").mkdir()
    for split, count in (("train", 60), ("test", 12)):
        pairs = [
            {
                "premise": f"{split} premise {i}",
                "hypothesis": f"guess {i}",
                "explanation_1": f"since {i}",
                "answer": i % 2 == 0,
                "label": i % 3,
            }
            for i in range(count)
        ]
        dataset = Dataset.from_list(pairs, features=Features(columns | {"label": label}))
        dataset.to_parquet(str(folder / "pairs" / f"{split}-00000-of-00001.parquet"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(folder / "cache"))
    return f"hub:{folder / 'pairs'}"
