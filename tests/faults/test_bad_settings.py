"""Settings, labels and cases that can't be used: one exact sentence each, and no cell in it."""

import pytest
from notes import DROP, SECRET, complaint, riddles, rows, sentence, settings, write

from r2d import recipes
from r2d.data.record import Record
from r2d.deploy.predict import Predictor
from r2d.experiments import your_data
from r2d.experiments.job import Job, perform
from r2d.method.objective import OBJECTIVES
from r2d.recipes.settings import LoraSettings

# Settings of a dataset over the file `notes.csv` -> the whole sentence.
SETTINGS = {
    "a label that is not of the set": (
        {"test_path": "test.csv"},
        "test.csv, row 2: its label (column 'label') is not one of the 3 labels to learn; mend the "
        "label" + DROP,
    ),
    "a column of notes as labels": (
        {"columns": {"label": "question"}},
        "notes.csv: column 'question' has 60 different labels; map `label` to another, or "
        "`candidates` to the options of multiple choice, or set `options_from` or `labels: open`.",
    ),
    "no options": (
        {"options_from": "Answer Choices:"},
        "notes.csv, row 2: its question has no 2 to 50 different options after 'Answer Choices:'; "
        "write them as A. ... B. ..." + DROP,
    ),
    "no candidates": (
        {"columns": {"candidates": "rationale"}},
        "notes.csv, row 2: its candidates (column 'rationale') are not 2 to 50 different texts; "
        "write a list, or a | b" + DROP,
    ),
    "open labels of a card": (
        {"card": "strategyqa", "labels": "open"},
        "Dataset mine: `labels` is not for card strategyqa; remove it or use card table.",
    ),
    "options of a card": (
        {"card": "pubmedqa", "options_from": "Choices:"},
        "Dataset mine: `options_from` is not for card pubmedqa; remove it or use card table.",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_does_not_fit_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "notes.csv", rows())
    strange = {"id": "x", "question": "new", "label": SECRET, "rationale": "so"}
    write(tmp_path / "test.csv", [strange])
    more, said = SETTINGS[name]
    assert complaint(**{"path": "notes.csv"} | more) == said


def test_contradictory_settings_of_labels_are_one_sentence():
    entry = {"card": "table", "path": "notes.csv", "labels": "open"}
    said = sentence(recipes.load, "smoke", {"datasets.mine": entry | {"options_from": "x:"}})
    assert said == (
        "Recipe smoke.yaml: open labels are not chosen from candidates; remove `labels: open`, or "
        "`options_from` and `columns.candidates`."
    )
    said = sentence(recipes.load, "smoke", {"datasets.mine": entry, "decode.labels": "score"})
    assert said == (
        "Recipe smoke.yaml: datasets.mine.labels is open, but decode.labels is score, which needs "
        "a label set; change one of them."
    )


def test_labels_as_many_as_rows_are_refused_with_what_helps(tmp_path):
    path = write(tmp_path / "notes.csv", [row | {"label": row["question"]} for row in rows()])
    assert sentence(your_data.read_table, str(path)) == (
        "notes.csv: column 'label' has 60 different labels in 60 rows, too few to learn any: if it "
        "holds notes, name the label column; if each row has options of its own, give them in a "
        "column `candidates`, or read them out of the question (--options-from 'Answer Choices:'); "
        "else give more rows a label, or learn labels as free text (--labels open)."
    )
    assert sentence(your_data.read_table, str(path), options_from="Choices:") == (
        "notes.csv: no question has options after 'Choices:': write them as A. ... B. ..., or mend "
        "what should stand before them."
    )


# What is predicted -> the sentence.
CASES = {
    f"{SECRET}\ud800": "Text 1: it has half of a character (a lone surrogate); write the row "
    "again as UTF-8.",
    f"{SECRET}\0": "Text 1: it has a NUL byte; write the row again without it.",
    " ": "Text 1 is empty or not a text: give each case some words.",
}


@pytest.mark.parametrize("text", CASES, ids=["half", "nul", "blank"])
def test_a_case_that_is_no_text_is_one_sentence(records, fresh, text):
    predictor = Predictor(fresh(records), OBJECTIVES["sft"], "SFT")
    assert sentence(predictor.predict, [text]) == CASES[text]


LOST = (
    "its label is lost in the tokenizer, which has a control token for it (`</s>` is one) or lacks "
    "a sign of it; write it otherwise."
)
TOO_LONG = "its label has 91 tokens; raise `max_label_tokens` from 64."
UNWRITABLE = [
    (("</s>", "b"), "closed", LOST),
    (("a</s>", "a"), "closed", LOST),
    (("<extra_id_0>", "b"), "open", LOST),
    (("x" * 90, "b"), "open", TOO_LONG),
]


@pytest.mark.parametrize(("labels", "meant", "said"), UNWRITABLE)
def test_a_label_that_can_never_be_written_stops_before_training(
    tmp_path, tiny, labels, meant, said
):
    path = write(tmp_path / "notes.csv", rows(labels=labels))
    source = settings(path=str(path), labels=meant)
    job = Job(
        title="mine",
        dataset="mine",
        source=source,
        objective="sft",
        objective_overrides={},
        tuning="full",
        backbone="mini-base",
        limits=(64, 24),
        lora=LoraSettings(),
        train=tiny().training("sft-full", "triage"),
        labels="generate",
        decode_batch=8,
        seed=1,
        start=None,
        fingerprint="",
    )
    assert sentence(perform, job, tmp_path / "run").endswith(f" of train: {said}")
    assert not list((tmp_path / "run").iterdir())


def test_a_candidate_that_can_never_be_written_is_named_by_its_record(records, fresh):
    decoder = fresh(records)
    decoder.labels = ()
    good = []
    for row in riddles(2):
        candidates = tuple(row["candidates"])
        good.append(Record("", row["question"], row["label"], "", candidates=candidates))
    assert decoder.label_fault(good) is None
    lost = Record("", "q", "</s>", "", candidates=("</s>", "b"))
    place, reason = decoder.label_fault([*good, lost])
    assert place == 2 and f"{reason}." == LOST
