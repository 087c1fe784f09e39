"""A judge is heard only after it has shown that it can tell good rationales from bad ones."""

from dataclasses import replace

import pytest
import servers
from judges import BAD, GOOD, examiner, graded, moody, shown

from r2d.errors import R2DError
from r2d.llms import qualification
from r2d.llms.ask import template
from r2d.llms.chat import Chat
from r2d.llms.judge import CRITERIA
from r2d.recipes.settings import JudgeSettings, LlmSettings

FAR = LlmSettings(title="A server", backend="server", model="m", parameters=1e9, batch=2)
SETTINGS = JudgeSettings(llm="m", qualification=6, repeats=2, accuracy=0.8, kappa=0.6)
PROMPT = template("judge")


@pytest.fixture
def chat(server, tmp_path):
    return Chat(FAR, cache=tmp_path / "answers.sqlite")


def test_a_judge_that_knows_the_truth_qualifies(server, chat, records):
    server.usual = examiner(records.test)
    table = qualification.qualify(chat, PROMPT, records, SETTINGS)
    corruptions = ["another case", "label flipped", "finding removed", "negation inverted"]
    assert list(table["corruption"]) == corruptions
    assert table["passed"].all()
    assert (table["accuracy"] == 1).all() and (table["kappa"] == 1).all()
    assert (table["missing_rate"] == 0).all() and (table["pairs"] >= 4).all()
    assert "passed its qualification on triage" in qualification.verdict(table)


FAILING = {
    "says 1 to everything": lambda request: graded(request, dict.fromkeys(CRITERIA, 1)),
    "changes its mind with the order": moody,
    "can't be read": lambda request: "Excellent!",
    "gives everything full marks": lambda request: graded(request, GOOD),
}


@pytest.mark.parametrize("rule", FAILING.values(), ids=FAILING)
def test_a_judge_that_cannot_tell_fails(server, chat, records, rule):
    server.usual = servers.answering(rule)
    table = qualification.qualify(chat, PROMPT, records, SETTINGS)
    assert not table["passed"].any()
    assert (table["accuracy"] == 0).all() and (table["kappa"] < SETTINGS.kappa).all()
    assert (table["missing_rate"] == (rule is FAILING["can't be read"])).all()
    verdict = qualification.verdict(table)
    assert "FAILED" in verdict and "mean nothing" in verdict


def test_one_weak_corruption_is_enough_to_fail(server, chat, records):
    gold = {record.question: record.rationale for record in records.test}

    def blind_to_labels(request):
        case = shown(request)
        return graded(request, GOOD if gold[case["question"]] == case["rationale"] else BAD)

    server.usual = servers.answering(blind_to_labels)
    table = qualification.qualify(chat, PROMPT, records, SETTINGS)
    accuracy = table.set_index("corruption")["accuracy"]
    assert accuracy["label flipped"] == 0 and accuracy.drop("label flipped").eq(1).all()
    assert not table["passed"].any()
    assert "'label flipped' in 0%" in qualification.verdict(table)


def test_every_corruption_breaks_just_what_it_says(records):
    pairs = qualification.pairs(records.test, records.labels, 8)
    reasons = {record.id: record.reason.lower().split("|") for record in records.test}
    assert set(pairs) == {"another case", "label flipped", "finding removed", "negation inverted"}
    for name, cases in pairs.items():
        for gold, corrupted in cases:
            assert gold.question == corrupted.question and gold != corrupted
            assert (gold.label != corrupted.label) == (name == "label flipped")
            gold_names_it, corrupted_names_it = (
                any(reason in case.rationale.lower() for reason in reasons[gold.id])
                for case in (gold, corrupted)
            )
            assert gold_names_it
            assert corrupted_names_it or name != "label flipped"
            assert not corrupted_names_it or name != "finding removed"
    assert pairs == qualification.pairs(records.test, records.labels, 8)
    assert pairs != qualification.pairs(records.test, records.labels, 8, 1)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("The caller has no fever.", "The caller has fever."),
        ("Denies chest pain", "reports chest pain"),
        ("Calm, without pain.", "Calm, with pain."),
        ("The deciding finding is fever.", "The deciding finding is not fever."),
        ("fever -> ED", None),
    ],
)
def test_a_negation_is_inverted_once(text, instead):
    assert qualification.inverted(text) == instead


def test_a_dataset_without_rationales_cannot_qualify_a_judge(chat, server, records):
    test = [replace(record, rationale="") for record in records.test]
    bare = replace(records, splits=records.splits | {"test": test})
    with pytest.raises(R2DError, match="has a rationale to qualify"):
        qualification.qualify(chat, PROMPT, bare, SETTINGS)


def test_nothing_of_a_case_is_written_to_the_logs(server, chat, records, capfd, caplog):
    server.usual = examiner(records.test)
    caplog.set_level("DEBUG")
    qualification.qualify(chat, PROMPT, records, SETTINGS)
    written = "".join(capfd.readouterr()) + caplog.text
    assert "qualification 2" in written  # the progress bar
    for record in records.test:
        assert record.question not in written and record.rationale not in written
    assert "examiner" not in written
