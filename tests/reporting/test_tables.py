"""Tables for people: means over seeds, names of measures, and files that are read as written."""

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score
from statsmodels.stats.weightstats import DescrStatsW

from r2d.errors import R2DError
from r2d.evaluation import support
from r2d.experiments.run import Run
from r2d.reporting import collect, comparisons, studies, tables


def test_a_summary_has_mean_and_deviation_over_seeds(runs):
    table = tables.summarise(collect.runs(runs)).set_index("method")
    assert list(table.index) == ["majority", "dss-full", "r2d-full"]
    assert set(table["seeds"]) == {2}
    assert table.loc["r2d-full", "accuracy"] == pytest.approx(0.85)
    # the sample's standard deviation
    assert table.loc["r2d-full", "accuracy_sd"] == pytest.approx(0.1 / 2**0.5)
    assert table.loc["dss-full", "accuracy_sd"] == 0
    assert pd.isna(table.loc["r2d-full", "sentence_bleu"])


def test_people_read_points_of_100_and_only_measures_that_have_values(recipe, runs):
    shown = tables.readable(tables.summarise(collect.runs(runs)), recipe)
    assert shown.loc[2, "Macro-F1"].startswith("85.0 ± 7.1 [") and "Sentence BLEU" not in shown
    assert "Accuracy" not in shown and "Invalid labels" not in shown
    open_labels = collect.runs(runs).assign(macro_f1=None, invalid_rate=None)
    assert tables.readable(tables.summarise(open_labels), recipe).loc[2, "Accuracy"] == "85.0 ± 7.1"


def test_a_summary_has_the_mean_and_range_of_what_its_own_seeds_were_trained_for(runs):
    steps = [None, None, 2400, 1700, 900, 900]
    table = tables.summarise(collect.runs(runs).assign(total_steps=steps)).set_index("method")
    names = ["total_steps", "total_steps_min", "total_steps_max"]
    assert table.loc["dss-full", names].tolist() == [2050, 1700, 2400]
    assert table.loc["r2d-full", names].tolist() == [900, 900, 900]
    assert table.loc["majority", names].isna().all()
    known_of_one = collect.runs(runs).assign(total_steps=[*steps[:-1], None])
    table = tables.summarise(known_of_one).set_index("method")
    assert table.loc["r2d-full", names].isna().all()  # a mean over other runs than the row's


def test_how_far_rationales_follow_a_forced_label_stands_in_table_1(recipe, runs):
    frame = collect.runs(runs).assign(follows_label=[None] * 4 + [0.8, 0.9], degenerate=0.0)
    shown = tables.readable(tables.summarise(frame), recipe)
    assert shown["Follows a forced label"].tolist() == ["–", "–", "85.0 ± 7.1"]
    blank = tables.summarise(frame.assign(degenerate=1.0))
    assert tables.readable(blank, recipe)["Follows a forced label"].iloc[-1] == "85.0 ± 7.1 †"


def test_beside_agreement_stands_whose_prompt_names_the_label(recipe, runs):
    agreeing = [None, None, 0.8, 0.8, 0.9, 0.9]
    table = tables.summarise(collect.runs(runs).assign(agreement=agreeing))
    assert tables.unlike_prompts(table, recipe) == [
        "Agreement: the rationale prompts of some methods name the label that the rationale has to "
        "agree with (R2D), those of others name none (DSS)."
    ]
    alike = table[table["method"] != "dss-full"]
    assert tables.unlike_prompts(alike, recipe) == []
    silent = tables.summarise(collect.runs(runs).assign(agreement=None))
    assert tables.unlike_prompts(silent, recipe) == []


def test_scores_of_degenerate_rationales_are_marked_and_explained(recipe, runs):
    frame = collect.runs(runs)
    explained = frame["method"] != "majority"
    frame.loc[explained, ["sentence_bleu", "degenerate"]] = 0.5, 0.0
    frame.loc[frame["method"] == "dss-full", "degenerate"] = 0.9
    table = tables.summarise(frame)
    shown = tables.readable(table, recipe).set_index("method")
    assert "Sentence BLEU" not in shown and "†" not in shown.loc["DSS", "Macro-F1"]
    like = tables.likeness(table.assign(bertscore_f1=[None, 0.8, 0.9]), recipe)
    assert like["Sentence BLEU"].tolist() == ["50.0 ± 0.0 †", "50.0 ± 0.0"]
    (remark,) = tables.remarks(table)
    assert remark.startswith("† DSS on triage: 90% of its rationales are blank, a single word, or")


