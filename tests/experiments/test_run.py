"""One run: what its directory holds, when it is made again, what a full disk or a kill leaves."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import new_home
from safetensors.torch import load_file, save_file

from r2d import data, hashes, paths
from r2d.errors import R2DError
from r2d.evaluation import metrics
from r2d.experiments import job, run
from r2d.experiments.directory import read
from r2d.experiments.run import Run, load_decoder
from r2d.training.checkpoint import trainable
from r2d.training.loop import Trainer

PARTS = {"config.yaml", "env.json", "log.jsonl", "metrics.json", "model", "predictions.jsonl"}
PARTS |= {"sha256.json"}
MAJORITY = ("triage", "majority", 1)
NEURAL = ("triage", "dss-full", 1)
FULL_DISK = Path("/dev/full")
needs_full_disk = pytest.mark.skipif(not FULL_DISK.exists(), reason="no /dev/full here")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def forbid_training(monkeypatch):
    def stop(*given):
        raise AssertionError("the run was made again")

    monkeypatch.setattr(job, "perform", stop)


def with_resamples(recipe, resamples=150):
    settings = recipe.metrics.model_copy(update={"resamples": resamples})
    return recipe.model_copy(update={"metrics": settings})


def with_test_cases(recipe, cases=5):
    settings = recipe.datasets["triage"].model_copy(update={"test": cases})
    return recipe.model_copy(update={"datasets": recipe.datasets | {"triage": settings}})


@pytest.fixture(scope="module")
def finished_home(tiny, tmp_path_factory, one_thread):
    """A home in which `NEURAL` and `MAJORITY` are finished."""
    home = new_home(tmp_path_factory.mktemp("finished") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(home))
        Run(tiny(), *NEURAL).execute()
        Run(tiny(), *MAJORITY).execute()
    return home


@pytest.fixture
def finished(finished_home, home):
    """Copies of the finished runs, in this test's home."""
    shutil.copytree(finished_home / "runs", home / "runs")
    return home / "runs"


# --- what a run is


def test_a_run_knows_its_names_its_folder_and_its_start(tiny, home):
    recipe = tiny()
    r2d = Run(recipe, "triage", "r2d-full", 2)
    assert r2d.names == {"dataset": "triage", "method": "r2d-full", "seed": 2}
    assert (r2d.title, str(r2d)) == ("R2D", "triage r2d-full seed 2")
    assert r2d.folder == home / "runs" / recipe.profile / "triage" / "r2d-full" / "seed2"
    assert r2d.start == Run(recipe, "triage", "stage1-full", 2)
    assert r2d.objective.names_label
    assert Run(recipe, *MAJORITY).start is None
    assert Run(recipe, *MAJORITY).objective is None


def test_runs_are_values(tiny):
    first, second = (Run(tiny(), *NEURAL) for _ in range(2))
    assert first == second
    assert len({first, second, Run(tiny(), "triage", "dss-full", 2)}) == 2


def test_an_unknown_dataset_or_method_lists_the_known_ones(tiny, home):
    for names in (("triag", "majority", 1), ("triage", "majorty", 1)):
        with pytest.raises(R2DError, match="choose one of .*(triage|majority)"):
            Run(tiny(), *names).execute()


# --- what a finished run holds


def test_a_finished_run_has_every_part_and_no_pickle(tiny, finished):
    finished_run = Run(tiny(), *NEURAL)
    folder = finished_run.folder
    assert files_of(folder) == PARTS
    assert [path.name for path in folder.parent.glob(".*")] == [".seed1.lock"]
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".jsonl", ".yaml", ".safetensors", ".md"}


def test_what_a_finished_run_says_about_itself(tiny, finished):
    facts = Run(tiny(), *NEURAL).read()
    assert facts["config"]["seed"] == 1
    assert facts["config"]["method"]["name"] == "dss-full"
    assert len(facts["predictions"]) == facts["env"]["test_cases"] == facts["metrics"]["n"] == 8
    columns = {"id", "gold", "label", "valid", "rationale_gold", "rationale", "reason"}
    assert all(columns <= set(prediction) for prediction in facts["predictions"])
    recorded = {"python", "packages", "device", "threads", "commit", "training", "peak_memory_mb"}
    assert recorded <= set(facts["env"])
    assert facts["env"]["quantisation"] is None
    measures = {"macro_f1", "accuracy", "bertscore_f1", "consistency"}
    assert measures <= set(facts["metrics"]["metrics"])
    assert [entry["step"] for entry in facts["log"] if "loss" in entry] == [1, 4]


