"""The five sentences: they follow the tables and tests, whichever way those went."""

import pandas as pd
import pytest

from r2d import paths, recipes
from r2d.reporting import overview, tables, takeaway

TESTS = {  # against, measure -> difference, corrected p
    ("tfidf", "macro_f1"): (0.1, 0.001),
    ("sft-full", "macro_f1"): (0.05, 0.01),
    ("dss-full", "macro_f1"): (0.012, 0.4),
    ("dss-full", "agreement"): (0.2, 0.001),
}
TOLD = "- E6: R2D beats R2D without sampling on triage: macro-F1 +3.0 [+1.0, +5.0].\n"
ALONE = "- One run each on triage, 9 cases, says nothing about the methods. R2D minus "


@pytest.fixture
def write(home):
    """`write(tests, findings)` writes the figures folder of a profile and returns its recipe."""
    recipe = recipes.load("smoke")
    folder = paths.figures("smoke")

    def made(tests=TESTS, findings: str = "**Told apart**\n\n" + TOLD, runs: int = 3, **own):
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for method in ("majority", "tfidf", "sft-full", "dss-full", "r2d-full"):
            row = {"dataset": "triage", "method": method, "title": recipe.methods[method].title}
            row |= {"profile": "smoke", "seed": 1, "test_cases": 400, "macro_f1": 0.5}
            explains = method in ("dss-full", "r2d-full")
            row |= {"agreement": 0.9, "agreement_wrong": 0.7} if explains else {}
            rows.append(row | own if method == recipe.reference else row)
        tables.summarise(pd.DataFrame(rows)).to_csv(folder / "table_1.csv", index=False)
        compared = [
            {"dataset": "triage", "method": "r2d-full", "against": against, "measure": measure}
            | {"runs": runs, "difference": difference, "p_holm": p}
            | {"low": difference - 0.02, "high": difference + 0.02}
            for (against, measure), (difference, p) in tests.items()
        ]
        pd.DataFrame(compared).to_csv(folder / "comparisons.csv", index=False)
        (folder / "findings.md").write_text(findings)
        return recipe

    return made


def test_they_say_what_the_tests_tell_apart_and_what_they_do_not(write):
    level, labels, rationales, wrong, sampling = takeaway.sentences(write(macro_f1=0.848))
    assert level == (
        "On 400 synthetic cases of triage R2D reaches a macro-F1 of 84.8 (beside it: Majority "
        "class 50.0, TF-IDF + logistic regression 50.0)."
    )
    assert labels == (
        r"By its labels R2D beats SFT (+5.0 \[+3.0, +7.0\]) and can't be told apart from DSS "
        r"(+1.2 \[-0.8, +3.2\])."
    )
    assert "in 90.0% of cases, and by that share R2D beats DSS (+20.0" in rationales
    assert "the wrong label in 70% of cases (DSS 70%): that a text convinces" in wrong
    assert sampling == f"Is scheduled sampling worth it? {TOLD[6:].strip()}"


def test_they_turn_with_the_tests(write):
    tests = {("dss-full", "macro_f1"): (-0.05, 0.01), ("dss-full", "agreement"): (0.01, 0.6)}
    told = "R2D can't be told apart on triage (3 runs a method) from "
    ours = "R2D without sampling (macro-F1 -0.1 [-7.0, +7.0], agreement -1.4 [-3.7, +0.8])"
    listed = f"{told}DSS (macro-F1 -3.0 [-5.0, +1.0]); {ours}; R2D-C (macro-F1 +1.0 [-1.0, +3.0])."
    recipe = write(tests, f"**E6**\n\n- {listed}", agreement_wrong=0.3)
    _, labels, rationales, wrong, sampling = takeaway.sentences(recipe)
    assert "R2D is beaten by DSS (-5.0" in labels and "can't be told apart from DSS" in rationales
    assert "in 30% of cases (DSS 70%): a text that contradicts its label is a sign" in wrong
    assert sampling == f"Is scheduled sampling worth it? {told}{ours}."


def test_of_single_runs_and_without_tests_they_say_so(write):
    recipe = write(findings=f"**E3**\n\n{ALONE}R2D without sampling (macro-F1 +1.0).", runs=1)
    _, labels, rationales, _, sampling = takeaway.sentences(recipe)
    assert "of one run each, that says nothing about the methods" in labels
    assert "that says nothing about the methods" in rationales
    assert sampling == "What scheduled sampling is worth, one run each can't say."
    none = takeaway.sentences(write({}, "**Table 1**\n\n- Nothing.", agreement=None))
    assert none[1:3] == [
        "Its labels were compared with no other trained method's.",
        "Whether its rationales support its labels can't be read here.",
    ]
    assert none[4] == "What scheduled sampling is worth was not tested." and len(none) == 5


def test_where_nothing_was_run_or_committed_one_sentence_says_that(home):
    (sentence,) = takeaway.sentences(recipes.load("smoke"))
    assert "nothing is committed, of profile smoke" in sentence
    assert overview.in_short(recipes.load("smoke")) == f"- {sentence}"
    paths.figures("smoke").mkdir(parents=True)
    (sentence,) = takeaway.sentences(recipes.load("smoke"))
    assert sentence.startswith("This profile has no table 1")
