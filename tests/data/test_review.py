"""The report over a user's table and its advice: what was spoilt is found, and no text quoted."""

import pandas as pd
import pytest
from notes import TICKETS, riddles, write

from r2d.data import review
from r2d.experiments import your_data
from r2d.models.load import load_tokenizer


@pytest.fixture
def tickets() -> pd.DataFrame:
    """An invented table, as a frame to spoil."""
    return pd.read_csv(TICKETS)


@pytest.fixture
def read(tmp_path):
    """The user's table that frames make."""

    def read_frames(train: pd.DataFrame, test: pd.DataFrame | None = None):
        train.to_csv(tmp_path / "train.csv", index=False)
        if test is None:
            return your_data.read_table(str(tmp_path / "train.csv"))
        test.to_csv(tmp_path / "test.csv", index=False)
        return your_data.read_table(str(tmp_path / "train.csv"), str(tmp_path / "test.csv"))

    return read_frames


def reviewed(table: your_data.Table, limits=(64, 80)) -> tuple[dict, str]:
    """The report and its advice."""
    report = review.report(table.train, table.test, load_tokenizer("mini-base"), limits)
    return report, "\n".join(review.advice(report))


def test_a_sound_table_gets_a_report_that_counts_it(tickets, read):
    report, advice = reviewed(read(tickets))
    assert report["rows"] == {"train": 160, "test": 0}
    assert sum(report["labels"].values()) == report["explained"] == 160
    assert not any(report["missing"].values())
    assert report["leaks"] == report["contradictions"] == 0
    few = "160 training rows are few: expect wide intervals, and look at them before any mean."
    assert advice == few


def test_the_report_finds_what_was_spoilt(tickets, read):
    twins = [tickets.iloc[[7]], tickets.iloc[[8]].assign(label="Other desk")]
    train = pd.concat([tickets, *twins], ignore_index=True)
    train.loc[0, "question"] = "  " + train.loc[0, "question"].upper()  # still a leak
    train.loc[10:12, "rationale"] = None
    train.loc[13, "question"] = ""
    train.loc[20, "label"] = str(train.loc[20, "label"]).upper()
    # A missing rationale stays missing.
    train["rationale"] = "It is " + train["label"] + ": " + train["rationale"]
    report, advice = reviewed(read(train, tickets.iloc[:5]), (16, 80))
    assert report["rows"] == {"train": 162, "test": 5}
    assert report["missing"] == {"question": 1, "label": 0, "rationale": 3}
    assert (report["leaks"], report["duplicates"], report["contradictions"]) == (5, 2, 1)
    assert report["labels"]["Other desk"] == 1 and len(report["merged"]) == 1
    assert report["label in rationale"] == 1 and report["label in question"] == 0
    for part in (
        "1 row(s) have no question",
        "5 test question(s) are also in",
        "2 training row(s) repeat",
        "1 question(s) have different labels",
        "3 row(s) have no rationale",
        "differ in case only",
        "Fewer than 10 training rows have label",
        "100% of the rationales state",
        "100% of the inputs are longer than 16 tokens",
    ):
        assert part in advice
    assert not any(question in advice for question in tickets["question"])


def test_lengths_and_the_advised_limit_are_the_tokenizers(tickets, read):
    table = read(tickets)
    report, advice = reviewed(table, (16, 80))
    prompts = [f"given label: {row['label']}, explain: {row['question']}" for row in table.train]
    lengths = pd.Series([len(ids) for ids in load_tokenizer("mini-base")(prompts)["input_ids"]])
    row = report["lengths"].set_index("text").loc["input"]
    assert row["longest"] == lengths.max() and row["share cut"] == (lengths > 16).mean()
    advised = int(advice.split('"max_input_tokens": ')[1].split("}")[0])
    assert (lengths <= advised).mean() >= 0.95 and advised % 16 == 0


def test_labels_that_look_alike_rule_or_hide_in_the_question_are_pointed_out(tickets, read):
    tickets.loc[0, "label"] = "How  to use"
    tickets.loc[1:140, "label"] = "Delivery"
    tickets["question"] = tickets["question"] + " delivery"
    report, advice = reviewed(read(tickets))
    assert report["alike"] == [("How  to use", "How to use")] and "look alike" in advice
    assert "read macro-F1, not accuracy" in advice
    assert "contain the words of their own label" in advice


def test_labels_that_differ_in_case_are_reported_as_one(tickets, read):
    tickets.loc[::9, "label"] = tickets.loc[::9, "label"].str.upper() + " "
    assert len(reviewed(read(tickets))[0]["merged"]) == 4


def test_without_rationales_the_advice_says_how_to_get_some(tickets, read):
    advice = reviewed(read(tickets.assign(rationale="")))[1]
    assert "only SFT can be trained; `python -m r2d write-rationales`" in advice


def test_the_report_counts_positions_and_labels_outside_the_candidates(tmp_path):
    rows = riddles()
    rows[0]["label"] = "the moon"
    report, advice = reviewed(your_data.read_table(str(write(tmp_path / "spoilt.json", rows))))
    assert set(report["labels"]) == {"option 1", "option 2", "option 3", "option 4"}
    assert sum(report["labels"].values()) == 39
    assert "1 row(s) have a label that is not among their candidates" in advice
