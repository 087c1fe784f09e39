"""Recipes: the shipped ones load, bad keys get one sentence, and changed recipes are told apart."""

import ast
import re
import subprocess
import sys

import pytest

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.method.objective import OBJECTIVES
from r2d.models.sanity import SANITY
from r2d.recipes import settings
from r2d.recipes.recipe import SANITY_ROWS


@pytest.mark.parametrize("profile", recipes.profiles())
def test_every_shipped_recipe_loads_under_its_own_name(profile):
    recipe = recipes.load(profile)
    assert recipe.profile == profile
    assert recipe.note
    assert recipe.experiments
    for method, chosen in recipe.methods.items():
        if chosen.objective in OBJECTIVES:
            assert all(recipe.training(method, dataset).steps > 0 for dataset in recipe.datasets)


def test_the_profiles_are_there():
    assert {"smoke", "mini", "study", "paper"} <= set(recipes.profiles())


def test_every_sanity_row_that_a_recipe_may_name_can_be_computed():
    assert set(SANITY_ROWS) == set(SANITY)


@pytest.mark.parametrize("profile", recipes.profiles())
def test_every_shipped_method_is_used_by_an_experiment_or_a_start(profile):
    recipe = recipes.load(profile)
    used = {method for e in recipe.experiments.values() for method in e.methods}
    used |= {method for e in recipe.experiments.values() for method in e.readers}
    used |= {method.init for method in recipe.methods.values()}
    assert set(recipe.methods) <= used


def test_the_studys_datasets_differ_in_size_and_noise_alone():
    recipe = recipes.load("study")
    varied = {"train": None, "noise": 0.0, "methods": ()}
    rest = {
        settings.model_copy(update=varied).model_dump_json()
        for settings in recipe.datasets.values()
    }
    places = {(settings.train, settings.noise) for settings in recipe.datasets.values()}
    assert len(rest) == 1 and len(places) == len(recipe.datasets)
    assert {noise for _, noise in places} == {0.0, 0.2}


def test_the_paper_recipe_states_the_papers_values():
    recipe = recipes.load("paper")
    dataset = next(iter(recipe.datasets))
    first = {chosen.objective: name for name, chosen in reversed(recipe.methods.items())}
    stage1 = recipe.training(first["stage1"], dataset)
    stage2 = recipe.training(first["r2d"], dataset)
    assert (stage1.steps, stage1.eval_every, stage1.patience) == (50_000, 1_000, 3)
    assert (stage2.steps, stage2.eval_every, stage2.patience) == (30_000, 500, 5)
    for training in (stage1, stage2):
        assert (training.lr, training.batch, training.weight_decay) == (5e-5, 64, 0)
        assert (training.clip, training.warmup, training.dropout) == (1, 0, 0.1)
    assert (stage1.precision, stage2.precision) == ("fp32", "bf16")
    assert recipe.limits(dataset) == (1024, 256)


def test_every_setting_is_read_somewhere():
    sources = [path.read_text(encoding="utf-8") for path in paths.PACKAGE.rglob("*.py")]
    sources += [path.read_text(encoding="utf-8") for path in paths.NOTEBOOKS.glob("*.ipynb")]
    read = set().union(*(re.findall(r"\.(\w+)", text) for text in sources))
    read |= {"train", "validation", "test"}  # by `getattr`, a split at a time
    models = [recipes.Recipe, *settings.Settings.__subclasses__()]
    fields = {field for model in models for field in model.model_fields}
    assert len(fields) > 50
    assert fields <= read


def test_layers_of_training_settings_are_laid_in_order():
    recipe = recipes.load(
        "smoke",
        {
            "train.common.lr": 1.0,
            "train.sft": {"lr": 2.0, "patience": 9},
            "train.full": {"lr": 3.0, "clip": 9.0},
            "datasets.triage.train_overrides": {"lr": 4.0},
            "methods.dss-full.train": {"lr": 5.0},
        },
    )
    assert recipe.training("sft-full", "pubmedqa").lr == 3.0
    assert recipe.training("dss-full", "triage").lr == 5.0
    training = recipe.training("sft-full", "triage")
    assert (training.lr, training.patience, training.clip) == (4.0, 9, 9.0)


def test_a_method_reads_the_dataset_with_the_rationales_that_it_names():
    recipe = recipes.load("smoke")
    source = recipe.data("triage", "r2d-full-nurse")
    assert source.rationale == "rationale_nurse"
    changed = recipe.datasets["triage"].model_copy(update={"rationale": "rationale_nurse"})
    assert source == changed
    assert recipe.data("triage", "r2d-full") == recipe.datasets["triage"]


