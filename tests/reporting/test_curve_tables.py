"""E9's tables for people: titles and points, a column a size and noise, what is told apart."""

import pandas as pd
import pytest
from study_runs import cap_table, study

from r2d.reporting import curve_tables, escape, tables


@pytest.fixture
def frame():
    """Two runs a method of two sizes, one of them noisy, too; R2D has no noisy ones."""
    places = [("SFT", 250, 0.0), ("SFT", 1000, 0.0), ("SFT", 250, 0.2), ("R2D", 1000, 0.0)]
    rows = [
        {"dataset": "triage", "title": title, "notes": notes, "noise": noise, "seed": seed}
        for title, notes, noise in places
        for seed in (1, 2)
    ]
    return pd.DataFrame(rows).assign(macro_f1=[0.5, 0.6, 0.7, 0.8, 0.4, 0.4, 0.9, 0.8])


def test_runs_and_means_have_a_column_a_size_and_noise(frame):
    columns = ["250 notes", "1,000 notes", "250 notes, 20% of labels wrong"]
    counts = curve_tables.runs(frame).set_index("method")
    assert list(counts.columns) == columns == curve_tables.sizes(frame)
    assert counts.loc["SFT"].tolist() == ["2", "2", "2"]
    assert counts.loc["R2D"].tolist() == ["–", "2", "–"]
    means = curve_tables.macro_f1(frame).set_index("method")
    assert means.loc["SFT"].tolist() == ["55.0", "75.0", "40.0"]
    assert means.loc["R2D", "1,000 notes"] == "85.0"


def test_datasets_are_named_where_there_are_several(frame):
    both = pd.concat([frame, frame.assign(dataset="other")])
    assert curve_tables.runs(both)["dataset"].tolist() == ["triage"] * 2 + ["other"] * 2


def test_a_pair_on_a_measure_is_a_row_and_what_is_told_apart_is_bold_with_its_p():
    pair = {"dataset": "triage", "question": "sampling", "runs": 3, "noise": 0.0}
    pair |= {"method": "r2d-full", "against": "r2d-full-no-sampling", "measure": "macro_f1"}
    told = {"difference": -0.166, "low": -0.309, "high": -0.023, "p_holm": 0.032}
    untold = {"difference": 0.011, "low": -0.036, "high": 0.057, "p_holm": 1.0}
    rows = [
        pair | {"notes": 250} | untold,
        pair | {"notes": 1000} | told,
        pair | {"notes": 250, "measure": "gap"} | told | {"p_holm": 1e-6},
        pair | {"notes": 250, "measure": "agreement", "runs": 1} | told,  # of single runs
    ]
    found = pd.DataFrame(rows)
    table = curve_tables.tests(study(), found)
    assert table.iloc[0].tolist() == [
        "sampling",
        "R2D minus R2D without sampling",
        "macro-F1",
        "+1.1 [-3.6, +5.7]",
        "**-16.6 [-30.9, -2.3]**, p = 0.032",
    ]
    gap, single = table.iloc[1], table.iloc[2]
    assert gap["measure"] == tables.IN_WORDS["gap"] and gap["1,000 notes"] == "–"
    assert gap["250 notes"] == "**-16.6 [-30.9, -2.3]**, p &lt; 0.0001"
    assert single["250 notes"] == "-16.6 [-30.9, -2.3]"
    shown = escape.table(table, markdown=curve_tables.sizes(found))
    assert "**-16.6 [-30.9, -2.3]**, p = 0.032" in shown
    assert curve_tables.tests(study(), found[:0]).empty


def test_a_cap_is_a_row_with_what_it_keeps():
    tests = cap_table(("yes", ""), ("no", "unclear"), ("unclear", "yes")).assign(title="R2D")
    table = curve_tables.caps(tests)
    assert table["cap"].tolist() == ["0", "0.5", "1"]
    closed, followed = table["closed to 5 points?"], table["within 5 points?"]
    assert closed.tolist() == ["no", "yes", "not told"]
    assert followed.tolist() == ["–", "not told", "no"]
    assert table["Exposure gap (own - gold)"].tolist() == ["-10.0 [-20.0, +0.0]"] * 3
    assert "Labels followed, minus cap 0's" in table
    assert curve_tables.caps(pd.DataFrame()).empty
