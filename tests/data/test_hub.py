"""Hub datasets: class names, composed questions, cards that need no path, a hub out of reach."""

import pytest
from notes import hub_pairs, sentence

from r2d import data
from r2d.data import files, formats
from r2d.recipes.settings import DataSettings

ENTAILMENT = ("entailment", "neutral", "contradiction")


def test_a_hub_dataset_is_read_with_class_names_and_composed_questions(tmp_path, monkeypatch):
    hub = hub_pairs(tmp_path, monkeypatch)
    loaded = data.load(
        "nli", DataSettings(card="esnli", path=hub, test_path=f"{hub}#test", validation=6)
    )
    assert loaded.labels == ENTAILMENT
    assert len(loaded.test) == 12 and len(loaded.train) == 54
    record = next(record for record in loaded.test if record.id == "5")
    assert record.question == "premise: test premise 4 hypothesis: guess 4"
    assert (record.label, record.rationale) == ("neutral", "since 4")


def strategyqa(split: str, count: int):
    """What `datasets.load_dataset` gives for the hub's StrategyQA, as far as that is documented."""
    from datasets import Dataset, Features, Sequence, Value

    text = Value("string")
    columns = {
        "qid": text,
        "term": text,
        "question": text,
        "answer": Value("bool"),
        "facts": Sequence(text),
    }
    rows = [
        {
            "qid": f"q{i}",
            "term": "t",
            "question": f"{split}: is it {i}?",
            "answer": i % 2 == 0,
            "facts": ["It is.", f"As {i}."],
        }
        for i in range(count)
    ]
    return Dataset.from_list(rows, features=Features(columns))


def esnli(split: str, count: int):
    """The same for e-SNLI."""
    from datasets import ClassLabel, Dataset, Features, Value

    names = ("premise", "hypothesis", "explanation_1", "explanation_2", "explanation_3")
    columns = dict.fromkeys(names, Value("string")) | {"label": ClassLabel(names=list(ENTAILMENT))}
    rows = [
        {
            "premise": f"{split} premise {i}",
            "hypothesis": f"guess {i}",
            "explanation_1": f"since {i}",
            "explanation_2": "",
            "explanation_3": "",
            "label": i % 3,
        }
        for i in range(count)
    ]
    return Dataset.from_list(rows, features=Features(columns))


CARDS = {
    "esnli": (esnli, ("esnli/esnli", None, "refs/convert/parquet"), ENTAILMENT, "since 0"),
    "strategyqa": (
        strategyqa,
        ("ChilleD/StrategyQA", None, None),
        ("True", "False"),
        "It is. As 0.",
    ),
}


@pytest.mark.parametrize("card", CARDS)
def test_a_card_over_the_hub_needs_no_path_in_the_recipe(card, monkeypatch):
    pretend, where, labels, rationale = CARDS[card]
    asked = []

    def stand_in(repo, config, split, revision):
        asked.append((repo, config, revision, split))
        return pretend(split, 60 if split == "train" else 30)

    monkeypatch.setattr("datasets.load_dataset", stand_in)
    loaded = data.load("facts", DataSettings(card=card, validation=6))
    assert set(asked) == {(*where, "train"), (*where, "test")}
    assert loaded.labels == labels and (len(loaded.train), len(loaded.test)) == (54, 30)
    first = min(loaded.test, key=lambda record: int(record.id.strip("q")))
    assert first.label == labels[0]
    assert {r.label for r in loaded.test if r.question == first.question} == {labels[0]}
    assert first.rationale == rationale and "test" in first.question


def test_a_name_with_a_slash_that_is_no_file_is_a_hub_dataset(tmp_path):
    assert files.located("someone/tickets") == "hub:someone/tickets"
    parts = files.find("hub:someone/tickets:small#dev").parts
    assert parts == ("someone/tickets", "small", None, "dev")
    assert "is not there" in sentence(files.located, f"{tmp_path}/tickets")


def test_a_hub_that_is_not_reached_is_one_sentence(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("https://hub/secret?token=1")

    monkeypatch.setattr("datasets.load_dataset", fail)
    said = sentence(formats.open_table, files.find("hub:someone/tickets"))
    where = "'someone/tickets' (configuration default, split train)"
    assert f"{where} could not be loaded (ConnectionError)" in said
    assert "secret" not in said
