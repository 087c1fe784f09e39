"""The grid: which runs the experiments of a recipe are made of, and which notebook carries each."""

import pytest

from r2d import recipes
from r2d.errors import R2DError
from r2d.experiments import grid
from r2d.experiments.run import Run


def names(runs) -> list[tuple]:
    return [(run.dataset, run.method, run.seed) for run in runs]


def test_the_grid_is_every_dataset_method_and_seed_once(tiny):
    recipe = tiny()
    runs = grid.runs(recipe, ["E1", "E8"])
    assert len(runs) == len(set(runs))
    assert set(grid.runs(recipe, ["E8"])) <= set(runs)
    triage = {(run.method, run.seed) for run in runs if run.dataset == "triage"}
    first = recipe.experiments["E1"]
    assert triage == {(method, seed) for method in first.methods for seed in first.seeds}


def test_an_optional_dataset_is_left_out_where_its_files_are_not(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("R2D_DATA", str(tmp_path))
    assert grid.datasets(tiny(), ["E1"]) == ["triage"]
    assert {run.dataset for run in grid.runs(tiny(), ["E1"])} == {"triage"}
    (tmp_path / "pubmedqa").mkdir()
    assert grid.datasets(tiny(), ["E1"]) == ["triage", "pubmedqa"]
    methods = {run.method for run in grid.runs(tiny(), ["E1"]) if run.dataset == "pubmedqa"}
    assert methods == set(tiny().datasets["pubmedqa"].methods)


def test_a_dataset_narrows_the_experiments_on_it_and_widens_none(tiny):
    recipe = tiny(
        {
            "datasets.triage.methods": ["majority", "r2d-full"],
            "experiments.E6.datasets": ["triage"],
            "experiments.E6.methods": ["r2d-full", "dss-full"],
        }
    )
    assert names(grid.runs(recipe, ["E6"])) == [("triage", "r2d-full", 1)]


def test_runs_take_in_the_stage_1_that_they_start_from_once(tiny):
    recipe = tiny()
    listed = [Run(recipe, "triage", name, 1) for name in ("r2d-full", "r2d-full-post", "sft-full")]
    whole = grid.with_starts(listed)
    assert len(whole) == len(set(whole))
    assert names(run for run in whole if run not in listed) == [("triage", "stage1-full", 1)]


def test_a_reader_is_trained_once_a_dataset_and_compared_with_nothing(tiny):
    recipe = tiny({"experiments.E6.seeds": [2, 3], "experiments.E6.datasets": ["triage"]})
    assert names(grid.readers(recipe, ["E1", "E6"])) == [("triage", "reader-full", 2)]
    assert "reader-full" not in {run.method for run in grid.runs(recipe, ["E6"])}
    for key, value in (("labels", "open"), ("options_from", "Choices:")):
        unfit = tiny({f"datasets.triage.{key}": value})
        assert all(run.dataset != "triage" for run in grid.readers(unfit, ["E6"]))
    needed = grid.to_train(recipe, ["E6"])
    assert set(needed) == {
        *grid.with_starts(grid.runs(recipe, ["E6"])),
        Run(recipe, "triage", "reader-full", 2),
    }


def test_experiments_are_chosen_by_a_comma_list(tiny):
    assert grid.chosen(tiny(), "") == list(tiny().experiments)
    assert grid.chosen(tiny(), " E8 ,E1") == ["E8", "E1"]
    with pytest.raises(R2DError, match="no experiment 'E99'; choose from E1"):
        grid.chosen(tiny(), "E1,E99")


def test_learning_curves_are_apart_from_the_main_tables(tiny):
    experiments = list(tiny().experiments)
    assert grid.with_curves(experiments) == ["E9"]
    assert grid.in_tables(experiments) == [name for name in experiments if name != "E9"]
    assert grid.in_tables(["E9"]) == []


def test_a_change_reaches_the_runs_that_start_from_what_it_is_in(home):
    changed = recipes.load("smoke", {"methods.stage1-full.train": {"steps": 13}})
    reached = grid.changed(changed, ["E8"])
    assert [run.method for run in reached] == ["r2d-full"]
    shipped = grid.as_shipped(changed)
    assert shipped == recipes.load("smoke") and grid.changed(shipped, ["E8"]) == []
    assert grid.before(shipped, reached[0]) == reached[0]
    key = grid.before_key(changed, ["E8"])
    twin = grid.before(shipped, reached[0]).folder
    twin.mkdir(parents=True)
    (twin / "metrics.json").write_text('{"key": "k"}')
    assert grid.before_key(changed, ["E8"]) != key


def test_an_executed_run_is_called_like_its_source_and_then_as_the_run(tiny):
    run = Run(tiny(), "triage", "r2d-full", 2)
    assert grid.executed(run) == "03_stage2-triage-r2d-full-seed2"
    carried = grid.carried(tiny())
    assert "stage1-full" in carried["02_stage1"] and "tfidf" in carried["04_baselines"]
    assert sorted(sum(carried.values(), [])) == sorted(tiny().methods)


def test_every_method_has_the_notebook_that_is_about_it(tiny):
    expected = {
        "majority": "04",
        "tfidf": "04",
        "rule": "04",
        "sft": "04",
        "dss": "04",
        "reader": "04",
        "stage1": "02",
        "r2d": "03",
        "r2dc": "03",
    }
    for name in tiny().methods:
        assert grid.notebook(tiny(), name)[:2] == expected[name.split("-")[0]]


def test_experiments_with_chat_models_and_a_judge_are_known_by_their_settings(tiny):
    assert grid.with_llms(tiny(), ["E1", "E4", "E5"]) == ["E4"]
    assert grid.judged(tiny(), ["E1", "E4", "E5"]) == ["E5"]


def test_a_changed_data_file_makes_its_page_out_of_date(tiny, tmp_path):
    file = tmp_path / "notes.csv"
    recipe = tiny({"datasets.own": {"card": "table", "path": str(file)}})
    file.write_text("question,label,rationale\na,x,r\n")
    own, triage = (grid.data_key(recipe, dataset) for dataset in ("own", "triage"))
    file.write_text("question,label,rationale\na,x,other\n")
    assert grid.data_key(recipe, "own") != own
    assert grid.data_key(recipe, "triage") == triage
