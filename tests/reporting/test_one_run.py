"""One run's results for people: the measures that matter, in points, with what they are."""

from r2d.reporting import one_run


def measure(value, chance=None, n=60):
    found = {"value": value, "interval": [value - 0.05, value + 0.05], "n": n}
    return found | ({"chance": chance} if chance is not None else {})


def test_the_few_measures_that_matter_are_in_points_with_interval_chance_and_meaning():
    metrics = {
        "corpus_bleu": {"value": 50.143, "interval": None, "n": 60},
        "sufficiency": measure(0.3, 0.2),
        "agreement": measure(0.987, 0.174),
        "macro_f1": measure(0.8934),
        "follows_label": measure(0.82, 0.167, 12),
        "invalid_rate": measure(0.0),
    }
    table = one_run.results({"metrics": metrics}).set_index("measure")
    assert list(table.index) == [
        "Macro-F1",
        "Agreement of label and rationale",
        "Follows a forced label",
    ]
    assert table["points of 100"].iloc[0] == "89.3 [84.3, 94.3]"
    assert table["by chance"].iloc[1] == 17.4 and table["cases"].tolist() == [60, 60, 12]
    assert table["what it is"].str.len().min() > 20


def test_invalid_labels_and_degenerate_texts_are_shown_where_there_are_any():
    metrics = {"accuracy": {"value": 0.5, "interval": None, "n": 1}}
    metrics |= {"invalid_rate": measure(0.25), "degenerate": measure(0.5)}
    table = one_run.results({"metrics": metrics})
    shown = ["Accuracy", "Invalid labels", "Degenerate rationales"]
    assert table["measure"].tolist() == shown and table["points of 100"].iloc[0] == "50.0"
    assert "by chance" not in table  # of which there is none


def test_every_measure_of_a_table_for_people_has_a_meaning():
    assert set(one_run.IF_ANY) < set(one_run.MEANING) <= set(one_run.MEASURES)
