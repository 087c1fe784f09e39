"""Learning curves: tests by size and noise, notes saved, caps, and what all that advises."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.evaluation import metrics
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.reporting import collect, figures_curves, learning_curves

CASES = 60
ENTRIES = ["n0250", "n1000", "n0250-noise20"]
METHODS = ["sft-matched", "r2d-full-no-sampling", "r2d-full"]
NOTHING = pd.DataFrame()


@pytest.fixture
def study():
    def load(entries=ENTRIES, methods=METHODS, seeds=(1, 2, 3)):
        grid = {"datasets": entries, "methods": methods, "seeds": list(seeds)}
        return recipes.load("study", {f"experiments.E9.{key}": grid[key] for key in grid})

    return load


@pytest.fixture
def decided(finish):
    """`decided(recipe, right)`: finished runs of E9; `right(run)` of 60 cases are."""

    def make(recipe, right) -> list[Run]:
        runs = grid.runs(recipe, ["E9"])
        for run in runs:
            number = right(run)
            rows = []
            for i in range(CASES):
                gold = "ab"[i % 2]
                wrong = "ba"[i % 2]
                rows.append(
                    {
                        "id": str(i),
                        "gold": gold,
                        "label": gold if i < number else wrong,
                        "valid": True,
                        "rationale": "",
                        "rationale_gold": "x",
                    }
                )
            finish(run, rows, {"test_cases": CASES, "test_seconds": 1.0, "probe_seconds": 0.0})
        return runs

    return make


def rises(run) -> int:
    """R2D is better than SFT with few notes; the seed moves both a little."""
    few = {"sft-matched": 24, "r2d-full-no-sampling": 44, "r2d-full": 44}
    size = few[run.method] if run.dataset == "n0250" else 46
    return size + run.seed % 2


def test_a_curve_is_straight_over_log_size_and_first_reaches_its_target_there():
    assert learning_curves.crossing([100, 400], [0.5, 0.7], 0.6) == pytest.approx(200)
    assert learning_curves.crossing([100, 400, 800], [0.5, 0.4, 0.6], 0.5) == 100
    assert learning_curves.crossing([100, 400, 800], [0.5, 0.4, 0.6], 0.6) == pytest.approx(800)
    assert learning_curves.crossing([100, 400], [0.5, 0.7], 0.71) == np.inf


def test_methods_are_told_apart_by_size_and_noise_and_corrected_for_all_of_them(study, decided):
    recipe = study()
    found = learning_curves.tests(recipe, decided(recipe, rises))
    rows = learning_curves.family(found, "triage", "rationales").set_index("entry")
    assert list(rows.index) == ENTRIES
    assert rows["notes"].tolist() == [250, 1000, 250] and rows["noise"].tolist() == [0, 0, 0.2]
    assert rows["difference"].tolist() == pytest.approx([1 / 3, 0, 0], abs=0.01)
    up, down = learning_curves.told_apart(rows)
    assert list(up.index) == ["n0250"] and down.empty
    assert rows.loc["n0250", "p_holm"] == pytest.approx(3 * rows.loc["n0250", "p"])
    first, second, told = learning_curves.sentences(recipe, found, NOTHING, NOTHING)
    assert first.startswith(
        "Do rationales help? In macro-F1 R2D is above SFT with R2D's compute at 1 of 3 sizes and "
        "noise levels (3 runs each), and elsewhere not told apart: by +0.0 points; "
    )
    assert second.startswith(
        "Does scheduled sampling help? In macro-F1 R2D is not told apart from R2D without sampling "
        "at any of 3 sizes and noise levels (3 runs each): by +0.0 points; "
    )
    assert told.startswith(
        "Told apart, rationales: R2D is above SFT with R2D's compute in macro-F1, in points, at "
        "250 notes (+33.3 ["
    )
    assert told.endswith("]) with no label wrong. Corrected p < 0.0001.")


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
    assert learning_curves.sentences(recipe, pd.DataFrame(rows), NOTHING, NOTHING) == [
        "Do rationales help? In macro-F1 R2D is not told apart from SFT with R2D's compute at any "
        "of 2 sizes (3 runs each): by +0.5 to +6.5 points; a difference of up to 13.9 points is "
        "not excluded.",
        "Does scheduled sampling help? In macro-F1 R2D is not told apart from R2D without sampling "
        "at any of 2 sizes (3 runs each): by +0.5 to +6.5 points; a difference of up to 13.9 "
        "points is not excluded. In agreement of label and rationale R2D is below R2D without "
        "sampling at 1 of 1 size (3 runs each).",
        "Told apart, stage 1: R2D is below R2D without stage 1 in macro-F1, in points, at 500 "
        "notes (-5.0 [-9.0, -1.0]) with no label wrong. Corrected p = 0.017.",
        "Told apart, sampling: R2D is below R2D without sampling in agreement of label and "
        "rationale, in points, at 500 notes (-20.0 [-9.0, -1.0]) with no label wrong. Corrected p "
        "= 0.001.",
        "Told apart, stage 1: R2D is below R2D without stage 1 in agreement of label and "
        "rationale, in points, at 500 notes (-20.0 [-9.0, -1.0]) with no label wrong. Corrected p "
        "= 0.001.",
        "Not told apart, stage 1: R2D from R2D without stage 1 in macro-F1 at 1 of 2 sizes (+6.5 "
        "points; a difference of up to 13.9 points is not excluded).",
        "Words alone, in macro-F1: R2D is below TF-IDF + logistic regression at 1 of 2 sizes.",
    ]


def test_one_run_each_says_nothing_about_methods(study, decided):
    recipe = study(seeds=[1])
    runs = decided(recipe, rises)
    found = learning_curves.tests(recipe, runs)
    first, _ = learning_curves.sentences(recipe, found, NOTHING, NOTHING)
    assert "points of one run each, which says nothing of the methods" in first
    assert "one run each" in learning_curves.advised(found, 250)[0]
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    for figure in (
        figures_curves.curves(frame, found, recipe, "triage"),
        figures_curves.gains(found, recipe, "triage"),
        figures_curves.saved(learning_curves.savings(recipe, runs), recipe, "triage"),
    ):
        assert "one run each" in " ".join(figure.get_suptitle().split())


def test_notes_saved_are_where_the_mean_curve_reaches_all_of_sfts(study, decided):
    recipe = study()
    runs = decided(recipe, rises)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    assert set(frame["dataset"]) == {"triage"} and list(frame["notes"].unique()) == [250, 1000]
    saved = learning_curves.savings(recipe, runs).set_index("method")
    assert set(saved["noise"]) == {0.0}  # one size with noise is no curve
    row = saved.loc["r2d-full"]
    assert row["target"] == pytest.approx(frame.query("notes == 1000")["macro_f1"].mean())
    assert row["sft_notes"] == 1000 and 250 <= row["low"] <= row["needed"] == pytest.approx(1000)
    assert pd.isna(row["high"])  # it is not told above
    told, where = learning_curves.sentences(recipe, NOTHING, saved.reset_index(), NOTHING)
    assert told == (
        "Notes needed for SFT's macro-F1, with no label wrong: no method told to need fewer than "
        "SFT."
    )
    assert where.startswith("Where mean curves reach SFT's macro-F1 of 1,000 notes (7")
    never = row.to_dict() | {"needed": None}
    assert learning_curves.needs(pd.Series(never)).startswith("more than were given [")
    enough = row.to_dict() | {"needed": 250, "low": 250, "high": None}
    assert learning_curves.needs(pd.Series(enough)) == "at most 250 notes [250, not reached]"


def test_notes_saved_are_told_of_the_largest_size_of_sft_that_another_reaches():
    shared = {"noise": 0.0, "title": "R2D", "seeds": 1, "smallest": 250, "largest": 4000}
    shared |= {"low": None, "high": None}
    sizes = ((1000, 0.7, 800.0), (4000, 0.8, None))
    rows = [
        shared | {"sft_notes": notes, "target": target, "needed": needed}
        for notes, target, needed in sizes
    ]
    recipe = recipes.load("study")
    assert learning_curves.sentences(recipe, NOTHING, pd.DataFrame(rows), NOTHING) == [
        "Notes needed for SFT's macro-F1, with no label wrong: one run each, which says nothing of "
        "the methods.",
        "Where mean curves reach SFT's macro-F1 of 1,000 notes (70.0), with no label wrong: R2D "
        "800 notes (one run).",
    ]


def test_fewer_notes_and_more_are_told_where_the_interval_leaves_out_sfts_own_number():
    shared = {"sft_notes": 1000, "seeds": 3, "largest": 4000}
    ends = {"saves": (500, 900), "unclear": (500, 1100), "costs": (1200, None)}
    ends |= {"may": (800, None), "never": (None, None)}
    rows = [
        shared | {"title": name, "low": low, "high": high} for name, (low, high) in ends.items()
    ]
    rows.append(shared | {"title": "not tried", "low": None, "high": None, "largest": 500})
    table = pd.DataFrame(rows)
    fewer, more = learning_curves.told_notes(table)
    assert list(fewer["title"]) == ["saves"] and list(more["title"]) == ["costs", "never"]
    assert learning_curves.on_notes(table) == (
        "saves (1,000) told to need fewer than SFT; costs (1,000) and never (1,000) more"
    )


def measured(recipe, methods: dict, seeds: int, cases: int, draw: int = 0) -> list:
    """Runs without a directory: each decides so many of its cases right, by method and size.

    Some cases are hard for all, others for a method, and a run is better or worse by chance.
    """
    rng = np.random.default_rng(draw)
    gold = ["ab"[i % 2] for i in range(cases)]
    hard = rng.uniform(size=cases)
    runs = []
    for method, levels in methods.items():
        suits = 0.1 * rng.normal(size=cases)
        for entry, level in levels.items():
            for seed in range(seeds):
                skill = level + suits + 0.03 * rng.normal() + 0.1 * rng.normal(size=cases)
                right = hard < skill
                pairs = zip(gold, right, strict=True)
                predicted = [label if ok else "ab"[label == "a"] for label, ok in pairs]
                examples = {"id": list(range(cases)), "gold": gold, "predicted": predicted}
                metrics = {"metrics": {"labels": ["a", "b"], "per_example": examples}}
                run = {"dataset": entry, "method": method, "seed": seed}
                runs.append(SimpleNamespace(**run, read=lambda metrics=metrics: metrics))
    return runs


SIZES = {"n0500": 0.6, "n2000": 0.75, "n8000": 0.85}


def test_an_interval_of_notes_leaves_out_sfts_own_number_only_where_the_test_tells_them_apart():
    recipe = recipes.load("study")
    better = {entry: level + 0.1 for entry, level in SIZES.items()}
    told, within = [], []
    for draw in range(12):
        methods = {"sft-matched": SIZES, "r2d-full": better}
        runs = measured(recipe, methods, seeds=3, cases=150, draw=draw)
        found = learning_curves.family(learning_curves.tests(recipe, runs), "triage", "rationales")
        found = found.set_index("notes")
        for _, row in learning_curves.savings(recipe, runs).iterrows():
            low, high = (np.inf if pd.isna(row[end]) else row[end] for end in ("low", "high"))
            told.append(found.loc[row["sft_notes"], "p_holm"] < 0.05)
            within.append(low <= row["sft_notes"] <= high)
            assert pd.isna(row["needed"]) or low <= row["needed"] <= high
    told, within = np.array(told), np.array(within)
    assert 4 < told.sum() < 20 and within[~told].all()  # it is corrected at least as much
    assert (~within[told]).mean() > 0.5


@pytest.mark.parametrize("fewer", [{"seeds": 3}, {"cases": 100}])
def test_an_interval_of_notes_is_wider_with_fewer_seeds_and_with_fewer_cases(fewer):
    recipe = recipes.load("study")
    methods = {"sft-matched": SIZES, "r2d-full": SIZES}

    def widths(**sizes) -> list[float]:
        """On the logarithmic axis, an end that is not reached at the largest size."""
        rows = []
        for draw in range(6):
            runs = measured(recipe, methods, **sizes, draw=draw)
            rows.append(learning_curves.savings(recipe, runs).iloc[0])
        ends = pd.DataFrame(rows)[["low", "high"]].astype(float).fillna(8000)
        return np.log(ends["high"] / ends["low"])

    many = {"seeds": 8, "cases": 400}
    assert widths(**many | fewer).mean() > 1.3 * widths(**many).mean()


def test_methods_may_have_unequal_runs_and_one_of_single_runs_has_no_interval():
    recipe = recipes.load("study")
    runs = measured(recipe, {"sft-matched": SIZES}, 3, 100)
    runs += measured(recipe, {"r2d-full": SIZES}, 5, 100) + measured(
        recipe, {"dss-full": SIZES}, 1, 100
    )
    saved = learning_curves.savings(recipe, runs).set_index("method")
    assert (saved.loc["r2d-full", "seeds"] == 3).all()
    assert (saved.loc["dss-full", "seeds"] == 1).all()
    assert saved.loc["dss-full", ["low", "high"]].isna().all(axis=None)
    assert learning_curves.savings(recipe, [run for run in runs if run.method == "r2d-full"]).empty


def test_caps_are_those_of_methods_that_differ_in_nothing_else():
    recipe = recipes.load("study")
    assert learning_curves.caps(recipe, list(recipe.methods)) == {
        "r2d-full-no-sampling": 0.0,
        "r2d-full-cap30": 0.3,
        "r2d-full-cap50": 0.5,
        "r2d-full-cap70": 0.7,
        "r2d-full": 0.9,
        "r2d-full-cap100": 1.0,
    }
    runs = grid.runs(recipe, ["E9"])
    capped = learning_curves.of_caps(recipe, runs)
    assert {run.dataset for run in capped} == {"n2000"} and len(capped) == 6 * 3
    assert learning_curves.of_caps(recipe, [run for run in runs if run.dataset == "n0500"]) == []


@pytest.fixture
def told(monkeypatch, decided):
    """`told(recipe, own, follows)`: runs whose wrong decisions are explained so, by method.

    Told the gold label, every rationale names the true reason.
    """

    def make(recipe, own: dict, follows: dict) -> list[Run]:
        evaluate, listed = metrics.evaluate, iter(grid.runs(recipe, ["E9"]))

        def with_rationales(*given):
            result, run = evaluate(*given), next(listed)
            examples = result["per_example"]
            named = [own[run.method] if not right else 1 for right in examples["correct"]]
            examples |= {"names_reason": named, "names_reason_given_gold": [1] * CASES}
            examples["agreement"] = [int(i % 5 > 0) for i in range(CASES)]
            followed = [follows[run.method] + 0.01 * (i % 2) for i in range(CASES)]
            examples["follows_label"] = followed
            return result

        monkeypatch.setattr(metrics, "evaluate", with_rationales)
        runs = decided(recipe, lambda run: 40 + run.seed)
        monkeypatch.setattr(metrics, "evaluate", evaluate)
        return runs

    return make


def test_a_cap_has_to_close_the_gap_and_leave_the_rationale_listening(study, told):
    methods = ["r2d-full-no-sampling", "r2d-full-cap50", "r2d-full"]
    recipe = study(["n2000"], methods)
    own = dict(zip(methods, (0, 1, 1), strict=True))
    runs = told(recipe, own, dict(zip(methods, (0.9, 0.9, 0.2), strict=True)))
    capped = learning_curves.of_caps(recipe, runs)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    scores = learning_curves.cap_scores(recipe, frame, capped)
    assert scores.groupby("cap")["gap"].mean().to_dict() == {0.0: -1.0, 0.5: 0.0, 0.9: 0.0}
    ends = scores.groupby("cap")[[f"agreement_wrong_method_{end}" for end in ("low", "high")]]
    assert (ends.first().to_numpy() < [[0.8, 1.01]] * 3).all() and ends.first().notna().all(
        axis=None
    )
    assert scores["follows_label_method_low"].notna().all()
    found = learning_curves.cap_tests(recipe, capped)
    loses = found.set_index(["measure", "cap"])["loses"].to_dict()
    assert loses == {
        ("gap", 0.0): "yes",
        ("gap", 0.5): "no",
        ("gap", 0.9): "no",
        ("follows_label", 0.5): "no",
        ("follows_label", 0.9): "yes",
    }
    assert learning_curves.verdict(found).endswith("the label is still followed at cap 0.5")
    assert learning_curves.cap_tests(recipe, []).empty


def cap_table(*loses) -> pd.DataFrame:
    """Tests of caps 0, 0.5, ...: (gap, following) of each, as `loses` says."""
    rows = []
    for place, (gap, follows) in enumerate(loses):
        shared = {"dataset": "triage", "cap": place / 2, "notes": 2000, "runs": 5}
        shared |= {"difference": -0.1, "low": -0.2, "high": 0.0}
        rows.append(shared | {"measure": "gap", "loses": gap})
        if follows:
            rows.append(shared | {"measure": "follows_label", "loses": follows})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        ([("no", None), ("no", "no")], "there is none of 5 points to close, even at cap 0"),
        ([("yes", None), ("yes", "no"), ("no", "no")], "closed to within 5 points .* at cap 1$"),
        (
            [("yes", None), ("no", "yes"), ("yes", "no")],
            "no cap closes it while the label is followed as before$",
        ),
        ([("yes", None), ("no", "yes"), ("unclear", "no")], "do not tell"),
    ],
)
def test_the_verdict_on_caps_asks_for_a_closed_gap_and_a_rationale_that_listens(table, answer):
    found = cap_table(*table)
    assert pd.Series([learning_curves.verdict(found)]).str.contains(answer).all()
    headline, gaps, *_ = learning_curves.sentences(None, NOTHING, NOTHING, found)
    assert headline.startswith("Does a cap of p(t) close the exposure gap? ")
    assert headline.endswith(", 5 runs each).") and " (2,000 notes, caps 0 to " in headline
    assert gaps.startswith("By cap, the gap in naming the true reason, own wrong label told ")
    assert "in points: 0: -10.0 [-20.0, +0.0]; 0.5: -10.0 [" in gaps


def test_advice_is_of_the_nearest_size_and_says_when_the_study_is_not_there(
    study, decided, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (nothing,) = learning_curves.advice(400)
    assert nothing == (
        "How much rationales help with 400 cases is a question for `./run_all.sh study`, which has "
        "not been run."
    )
    recipe = study()
    found = learning_curves.tests(recipe, decided(recipe, rises))
    folder = paths.committed("study")
    folder.mkdir(parents=True)
    found.to_csv(folder / f"{learning_curves.SOURCE}_triage.csv", index=False)
    clean, noisy = learning_curves.advice(400)
    assert clean.startswith(
        "For 400 cases, by 250 synthetic notes of the study, with no label wrong: "
    )
    assert "Reason2Decide minus SFT (+33.3 [" in clean and "take Reason2Decide;" in clean
    assert "sampling minus no sampling (+0.0" in clean and clean.endswith(" is not excluded.")
    assert "with 20% of labels wrong: Reason2Decide minus SFT (+0.0" in noisy
    (most,) = learning_curves.advice(9000)
    assert "by 1,000 synthetic notes of the study (which tried 250 to 1,000), with no label" in most


def test_what_is_not_told_apart_is_called_equal_only_where_a_difference_is_excluded():
    row = {"dataset": "triage", "question": "rationales", "method": "r2d-full", "runs": 3}
    row |= {"against": "sft-matched", "measure": "macro_f1", "notes": 2000, "noise": 0.2}
    wide = {"difference": 0.065, "low": -0.009, "high": 0.139, "p_holm": 0.08}
    narrow = {"difference": 0.01, "low": -0.01, "high": 0.03, "p_holm": 0.5}
    advice = [
        learning_curves.advised(pd.DataFrame([row | test]), 2000)[0].partition("macro-F1, ")[2]
        for test in (wide, narrow)
    ]
    assert advice == [
        "not told apart by this study: a difference of up to 13.9 points is not excluded.",
        "not told apart by this study: any difference is below 3 points, SFT will do unless you "
        "want to read rationales.",
    ]


def looks(figure) -> dict[str, tuple]:
    """Colour and mark of each name in a figure's legend."""
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    marks = [(line.get_color(), line.get_marker()) for line in legend.legend_handles]
    return dict(zip(names, marks, strict=True))


