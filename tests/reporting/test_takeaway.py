"""The results in short: sentences follow the tables and tests, whichever way those went."""

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
OF_SAMPLING = {  # measure -> the same, and what both methods have
    "macro_f1": (-0.007, 0.7, None),
    "follows_label": (-0.158, 0.001, None),
    "gap": (0.363, 0.003, (-0.16, -0.523)),
    "told_own": (0.064, 0.7, (0.277, 0.213)),
}


@pytest.fixture
def write(home):
    """`write(tests, sampling)` writes the figures folder of a profile and returns its recipe."""
    recipe = recipes.load("smoke")
    folder = paths.figures("smoke")

    def made(tests=TESTS, sampling=OF_SAMPLING, runs=3, of_gap=(), **own):
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
        of_sampling = [
            {"dataset": "triage", "method": "r2d-full", "against": "r2d-full-no-sampling"}
            | {"measure": measure, "runs": runs, "difference": difference, "p_holm": p}
            | {"degenerate": 0.0, "quality": "names_reason"}
            | {"low": difference - 0.02, "high": difference + 0.02}
            | dict(zip(("ours", "theirs"), both or (), strict=False))
            for measure, (difference, p, both) in sampling.items()
        ]
        of_sampling[2:] = [row | dict(of_gap) for row in of_sampling[2:]]
        table = pd.DataFrame(of_sampling)
        for name, part in (("e3", table[:2]), ("e6_gap", table[2:])):
            part.to_csv(folder / f"{name}_differences.csv", index=False)
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
    assert sampling == (
        r"Is scheduled sampling worth it? R2D minus R2D without sampling, in points, 3 runs each: "
        r"following a forced label -15.8 \[-17.8, -13.8\], the exposure gap (own minus gold "
        r"label) +36.3 \[+34.3, +38.3\] (-16.0 against -52.3); not told apart in macro-F1 -0.7 "
        r"\[-2.7, +1.3\], naming the true reason where it is wrong and told its own label +6.4 "
        r"\[+4.4, +8.4\] (27.7 against 21.3)."
    )


def test_they_turn_with_the_tests(write):
    tests = {("dss-full", "macro_f1"): (-0.05, 0.01), ("dss-full", "agreement"): (0.01, 0.6)}
    recipe = write(tests, {"macro_f1": (0.01, 0.4, None)}, agreement_wrong=0.3)
    _, labels, rationales, wrong, sampling = takeaway.sentences(recipe)
    assert "R2D is beaten by DSS (-5.0" in labels and "can't be told apart from DSS" in rationales
    assert "in 30% of cases (DSS 70%): a text that contradicts its label is a sign" in wrong
    assert sampling.endswith(r"3 runs each: not told apart in macro-F1 +1.0 \[-1.0, +3.0\].")


def test_of_sampling_they_name_the_score_and_leave_out_what_says_nothing(write):
    of_bertscore = takeaway.sentences(write(of_gap={"quality": "bertscore_f1"}))[-1]
    assert "BERTScore F1 where it is wrong and told its own label" in of_bertscore
    assert "true reason" not in of_bertscore
    degenerate = takeaway.sentences(write(of_gap={"degenerate": 0.9}))[-1]
    assert "gap" not in degenerate and "following a forced label -15.8" in degenerate
    more_runs = takeaway.sentences(write(of_gap={"runs": 5}))[-1]
    assert "in points, 3 to 5 runs each:" in more_runs
    single = takeaway.sentences(write(of_gap={"runs": 1}))[-1]
    assert "3 runs each" in single and "gap" not in single


def test_of_single_runs_and_without_tests_they_say_so(write):
    recipe = write(runs=1)
    _, labels, rationales, _, sampling = takeaway.sentences(recipe)
    assert "of one run each, that says nothing about the methods" in labels
    assert "that says nothing about the methods" in rationales
    assert sampling == "What scheduled sampling is worth, one run each can't say."
    none = takeaway.sentences(write({}, {}, agreement=None))
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
    assert sentence.startswith("Profile smoke has no table 1")
