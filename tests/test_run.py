"""Runs, the grid of experiments, and the tables and figures read from finished runs."""

import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from r2d import paths
from r2d.errors import R2DError
from r2d.evaluation import metrics
from r2d.experiments import grid, run
from r2d.recipes.settings import MetricSettings
from r2d.reporting import figures, results
from r2d.training import loop

WHOLE = {"config.yaml", "env.json", "log.jsonl", "metrics.json", "model", "predictions.jsonl"}
MAJORITY = ("triage", "majority", 1)
NEURAL = ("triage", "dss-full", 1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def forbid(monkeypatch, name):
    def stop(*given, **named):
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(
        *({"fit": (loop.Trainer, "fit"), "data": (run, "_train_and_predict")}[name]), stop
    )


def test_a_finished_run_has_every_part_and_no_pickle(tiny, home):
    folder = run.execute(tiny(), *NEURAL)
    assert folder == home / "runs" / tiny().profile / "triage" / "dss-full" / "seed1"
    assert {p.name for p in folder.iterdir()} == WHOLE and [
        p.name for p in folder.parent.glob(".*")
    ] == [".seed1.lock"]
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".json", ".jsonl", ".yaml", ".safetensors", ".md"}
    found = run.read(folder)
    assert found["config"]["seed"] == 1 and found["config"]["method"]["name"] == "dss-full"
    assert len(found["predictions"]) == found["env"]["test_cases"] == found["metrics"]["n"] == 8
    assert all(
        {"id", "gold", "label", "valid", "rationale_gold", "rationale", "reason"} <= set(p)
        for p in found["predictions"]
    )
    assert {
        "python",
        "packages",
        "device",
        "threads",
        "commit",
        "training",
        "peak_memory_mb",
    } <= set(found["env"])
    assert {"macro_f1", "accuracy", "bertscore_f1", "consistency"} <= set(
        found["metrics"]["metrics"]
    )
    assert [e["step"] for e in found["log"] if "loss" in e] == [1, 4] and found["env"][
        "quantisation"
    ] is None


def test_a_finished_run_decodes_again_as_it_did(tiny, home):
    folder = run.execute(tiny(), *NEURAL)
    decoder, goal = run.load_decoder(folder)
    from r2d import data

    test = data.load("triage", tiny().datasets["triage"]).test
    rows = decoder.predict(test, goal)
    decoder.probe(test, rows, goal)
    assert rows == run.read(folder)["predictions"]


def test_a_text_with_an_unusual_line_end_stays_one_line_of_the_predictions(tmp_path):
    rows = [{"rationale": "first\u2029second\u0085third\u2028"}, {"rationale": "next"}]
    paths.write_lines(tmp_path / "predictions.jsonl", rows)
    assert run._lines(tmp_path / "predictions.jsonl") == rows


def test_a_changed_data_file_makes_its_runs_out_of_date(tiny, tmp_path):
    file = tmp_path / "notes.csv"
    file.write_text("question,label,rationale\na,x,r\n")
    recipe = tiny({"datasets.own": {"card": "table", "path": str(file)}})
    before = (
        run.key(recipe, "own", "majority", 1),
        run.data_key(recipe, "own"),
        run.key(recipe, "triage", "majority", 1),
    )
    file.write_text("question,label,rationale\na,x,other\n")
    after = (
        run.key(recipe, "own", "majority", 1),
        run.data_key(recipe, "own"),
        run.key(recipe, "triage", "majority", 1),
    )
    assert before[0] != after[0] and before[1] != after[1] and before[2] == after[2]