def bars(axis) -> list[tuple[float, float, float]]:
    """Place and ends of every interval of an axis."""
    segments = [part for lines in axis.collections for part in lines.get_segments()]
    return [(part[0, 0], part[0, 1], part[1, 1]) for part in segments]


def test_a_curves_bars_are_its_methods_intervals_and_no_mark_hides_another(study, decided):
    recipe = study(ENTRIES + ["n0500"], seeds=(1, 2))
    runs = decided(recipe, rises)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    found = learning_curves.tests(recipe, runs)
    figure = figures_curves.curves(frame, found, recipe, "triage")
    left, right = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["No label noise", "20% of labels wrong"]
    ends = frame[["macro_f1_method_low", "macro_f1_method_high"]].round(9)
    assert {(round(a, 9), round(b, 9)) for axis in figure.axes for _, a, b in bars(axis)} == {
        tuple(row) for row in ends.to_numpy()
    }
    for axis, sizes in ((left, 3), (right, 1)):
        places = [x for line in axis.lines for x in line.get_xdata()]
        assert len(places) == len(set(places)) == 3 * sizes
    low, high = left.get_ylim()
    assert low < ends.min(axis=None) and high > ends.max(axis=None)


def test_a_method_has_one_mark_and_colour_in_every_part_of_figure_8(study, told):
    methods = ["sft-matched", "r2d-full-no-sampling", "r2d-full-cap50", "r2d-full"]
    recipe = study(["n2000", "n8000"], methods, seeds=(1, 2))
    shares = dict.fromkeys(methods, 0.5)
    runs = told(recipe, dict.fromkeys(methods, 1), shares)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    found = learning_curves.tests(recipe, runs)
    capped = learning_curves.of_caps(recipe, runs)
    scores = learning_curves.cap_scores(recipe, frame, capped)
    tests = learning_curves.cap_tests(recipe, capped)
    curves = looks(figures_curves.curves(frame, found, recipe, "triage"))
    saved = looks(figures_curves.saved(learning_curves.savings(recipe, runs), recipe, "triage"))
    caps = looks(figures_curves.caps(scores, tests, recipe, "triage"))
    names = ["R2D", "R2D without sampling"]
    for figure in (saved, caps):
        assert [figure[name] for name in names] == [curves[name] for name in names]
    assert len(set(curves.values())) == len(curves) == 3
    gains = figures_curves.gains(found, recipe, "triage")
    for axis, name in zip(
        gains.axes, ("SFT with R2D's compute", "R2D without sampling"), strict=True
    ):
        drawn = {(line.get_color(), line.get_marker()) for line in axis.lines[:-1]}
        assert drawn == {curves[name]}