BAD = [
    ({"nothing": 1}, "key `nothing` is not known; remove it or mend"),
    ({"datasets.triage.difficulti": 0.2}, "key `datasets.triage.difficulti` is not known"),
    ({"train.common.stepz": 3}, "key `(train.common.)?stepz` is not known"),
    ({"train.common.steps": 0}, "`steps` is 0: input should be greater than 0"),
    ({"train.common.steps": "many"}, "`steps` is 'many'"),
    ({"lora.r": 0}, "`lora.r` is 0"),
    ({"datasets.triage.difficulty": 2}, "`datasets.triage.difficulty` is 2"),
    ({"decode.labels": "beam"}, "`decode.labels` is 'beam': input should be 'generate' or 'score'"),
    ({"train.common.warmup": 12}, r"warmup \(12\) must be smaller than steps \(12\)"),
    ({"train.common.eval_every": 13}, r"eval_every \(13\) must not exceed steps \(12\)"),
    ({"train.sftt": {}}, "train names 'sftt', which is not there; did you mean 'sft'"),
    ({"reference": "r2d"}, "reference names 'r2d', which is not there"),
    (
        {"experiments.E1.methods": ["sft"]},
        "experiments.E1.methods names 'sft', which is not there",
    ),
    ({"experiments.E1.datasets": ["triag"]}, "did you mean 'triage'"),
    ({"experiments.E4.llms": ["gpt"]}, "experiments.E4.llms names 'gpt'.*expected one of smollm2"),
    ({"experiments.E1.seeds": []}, "`experiments.E1.seeds`"),
    (
        {"datasets.triage.seeds": [9]},
        "datasets.triage.seeds leaves nothing of experiments.E1; mend one of them",
    ),
    (
        {"datasets.triage.methods": ["tfidf"]},
        "datasets.triage.methods leaves nothing of experiments.E2; mend one of them",
    ),
    (
        {"datasets.pubmedqa.methods": ["majority", "r2d-qlora", "sft"]},
        "datasets.pubmedqa.methods names 'sft'",
    ),
    (
        {"experiments.E6.methods": ["reader-full"]},
        "experiments.E6.methods names reader-full, which reads gold rationales; name it under",
    ),
    (
        {"experiments.E6.readers": ["sft-full"]},
        "experiments.E6.readers names sft-full, which reads questions; give it `reads: rationale`",
    ),
    ({"experiments.E6.readers": ["reader"]}, "experiments.E6.readers names 'reader'"),
    (
        {"methods.reader-full.objective": "dss"},
        "methods.reader-full reads rationales .* give it the objective sft",
    ),
    ({"datasets.triage.reads": "rationale"}, "datasets.triage.reads is for methods; give"),
    ({"judge.llm": "gpt"}, "judge.llm names 'gpt', which is not there; expected one of smollm2"),
    ({"methods.r2d-full.objective": "r2"}, "did you mean 'r2d'"),
    ({"methods.r2d-full.init": "stage-full"}, "did you mean 'stage1-full'"),
    (
        {"methods.r2d-full.init": "stage1-qlora"},
        "another tuning or backbone; give both the same",
    ),
    ({"methods.r2d-full.init": "r2d-full"}, "starts from r2d-full, which is not a stage 1"),
    ({"methods.stage1-full.init": "r2d-full"}, "methods.(stage1|r2d)-full"),
    ({"methods.r2d-full.train": {"lr": -1}}, "`lr` is -1"),
    (
        {"methods.dss-full.objective_overrides": {"sampling": "always"}},
        "objective dss: sampling needs rationale_prompt",
    ),
    (
        {"methods.r2d-full.objective_overrides": {"cap": 2}},
        "objective r2d: `cap` is 2: input should be less than or equal to 1",
    ),
    (
        {"methods.r2d-full.objective_overrides": {"cap": "high"}},
        "objective r2d: `cap` is 'high': input should be a valid number",
    ),
    (
        {"methods.r2d-full.objective_overrides": {"sampling": "sometimes"}},
        "objective r2d: `sampling` is 'sometimes': input should be 'never', 'scheduled' or",
    ),
    (
        {"methods.r2d-full.objective_overrides": {"capp": 0.5}},
        "objective r2d: key `capp` is not known; remove it or mend its spelling",
    ),
]


@pytest.mark.parametrize(("overrides", "sentence"), BAD)
def test_a_bad_key_or_value_is_one_sentence_that_names_it(overrides, sentence):
    with pytest.raises(R2DError, match=f"^Recipe smoke.yaml: .*{sentence}") as caught:
        recipes.load("smoke", overrides)
    text = str(caught.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    assert not text.endswith("..")


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(R2DError, match="'smok' is not known: choose one of .*mini.*smoke"):
        recipes.load("smok")


def test_a_recipe_file_with_an_unknown_or_a_missing_key_stops(tmp_path, monkeypatch):
    shipped = (paths.RECIPES / "smoke.yaml").read_text(encoding="utf-8")
    monkeypatch.setattr(paths, "RECIPES", tmp_path)
    (tmp_path / "a.yaml").write_text(shipped + "\nlerning_rate: 1\n", encoding="utf-8")
    with pytest.raises(R2DError, match="a.yaml: key `lerning_rate` is not known"):
        recipes.load("a")
    (tmp_path / "b.yaml").write_text(re.sub(r"(?m)^backbone:.*$", "", shipped), encoding="utf-8")
    with pytest.raises(R2DError, match="b.yaml: key `backbone` is missing; add it"):
        recipes.load("b")


def test_an_overridden_recipe_has_a_name_and_a_fingerprint_of_its_own():
    plain = recipes.load("smoke")
    changed = recipes.load("smoke", {"lora.r": 4})
    again = recipes.load("smoke", {"lora.r": 4})
    other = recipes.load("smoke", {"lora.r": 5})
    assert len({recipe.profile for recipe in (plain, changed, other)}) == 3
    assert len({recipe.fingerprint() for recipe in (plain, changed, other)}) == 3
    assert changed.profile == again.profile
    assert changed.fingerprint() == again.fingerprint()
    assert changed.profile.startswith("smoke+")
    assert (changed.lora.r, plain.lora.r) == (4, 8)


def test_equal_recipes_have_equal_fingerprints():
    mini = recipes.load("mini").fingerprint()
    assert mini == recipes.load("mini").fingerprint()
    assert mini != recipes.load("smoke").fingerprint()


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        recipes.load("smoke").lora.r = 3


def test_reading_recipes_and_listing_runs_imports_no_torch():
    code = (
        "import sys; from r2d import cli, paths, recipes; "
        "from r2d.experiments import grid, notebook, run; "
        "grid.runs(recipes.load('mini'), ['E1']); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(done.stdout) is False