def test_a_finished_run_decodes_again_as_it_did(tiny, finished):
    decoder, objective = load_decoder(Run(tiny(), *NEURAL).folder)
    test = data.load("triage", tiny().datasets["triage"]).test
    predictions = decoder.predict(test, objective)
    decoder.probe(test, predictions, objective)
    assert predictions == Run(tiny(), *NEURAL).read()["predictions"]


def test_a_text_with_an_unusual_line_end_stays_one_line_of_the_predictions(tiny, finished):
    rows = [{"rationale": "first\u2029second\u0085third\u2028"}] * 7 + [{"rationale": "last"}]
    majority = Run(tiny(), *MAJORITY)
    paths.write_lines(majority.folder / "predictions.jsonl", rows)
    hashes.record_again(majority.folder, "predictions.jsonl")
    assert majority.read()["predictions"] == rows


def test_a_tables_rationales_may_stand_in_another_column_of_a_methods_own(tiny, home, tmp_path):
    rows = "".join(f"note {k},{'xy'[k % 2]},since {k}\n" for k in range(24))
    (tmp_path / "notes.csv").write_text(f"question,label,rationale_nurse\n{rows}")
    table = {"card": "table", "path": str(tmp_path / "notes.csv")}
    recipe = tiny({"datasets.own": table, "methods.majority.rationale": "rationale_nurse"})
    facts = read(Run(recipe, "own", "majority", 1).execute())
    assert facts["env"]["labels"] == ["x", "y"]
    assert facts["predictions"][0]["rationale_gold"].startswith("since ")


# --- stage 1 and stage 2


def test_stage_1_has_a_model_but_no_predictions(tiny, home):
    facts = read(Run(tiny(), "triage", "stage1-full", 1).execute())
    assert facts["predictions"] == []
    assert "metrics" not in facts["metrics"]
    assert facts["env"]["training"]["score"] == "negative validation loss"


@pytest.mark.parametrize("tuning", ["full", "qlora"])
def test_stage_2_starts_from_the_weights_that_stage_1_saved(tuning, tiny, home, monkeypatch):
    starts, fit = [], Trainer.fit

    def fit_and_keep_the_start(self, *given):
        weights = trainable(self.model)
        starts.append({name.replace(".default", ""): value for name, value in weights.items()})
        return fit(self, *given)

    monkeypatch.setattr(Trainer, "fit", fit_and_keep_the_start)
    stage2 = Run(tiny({"train.common.lr": 1e-2}), "triage", f"r2d-{tuning}", 1)
    stage2.start.execute()
    stage2.execute()
    untrained, begun = starts
    name = "model" if tuning == "full" else "adapter_model"
    saved = load_file(stage2.start.folder / "model" / f"{name}.safetensors")
    assert set(begun) == set(saved)
    assert all(torch.equal(begun[key], saved[key]) for key in saved)
    # Of an adapter, whose B begins as zero, A does not move at the first step.
    moved = [key for key in saved if "lora_A" not in key]
    assert not any(torch.equal(untrained[key], saved[key]) for key in moved)


def test_stage_2_without_its_stage_1_says_what_to_run_first(tiny, home):
    with pytest.raises(R2DError, match=r"There is no .*stage1-full.*; run .* first"):
        Run(tiny(), "triage", "r2d-full", 1).execute()


def test_stage_2_refuses_a_stage_1_made_under_other_settings(tiny, home):
    recipe = tiny()
    Run(recipe, "triage", "stage1-full", 1).execute()
    other = recipe.model_copy(update={"max_input_tokens": 48})
    with pytest.raises(R2DError, match="stage1-full"):
        Run(other, "triage", "r2d-full", 1).execute()


# --- when a run is made again


