"""The study's findings in words: its answers, notes needed, the verdict on caps, and advice."""

import pandas as pd
import pytest
from study_runs import NOTHING, cap_table, decided, rises, study

from r2d import paths, recipes
from r2d.reporting import curves_in_words, learning_curves


def test_every_question_is_answered_and_what_is_told_apart_comes_first():
    test = {"dataset": "triage", "method": "r2d-full", "runs": 3, "noise": 0.0}
    clear = {"low": -0.09, "difference": -0.05, "high": -0.01, "p_holm": 0.017}
    unclear = {"low": -0.02, "difference": 0.005, "high": 0.03, "p_holm": 0.6}
    wide = {"low": -0.009, "difference": 0.065, "high": 0.139, "p_holm": 0.08}
    against = {"rationales": "sft-matched", "sampling": "r2d-full-no-sampling"}
    against |= {"stage 1": "r2d-full-no-stage1", "words alone": "tfidf"}
    rows = []
    for question, other in against.items():
        shared = test | {"question": question, "against": other}
        few = clear if question in ("stage 1", "words alone") else unclear
        rows.append(shared | {"measure": "macro_f1", "notes": 500} | few)
        rows.append(shared | {"measure": "macro_f1", "notes": 2000} | wide)
        if question in ("sampling", "stage 1"):
            told = clear | {"difference": -0.2, "p_holm": 0.001}
            rows.append(shared | {"measure": "agreement", "notes": 500} | told)
    recipe = recipes.load("study")
    assert curves_in_words.sentences(recipe, pd.DataFrame(rows), NOTHING, NOTHING) == [
        "Do rationales help? In macro-F1 R2D is not told apart from SFT with R2D's compute at any "
        "of 2 sizes (3 runs each): by +0.5 to +6.5 points; -2.0 to +13.9 are not excluded.",
        "Does scheduled sampling help? In macro-F1 R2D is not told apart from R2D without sampling "
        "at any of 2 sizes (3 runs each): by +0.5 to +6.5 points; -2.0 to +13.9 are not excluded. "
        "In agreement R2D is below R2D without "
        "sampling at 1 of 1 size (3 runs each).",
        "Told apart, stage 1: R2D is below R2D without stage 1 in macro-F1, in points, at 500 "
        "notes (-5.0 [-9.0, -1.0]) with no label wrong. Corrected p = 0.017.",
        "Told apart, sampling: R2D is below R2D without sampling in agreement, in "
        "points, at 500 notes (-20.0 [-9.0, -1.0]) with no label wrong. Corrected p "
        "= 0.001.",
        "Told apart, stage 1: R2D is below R2D without stage 1 in agreement, in "
        "points, at 500 notes (-20.0 [-9.0, -1.0]) with no label wrong. Corrected p "
        "= 0.001.",
        "Not told apart, stage 1: R2D from R2D without stage 1 in macro-F1 at 1 of 2 sizes (+6.5 "
        "points; -0.9 to +13.9 are not excluded).",
        "Words alone, in macro-F1: R2D is below TF-IDF + logistic regression at 1 of 2 sizes.",
    ]


def test_notes_saved_are_told_of_the_largest_size_of_sft_that_another_reaches():
    shared = {"noise": 0.0, "title": "R2D", "seeds": 1, "smallest": 250, "largest": 4000}
    shared |= {"against": "sft-matched", "low": None, "high": None}
    sizes = ((1000, 0.7, 800.0), (4000, 0.8, None))
    rows = [
        shared | {"sft_notes": notes, "target": target, "needed": needed}
        for notes, target, needed in sizes
    ]
    recipe = recipes.load("study")
    assert curves_in_words.sentences(recipe, NOTHING, pd.DataFrame(rows), NOTHING) == [
        "Notes needed for the macro-F1 of SFT with R2D's compute, with no label wrong: one run "
        "each, which says nothing of the methods.",
        "Where mean curves reach the macro-F1 of SFT with R2D's compute at 1,000 notes (70.0), "
        "with no label wrong: R2D 800 notes (one run).",
    ]


def test_who_needs_fewer_notes_and_who_more_is_told_with_the_sizes():
    shared = {"noise": 0.2, "against": "sft-matched", "needed": None, "seeds": 3, "largest": 4000}
    needs = (("DSS", 1000, 500, 900), ("DSS", 4000, 500, 900), ("R2D", 1000, 1200, None))
    needs += (("R2D-C", 1000, 500, 1100), ("SFT", 1000, 1200, None), ("TF-IDF", 4000, 4100, None))
    rows = [
        shared | {"title": title, "sft_notes": notes, "low": low, "high": high}
        for title, notes, low, high in needs
    ]
    recipe = recipes.load("study")
    (told,) = curves_in_words.sentences(recipe, NOTHING, pd.DataFrame(rows), NOTHING)
    assert told == (
        "Notes needed for the macro-F1 of SFT with R2D's compute, with 20% of labels wrong: told "
        "fewer than its own: DSS (1,000 and 4,000); told more: R2D and SFT (1,000), "
        "TF-IDF (4,000)."
    )


NO_SUCH_CAP = "no cap closes it while the label is followed as before"
UNKNOWN = "these runs do not tell whether"