def test_a_run_killed_before_it_had_its_name_is_not_trained_again(tiny, home, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run, "_name", lambda part, out: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.execute(tiny(), *NEURAL)
    assert not paths.run(tiny().profile, *NEURAL).exists()
    forbid(monkeypatch, "data")
    assert {p.name for p in run.execute(tiny(), *NEURAL).iterdir()} == WHOLE


def test_what_a_killed_save_left_is_cleared_away(tiny, home):
    out = paths.run(tiny().profile, *NEURAL)
    part = out.with_name(".seed1.part")
    for folder in (part / "model", part / "checkpoints"):
        folder.mkdir(parents=True)
        (folder / ".tmpA3Zlpz").write_bytes(b"half a tensor")
    run.execute(tiny(), *NEURAL)
    assert {p.name for p in out.iterdir()} == WHOLE and not list(out.rglob(".*"))


def test_two_processes_never_make_the_same_run(tiny, home, monkeypatch):
    out = paths.run(tiny().profile, *NEURAL)
    with (
        run._alone(out),
        pytest.raises(
            R2DError, match="Another process is at work on .*seed1: wait for it or stop it"
        ),
    ):
        run.execute(tiny(), *NEURAL)
    run.execute(tiny(), *NEURAL)
    same, asked = run._same, []
    forbid(monkeypatch, "data")
    # One that looked before the other had finished, and had the lock after it:
    monkeypatch.setattr(
        run,
        "_same",
        lambda path, wanted: bool(asked.append(path)) or (len(asked) > 1 and same(path, wanted)),
    )
    assert run.execute(tiny(), *NEURAL) == out and len(asked) == 3


def test_a_backbone_folder_with_other_content_makes_its_runs_out_of_date(tiny, tmp_path):
    weights = {
        "first": torch.zeros(1 << 19),
        "last": torch.zeros(8),
    }  # the second lies beyond the first MiB
    save_file(weights, tmp_path / "model.safetensors")
    recipe, which = tiny({"backbone": str(tmp_path)}), ("triage", "sft-full", 1)
    before = run.key(recipe, *which)
    (tmp_path / "model.safetensors").touch()
    assert run.key(recipe, *which) == before
    save_file(weights | {"last": torch.ones(8)}, tmp_path / "model.safetensors")
    assert run.key(recipe, *which) != before


def test_a_tables_rationales_may_stand_in_another_column_of_a_methods_own(tiny, home, tmp_path):
    rows = "".join(f"note {k},{'xy'[k % 2]},since {k}\n" for k in range(24))
    (tmp_path / "notes.csv").write_text(f"question,label,rationale_nurse\n{rows}")
    own = {"card": "table", "path": str(tmp_path / "notes.csv")}
    recipe = tiny({"datasets.own": own, "methods.majority.rationale": "rationale_nurse"})
    found = run.read(run.execute(recipe, "own", "majority", 1))
    assert found["env"]["labels"] == ["x", "y"] and found["predictions"][0][
        "rationale_gold"
    ].startswith("since ")


def test_stage_1_has_a_model_but_no_predictions(tiny, home):
    recipe = tiny()
    found = run.read(run.execute(recipe, "triage", "stage1-full", 1))
    assert (
        results.collect(recipe, [("triage", "stage1-full", 1)])["seconds_per_case"].isna().all()
    )  # it decides no case
    assert found["predictions"] == [] and "metrics" not in found["metrics"]
    assert found["env"]["training"]["score"] == "negative validation loss"


def test_a_finished_run_is_not_done_again(tiny, home, monkeypatch):
    folder = run.execute(tiny(), *NEURAL)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    forbid(monkeypatch, "fit")
    forbid(monkeypatch, "data")
    assert run.execute(tiny(), *NEURAL) == folder
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_a_changed_setting_replaces_the_run(tiny, home):
    recipe = tiny()
    folder = run.execute(recipe, *MAJORITY)
    smaller = recipe.datasets["triage"].model_copy(update={"test": 5})
    run.execute(
        recipe.model_copy(update={"datasets": recipe.datasets | {"triage": smaller}}), *MAJORITY
    )
    found = run.read(folder)
    assert len(found["predictions"]) == 5 and found["config"]["dataset"]["test"] == 5


def test_changed_code_makes_a_run_out_of_date(tiny, home, monkeypatch):
    recipe, which = tiny(), MAJORITY
    keys = [run.key(recipe, *which)]
    for changed in (run.TRAINING_CODE, run.METRIC_CODE):
        with monkeypatch.context() as patch:
            original = run.code_hash
            patch.setattr(
                run,
                "code_hash",
                lambda modules, c=changed, f=original: "new" if modules == c else f(modules),
            )
            keys.append(run.key(recipe, *which))
    assert len(set(keys)) == 3


def test_changed_metric_settings_recompute_only_the_metrics(tiny, home, monkeypatch):
    recipe = tiny()
    folder = run.execute(recipe, *NEURAL)
    before = contents(folder)
    forbid(monkeypatch, "data")
    changed = recipe.metrics.model_copy(update={"resamples": 150})
    run.execute(recipe.model_copy(update={"metrics": changed}), *NEURAL)
    after = contents(folder)
    assert {name for name in after if after[name] != before.get(name)} == {"metrics.json"} and set(
        after
    ) == set(before)
    assert "150 resamples" in run.read(folder)["metrics"]["signatures"]["intervals"]


@pytest.mark.parametrize("where", ["fit", "predict", "metrics"])
def test_an_interrupted_run_leaves_no_directory_of_its_final_name(where, tiny, home, monkeypatch):
    def interrupt(*given, **named):
        raise KeyboardInterrupt

    places = {
        "fit": (loop.Trainer, "_evaluate"),
        "predict": (paths, "write_lines"),
        "metrics": (metrics, "evaluate"),
    }
    owner, name = places[where]
    folder = paths.run(tiny().profile, *NEURAL)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.execute(tiny(), *NEURAL)
    assert not folder.exists() and folder.with_name(".seed1.part").is_dir()
    with pytest.raises(R2DError, match="no finished run at"):
        run.read(folder)
    assert {p.name for p in run.execute(tiny(), *NEURAL).iterdir()} == WHOLE
    assert not folder.with_name(".seed1.part").exists()


def test_an_unknown_dataset_or_method_lists_the_known_ones(tiny, home):
    for which in (("triag", "majority", 1), ("triage", "majorty", 1)):
        with pytest.raises(R2DError, match="choose one of .*(triage|majority)"):
            run.execute(tiny(), *which)


# --- disks


def smaller_test(recipe):
    less = recipe.datasets["triage"].model_copy(update={"test": 5})
    return recipe.model_copy(update={"datasets": recipe.datasets | {"triage": less}})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("which", "file"),
    [(MAJORITY, "predictions.jsonl"), (MAJORITY, "config.yaml"), (NEURAL, "env.json")],
)
def test_a_full_disk_is_one_sentence_and_the_earlier_result_stays_whole(which, file, tiny, home):
    folder = run.execute(tiny(), *which)
    before, part = contents(folder), folder.with_name(".seed1.part")
    part.mkdir()
    (part / f"{file}.part").symlink_to("/dev/full")
    with pytest.raises(
        R2DError,
        match=r"could not be written .*[Nn]o space left.*; free space there or set R2D_HOME",
    ) as caught:
        run.execute(smaller_test(tiny()), *which)
    assert "\n" not in str(caught.value) and contents(folder) == before
    (part / f"{file}.part").unlink()
    run.execute(smaller_test(tiny()), *which)
    assert len(run.read(folder)["predictions"]) == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX limits")
