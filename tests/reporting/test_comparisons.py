"""Comparisons: which way round they are, what varies in them, and what is said of noise."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.metrics import f1_score

from r2d.errors import R2DError
from r2d.experiments.run import Run
from r2d.reporting import collect, comparisons


@pytest.fixture
def table(runs):
    return comparisons.compare(runs, "triage", ["majority", "dss-full"], "r2d-full")


def test_a_difference_is_of_means_over_runs_and_the_rest_is_noise(recipe, runs, table):
    assert set(table["measure"]) == {"macro_f1"} and table["runs"].tolist() == [2, 2]
    assert table["cases"].tolist() == [40, 40]
    clear, unclear = table["difference"]
    frame = collect.runs(runs).groupby("method")["macro_f1"].mean()
    assert clear == pytest.approx(frame["r2d-full"] - frame["majority"])
    assert unclear == pytest.approx(frame["r2d-full"] - frame["dss-full"]) and unclear < 0
    (sentence,) = comparisons.told_apart(recipe, table)
    assert sentence.startswith("R2D beats Majority class on triage: macro-F1 +51.")
    assert sentence.endswith("(2 runs a method, 40 cases).")
    (rest,) = comparisons.the_rest(recipe, table)
    assert rest.startswith("R2D can't be told apart on triage (2 runs a method, 40 cases;")
    assert "from DSS (macro-F1 -2.5 [" in rest and "Majority" not in rest


def test_a_loss_is_said_to_be_one(recipe, runs):
    table = comparisons.compare(runs, "triage", ["r2d-full"], "majority")
    (behind,) = comparisons.told_apart(recipe, table)
    assert behind.startswith("Majority class is beaten by R2D on triage: macro-F1 -51.")


def test_sentences_go_by_the_corrected_p(recipe, table):
    close = table.assign(p=0.03, p_holm=0.06)
    assert comparisons.told_apart(recipe, close) == []
    (rest,) = comparisons.the_rest(recipe, close)
    assert "Majority class" in rest and "DSS" in rest
    shown = comparisons.told_apart(recipe, table.assign(p=1e-9, p_holm=0.04))
    assert len(shown) == 2 and all("corrected p = 0.04" in sentence for sentence in shown)
    assert "DSS" in shown[0] and "Majority class" in shown[1]  # what was to be expected comes last


def test_the_more_comparisons_the_larger_p_and_the_wider_the_interval(runs):
    alone = comparisons.compare(runs, "triage", ["majority"], "r2d-full").iloc[0]
    both = comparisons.compare(runs, "triage", ["majority", "dss-full"], "r2d-full").iloc[0]
    assert alone["p"] == both["p"] and alone["p_holm"] == alone["p"] < both["p_holm"]
    assert both["low"] < alone["low"] < alone["high"] < both["high"]


def test_one_run_each_says_nothing_about_methods_however_large_the_difference(recipe, runs):
    one = [run for run in runs if run.seed == 1]
    table = comparisons.compare(one, "triage", ["majority", "dss-full"], "r2d-full")
    assert set(table["runs"]) == {1} and table["p_holm"].min() < 0.05
    assert comparisons.told_apart(recipe, table) == [] and comparisons.power(table) == []
    (line,) = comparisons.the_rest(recipe, table)
    assert line.startswith("One run each on triage, 40 cases, says nothing about the methods.")
    assert "Majority class (macro-F1 +56" in line and "DSS (macro-F1 +2" in line


def test_a_seeds_spread_widens_the_interval(runs, table):
    dss = table.set_index("against").loc["dss-full"]
    assert dss["seeds"] > 0 and dss["seeds_against"] == 0  # r2d-full: 36 and 32 of 40
    assert dss["df"] < 10 and dss["se"] ** 2 == pytest.approx(dss["seeds"] + dss["examples"])


def test_the_reference_is_compared_with_every_other_method_of_a_dataset(recipe, runs):
    tests = comparisons.with_reference(recipe, collect.runs(runs), runs)
    assert tests["against"].tolist() == ["majority", "dss-full"]
    assert set(tests["method"]) == {recipe.reference}
    without = [run for run in runs if run.method != recipe.reference]
    assert comparisons.with_reference(recipe, collect.runs(without), without).empty


def test_rationales_are_compared_between_the_methods_that_write_some(recipe, finish):
    runs = [
        explained(finish, Run(recipe, "triage", method, seed), named)
        for method, named in (("r2d-full", 20), ("dss-full", 4), ("sft-full", 0))
        for seed in (1, 2)
    ]
    table = comparisons.compare(runs, "triage", ["dss-full", "sft-full"], "r2d-full")
    named = table[table["measure"] == "names_reason"]
    assert named["against"].tolist() == ["dss-full"]
    assert named["difference"].tolist() == pytest.approx([16 / 40])
    (sentence,) = comparisons.told_apart(recipe, table)
    assert "R2D beats DSS on triage: names the true reason +40.0 [" in sentence
    assert "degenerate" in sentence  # DSS wrote one text for most cases


def test_a_measure_of_some_cases_is_compared_on_those_alone(recipe, finish):
    runs = [
        explained(finish, Run(recipe, "triage", method, seed), 20)
        for method in ("r2d-full", "r2dc-full")
        for seed in (1, 2)
    ]
    read = [run.read()["metrics"] for run in runs]
    for each, share in zip(read, (0.5, 0.6, 0.9, 1.0), strict=True):
        told = [share + (0.01 if i % 2 else -0.01) for i in range(10)]
        each["per_example"]["follows_label"] = [*told, *[None] * 30]
    found = comparisons.test(read[:2], read[2:], "follows_label")
    assert found["difference"] == pytest.approx(-0.4)
    assert found["parts"].cases == 10
    assert "follows_label" in comparisons.measures(read[:2])


def test_a_measure_of_a_single_case_is_not_compared(recipe, finish):
    runs = [
        explained(finish, Run(recipe, "triage", method, seed), 20)
        for method in ("r2d-full", "r2dc-full")
        for seed in (1, 2)
    ]
    for run in runs:
        file = run.folder / "metrics.json"
        metrics = json.loads(file.read_text())
        metrics["per_example"]["follows_label"] = [0.5, *[None] * 39]
        file.write_text(json.dumps(metrics))
    table = comparisons.compare(runs, "triage", ["r2dc-full"], "r2d-full")
    assert "follows_label" not in set(table["measure"])
    assert comparisons.interval([run.read()["metrics"] for run in runs], "follows_label") is None


def explained(finish, run, named):
    """A run of 40 right decisions, whose first `named` rationales name the reason."""
    rows = [
        {
            "id": str(i),
            "gold": "ab"[i % 2],
            "label": "ab"[i % 2],
            "valid": True,
            "reason": "fever",
            "rationale_gold": f"it is the fever {i}",
            "rationale": "" if not named else f"fever {i}" if i < named else "nothing at all",
        }
        for i in range(40)
    ]
    env = {"test_cases": 40, "test_seconds": 1.0, "probe_seconds": 1.0}
    return finish(run, rows, env)


def test_findings_have_what_was_told_apart_first(recipe, table):
    findings = {}
    comparisons.add_findings(findings, "E1", recipe, table)
    comparisons.add_findings(findings, "E2", recipe, table.iloc[:0])
    assert list(findings) == [comparisons.TOLD_APART, "E1", "E2"] and findings["E2"] == []
    assert findings[comparisons.TOLD_APART][0].startswith("E1: R2D beats Majority class")
    assert len(findings["E1"]) == 1


def test_power_is_told_for_three_points_and_grows_with_runs(table):
    varying = table.assign(seeds=1e-4, seeds_against=2e-4, examples=1e-4)
    (sentence,) = comparisons.power(varying)
    assert sentence.startswith("Power: with 2 runs a method and 40 cases of triage, a true")
    assert "3 points of macro-F1" in sentence and "corrected for 2 comparisons" in sentence
    shares = [int(word.rstrip("%),")) for word in sentence.split() if "%" in word]
    assert shares == sorted(shares) and len(shares) == 3
    assert comparisons.power(table) == []  # majority and DSS do not vary over seeds here


def test_a_method_without_a_run_is_named(runs):
    with pytest.raises(R2DError, match="no run of sft-full on triage to compare"):
        comparisons.compare(runs, "triage", ["sft-full"], "r2d-full")


def test_differences_are_those_of_scikit_learns_macro_f1(runs, table):
    def mean(method):
        scores = []
        for run in runs:
            if run.method == method:
                cases = pd.DataFrame(run.read()["predictions"])
                scores.append(f1_score(cases["gold"], cases["label"], average="macro"))
        return sum(scores) / len(scores)

    expected = [mean("r2d-full") - mean(method) for method in ("majority", "dss-full")]
    assert table["difference"].tolist() == pytest.approx(expected)


def test_the_notes_own_rule_is_a_bound_and_not_compared(recipe, runs):
    rule = [Run(recipe, "triage", "rule", seed) for seed in (1, 2)]
    for run, twin in zip(rule, runs[-2:], strict=True):
        shutil.copytree(twin.folder, run.folder)
    with_rule = [*rule, *runs]
    tests = comparisons.with_reference(recipe, collect.runs(with_rule), with_rule)
    assert tests["against"].tolist() == ["majority", "dss-full"]


def test_a_title_says_what_the_corrected_tests_found(recipe, table):
    assert comparisons.verdict(recipe, table, "triage") == (
        "By macro-F1 on triage R2D beats Majority class. It can't be told apart from DSS"
    )
    close = table.assign(p=0.001, p_holm=[0.06, 0.04])
    assert comparisons.verdict(recipe, close, "triage") == (
        "By macro-F1 on triage R2D is beaten by DSS. It can't be told apart from Majority class"
    )
    assert "models, not methods" in comparisons.verdict(recipe, close.assign(runs=1), "triage")
    assert comparisons.verdict(recipe, table, "another") == ""


def outcomes(measure, **differences):
    """Tests of R2D on a measure against these methods, None for one that is not told apart."""
    row = {"dataset": "triage", "method": "r2d-full", "measure": measure, "runs": 3}
    row |= {"degenerate": 0.0}
    return [
        row
        | {"against": name.replace("_", "-"), "difference": each or 0.0}
        | {"p_holm": 0.5 if each is None else 0.01}
        for name, each in differences.items()
    ]


def test_a_title_says_who_is_told_apart_by_the_rationale_measures_that_it_is_asked_for(recipe):
    labels = outcomes("macro_f1", dss_full=None, r2dc_full=None)
    agreement = outcomes("agreement", dss_full=0.2, r2dc_full=-0.1)
    forced = outcomes("follows_label", r2dc_full=-0.3)
    tests = pd.DataFrame(labels + agreement + forced)
    first = "By macro-F1 on triage R2D can't be told apart from DSS; R2D-C"
    assert comparisons.verdict(recipe, tests, "triage") == first
    assert comparisons.verdict(recipe, tests, "triage", also=["follows_label"]) == (
        f"{first}. By following a forced label it is beaten by R2D-C"
    )
    assert comparisons.verdict(recipe, tests, "triage", also=comparisons.RATIONALES) == (
        f"{first}. By agreement it beats DSS. By agreement and following a forced label it is "
        "beaten by R2D-C"
    )
    blank = tests.assign(degenerate=0.5)
    assert comparisons.verdict(recipe, blank, "triage", also=comparisons.RATIONALES) == first


def test_a_title_calls_all_the_others_so_and_no_smaller_number(recipe):
    labels = outcomes("macro_f1", dss_full=None, r2dc_full=0.1)
    all_of_them = labels + outcomes("agreement", dss_full=-0.2, r2dc_full=-0.1)
    shown = comparisons.verdict(recipe, pd.DataFrame(all_of_them), "triage", also=["agreement"])
    assert shown.endswith(". By agreement it is beaten by all the others")
    one = labels + outcomes("agreement", dss_full=-0.2)
    shown = comparisons.verdict(recipe, pd.DataFrame(one), "triage", also=["agreement"])
    assert shown.endswith(". By agreement it is beaten by DSS")


def test_a_title_that_would_be_too_long_counts_methods(recipe):
    names = [name for name in recipe.methods if name.startswith("r2d-full-")]
    differences = dict.fromkeys(names, None)
    unclear = outcomes("macro_f1", **differences)
    half = outcomes("agreement", **dict.fromkeys(names[1:], -0.1))
    title = comparisons.verdict(recipe, pd.DataFrame(unclear + half), "triage", also=["agreement"])
    count = len(names)
    assert title == (
        f"By macro-F1 on triage R2D can't be told apart from {count} of {count} others. "
        f"By agreement it is beaten by {count - 1} of {count} others"
    )
    few = outcomes("macro_f1", **dict.fromkeys(names[:3], None))
    some = few + outcomes("agreement", **dict.fromkeys(names[1:3], -0.1))
    title = comparisons.verdict(recipe, pd.DataFrame(some), "triage", also=["agreement"])
    titles = "; ".join(recipe.methods[name].title for name in names[:3])
    assert title.endswith(f"apart from {titles}. By agreement it is beaten by 2 of 3 others")
    assert len(title) <= comparisons.TITLE_LETTERS


def test_the_test_is_what_a_plain_implementation_makes_of_the_predictions(runs, table):
    """Obuchowski and Rockette's variance by scikit-learn, one resample after the other."""
    rng = np.random.default_rng(1)
    draws = [np.arange(40), *(rng.integers(40, size=40) for _ in range(300))]
    by_run, resampled = [], []
    for method in ("r2d-full", "dss-full"):
        cases = [pd.DataFrame(run.read()["predictions"]) for run in runs if run.method == method]
        scores = np.array([[_macro_f1(each.iloc[draw]) for each in cases] for draw in draws])
        by_run.append(scores[0])
        resampled.append(scores[1:])
    seeds = [each.var(ddof=1) / 2 for each in by_run]
    ours, theirs = (each.mean(axis=1) for each in resampled)
    held = sum((each.var(axis=0, ddof=1).mean() - np.cov(each.T)[0, 1]) / 2 for each in resampled)
    examples = max(0.0, np.var(ours - theirs, ddof=1) - held)
    variance = sum(seeds) + examples
    df = variance**2 / (sum(part**2 for part in seeds) / 1 + examples**2 / 39)
    difference = by_run[0].mean() - by_run[1].mean()
    row = table.set_index("against").loc["dss-full"]
    assert row["difference"] == pytest.approx(difference)
    assert row["se"] == pytest.approx(variance**0.5, rel=0.1)
    assert row["p"] == pytest.approx(
        2 * scipy.stats.t.sf(abs(difference) / variance**0.5, df), rel=0.1
    )


def _macro_f1(cases):
    return f1_score(
        cases["gold"], cases["label"], labels=["a", "b"], average="macro", zero_division=0
    )


def test_a_p_that_only_the_model_could_tell_from_another_is_not_spelled_out():
    assert comparisons.p_value({"p_holm": 0.00432}) == "p = 0.0043"
    assert comparisons.p_value({"p_holm": 1.5e-118}) == "p < 0.0001"
