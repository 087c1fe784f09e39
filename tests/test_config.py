"""Recipes: the shipped ones load, bad keys get one sentence, and changed recipes are told apart."""

import ast
import re
import subprocess
import sys

import pytest

from r2d import paths, recipes
from r2d.errors import R2DError


@pytest.mark.parametrize("profile", recipes.profiles())
def test_every_shipped_recipe_loads_under_its_own_name(profile):
    recipe = recipes.load(profile)
    assert recipe.profile == profile and recipe.note and recipe.experiments
    for method, chosen in recipe.methods.items():
        if chosen.objective in recipes.OBJECTIVES:
            assert all(recipe.training(method, dataset).steps > 0 for dataset in recipe.datasets)


def test_the_three_profiles_are_there():
    assert {"smoke", "mini", "paper"} <= set(recipes.profiles())


@pytest.mark.parametrize("profile", recipes.profiles())
def test_every_shipped_method_is_used_by_an_experiment_or_a_start(profile):
    recipe = recipes.load(profile)
    asked = {m for e in recipe.experiments.values() for m in e.methods} | {
        m.init for m in recipe.methods.values()
    }
    assert set(recipe.methods) <= asked


def test_the_paper_recipe_states_the_papers_values():
    recipe = recipes.load("paper")
    (stage1, r2d) = (
        next(m for m, c in recipe.methods.items() if c.objective == o) for o in ("stage1", "r2d")
    )
    dataset = next(iter(recipe.datasets))
    first, second = (recipe.training(m, dataset) for m in (stage1, r2d))
    assert (first.steps, first.eval_every, first.patience, first.batch) == (50_000, 1_000, 3, 64)
    assert (second.steps, second.eval_every, second.patience) == (30_000, 500, 5)
    for found in (first, second):
        assert (found.lr, found.weight_decay, found.clip, found.warmup) == (5e-5, 0, 1, 0)
        assert (found.dropout, found.precision) == (0.1, "bf16")
    assert recipe.limits(dataset) == (1024, 256)


def test_every_setting_is_read_somewhere():
    sources = [p.read_text(encoding="utf-8") for p in paths.PACKAGE.glob("*.py")]
    sources += [p.read_text(encoding="utf-8") for p in paths.NOTEBOOKS.glob("*.ipynb")]
    read = set().union(*(re.findall(r"\.(\w+)", text) for text in sources))
    read |= {"train", "validation", "test"}  # by `getattr`, a split at a time
    classes = [
        c for c in vars(recipes).values() if isinstance(c, type) and issubclass(c, recipes.Settings)
    ]
    assert len(classes) > 5 and not {f for c in classes for f in c.model_fields} - read


def test_layers_of_training_settings_are_laid_in_order():
    changes = {
        "train.common.lr": 1.0, "train.sft": {"lr": 2.0, "patience": 9}, "train.full": {"lr": 3.0, "clip": 9.0},
        "datasets.triage.train_overrides": {"lr": 4.0}, "methods.dss-full.train": {"lr": 5.0},
    }  # fmt: skip
    recipe = recipes.load("smoke", changes)
    got = {
        m: recipe.training(m, d).lr
        for m, d in (("sft-full", "pubmedqa"), ("sft-full", "triage"), ("dss-full", "triage"))
    }
    assert got == {"sft-full": 4.0, "dss-full": 5.0}
    assert recipe.training("sft-full", "pubmedqa").lr == 3.0
    assert (
        recipe.training("sft-full", "triage").patience,
        recipe.training("sft-full", "triage").clip,
    ) == (9, 9.0)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"nothing": 1}, "`nothing` is not known; remove it or mend"),
        ({"datasets.triage.difficulti": 0.2}, "`datasets.triage.difficulti` is not known"),
        ({"train.common.stepz": 3}, "`(train.common.)?stepz` is not known"),
        ({"train.comon.steps": 3}, "no 'comon'; did you mean 'common'"),
        ({"backbone.name": "t5"}, "'backbone.name'"),
        ({"train.common.steps": 0}, "`steps` is 0: input should be greater than 0"),
        ({"train.common.steps": "many"}, "`steps` is 'many'"),
        ({"lora.r": 0}, "`lora.r` is 0"),
        ({"datasets.triage.difficulty": 2}, "`datasets.triage.difficulty` is 2"),
        ({"decode.labels": "beam"}, "`decode.labels` is 'beam': input should be 'generate' or 'score'"),
        ({"train.common.warmup": 12}, r"warmup \(12\) must be smaller than steps \(12\)"),
        ({"train.common.eval_every": 13}, r"eval_every \(13\) must not exceed steps \(12\)"),
        ({"reference": "r2d"}, "reference names 'r2d', which is not there"),
        ({"experiments.E1.methods": ["sft"]}, "experiments.E1.methods names 'sft', which is not there"),
        ({"datasets.triage.seeds": [9]}, r"datasets.triage.seeds leaves nothing of experiments.E1; mend one of them"),
        ({"experiments.E1.datasets": ["triag"]}, "did you mean 'triage'"),
        ({"experiments.E1.seeds": []}, "`experiments.E1.seeds`"),
        ({"methods.r2d-full.objective": "r2"}, "did you mean 'r2d'"),
        ({"methods.r2d-full.init": "stage-full"}, "did you mean 'stage1-full'"),
        ({"methods.r2d-full.init": "stage1-qlora"}, "another tuning or backbone; give both the same"),
        ({"methods.r2d-full.init": "r2d-full"}, "methods.r2d-full"),
        ({"methods.stage1-full.init": "r2d-full"}, "methods.(stage1|r2d)-full"),
        ({"methods.r2d-full.train": {"lr": -1}}, "`lr` is -1"),
        ({"methods.dss-full.objective_overrides": {"sampling": "always"}}, "sampling needs rationale_prompt"),
        ({"methods.r2d-full.objective_overrides": {"cap": 2}}, "cap is 2; give a share from 0 to 1"),
        ({"methods.r2d-full.objective_overrides": {"cap": "high"}}, "cap is 'high'"),
        ({"methods.r2d-full.objective_overrides": {"sampling": "sometimes"}}, "sampling is 'sometimes'"),
        ({"methods.r2d-full.objective_overrides": {"capp": 0.5}}, "'capp', which no objective knows; choose from"),
    ],
)  # fmt: skip
def test_a_bad_key_or_value_is_one_sentence_that_names_it(overrides, said):
    with pytest.raises(R2DError, match=said) as caught:
        recipes.load("smoke", overrides)
    text = str(caught.value)
    assert "\n" not in text and text[-1] in ".?" and not text.endswith("..")


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
    plain, changed, again = (recipes.load("smoke", o) for o in (None, {"lora.r": 4}, {"lora.r": 4}))
    other = recipes.load("smoke", {"lora.r": 5})
    assert (
        len({r.profile for r in (plain, changed, other)})
        == len({r.fingerprint() for r in (plain, changed, other)})
        == 3
    )
    assert (changed.profile, changed.fingerprint()) == (again.profile, again.fingerprint())
    assert changed.profile.startswith("smoke+") and changed.lora.r == 4 and plain.lora.r == 8


def test_equal_recipes_have_equal_fingerprints():
    assert (
        recipes.load("mini").fingerprint()
        == recipes.load("mini").fingerprint()
        != recipes.load("smoke").fingerprint()
    )


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        recipes.load("smoke").lora.r = 3


def test_reading_recipes_imports_no_torch():
    code = "import sys; from r2d import config, grid, notebook, paths, run; config.load('mini'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(done.stdout) is False