def test_a_disk_that_takes_no_checkpoint_is_one_sentence(tiny, home):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (500_000, hard)
    )  # the weights are larger; SIGXFSZ is ignored by Python
    try:
        with pytest.raises(
            R2DError, match="could not be written .*; free space there or set R2D_HOME"
        ):
            run.execute(tiny(), *NEURAL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not paths.run(tiny().profile, *NEURAL).exists()
    run.execute(tiny(), *NEURAL)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_while_only_metrics_are_made_again_is_one_sentence(tiny, home):
    folder = run.execute(tiny(), *MAJORITY)
    before = contents(folder)
    (folder / "metrics.json.part").symlink_to("/dev/full")
    changed = tiny().metrics.model_copy(update={"resamples": 150})
    with pytest.raises(R2DError, match="could not be written"):
        run.execute(tiny().model_copy(update={"metrics": changed}), *MAJORITY)
    (folder / "metrics.json.part").unlink()
    assert contents(folder) == before


def test_a_file_where_the_home_should_be_is_one_sentence(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "file"))
    with pytest.raises(
        R2DError, match="could not be written .*; free space there or set R2D_HOME to another disk"
    ):
        run.execute(tiny(), *MAJORITY)


# --- the grid


def test_the_grid_is_every_dataset_method_and_seed_once(tiny, project_data):
    recipe = tiny()
    runs = grid.runs(recipe, ["E1", "E8"])
    assert len(runs) == len(set(runs)) and set(grid.runs(recipe, ["E8"])) <= set(runs)
    triage = {(m, s) for d, m, s in runs if d == "triage"}
    assert triage == {
        (m, s) for m in recipe.experiments["E1"].methods for s in recipe.experiments["E1"].seeds
    }


