"""What each source of information is worth, on invented questions over passages."""

import json

import pytest
from sklearn.metrics import accuracy_score, f1_score

from r2d.recipes.settings import DataSettings
from r2d.reporting import information


@pytest.fixture
def settings(tmp_path):
    """Cases of which the context says nothing, and the long answer all; half are the test split."""
    words = {"yes": "it helps", "no": "it harms", "maybe": "it is unclear"}
    labels = ["yes", "yes", "yes", "no", "no", "maybe"] * 30
    entries = {
        str(i): {
            "QUESTION": f"Does drug {i} help?",
            "CONTEXTS": [f"Patients {i} were seen."],
            "LONG_ANSWER": f"In all {words[label]}.",
            "final_decision": label,
        }
        for i, label in enumerate(labels)
    }
    (tmp_path / "ori_pqal.json").write_text(json.dumps(entries))
    test = {str(i): label for i, label in enumerate(labels) if i >= 90}
    (tmp_path / "test_ground_truth.json").write_text(json.dumps(test))
    return DataSettings(card="pubmedqa", path=str(tmp_path), split="official", validation=6, test=9)


def test_the_long_answer_says_the_label_and_what_says_nothing_scores_like_majority(settings):
    table = information.worth("pubmedqa", settings).set_index("reads")
    assert table.loc["long answer (the gold rationale)", "accuracy"] == 1
    assert table["test"].tolist() == [90] * 5  # the whole official test split
    floor = table.iloc[0]
    gold = (["yes"] * 3 + ["no"] * 2 + ["maybe"]) * 15
    assert floor["accuracy"] == accuracy_score(gold, ["yes"] * 90) == 0.5
    expected = f1_score(gold, ["yes"] * 90, average="macro", zero_division=0)
    assert floor["macro_f1"] == pytest.approx(expected)
    assert (table["macro_f1_low"] <= table["macro_f1"]).all()
    text = information.sentence(table.reset_index())
    assert text.startswith("What decides pubmedqa: macro-F1") and "gold rationale) 100.0 [" in text


def test_questions_without_a_context_have_no_such_table():
    notes = DataSettings(card="triage", train=8, validation=4, test=4)
    assert information.worth("triage", notes).empty
