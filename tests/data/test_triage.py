"""The synthetic notes: their rule, rationales true to it, a task neither trivial nor hopeless."""

import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest
from sklearn.metrics import accuracy_score, f1_score

from r2d.data import Record, triage
from r2d.errors import R2DError
from r2d.models import sanity

KNOWLEDGE = triage.knowledge()
FINDINGS = {f[1]: f for entry in KNOWLEDGE["complaints"].values() for f in entry["findings"]}
SPELLINGS = {spelling: f for f in FINDINGS.values() for spelling in f[1:]}
IMMUNE = {
    spelling: plain
    for plain, *others in KNOWLEDGE["immunosuppression"]
    for spelling in (plain, *others)
}


def plain_notes(monkeypatch, n, **given):
    """Notes without misspellings, so that the text can be read back."""
    monkeypatch.setattr(triage, "misspell", lambda rng, text, rate: text)
    return list(triage.generate(n, **given))


def findings_of(text: str) -> list | None:
    """The findings that a comma list spells, or None when it is something else."""
    names = text.split(", ")
    if not all(name in SPELLINGS for name in names):
        return None
    return [SPELLINGS[name] for name in names]


def read_back(note: dict) -> tuple[str, str]:
    """(label, plain reason) by the documented rule, from the words of the note alone."""
    head, *parts = note["question"].split(". ")
    present = []
    for part in parts:
        for prefix in ("reports ", "c/o ", "has ", ""):
            if part.startswith(prefix) and not present:
                present = findings_of(part.removeprefix(prefix)) or []
    age, unit = re.match(r"(\d+) (yo|mo) [MF] ", head).groups()
    raised = unit == "mo" or int(age) >= 80 or any(part in IMMUNE for part in parts)
    decider = min(present, key=lambda finding: finding[0])
    level = decider[0]
    if raised and level >= 2:
        level -= 1
    return triage.LABELS[level], decider[1]


def test_equal_seeds_give_equal_notes_and_others_give_others():
    first, again = list(triage.generate(50, 1)), list(triage.generate(50, 1))
    other, harder = list(triage.generate(50, 2)), list(triage.generate(50, 1, 0.6))
    assert first == again
    assert not {n["question"] for n in first} & {n["question"] for n in other}
    assert [n["question"] for n in first] != [n["question"] for n in harder]
    assert len({n["id"] for n in first + other}) == 100


def test_the_notes_are_those_of_the_committed_results():
    lines = "".join(json.dumps(note) for note in triage.generate(3000, 0, 0.5))
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == "efc4d42ca92e0712"


def test_other_random_numbers_do_not_change_the_notes():
    random.seed(1)
    first = list(triage.generate(5, 1))
    random.seed(2)
    assert list(triage.generate(5, 1)) == first == list(islice(triage.generate(1000, 1), 5))


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_the_rule_read_back_from_the_words_gives_every_label(difficulty, monkeypatch):
    for note in plain_notes(monkeypatch, 1500, seed=3, difficulty=difficulty):
        assert read_back(note) == (note["label"], note["reason"].split("|")[0]), note["question"]


def test_the_rule_as_a_table():
    assert [triage.disposition([level], False) for level in range(6)] == [0, 1, 2, 3, 4, 5]
    assert [triage.disposition([level], True) for level in range(6)] == [0, 1, 1, 2, 3, 4]
    assert triage.disposition([4, 1, 5], False) == 1 and triage.disposition([5, 3], True) == 2


def test_at_difficulty_0_nothing_distracts_and_at_1_much_does(monkeypatch):
    for difficulty, expected in ((0.0, 0.0), (1.0, 0.15)):
        notes = plain_notes(monkeypatch, 400, seed=4, difficulty=difficulty)
        raised = sum("risk is higher" in n["rationale_llm"] for n in notes) / 400
        absent = sum("The caller has no" in n["rationale_llm"] for n in notes) / 400
        assert raised >= expected and absent >= expected and (difficulty or raised == absent == 0)


def words_of(notes) -> list[str]:
    return [word for note in notes for word in note["question"].split()]


def test_misspellings_come_with_difficulty_and_only_in_the_note():
    known = set(words_of(triage.generate(3000, 6, 0.0)))

    def odd(difficulty):
        words = words_of(triage.generate(300, 5, difficulty))
        return sum(word.isalpha() and len(word) > 4 and word not in known for word in words)

    assert odd(1.0) > 3 * odd(0.0) + 20


