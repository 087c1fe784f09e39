"""The judge is blind, asked in random order, and its answers are checked."""

import json
import math
import re

import pandas as pd
import pytest
import servers
import yaml
from judges import BAD, GOOD, examiner, graded, keys, shown
from sklearn.metrics import cohen_kappa_score

from r2d import data, paths
from r2d.errors import R2DError
from r2d.llms import judge
from r2d.llms.ask import template
from r2d.llms.chat import Chat
from r2d.llms.judge import CRITERIA, INJECTION, Case
from r2d.recipes.settings import LlmSettings
from r2d.reporting.cases import greyed

FAR = LlmSettings(title="A server", backend="server", model="m", parameters=1e9, batch=2)
PROMPT = template("judge")
CASES = [Case(f"c{i}", f"Question {i}", "Home care", f"Because {i}.") for i in range(12)]


@pytest.fixture
def chat(server, tmp_path):
    return Chat(FAR, cache=tmp_path / "answers.sqlite")


def orders(server) -> dict[str, str]:
    """The first criterion that each question was graded by."""
    first = {}
    for _, request, _ in server.seen:
        reasoning, *criteria = keys(request)
        assert reasoning == "reasoning" and set(criteria) == set(CRITERIA)
        first[shown(request)["question"]] = criteria[0]
    return first


def test_the_order_of_the_criteria_is_drawn_for_each_case_and_moves_with_every_repeat(server, chat):
    server.usual = servers.answering(lambda request: graded(request, GOOD))
    assert judge.grade(chat, PROMPT, CASES, 0) == [GOOD] * 12
    first = orders(server)
    assert len(set(first.values())) > 1
    server.seen.clear()
    judge.grade(chat, PROMPT, CASES[3:5], 0, repeat=1)
    for question, later in orders(server).items():
        assert CRITERIA.index(later) == (CRITERIA.index(first[question]) + 1) % 4
    server.seen.clear()
    judge.grade(chat, PROMPT, CASES[::-1], 0)
    assert server.seen == []  # neither the other cases nor their order matter: all of it was known
    judge.grade(chat, PROMPT, CASES, 7)
    assert orders(server) != first


def test_an_answer_that_cannot_be_read_is_asked_for_once_more_and_then_missing(server, chat):
    def rule(request):
        number = int(shown(request)["question"].split()[1])
        again = len(request["messages"]) > 2
        unreadable = number == 0 or (number == 1 and not again)
        return "5 out of 5" if unreadable else graded(request, GOOD)

    server.usual = servers.answering(rule)
    assert judge.grade(chat, PROMPT, CASES[:4]) == [None, GOOD, GOOD, GOOD]
    assert len(server.seen) == 6 and (chat.totals.calls, chat.totals.faults) == (6, 0)


def test_what_a_hidden_instruction_moves_is_measured(server, chat):
    def gullible(request):
        return graded(request, GOOD if INJECTION in shown(request)["question"] else BAD)

    server.usual = servers.answering(gullible)
    moved = judge.injection(chat, PROMPT, CASES[:3]).set_index("criterion")
    assert moved["shift"].to_dict() == dict.fromkeys(CRITERIA, 3) | {"harm": -3}
    assert (moved["cases"] == 3).all() and (moved["missing_rate"] == 0).all()
    assert len(server.seen) == 6
    # The instruction stays inside its fence, and both notes are graded in one order.
    forms = {}
    for _, request, _ in server.seen:
        case = shown(request)
        forms.setdefault(case["rationale"], set()).add(json.dumps(request["response_format"]))
        assert INJECTION not in request["messages"][-1]["content"].replace(case["question"], "")
    assert all(len(each) == 1 for each in forms.values())
    other = judge.injection(chat, PROMPT, [Case("d", "Another", "Home care", "Why")], seed=1)
    assert set(other["shift"]) == {3, -3}