def test_a_finished_run_is_not_done_again(tiny, finished, monkeypatch):
    neural = Run(tiny(), *NEURAL)
    before = {path: path.stat().st_mtime_ns for path in neural.folder.rglob("*")}
    forbid_training(monkeypatch)
    assert neural.execute() == neural.folder
    assert {path: path.stat().st_mtime_ns for path in neural.folder.rglob("*")} == before


def test_a_changed_setting_replaces_the_run(tiny, finished):
    facts = read(Run(with_test_cases(tiny()), *MAJORITY).execute())
    assert len(facts["predictions"]) == 5
    assert facts["config"]["dataset"]["test"] == 5


def test_a_changed_profile_takes_over_the_runs_that_its_change_leaves_as_they_are(
    tiny, home, monkeypatch
):
    shipped = tiny().model_copy(update={"profile": "shipped"})
    changed = shipped.model_copy(update={"profile": "shipped+cap0.3"})
    made = Run(shipped, *MAJORITY).execute()
    with monkeypatch.context() as patch:
        forbid_training(patch)
        taken = Run(changed, *MAJORITY).execute()
        assert taken != made and contents(taken) == contents(made)
        with pytest.raises(AssertionError, match="the run was made again"):
            Run(with_test_cases(changed), *MAJORITY).execute()
    (made / "config.yaml").write_text("damaged")
    shutil.rmtree(taken)
    assert contents(Run(changed, *MAJORITY).execute())["config.yaml"] != b"damaged"


def test_changed_metric_settings_recompute_only_the_metrics(tiny, finished, monkeypatch):
    neural = Run(with_resamples(tiny()), *NEURAL)
    before = contents(neural.folder)
    forbid_training(monkeypatch)
    neural.execute()
    after = contents(neural.folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"metrics.json", "sha256.json"}
    assert set(after) == set(before)
    assert "150 resamples" in neural.read()["metrics"]["signatures"]["intervals"]


@pytest.mark.parametrize("changed", ["training_code", "metrics_code"])
def test_changed_code_makes_a_run_out_of_date(changed, tiny, monkeypatch):
    key = Run(tiny(), *MAJORITY).key
    stage1 = Run(tiny(), "triage", "stage1-full", 1).key
    monkeypatch.setattr(run, changed, lambda: "other")
    assert Run(tiny(), *MAJORITY).key != key
    # Stage 1 has no metrics.
    assert (Run(tiny(), "triage", "stage1-full", 1).key == stage1) == (changed == "metrics_code")


def test_a_changed_data_file_makes_its_runs_out_of_date(tiny, tmp_path):
    file = tmp_path / "notes.csv"
    recipe = tiny({"datasets.own": {"card": "table", "path": str(file)}})

    def keys():
        return [Run(recipe, dataset, "majority", 1).key for dataset in ("own", "triage")]

    file.write_text("question,label,rationale\na,x,r\n")
    own, triage = keys()
    file.write_text("question,label,rationale\na,x,other\n")
    own_now, triage_now = keys()
    assert own_now != own
    assert triage_now == triage


def test_a_backbone_folder_with_other_content_makes_its_runs_out_of_date(tiny, tmp_path):
    # The second lies beyond the first MiB.
    weights = {"first": torch.zeros(1 << 19), "last": torch.zeros(8)}
    file = tmp_path / "model.safetensors"
    recipe = tiny({"backbone": str(tmp_path)})

    def key():
        return Run(recipe, "triage", "sft-full", 1).key

    save_file(weights, file)
    before = key()
    file.touch()
    assert key() == before
    save_file(weights | {"last": torch.ones(8)}, file)
    assert key() != before


# --- interruptions


@pytest.mark.parametrize("where", ["fit", "predict", "metrics"])
def test_an_interrupted_run_leaves_no_directory_of_its_final_name(where, tiny, home, monkeypatch):
    def interrupt(*given, **named):
        raise KeyboardInterrupt

    places = {
        "fit": (Trainer, "_evaluate"),
        "predict": (paths, "write_lines"),
        "metrics": (metrics, "evaluate"),
    }
    neural = Run(tiny(), *NEURAL)
    with monkeypatch.context() as patch:
        patch.setattr(*places[where], interrupt)
        with pytest.raises(KeyboardInterrupt):
            neural.execute()
    assert not neural.folder.exists()
    assert neural.folder.with_name(".seed1.part").is_dir()
    with pytest.raises(R2DError, match="no finished run at"):
        neural.read()
    assert files_of(neural.execute()) == PARTS
    assert not neural.folder.with_name(".seed1.part").exists()