def test_below_table_1_stands_how_well_a_judge_reads_gold_rationales(runs):
    frame = collect.runs(runs)
    assert tables.remarks(tables.summarise(frame)) == []
    known = {"reader_on_gold": 0.675, "reader_chance": 0.4}
    judged = tables.summarise(frame.assign(reader=support.JUDGE, **known))
    (remark,) = tables.remarks(judged)
    assert remark == (
        f"Agreement on triage is what {support.JUDGE} says, which reads the label of 67.5% of the "
        "gold rationales of test (by chance 40.0%)."
    )
    exact = tables.summarise(frame.assign(reader=support.GRAMMAR, **known))
    assert tables.remarks(exact) == []


def test_table_1_is_what_scikit_learn_and_statsmodels_make_of_the_predictions(runs):
    table = tables.summarise(collect.runs(runs)).set_index("method")
    for method in table.index:
        cases = [pd.DataFrame(r.read()["predictions"]) for r in runs if r.method == method]
        f1 = [f1_score(each["gold"], each["label"], average="macro") for each in cases]
        hits = [accuracy_score(each["gold"], each["label"]) for each in cases]
        for name, values in (("macro_f1", f1), ("accuracy", hits)):
            over_seeds = DescrStatsW(values)
            deviation = over_seeds.std_mean * len(values) ** 0.5
            low, high = over_seeds.tconfint_mean()
            assert table.loc[method, name] == pytest.approx(over_seeds.mean, abs=1e-6)
            assert table.loc[method, f"{name}_sd"] == pytest.approx(deviation, abs=1e-6)
            assert table.loc[method, f"{name}_seeds_low"] == pytest.approx(low, abs=1e-5)
            assert table.loc[method, f"{name}_seeds_high"] == pytest.approx(high, abs=1e-5)


def test_a_measures_heading_names_bertscores_model_and_the_gold_label():
    metrics = {"signatures": {"bertscore_f1": "minilm_L5"}}
    assert tables.heading_in("bertscore_f1", metrics) == "BERTScore F1 (minilm)"
    shown = tables.heading_in("sentence_bleu_given_gold", metrics)
    assert shown == "Sentence BLEU, given the gold label"


def test_findings_of_an_experiment_stand_under_its_title(recipe, home):
    tables.folder(recipe).mkdir(parents=True)
    tables.write_findings(recipe, {"Told apart": ["A."], "E3": ["B."], "E2": []})
    title = recipe.experiments["E3"].title
    text = (tables.folder(recipe) / "findings.md").read_text()
    assert text == f"**Told apart**\n\n- A.\n\n**E3: {title}**\n\n- B.\n"


def test_tables_and_findings_are_written_with_their_origin(recipe, runs):
    frame = collect.runs(runs[:4])  # none of them starts from a stage 1
    cell = {"dataset": "triage", "method": "majority", "title": "Majority class", "kind": "plain"}
    by_kind = pd.DataFrame([cell | {"cases": 9, "accuracy": 0.5, "agreement": None}])
    written = {"runs": frame, "table_1": tables.summarise(frame), "by_kind": by_kind}
    tables.write(recipe, written, {"Table 1": ["A beats B.", "C does not."], "E2": []})
    folder = tables.folder(recipe)
    assert (folder / "findings.md").read_text() == "**Table 1**\n\n- A beats B.\n- C does not.\n"
    text = (folder / "table_1.md").read_text()
    assert text.startswith(f"Profile: {recipe.note}; synthetic: triage\n\n| dataset")
    assert "These rows: 4 runs (with the stage 1 that they start from), 1 minutes" in text
    assert "on abacus (cpu, threads: 1), by `./run_all.sh smoke` with changed settings" in text
    assert "Table 1b." in text and "50 / –" in text and "Table 1c." not in text
    assert "Published" in text and "60.58" in text and "96.05" not in text  # of these datasets only
    assert len(tables.read(folder / "runs.csv")) == 4