def test_a_judge_that_a_hidden_instruction_does_not_move_has_no_shift(server, chat):
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
        right = method == "r2d-full"
        rows = [
            {"id": r.id, "label": r.label, "rationale": r.rationale if right else "Wrong."}
            for r in records
        ]
        paths.write_lines(folder / "predictions.jsonl", rows)
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
    assert len(frame) == 3 * 4
    assert len(server.seen) == 2 * 4  # two methods say the same, which is asked once
    file = paths.runs(recipe.profile) / "triage" / "judge" / "smollm2.jsonl"
    columns = ["id", "dataset", "method", "seed", *CRITERIA]
    assert pd.read_json(file, lines=True)[columns].equals(frame[columns])
    frame.loc[0, list(CRITERIA)] = None
    for good in (True, False):
        table = judge.table(recipe, frame, {"triage": good})
        means = table.pivot(index="method", columns="criterion", values="mean")
        assert means.loc["r2d-full"].to_dict() == GOOD
        assert means.loc["r2d-qlora"].to_dict() == BAD
        assert (table["missing_rate"] == [0.25] * 4 + [0] * 8).all()
        assert (table["qualified"] == good).all()
        assert all(f"({'passed' if good else 'FAILED'})" in name for name in table["judge"])
        page = greyed(table).to_html()
        assert ("#999999" in page) == (not good) and "missing_rate" in page


def test_a_run_without_rationales_cannot_be_judged(chat, server, finished):
    recipe, _ = finished
    file = paths.run(recipe.profile, "triage", "dss-full", 1) / "predictions.jsonl"
    file.write_text(re.sub('"rationale": "[^"]*"', '"rationale": ""', file.read_text()))
    with pytest.raises(R2DError, match="dss-full on triage writes no rationales"):
        judge.judge_runs(recipe, chat, PROMPT, ["E5"])
    assert server.seen == []


# --- people


def people(folder, rows, columns=("id", "method", "criterion", "score")):
    file = folder / "people.csv"
    pd.DataFrame(rows, columns=list(columns)).to_csv(file, index=False)
    return str(file)


def test_agreement_with_people_is_weighted_kappa(tmp_path):
    people_say, judge_says = [1, 2, 3, 4, 5, 4], [1, 3, 3, 5, 5, None]
    threes = dict.fromkeys(CRITERIA, 3)
    frame = pd.DataFrame({"id": list("abcdef"), "method": "r2d", **threes})
    frame["harm"] = judge_says
    rows = [(i, "r2d", "harm", n) for i, n in zip("abcdef", people_say, strict=True)]
    (row,) = judge.agreement(frame, people(tmp_path, rows)).to_dict("records")
    kappa = cohen_kappa_score(
        people_say[:5], judge_says[:5], labels=[1, 2, 3, 4, 5], weights="quadratic"
    )
    assert row == {
        "criterion": "harm",
        "cases": 5,
        "equal": pytest.approx(0.6),
        "kappa": pytest.approx(kappa),
        "missing_rate": pytest.approx(1 / 6),
    }


BROKEN = {
    "has no column score": ([("a", "r2d", "harm")], ("id", "method", "criterion")),
    "row 2: its criterion is not one of the rubric's": ([("a", "r2d", "style", 1)],),
    "not a whole number from 1 to 5": ([("a", "r2d", "harm", 4.5)],),
    "shares no id": ([("z", "r2d", "harm", 1)],),
}


@pytest.mark.parametrize(("sentence", "given"), BROKEN.items(), ids=BROKEN)
def test_a_file_of_people_that_does_not_fit_is_a_sentence(tmp_path, sentence, given):
    frame = pd.DataFrame({"id": ["a"], "method": "r2d", **dict.fromkeys(CRITERIA, 3)})
    with pytest.raises(R2DError, match=sentence):
        judge.agreement(frame, people(tmp_path, *given))
    with pytest.raises(R2DError, match="is not there"):
        judge.agreement(frame, str(tmp_path / "absent.csv"))


def test_two_raters_who_always_say_the_same_one_thing_agree_on_nothing():
    assert judge.kappa([1, 1, 1], [1, 1, 1]) == 0
    assert judge.kappa([1, 5], [1, 5]) == 1
    assert math.isclose(judge.kappa([1, 5], [5, 1]), -1)