@pytest.mark.parametrize(
    ("answer", "table"),
    [
        (
            "there is none of 5 points to close, even at cap 0",
            [("no", None), ("no", "no")],
        ),
        (
            "closed to within 5 points while the label is still followed at cap 1",
            [("yes", None), ("yes", "no"), ("no", "no")],
        ),
        (
            "closed to within 5 points while the label is still followed at caps 0.5 and 1.5",
            [("yes", None), ("no", "no"), ("no", "yes"), ("no", "no")],
        ),
        (NO_SUCH_CAP, [("yes", None), ("no", "yes"), ("yes", "no")]),
        (NO_SUCH_CAP, [("yes", None), ("yes", "yes"), ("unclear", "yes")]),
        (
            f"{UNKNOWN} a cap closes it while the label is followed",
            [("yes", None), ("unclear", "no"), ("no", "unclear")],
        ),
        (
            f"cap 0.5 leaves it open; {UNKNOWN} cap 1 closes it while the label is followed",
            [("yes", None), ("yes", "no"), ("unclear", "no")],
        ),
        (
            f"caps 0.5 and 1 leave it open; {UNKNOWN} caps 1.5 and 2 close it while the label is "
            "followed",
            [("yes", None), *[("yes", "unclear")] * 2, *[("unclear", "unclear")] * 2],
        ),
        (
            f"cap 0.5 leaves it open; at cap 1 the label is followed less; {UNKNOWN} cap 1.5 "
            "closes it while the label is followed",
            [("yes", None), ("yes", "yes"), ("no", "yes"), ("unclear", "no")],
        ),
        (f"{UNKNOWN} a cap closes it while the label is followed", [("unclear", None)] * 3),
    ],
)
def test_the_verdict_on_caps_names_those_that_close_the_gap_and_else_those_excluded(answer, table):
    found = cap_table(*table)
    assert curves_in_words.verdict(found) == answer
    headline, gaps, *_ = curves_in_words.sentences(None, NOTHING, NOTHING, found)
    said = f"{answer[0].upper()}{answer[1:]}"
    assert headline == (
        f"Does a cap of p(t) close the exposure gap? {said} (2,000 notes, caps 0 to "
        f"{found['cap'].max():g}, 5 runs each)."
    )
    assert gaps.startswith("By cap, the exposure gap (names the true reason told its own ")
    assert "in points: 0: -10.0 [-20.0, +0.0]; 0.5: -10.0 [" in gaps


def test_advice_is_of_the_nearest_size_and_says_when_the_study_is_not_there(
    finish, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (nothing,) = curves_in_words.advice(400)
    assert nothing == (
        "How much rationales help with 400 cases is a question for `./run_all.sh study`, which has "
        "not been run."
    )
    recipe = study()
    found = learning_curves.tests(recipe, decided(finish, recipe, rises))
    folder = paths.committed("study")
    folder.mkdir(parents=True)
    found.to_csv(folder / f"{curves_in_words.SOURCE}_triage.csv", index=False)
    clean, noisy = curves_in_words.advice(400)
    assert clean.startswith(
        "For 400 cases, by 250 synthetic notes of the study, with no label wrong: "
    )
    assert (
        "Reason2Decide minus SFT of the same compute (+33.3 [" in clean
        and "take Reason2Decide;" in clean
    )
    assert "sampling minus no sampling (+0.0" in clean and clean.endswith(" are not excluded.")
    assert "20% of labels wrong: Reason2Decide minus SFT of the same compute (+0.0" in noisy
    (most,) = curves_in_words.advice(9000)
    assert "by 1,000 synthetic notes of the study (which tried 250 to 1,000), with no label" in most


def test_what_is_not_told_apart_is_called_equal_only_where_a_difference_is_excluded():
    row = {"dataset": "triage", "question": "rationales", "method": "r2d-full", "runs": 3}
    row |= {"against": "sft-matched", "measure": "macro_f1", "notes": 2000, "noise": 0.2}
    wide = {"difference": 0.065, "low": -0.009, "high": 0.139, "p_holm": 0.08}
    narrow = {"difference": 0.01, "low": -0.01, "high": 0.03, "p_holm": 0.5}
    advice = [
        curves_in_words.advised(pd.DataFrame([row | test]), 2000)[0].partition("macro-F1, ")[2]
        for test in (wide, narrow)
    ]
    assert advice == [
        "not told apart by this study: -0.9 to +13.9 are not excluded.",
        "not told apart by this study: any difference is below 3 points, SFT of the same compute "
        "will do unless you want to read rationales.",
    ]


def test_advice_tells_what_sampling_changes_in_rationales_where_that_was_told_apart():
    row = {"dataset": "triage", "question": "sampling", "method": "r2d-full", "runs": 3}
    row |= {"against": "r2d-full-no-sampling", "notes": 2000, "noise": 0.0}
    tests = (("macro_f1", 0.01, 0.4), ("agreement", -0.02, 0.3), ("follows_label", -0.166, 0.01))
    tests += (("gap", 0.21, 0.04),)
    rows = [
        row | {"measure": measure, "difference": d, "low": d - 0.1, "high": d + 0.1, "p_holm": p}
        for measure, d, p in tests
    ]
    (line,) = curves_in_words.advised(pd.DataFrame(rows), 2000)
    assert line.endswith(
        "; for following a forced label take no sampling (-16.6 [-26.6, -6.6]); for the exposure "
        "gap (own minus gold label) take sampling (+21.0 [+11.0, +31.0])."
    )
    assert "agreement" not in line