def test_an_optional_dataset_is_left_out_where_its_files_are_not(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("R2D_DATA", str(tmp_path))
    assert grid.datasets(tiny(), ["E1"]) == ["triage"] and {
        d for d, _, _ in grid.runs(tiny(), ["E1"])
    } == {"triage"}
    (tmp_path / "pubmedqa").mkdir()
    runs = grid.runs(tiny(), ["E1"])
    assert {m for d, m, _ in runs if d == "pubmedqa"} == set(tiny().datasets["pubmedqa"].methods)


def test_a_dataset_narrows_the_experiments_on_it_and_widens_none(tiny):
    recipe = tiny(
        {
            "datasets.triage.methods": ["majority", "r2d-full"],
            "experiments.E6.methods": ["r2d-full", "dss-full"],
        }
    )
    assert grid.runs(recipe, ["E6"]) == [("triage", "r2d-full", 1)]


def test_experiments_are_chosen_by_a_comma_list(tiny):
    assert grid.chosen(tiny(), "") == list(tiny().experiments)
    assert grid.chosen(tiny(), " E8 ,E1") == ["E8", "E1"]
    with pytest.raises(R2DError, match="no experiment 'E99'; choose from E1"):
        grid.chosen(tiny(), "E1,E99")


def test_every_method_has_the_notebook_that_is_about_it(tiny):
    carried = {name: grid.notebook(tiny(), name)[:2] for name in tiny().methods}
    wanted = {
        "majority": "04",
        "tfidf": "04",
        "sft": "04",
        "dss": "04",
        "stage1": "02",
        "r2d": "03",
    }
    assert carried == {name: wanted[name.split("-")[0]] for name in tiny().methods}


# --- tables from runs made by hand

LABELS = ["a", "b"]
SETTINGS = MetricSettings(bertscore="minilm", resamples=100)


def by_hand(recipe, method, seed, right):
    """A finished run on `triage` whose test predictions are right where `right` says so."""
    rows = [
        {"id": str(i), "gold": LABELS[i % 2], "label": LABELS[i % 2 if ok else 1 - i % 2], "valid": True, "rationale_gold": "x",
         "rationale": "", "reason": ""}
        for i, ok in enumerate(right)
    ]  # fmt: skip
    folder = paths.run(recipe.profile, "triage", method, seed)
    folder.mkdir(parents=True)
    training = (
        {}
        if method == "majority"
        else {"training": {"steps": 4, "best_step": 2, "seconds": 8.0, "seconds_per_step": 2.0}}
    )
    env = {
        "test_cases": len(rows),
        "test_seconds": 4.0,
        "probe_seconds": 9.0,
        "peak_memory_mb": 7,
    } | training
    env |= {"parameters": 10, "trainable": 5}
    (folder / "env.json").write_text(json.dumps(env))
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed}))
    (folder / "metrics.json").write_text(
        json.dumps({"key": "k", **metrics.evaluate(rows, LABELS, SETTINGS)})
    )
    (folder / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
    return ("triage", method, seed)


@pytest.fixture
def handmade(tiny, home):
    """r2d-full right on 36 and 32 of 40, dss-full on 35 of 40 by both seeds, majority on 20."""
    recipe = tiny()
    runs = [by_hand(recipe, "majority", s, [i % 2 == 0 for i in range(40)]) for s in (1, 2)]
    runs += [by_hand(recipe, "dss-full", s, [i >= 5 for i in range(40)]) for s in (1, 2)]
    runs += [
        by_hand(recipe, "r2d-full", s, [i >= k for i in range(40)]) for s, k in ((1, 4), (2, 8))
    ]
    return recipe, runs


def test_every_number_of_the_table_comes_from_the_run_directories(handmade):
    recipe, runs = handmade
    frame = results.collect(recipe, runs)
    row = frame[(frame["method"] == "r2d-full") & (frame["seed"] == 2)].iloc[0]
    assert (row["accuracy"], row["test_cases"], row["seconds_per_case"], row["steps"]) == (
        0.8,
        40,
        0.1,
        4,
    )
    assert (
        row["accuracy_low"] < 0.8 < row["accuracy_high"]
        and row["tuning"] == "full"
        and row["title"] == "R2D"
    )
    table = results.summarise(frame).set_index("method")
    assert list(table.index) == ["majority", "dss-full", "r2d-full"] and set(table["seeds"]) == {2}
    assert table.loc["r2d-full", "accuracy"] == pytest.approx(0.85)
    assert table.loc["r2d-full", "accuracy_sd"] == pytest.approx(
        0.1 / 2**0.5
    )  # the sample's standard deviation
    assert table.loc["dss-full", "accuracy_sd"] == 0 and pd.isna(
        table.loc["r2d-full", "sentence_bleu"]
    )
    shown = results.readable(results.summarise(frame), recipe)
    assert shown.loc[2, "Accuracy"] == "85.0 ± 7.1" and "Sentence BLEU" not in shown


def test_f1_by_class_and_confusion_are_those_of_the_runs(handmade):
    recipe, runs = handmade
    classes = results.per_class(recipe, runs)
    assert len(classes) == 12 and set(classes["label"]) == {"a", "b"}
    counts = results.confusion(recipe, "triage", "r2d-full", 1)
    assert counts.to_numpy().tolist() == [[18, 2, 0], [2, 18, 0]] and list(counts.columns) == [
        "a",
        "b",
        "invalid",
    ]


def test_a_difference_inside_its_noise_is_said_not_to_be_one(handmade):
    recipe, runs = handmade
    table = results.compare(recipe, runs, "triage", ["majority", "dss-full"], "r2d-full")
    assert table["difference"].tolist() == pytest.approx([0.35, -0.025])
    assert all(table["p_holm"] >= table["p"])
    clear, unclear = (results.sentence(recipe, row) for _, row in table.iterrows())
    assert clear.startswith(
        "R2D beats Majority class on triage (2 seeds): +35.0 points of accuracy"
    )
    assert unclear.startswith(
        "R2D and DSS can't be told apart on triage (2 seeds): -2.5 points"
    ) and unclear.endswith(".")
    behind = results.compare(recipe, runs, "triage", ["r2d-full"], "majority").iloc[0]
    assert results.sentence(recipe, behind).startswith(
        "Majority class is beaten by R2D on triage (2 seeds): -35.0 points"
    )


def test_seeds_are_averaged_before_the_test_so_examples_stay_the_sample(handmade):
    recipe, runs = handmade
    one = [which for which in runs if which[2] == 1]
    doubled = results.compare(recipe, runs, "triage", ["majority"], "dss-full").iloc[0]
    single = results.compare(recipe, one, "triage", ["majority"], "dss-full").iloc[0]
    assert (
        doubled["p"] == single["p"] and doubled["low"] == single["low"]
    )  # equal seeds add no evidence


def test_a_missing_run_is_named(handmade):
    recipe, runs = handmade
    with pytest.raises(R2DError, match=r"no finished run at .*sft-full/seed1; run its notebook or"):
        results.collect(recipe, [*runs, ("triage", "sft-full", 1)])
    with pytest.raises(R2DError, match="no run of sft-full on triage to compare"):
        results.compare(recipe, runs, "triage", ["sft-full"], "r2d-full")


def test_curves_and_costs_take_in_the_stage_1_that_a_run_starts_from(handmade):
    recipe, runs = handmade
    more = grid.with_starts(recipe, runs)
    assert set(more) - set(runs) == {
        ("triage", "stage1-full", 1),
        ("triage", "stage1-full", 2),
    } and len(more) == len(set(more))
    curves = results.curves(recipe, runs)
    assert len(curves) == 6 and set(curves["loss"]) == {2.0}


# --- figures


def test_a_figure_is_saved_with_its_source_and_its_origin(handmade, home):
    recipe, runs = handmade
    frame = results.collect(recipe, runs)
    source = home / "runs" / "runs.csv"
    frame.to_csv(source, index=False)
    for name in ("fig_b", "fig_a"):
        picture = figures.save(
            figures.main_result(frame, recipe, "triage"), name, frame, recipe, [source]
        )
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.with_suffix(
            ".pdf"
        ).read_bytes().startswith(b"%PDF")
        assert len(pd.read_csv(picture.with_suffix(".csv"))) == len(frame)
    manifest = json.loads((picture.parent / "manifest.json").read_text())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert list(manifest) == ["fig_a", "fig_b"]
    entry = manifest["fig_a"]
    assert (entry["profile"], entry["recipe"]) == (recipe.profile, recipe.fingerprint()) and entry[
        "commit"
    ]
    assert list(entry["inputs"]) == ["runs/runs.csv"] and digest.startswith(
        entry["inputs"]["runs/runs.csv"]
    )


def test_every_figure_carries_its_profiles_note(handmade):
    recipe, runs = handmade
    frame = results.collect(recipe, runs)
    entry = {
        "label_weight": 0.7,
        "sampling_probability": 0.1,
        "dataset": "triage",
        "seed": 1,
        "validation": 0.5,
    }
    log = pd.DataFrame(
        [
            entry | {"step": s, "loss": 2.0 / s, "method": m}
            for m in ("dss-full", "r2d-full")
            for s in (1, 2)
        ]
    )
    made = [
        figures.main_result(frame, recipe, "triage"),
        figures.per_class(results.per_class(recipe, runs), recipe, "triage"),
        figures.confusion(results.confusion(recipe, "triage", "r2d-full", 1), recipe, "a title"),
        figures.training(log, recipe, "triage"),
    ]
    for figure in made:
        assert any(recipe.note in text.get_text() for text in figure.texts)
