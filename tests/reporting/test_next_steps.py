"""Advice after training: each sentence is asked for by a measure, and by no other."""

import copy

import pytest

from r2d.data.dataset import Dataset
from r2d.data.record import Record
from r2d.reporting import next_steps

LABELS = ("bill", "box", "repair")
WORDS = {"bill": "paid twice", "box": "parcel lost", "repair": "screen broken"}
ROWS, TESTED = 40, 20  # of each label


def records(split: str, n: int, rationale: bool = True) -> list[Record]:
    """Questions from which counting words gets every label right but for one test case in five."""
    made = []
    for i in range(n):
        for k, label in enumerate(LABELS):
            told = LABELS[(k + 1) % 3] if split == "test" and i % 5 == 0 else label
            text = f"{WORDS[told]}, says customer {split}{i}"
            why = f"{WORDS[label]} in {split}{i}" if rationale else ""
            made.append(Record(f"{split}-{label}-{i}", text, label, why))
    return made


def dataset(train: int = ROWS, explained: bool = True, labels: tuple = LABELS) -> Dataset:
    splits = {
        "train": records("train", train, explained),
        "validation": [],
        "test": records("test", TESTED),
    }
    return Dataset("yours", "Yours", labels, splits, "a table", synthetic=False)


def measure(value: float, width: float = 0.06, **more) -> dict:
    return {"value": value, "interval": [value - width / 2, value + width / 2], **more}


def sound() -> dict:
    """What a run that needs no advice leaves: 54 of 60 right, errors between all labels alike."""
    per_class = {label: {"value": 0.9} for label in LABELS}
    measures = {
        "accuracy": measure(0.9),
        "macro_f1": measure(0.9),
        "invalid_rate": measure(0.0),
        "degenerate": measure(0.0),
        "copied": measure(0.0),
        "agreement": measure(0.94, chance=0.33),
        "follows_label": measure(0.9, chance=0.33),
    }
    metrics = {
        "n": 60,
        "labels": list(LABELS),
        "metrics": measures,
        "per_class_f1": per_class,
        "confusion": [[18, 1, 1, 0], [1, 18, 1, 0], [1, 1, 18, 0]],
        "reader": {"name": "a reader", "gold": 0.95, "chance": 0.2, "n": 60},
    }
    config = {"method": {"objective": "r2d"}, "train": {"steps": 700}}
    return {"metrics": metrics, "log": climb(-0.3, -0.2, -0.2), "config": config}


def climb(*scores: float) -> list[dict]:
    return [{"validation": score, "best": max(scores[: i + 1])} for i, score in enumerate(scores)]


def spoilt(name: str, value) -> dict:
    """A sound run with one measure, or one other entry of its metrics, replaced."""
    finished = copy.deepcopy(sound())
    metrics = finished["metrics"]
    where = metrics if name in metrics else metrics["metrics"]
    where[name] = value
    return finished


def test_a_run_that_lacks_nothing_is_told_so():
    assert next_steps.advice(sound(), dataset()) == [next_steps.NOTHING]


CASES = [
    ("accuracy", measure(0.35, 0.1), "not clearly better (35% right) than always answering 'bill'"),
    ("accuracy", measure(0.8), "Counting words (TF-IDF + logistic regression) is right in 80%"),
    ("accuracy", measure(0.88, 0.3), "60 test cases leave its accuracy open between 73% and 103%"),
    ("invalid_rate", measure(0.05), "5% of the labels that it wrote are none of the table's"),
    (
        "confusion",
        [[18, 1, 1, 0], [4, 16, 0, 0], [0, 1, 19, 0]],
        "5 of 7 errors are between 'bill', 'box': clearer labels",
    ),
    ("degenerate", measure(0.3), "30% of its rationales are blank, one word, or the same"),
    ("copied", measure(0.4), "40% of its rationales are training rationales word for word"),
    ("agreement", measure(0.6), "60% of its rationales support the label that it decided"),
    ("follows_label", measure(0.34, chance=0.33), "its rationales do not depend on the label"),
    (
        "reader",
        {"name": "a reader", "gold": 0.5, "chance": 0.2, "n": 60},
        "own rationales only 50% tell their label to a simple reader (a reader)",
    ),
]


@pytest.mark.parametrize(("name", "value", "said"), CASES, ids=[said[:28] for *_, said in CASES])
def test_a_measure_that_is_amiss_asks_for_its_advice(name, value, said):
    sentences = next_steps.advice(spoilt(name, value), dataset())
    assert len([sentence for sentence in sentences if said in sentence]) == 1
    others = {said for _, _, said in CASES} - {said}
    weak = name == "accuracy" and value["value"] < 0.5  # then counting words is better, too
    assert weak or not any(other in sentence for other in others for sentence in sentences)


def test_more_steps_are_advised_only_while_validation_still_climbs():
    finished = spoilt("degenerate", measure(0.3))
    (sentence,) = next_steps.advice(finished, dataset())
    assert "give more rows" in sentence and "steps" not in sentence
    finished["log"] = climb(-0.3, -0.2, -0.1)
    (sentence,) = next_steps.advice(finished, dataset())
    assert 'overrides={"train.r2d.steps": 1400}' in sentence


def test_rare_labels_below_the_mean_are_named():
    finished = spoilt(
        "per_class_f1", {k: {"value": v} for k, v in zip(LABELS, (0.5, 1, 1), strict=True)}
    )
    (sentence,) = next_steps.advice(finished, dataset(train=next_steps.FEW_ROWS - 1))
    assert "fewer than 30 training rows: 'bill'. More rows of these" in sentence
    assert next_steps.advice(finished, dataset()) == [next_steps.NOTHING]


def test_a_table_without_rationales_is_told_how_to_get_some():
    finished = sound()
    for name in ("degenerate", "copied", "agreement", "follows_label"):
        del finished["metrics"]["metrics"][name]
    del finished["metrics"]["reader"]
    (sentence,) = next_steps.advice(finished, dataset(explained=False))
    assert "120 of 120 training rows have no rationale" in sentence
    assert "write-rationales" in sentence


def test_open_labels_are_not_held_against_a_label_set():
    finished = sound()
    finished["metrics"] |= {
        "labels": [],
        "per_class_f1": {},
        "confusion": [],
        "metrics": {"accuracy": measure(0.1)},
    }
    del finished["metrics"]["reader"]
    assert next_steps.advice(finished, dataset(labels=())) == [next_steps.NOTHING]


def test_no_text_of_a_case_is_in_any_advice():
    said = " ".join(
        sentence
        for name, value, _ in CASES
        for sentence in next_steps.advice(spoilt(name, value), dataset())
    )
    loaded = dataset()
    texts = {text for r in loaded.train + loaded.test for text in (r.question, r.rationale)}
    assert said and not any(text in said for text in texts)
