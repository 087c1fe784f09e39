"""Tables for people: means over seeds, names of measures, and files that are read as written."""

import pandas as pd
import pytest

from r2d.errors import R2DError
from r2d.reporting import collect, tables


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
    assert shown.loc[2, "Accuracy"] == "85.0 ± 7.1" and "Sentence BLEU" not in shown
    assert shown.loc[0, "Macro-F1"].endswith("]")


def test_one_runs_scores_name_bertscores_model_and_the_gold_label(runs):
    measure = {"value": 0.5, "interval": None, "n": 3}
    metrics = {
        "metrics": {"bertscore_f1": measure, "sentence_bleu_given_gold": measure},
        "signatures": {"bertscore_f1": "minilm_L5"},
    }
    shown = tables.scores(metrics)
    assert list(shown.index) == ["BERTScore F1 (minilm)", "Sentence BLEU, given the gold label"]
    assert shown["cases"].tolist() == [3, 3]
    accuracy = tables.scores(runs[-1].read()["metrics"]).loc["Accuracy"]
    assert accuracy["low"] < accuracy["value"] == 0.8 < accuracy["high"]


def test_tables_and_findings_are_written_with_their_origin(recipe, runs):
    frame = collect.runs(runs[:4])  # none of them starts from a stage 1
    written = {"runs": frame, "table_1": tables.summarise(frame)}
    tables.write(recipe, written, {"Table 1": ["A beats B.", "C does not."], "E2": []})
    folder = tables.folder(recipe)
    assert (folder / "findings.md").read_text() == "**Table 1**\n\n- A beats B.\n- C does not.\n"
    text = (folder / "table_1.md").read_text()
    assert text.startswith(f"Profile: {recipe.note}\n\n| dataset")
    assert "These rows: 4 runs (with the stage 1 that they start from), 1 minutes" in text
    assert "on abacus (cpu, threads: 1), by `./run_all.sh smoke` with changed settings" in text
    assert "Published" in text and "60.58" in text and "96.05" not in text  # of these datasets only
    assert len(tables.read(folder / "runs.csv")) == 4


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
