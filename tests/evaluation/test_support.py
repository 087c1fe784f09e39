"""Which label a rationale supports, what is degenerate or copied, and what chance gives."""

import pytest

from r2d.data import triage
from r2d.data.record import Record
from r2d.evaluation import support

YES = ["the trial improved survival", "survival improved again", "it clearly improved"]
NO = ["there was no benefit", "no benefit was found", "the benefit is absent"]


def records(**texts):
    """Records whose rationale and label are given as label=[rationales]."""
    pairs = [(label, text) for label, part in texts.items() for text in part]
    return [Record(str(i), "q", label, text) for i, (label, text) in enumerate(pairs)]


def worded(clause, **slots):
    """A clause of an LLM-style rationale in the first of the generator's wordings."""
    call = {"complaint": "chest pain", "duration": "for an hour", "patient": "a man"}
    return triage.wordings()["rationale_llm"]["clauses"][clause][0].format(**call | slots)


@pytest.fixture(scope="module")
def judged():
    return support.Background(records(yes=YES, no=NO), ("yes", "no"), synthetic_triage=False)


def test_a_judge_learns_from_gold_rationales_which_label_a_text_supports(judged):
    assert judged.reader.name == support.JUDGE
    texts = ["survival improved", "no benefit", "  "]
    assert judged.reader.labels(texts) == ["yes", "no", None]


def test_a_synthetic_triage_rationale_supports_the_label_it_advises():
    background = support.Background([], triage.LABELS, synthetic_triage=True)
    assert background.reader.name == support.GRAMMAR
    texts = [
        worded("advice", advice=triage.wordings()["rationale_llm"]["advice"][5][0]),
        "Nothing.",
    ]
    assert background.reader.labels(texts) == ["Home care", None]


@pytest.mark.parametrize(
    "train, labels",
    [
        (records(yes=YES, no=NO), ()),  # open labels, or candidates of each case's own
        (records(yes=YES), ("yes", "no")),
        (records(yes=["?"], no=["!"]), ("yes", "no")),
        ([], ("yes", "no")),
    ],
)
def test_without_labels_to_learn_there_is_no_judge(train, labels):
    assert support.Background(train, labels, synthetic_triage=False).reader is None


def test_agreement_counts_a_rationale_that_supports_nothing_as_none():
    labels, supported = ["yes", "no", "no"], ["yes", "yes", None]
    assert support.agreement(labels, supported) == [1, 0, 0]
    assert support.agreement(labels, supported, silence=True) == [1, 0, None]


def test_chance_is_the_agreement_of_rationales_dealt_out_at_random():
    labels, supported = ["yes"] * 3 + ["no"], ["yes", "yes", "no", None]
    every = [support.agreement([label], [other])[0] for label in labels for other in supported]
    assert support.chance(labels, supported) == sum(every) / len(every) == 7 / 16


def test_blank_one_word_and_common_texts_are_degenerate():
    long = "a gold rationale of several words"
    texts = ["yes", "", "one text for all", "One  text for all", "one text for all", "its own text"]
    assert support.degenerate([long] * 6, texts) == [1, 1, 0, 0, 0, 0]
    assert support.degenerate([long] * 5, texts[1:]) == [1, 1, 1, 1, 0]
    assert support.degenerate(["yes", long], ["no", "maybe"]) == [0, 1]


def test_copies_are_word_for_word_but_for_case_and_blanks(judged):
    assert judged.copied(["The  trial improved survival", "the trial improved"]) == [1, 0]


def test_what_a_triage_rationale_names_is_compared_with_the_facts():
    facts = "present: crushing chest pain, blue lips; denied: stiff neck; modifier: age over 80"
    finding = worded("finding", finding="crushing chest pain")
    texts = [
        f"{finding} {worded('modifier', modifier='age over 80')}",
        f"{finding} {worded('denied', denied='blue lips')}",
        worded("denied", denied="crushing chest pain"),
    ]
    named = support.named([facts] * 3, texts)
    assert named["names_reason"] == [1, 1, 0]
    assert named["names_modifier"] == [1, 0, 0]
    assert named["denies_present"] == [0, 1, 1]
    plain = support.named(["present: blue lips"], [worded("denied", denied="blue lips")])
    assert plain["names_modifier"] == [None]