def test_a_run_killed_before_it_had_its_name_is_not_trained_again(tiny, home, monkeypatch):
    def interrupt(part, out):
        raise KeyboardInterrupt

    majority = Run(tiny(), *MAJORITY)
    with monkeypatch.context() as patch:
        patch.setattr(run, "_name", interrupt)
        with pytest.raises(KeyboardInterrupt):
            majority.execute()
    assert not majority.folder.exists()
    forbid_training(monkeypatch)
    assert files_of(majority.execute()) == PARTS - {"log.jsonl", "model"}


def test_what_a_killed_save_left_is_cleared_away(tiny, home):
    neural = Run(tiny(), *NEURAL)
    part = neural.folder.with_name(".seed1.part")
    for folder in (part / "model", part / "checkpoints"):
        folder.mkdir(parents=True)
        (folder / ".tmpA3Zlpz").write_bytes(b"half a tensor")
    neural.execute()
    assert files_of(neural.folder) == PARTS
    assert not list(neural.folder.rglob(".*"))


def test_two_processes_never_make_the_same_run(tiny, home):
    majority = Run(tiny(), *MAJORITY)
    lock = majority.folder.with_name(".seed1.lock")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(R2DError, match="Another process is at work on .*seed1: wait for it"):
            majority.execute()
    assert files_of(majority.execute()) >= {"config.yaml", "metrics.json"}


def test_one_that_looked_before_another_had_finished_does_not_make_the_run_again(
    tiny, finished, monkeypatch
):
    monkeypatch.setattr(Run, "_is_current", lambda self: False)
    forbid_training(monkeypatch)
    neural = Run(tiny(), *NEURAL)
    assert neural.execute() == neural.folder


# --- disks


@needs_full_disk
@pytest.mark.parametrize(
    ("names", "file"),
    [(MAJORITY, "predictions.jsonl"), (MAJORITY, "config.yaml"), (NEURAL, "env.json")],
)
def test_a_full_disk_is_one_sentence_and_the_earlier_result_stays_whole(
    names, file, tiny, finished
):
    changed = Run(with_test_cases(tiny()), *names)
    before, part = contents(changed.folder), changed.folder.with_name(".seed1.part")
    part.mkdir()
    (part / f"{file}.part").symlink_to(FULL_DISK)
    sentence = r"could not be written .*[Nn]o space left.*; free space there or set R2D_HOME"
    with pytest.raises(R2DError, match=sentence) as caught:
        changed.execute()
    assert "\n" not in str(caught.value)
    assert contents(changed.folder) == before
    (part / f"{file}.part").unlink()
    changed.execute()
    assert len(changed.read()["predictions"]) == 5


@needs_full_disk
def test_a_full_disk_while_only_metrics_are_made_again_is_one_sentence(tiny, finished):
    majority = Run(with_resamples(tiny()), *MAJORITY)
    before, part = contents(majority.folder), majority.folder / "metrics.json.part"
    part.symlink_to(FULL_DISK)
    with pytest.raises(R2DError, match="could not be written"):
        majority.execute()
    part.unlink()
    assert contents(majority.folder) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX limits")
def test_a_disk_that_takes_no_checkpoint_is_one_sentence(tiny, home):
    import resource

    neural = Run(tiny(), *NEURAL)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The weights are larger; SIGXFSZ is ignored by Python.
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(R2DError, match="could not be written .*; free space there or set R2D"):
            neural.execute()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not neural.folder.exists()
    neural.execute()


def test_a_file_where_the_home_should_be_is_one_sentence(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "file"))
    sentence = "could not be written .*; free space there or set R2D_HOME to another disk"
    with pytest.raises(R2DError, match=sentence):
        Run(tiny(), *MAJORITY).execute()
