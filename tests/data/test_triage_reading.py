"""A synthetic rationale is read back exactly as it was worded, and nothing is read into others."""

import pytest

from r2d.data import triage
from r2d.data.triage_reading import read

WORDINGS = triage.wordings()["rationale_llm"]
CALL = {"complaint": "chest pain", "duration": "for an hour", "patient": "a man", "relative": "mom"}


def worded(clause, **slots):
    """A clause in the first of the generator's wordings."""
    return WORDINGS["clauses"][clause][0].format(**CALL | slots)


DOCTOR, HOME = (worded("advice", advice=WORDINGS["advice"][level][0]) for level in (3, 5))
FINDING = worded("finding", finding="crushing chest pain")


@pytest.fixture(scope="module")
def notes():
    return list(triage.generate(150, seed=5, difficulty=0.8, noise=0.2))


@pytest.mark.parametrize("source", triage.RATIONALES)
def test_every_rationale_says_the_label_finding_and_modifier_it_was_made_of(notes, source):
    advised = 0
    for note in notes:
        facts, said = triage.facts_of(note["facts"]), read(note[source])
        assert said.whole
        assert said.finding == facts["present"][0]
        assert said.modifier == next(iter(facts["modifier"]), None)
        assert said.denied <= set(facts["denied"] + facts["relative"])
        assert said.advice in (note["label"], None)
        advised += said.advice is not None
    # Of a nurse's four wordings two advise nothing.
    assert advised == len(notes) or source == "rationale_nurse" and 40 < advised < 110


def test_a_denied_finding_names_no_reason():
    said = read(f"{worded('denied', denied='crushing chest pain')} {DOCTOR}")
    assert said.finding is None and said.denied == {"crushing chest pain"}
    assert said.advice == "See a doctor within 24 hours"
    assert (
        read(f"{FINDING} {worded('denied', denied='blue lips')}").finding == "crushing chest pain"
    )


def test_a_relatives_finding_names_no_reason():
    assert read(worded("theirs", theirs="blue lips")).denied == {"blue lips"}


def test_two_advices_are_none():
    both = f"{DOCTOR} {HOME}"
    assert read(both).advice is None
    assert read(f"{DOCTOR} {DOCTOR}").advice == "See a doctor within 24 hours"


@pytest.mark.parametrize("text", ["", "yes", "The deciding finding is crushing chest pain", "a: b"])
def test_other_texts_say_nothing(text):
    said = read(text)
    assert (said.advice, said.finding, said.modifier, said.denied) == (None, None, None, set())
    assert not said.whole


def test_a_garbled_name_names_nothing_and_leaves_the_advice():
    said = read(f"{FINDING.replace('crushing chest', 'crushing spread')} {DOCTOR}")
    assert said.finding is None and said.advice == "See a doctor within 24 hours"
    assert not said.whole


def test_case_blanks_and_a_missing_full_stop_change_nothing():
    text = f"{FINDING}  {DOCTOR}"
    assert read(text.upper().rstrip(".")) == read(text)
