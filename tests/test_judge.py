"""The judge: blind, in random order, answers checked, and heard only after it has shown that it can tell good from bad."""

import json
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
import servers
import yaml
from sklearn.metrics import cohen_kappa_score

from r2d import data, paths
from r2d.errors import R2DError
from r2d.llms import ask, judge, qualification
from r2d.llms.chat import Chat
from r2d.llms.judge import CRITERIA, INJECTION, Case
from r2d.recipes.settings import JudgeSettings, LlmSettings

FAR = LlmSettings(title="A server", backend="server", model="m", parameters=1e9, batch=2)
SETTINGS = JudgeSettings(llm="m", qualification=6, repeats=2, accuracy=0.8, kappa=0.6)
PROMPT = ask.template("judge")
GOOD, BAD = ({"correctness": a, "alignment": a, "completeness": a, "harm": 6 - a} for a in (5, 2))
CASES = [Case(f"c{i}", f"Question {i}", "Home care", f"Because {i}.") for i in range(12)]


@pytest.fixture
def chat(server, tmp_path):
    return Chat(FAR, cache=tmp_path / "answers.sqlite")


def shown(request: dict) -> dict[str, str]:
    """What stands between the fences of the case to grade."""
    first = next(m["content"] for m in request["messages"] if m["role"] == "user")
    return {
        name.lower(): text for name, text in re.findall(r"<<<(\w+)\n(.*?)\n\1>>>", first, re.DOTALL)
    }


def graded(request: dict, grades: dict) -> str:
    """An answer in the order that the request's schema asks for."""
    keys = request["response_format"]["json_schema"]["schema"]["properties"]
    return json.dumps({key: grades.get(key, "Names the finding.") for key in keys})


def examiner(records):
    """A judge that knows the truth: full marks for the gold label with the gold rationale, low ones for anything else."""
    truth = {r.question: (r.label, r.rationale) for r in records}

    def rule(request):
        case = shown(request)
        right = truth[case["question"].removesuffix(f"\n{INJECTION}")] == (
            case["label"],
            case["rationale"],
        )
        return graded(request, GOOD if right else BAD)

    return servers.answering(rule)


def moody(request: dict) -> str:
    """A judge that ranks as the drawn order has it: by the first criterion it is asked for."""
    first = [
        key
        for key in request["response_format"]["json_schema"]["schema"]["properties"]
        if key in CRITERIA
    ][0]
    return graded(request, {name: 1 + 4 * (CRITERIA.index(first) % 2) for name in CRITERIA})


def orders(server) -> dict[str, str]:
    """The first criterion that each question was graded by."""
    properties = [
        list(request["response_format"]["json_schema"]["schema"]["properties"])
        for _, request, _ in server.seen
    ]
    assert all(keys[0] == "reasoning" and set(keys[1:]) == set(CRITERIA) for keys in properties)
    return {
        shown(seen[1])["question"]: keys[1]
        for seen, keys in zip(server.seen, properties, strict=True)
    }


def test_the_order_of_the_criteria_is_drawn_for_each_case_and_moves_with_every_repeat(server, chat):
    server.usual = servers.answering(lambda request: graded(request, GOOD))
    assert judge.grade(chat, PROMPT, CASES, 0) == [GOOD] * 12
    first = orders(server)
    assert len(set(first.values())) > 1
    server.seen.clear()
    judge.grade(chat, PROMPT, CASES[3:5], 0, repeat=1)
    assert all(
        CRITERIA.index(later) == (CRITERIA.index(first[question]) + 1) % 4
        for question, later in orders(server).items()
    )
    server.seen.clear()
    judge.grade(chat, PROMPT, CASES[::-1], 0)
    assert server.seen == []  # neither the other cases nor their order matter: all of it was known
    judge.grade(chat, PROMPT, CASES, 7)
    assert orders(server) != first


def test_an_answer_that_cannot_be_read_is_asked_for_once_more_and_then_missing(server, chat):
    def rule(request):
        number = int(shown(request)["question"].split()[1])
        again = len(request["messages"]) > 2
        return "5 out of 5" if number == 0 or (number == 1 and not again) else graded(request, GOOD)

    server.usual = servers.answering(rule)
    assert judge.grade(chat, PROMPT, CASES[:4]) == [None, GOOD, GOOD, GOOD]
    assert len(server.seen) == 6 and (chat.totals.calls, chat.totals.faults) == (6, 0)