def test_the_axes_of_caps_are_as_long_as_their_data():
    methods = {0.0: "r2d-full-no-sampling", 0.5: "r2d-full-cap50", 0.9: "r2d-full"}
    shared = {"dataset": "triage", "gap": -0.1, "agreement_wrong": 0.9, "follows_label": 0.85}
    shared |= {"agreement_wrong_chance": 0.2, "follows_label_chance": 0.8}
    for name in ("agreement_wrong", "follows_label"):
        shared |= {f"{name}_method_low": 0.7, f"{name}_method_high": 0.98}
    rows = [shared | {"cap": cap, "method": method} for cap, method in methods.items()]
    found = cap_table(("yes", None), ("yes", "no"), ("yes", "no"))
    recipe = recipes.load("study")
    axes = figures_curves.caps(pd.DataFrame(rows), found, recipe, "triage").axes
    for axis, low, high in zip(axes, (-0.25, 0.65, 0.65), (0.05, 1, 1), strict=True):
        assert low < axis.get_ylim()[0] and axis.get_ylim()[1] < high
    _, agreement, follows = axes
    assert agreement.get_title().endswith("(by chance 0.20)")  # far below what is drawn
    levels = [[line for line in axis.lines if line.get_ls() == "--"] for axis in axes]
    assert [len(lines) for lines in levels] == [1, 0, 1]
    assert {(low, high) for _, low, high in bars(follows)} == {(0.7, 0.98)}


def test_a_profile_without_the_experiment_names_the_one_that_has_it():
    recipe = recipes.load("mini")
    with pytest.raises(R2DError, match="E9 is not among those chosen of profile mini.*study"):
        learning_curves.chosen(recipe, list(recipe.experiments))
