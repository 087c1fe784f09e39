"""The cards that are shipped, and settings that they have no use for."""

from notes import complaint

from r2d import data
from r2d.data.record import FIELDS


def test_every_card_is_whole():
    names = ["bioasq", "esnli", "pubmedqa", "strategyqa", "table", "triage"]
    assert data.card_names() == names
    for card in map(data.load_card, names):
        assert set(card.rationales) <= set(FIELDS) and set(card.columns) <= set(FIELDS)
        assert (card.labels is None) == (card == data.load_card("table"))
        assert "random" in card.sizes
        assert (card.path is not None) == (card.reader == "table" and card.labels is not None)


def test_settings_a_card_has_no_use_for_are_refused():
    assert f"choose one of {', '.join(data.card_names())}" in complaint(card="tirage")
    message = complaint(card="pubmedqa", columns={"label": "x"})
    assert "`columns` is not for card pubmedqa" in message
    assert "`path` is not for card triage" in complaint(card="triage", path="x")
    assert "expected 'random'" in complaint(card="triage", split="official")
    message = complaint(card="triage", rationale="rationale_doctor")
    assert "expected 'rationale_llm', 'rationale_nurse'" in message