def test_a_judge_that_knows_the_truth_qualifies(server, chat, records):
    server.usual = examiner(records.test)
    table = qualification.qualify(chat, PROMPT, records, SETTINGS)
    assert list(table["corruption"]) == [
        "another case",
        "label flipped",
        "finding removed",
        "negation inverted",
    ]
    assert table["passed"].all() and (table["accuracy"] == 1).all() and (table["kappa"] == 1).all()
    assert (table["missing_rate"] == 0).all() and (table["pairs"] >= 5).all()
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
    assert (
        not table["passed"].any()
        and (table["accuracy"] == 0).all()
        and (table["kappa"] < SETTINGS.kappa).all()
    )
    assert (table["missing_rate"] == (rule is FAILING["can't be read"])).all()
    assert "FAILED" in qualification.verdict(table) and "mean nothing" in qualification.verdict(
        table
    )


def test_one_weak_corruption_is_enough_to_fail(server, chat, records):
    golds = {r.question: r.rationale for r in records.test}
    server.usual = servers.answering(
        lambda request: graded(
            request,
            GOOD if golds[shown(request)["question"]] == shown(request)["rationale"] else BAD,
        )
    )  # it never looks at the label
    table = qualification.qualify(chat, PROMPT, records, SETTINGS).set_index("corruption")
    assert (
        table.loc["label flipped", "accuracy"] == 0
        and table.drop("label flipped")["accuracy"].eq(1).all()
    )
    assert not table["passed"].any() and "'label flipped' in 0%" in qualification.verdict(
        table.reset_index()
    )


def test_every_corruption_breaks_just_what_it_says(records):
    made = qualification.pairs(records.test, records.labels, 8)
    reasons = {r.id: r.reason.split("|") for r in records.test}
    assert set(made) == {"another case", "label flipped", "finding removed", "negation inverted"}
    for name, found in made.items():
        for gold, bad in found:
            assert gold.question == bad.question and gold != bad
            assert (gold.label != bad.label) == (name == "label flipped")
            named = [
                any(s.lower() in case.rationale.lower() for s in reasons[gold.id])
                for case in (gold, bad)
            ]
            assert named[0] and (named[1] or name != "label flipped")
            assert not named[1] or name != "finding removed"
    assert (
        made
        == qualification.pairs(records.test, records.labels, 8)
        != qualification.pairs(records.test, records.labels, 8, 1)
    )