def test_table_1_is_written_with_whose_prompt_names_the_label(recipe, finish, runs):
    env = {"test_cases": 0, "test_seconds": 0.0, "probe_seconds": 0.0, "device": "abacus"}
    for seed in (1, 2):
        run = Run(recipe, "triage", "stage1-full", seed)
        finish(run, [], env | {"kind": "cpu", "threads": 1})
    agreeing = [None, None, 0.8, 0.8, 0.9, 0.9]
    frame = collect.runs(runs).assign(agreement=agreeing, degenerate=0.0)
    tables.write(recipe, {"runs": frame, "table_1": tables.summarise(frame)}, {})
    text = (tables.folder(recipe) / "table_1.md").read_text()
    assert "has to agree with (R2D), those of others name none (DSS).\nThese rows: 8 runs" in text


def test_table_2_is_written_with_how_many_seeds_its_rows_are_of(recipe, runs):
    frame = collect.runs(runs[:5]).assign(precision="fp32")  # one seed of r2d-full
    table_1 = tables.summarise(frame[frame["method"] != "r2d-full"])
    written = {"runs": frame.iloc[:4], "table_1": table_1, "e7_runs": frame}
    tables.write(recipe, written | {"table_2": studies.cost(recipe, frame)}, {})
    table_2 = tables.read(tables.folder(recipe) / "table_2.csv").set_index("method")
    assert table_2.loc[["dss-full", "r2d-full"], "seeds"].tolist() == [2, 1]
    assert table_2.loc["dss-full", "seconds"] == 8


def test_a_class_called_none_is_read_as_a_class(tmp_path):
    (tmp_path / "table.csv").write_text("label,f1\nNone,0.5\nNA,\n")
    table = tables.read(tmp_path / "table.csv")
    assert table["label"].tolist() == ["None", "NA"] and table["f1"].isna().tolist() == [0, 1]
    (tmp_path / "empty.csv").write_text("\n")
    assert tables.read(tmp_path / "empty.csv")["dataset"].tolist() == []


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(R2DError, match=r"runs.csv is not there; run `./run_all.sh`"):
        tables.read(tmp_path / "runs.csv")


def test_every_published_number_has_its_mark_and_says_whether_it_compares():
    known = tables.published()
    assert set(known["mark"]) == {"[2nd]"} and known["comparable"].str.len().min() > 10


def test_a_macro_f1s_interval_holds_for_new_seeds_and_cases(recipe, runs):
    """It is the comparison with nothing, so wider than that over cases where seeds differ."""
    frame = collect.runs(runs)
    table = tables.summarise(frame).set_index("method")
    r2d = table.loc["r2d-full"]
    assert r2d["macro_f1_method_high"] - r2d["macro_f1_method_low"] > (
        r2d["macro_f1_high"] - r2d["macro_f1_low"]
    )
    dss = [run.read()["metrics"] for run in runs if run.method == "dss-full"]
    low, high = comparisons.interval(dss, "correct")
    deviation = (35 * 5) ** 0.5 / 40 / 40**0.5  # of a share of 40 cases; equal runs add nothing
    assert (high - low) / 2 == pytest.approx(2.02 * deviation, rel=0.1)
    shown = tables.readable(table.reset_index(), recipe).set_index("method")
    assert shown.loc["R2D", "Macro-F1"].endswith(
        f"[{100 * r2d['macro_f1_method_low']:.0f}, {100 * r2d['macro_f1_method_high']:.0f}]"
    )


def test_a_dataset_that_taught_nothing_is_said_to_have(recipe, runs):
    frame = collect.runs(runs)
    poor = frame.assign(dataset="pubmedqa", accuracy=[0.6, 0.6, 0.5, 0.5, 0.4, 0.4])
    table = tables.summarise(pd.concat([frame, poor]))
    assert tables.unlearned(table, recipe) == ["pubmedqa"]
    (sentence,) = tables.unlearned_sentences(table, recipe)
    assert "Majority class 60.0, DSS 50.0, R2D 40.0" in sentence
    assert "Accuracy" in tables.readable(table, recipe)  # by which one sees it