def test_at_least_20_complaints_each_have_a_red_flag_and_a_harmless_finding():
    assert len(KNOWLEDGE["complaints"]) >= 20
    for entry in KNOWLEDGE["complaints"].values():
        urgencies = {finding[0] for finding in entry["findings"]}
        assert min(urgencies) <= 1 and max(urgencies) >= 4 and urgencies <= set(range(6))


def test_no_spelling_stands_for_two_findings_and_no_filler_changes_the_rule():
    owners: dict[str, set] = {}
    for plain, finding in FINDINGS.items():
        for spelling in finding[1:]:
            owners.setdefault(spelling, set()).add(plain)
    assert not {s: o for s, o in owners.items() if len(o) > 1}
    fillers = {*KNOWLEDGE["history"], *KNOWLEDGE["medications"]}
    assert not fillers & (set(SPELLINGS) | set(IMMUNE))
    assert not set(IMMUNE) & set(SPELLINGS)


def test_classes_are_within_a_factor_of_4_and_all_there():
    counts = Counter(note["label"] for note in triage.generate(6000, seed=7))
    assert set(counts) == set(triage.LABELS) and 5 <= len(counts) <= 6
    assert max(counts.values()) <= 4 * min(counts.values())


def test_every_rationale_names_the_true_reason_in_its_own_style():
    for note in triage.generate(1500, seed=8):
        plain, *others = note["reason"].split("|")
        assert f"the deciding finding is {plain}." in note["rationale_llm"]
        assert note["rationale_nurse_post"].startswith(plain.capitalize())
        assert note["rationale_nurse_post"].endswith(f"Disposition: {note['label']}.")
        assert any(spelling in note["rationale_nurse"] for spelling in (plain, *others))
        level = triage.LABELS.index(note["label"])
        assert note["rationale_llm"].endswith(f"So {triage.ADVICE[level]}.")
        typed = note["rationale_nurse"]
        shorts = [
            short
            for short in triage.SHORT
            if f"-> {short}" in typed or typed.startswith(f"{short} d/t")
        ]
        assert shorts in ([], [triage.SHORT[level]])
        assert note["rationale"] == note["rationale_llm"] and "\n" not in note["question"]


def test_no_rationale_names_a_finding_as_the_reason_that_the_caller_denied():
    for note in triage.generate(1500, seed=9, difficulty=1.0):
        denied = re.search(r"The caller has no (.+)\. So ", note["rationale_llm"])
        if denied:
            reason = note["reason"].split("|")[0]
            assert denied[1] in FINDINGS and denied[1] != reason
            assert FINDINGS[denied[1]][0] < FINDINGS[reason][0]  # it would have been more urgent


def test_the_notes_are_written_as_nurses_type_them():
    notes = [n["question"] for n in triage.generate(2000, seed=10)]
    forms = (r"denies |neg for ", r"\bhx ", r"\bmeds ", " had ", " mo ")
    shares = {form: sum(bool(re.search(form, note)) for note in notes) / 2000 for form in forms}
    assert all(share > 0.01 for share in shares.values()), shares
    assert len(set(notes)) > 1990


def scores(difficulty, train=2400):
    cases = [Record(**note) for note in triage.generate(train + 600, 11, difficulty)]
    gold = [case.label for case in cases[train:]]
    tfidf = sanity.tfidf(cases[:train], cases[train:], seed=0)
    most = sanity.majority(cases[:train], cases[train:])
    f1 = f1_score(gold, tfidf, labels=triage.LABELS, average="macro", zero_division=0)
    return f1, accuracy_score(gold, most)


def test_counting_words_does_not_solve_the_default_task_and_majority_far_less():
    tfidf, majority = scores(0.5)
    assert 0.40 < tfidf < 0.90 and majority < 0.40


def test_harder_notes_are_harder():
    assert scores(0.1)[0] > scores(0.9)[0] + 0.05


def test_difficulty_outside_its_range_is_one_sentence():
    with pytest.raises(R2DError, match="difficulty is 1.5; give a number from 0 to 1"):
        next(triage.generate(1, 1, 1.5))


def test_171_000_notes_take_under_a_minute_and_are_not_held():
    notes = triage.generate(10**12, seed=12)
    assert isinstance(notes, Iterator)
    began = time.process_time()
    assert sum(1 for _ in islice(notes, 5000)) == 5000
    assert (time.process_time() - began) * 171_000 / 5000 < 60