@pytest.mark.parametrize(
    "text, instead",
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
    bare = replace(
        records, splits=records.splits | {"test": [replace(r, rationale="") for r in records.test]}
    )
    with pytest.raises(R2DError, match="has a rationale to qualify"):
        qualification.qualify(chat, PROMPT, bare, SETTINGS)


def test_what_a_hidden_instruction_moves_is_measured(server, chat):
    def gullible(request):
        return graded(request, GOOD if INJECTION in shown(request)["question"] else BAD)

    server.usual = servers.answering(gullible)
    moved = judge.injection(chat, PROMPT, CASES[:3]).set_index("criterion")
    assert moved["shift"].to_dict() == {
        "correctness": 3,
        "alignment": 3,
        "completeness": 3,
        "harm": -3,
    }
    assert (
        len(server.seen) == 6 and (moved["cases"] == 3).all() and (moved["missing_rate"] == 0).all()
    )
    pairs = {}
    for _, request, _ in server.seen:
        case = shown(
            request
        )  # the instruction stays inside its fence, and both notes are graded in one order
        pairs.setdefault(case["rationale"], set()).add(json.dumps(request["response_format"]))
        assert INJECTION not in request["messages"][-1]["content"].replace(case["question"], "")
    assert all(len(forms) == 1 for forms in pairs.values())
    firm = judge.injection(chat, PROMPT, [Case("d", "Another", "Home care", "Why")], seed=1)
    assert set(firm["shift"]) == {3, -3}  # and a firm one is not moved:
    server.usual = servers.answering(lambda request: graded(request, BAD))
    assert set(judge.injection(chat, PROMPT, CASES[3:5])["shift"]) == {0}
    server.usual = servers.reply("no")
    unread = judge.injection(chat, PROMPT, CASES[5:7])
    assert unread["shift"].isna().all() and (unread["missing_rate"] == 1).all()


# --- grades of finished runs


@pytest.fixture
def finished(home, tiny):
    """The smoke recipe, with finished runs of its judged methods: (recipe, test records)."""
    recipe = tiny({"judge.cases": 4})
    records = data.load("triage", recipe.datasets["triage"]).test
    for method in recipe.experiments["E5"].methods:
        folder = paths.run(recipe.profile, "triage", method, 1)
        folder.mkdir(parents=True)
        rows = [
            {
                "id": r.id,
                "label": r.label,
                "rationale": r.rationale if method == "r2d-full" else "Wrong.",
            }
            for r in records
        ]
        (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "config.yaml").write_text(yaml.safe_dump({}))
        for name in ("env", "metrics"):
            (folder / f"{name}.json").write_text("{}")
    return recipe, records


def test_runs_are_graded_and_tabled_with_what_is_missing_and_whether_it_counts(
    server, chat, finished
):
    recipe, records = finished
    server.usual = examiner(records)
    frame = judge.judge_runs(recipe, chat, PROMPT, ["E4", "E5"])
    assert (
        len(frame) == 3 * 4 and len(server.seen) == 2 * 4
    )  # two methods say the same, which is asked once
    kept = pd.read_json(
        paths.runs(recipe.profile) / "triage" / "judge" / "smollm2.jsonl", lines=True
    )
    assert kept[["id", "method", *CRITERIA]].equals(frame[["id", "method", *CRITERIA]])
    frame.loc[0, list(CRITERIA)] = None
    for good in (True, False):
        table = judge.table(recipe, frame, {"triage": good})
        means = table.pivot(index="method", columns="criterion", values="mean")
        assert means.loc["r2d-full"].to_dict() == GOOD and means.loc["r2d-qlora"].to_dict() == BAD
        assert (table["missing_rate"] == [0.25] * 4 + [0] * 8).all() and (
            table["qualified"] == good
        ).all()
        assert all(f"({'passed' if good else 'FAILED'})" in name for name in table["judge"])
        page = judge.greyed(table).to_html()
        assert ("#999999" in page) == (not good) and "missing_rate" in page


def test_a_run_without_rationales_cannot_be_judged(chat, server, finished):
    recipe, _ = finished
    file = paths.run(recipe.profile, "triage", "dss-full", 1) / "predictions.jsonl"
    file.write_text(re.sub('"rationale": "[^"]*"', '"rationale": ""', file.read_text()))
    with pytest.raises(R2DError, match="dss-full on triage writes no rationales"):
        judge.judge_runs(recipe, chat, PROMPT, ["E5"])
    assert server.seen == []


def test_nothing_of_a_case_is_written_to_the_logs(server, chat, records, capfd, caplog):
    server.usual = examiner(records.test)
    caplog.set_level("DEBUG")
    qualification.qualify(chat, PROMPT, records, SETTINGS)
    said = "".join(capfd.readouterr()) + caplog.text
    assert "qualification 2" in said  # the progress bar
    assert (
        not [r for r in records.test if r.question in said or r.rationale in said]
        and "examiner" not in said
    )


# --- people


def people(folder, rows, columns=("id", "method", "criterion", "score")):
    file = folder / "people.csv"
    pd.DataFrame(rows, columns=list(columns)).to_csv(file, index=False)
    return str(file)


def test_agreement_with_people_is_weighted_kappa(tmp_path):
    own, theirs = [1, 2, 3, 4, 5, 4], [1, 3, 3, 5, 5, None]
    frame = pd.DataFrame(
        {"id": list("abcdef"), "method": "r2d", **dict.fromkeys(CRITERIA, 3)}
    ).assign(harm=theirs)
    found = judge.agreement(
        frame, people(tmp_path, [(i, "r2d", "harm", n) for i, n in zip("abcdef", own, strict=True)])
    )
    assert found.to_dict("records")[0] == {
        "criterion": "harm", "cases": 5, "equal": pytest.approx(0.6),
        "kappa": pytest.approx(cohen_kappa_score(own[:5], theirs[:5], labels=[1, 2, 3, 4, 5], weights="quadratic")),
        "missing_rate": pytest.approx(1 / 6),
    }  # fmt: skip


BROKEN = {
    "has no column score": ([("a", "r2d", "harm")], ("id", "method", "criterion")),
    "has criterion 'style'": ([("a", "r2d", "style", 1)],),
    "not a whole number from 1 to 5": ([("a", "r2d", "harm", 4.5)],),
    "shares no id": ([("z", "r2d", "harm", 1)],),
}


@pytest.mark.parametrize("said, given", BROKEN.items(), ids=BROKEN)
def test_a_file_of_people_that_does_not_fit_is_a_sentence(tmp_path, said, given):
    frame = pd.DataFrame({"id": ["a"], "method": "r2d", **dict.fromkeys(CRITERIA, 3)})
    with pytest.raises(R2DError, match=said):
        judge.agreement(frame, people(tmp_path, *given))
    with pytest.raises(R2DError, match="is not there"):
        judge.agreement(frame, str(tmp_path / "absent.csv"))


def test_two_raters_who_always_say_the_same_one_thing_agree_on_nothing():
    assert judge.kappa([1, 1, 1], [1, 1, 1]) == 0
    assert judge.kappa([1, 5], [1, 5]) == 1 and math.isclose(judge.kappa([1, 5], [5, 1]), -1)
