"""Overrides: `KEY=VALUE` texts, and dotted keys that must lead to a setting."""

import pytest

from r2d import recipes
from r2d.errors import R2DError


def test_values_are_numbers_lists_and_texts_as_they_look():
    pairs = ["train.common.lr=1e-3", "steps=12", "on=true", "name=a=b", "none=", "seeds=[1, 2]"]
    assert recipes.parse_settings([*pairs, "experiments.E1.methods=[sft-full, tfidf]"]) == {
        "train.common.lr": 0.001,
        "steps": 12,
        "on": True,
        "name": "a=b",
        "none": None,
        "seeds": [1, 2],
        "experiments.E1.methods": ["sft-full", "tfidf"],
    }


@pytest.mark.parametrize("pair", ["lora.r", "=4", ""])
def test_a_pair_without_key_or_value_is_one_sentence(pair):
    with pytest.raises(R2DError, match=f"A setting is written KEY=VALUE, not '{pair}'"):
        recipes.parse_settings([pair])


def test_a_value_that_is_no_yaml_is_one_sentence():
    with pytest.raises(R2DError, match="^seeds: the value is not valid YAML") as caught:
        recipes.parse_settings(["seeds=[1, 2"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trian.common.steps", "the recipe has no 'trian'; did you mean 'train'"),
        ("datasets.triag.train", "the recipe has no 'triag'; did you mean 'triage'"),
        ("quite.other", r"the recipe has no 'quite'\.$"),
        ("backbone.name", r"'backbone.name': 'backbone' is one value, without 'name' below it\.$"),
        ("backbone.name.first", r"the recipe has no 'name'\.$"),
    ],
)
def test_an_override_of_what_is_not_there_is_one_sentence(override, sentence):
    with pytest.raises(
        R2DError, match=f"^Override '{override}': .*{sentence}|^Override {sentence}"
    ):
        recipes.load("smoke", {override: 1})


def test_a_key_reaches_into_settings_that_the_recipe_leaves_out():
    changed = recipes.load("smoke", {"methods.r2d-full.objective_overrides.cap": 0.3})
    assert changed.methods["r2d-full"].objective_overrides == {"cap": 0.3}
    changed = recipes.load("smoke", {"train.dss.steps": 9})
    assert changed.training("dss-full", "triage").steps == 9
    changed = recipes.load("smoke", {"datasets.triage.train_overrides.lr": 0.5})
    assert changed.training("dss-full", "triage").lr == 0.5
    with pytest.raises(R2DError, match="train names 'comon', .*did you mean 'common'"):
        recipes.load("smoke", {"train.comon.steps": 3})
    with pytest.raises(R2DError, match="capp"):
        recipes.load("smoke", {"methods.r2d-full.objective_overrides.capp": 0.3})


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"methods.r2d-full.objective_overrides.cap": 0.3}, "smoke+cap0.3"),
        (
            {"methods.r2d-lora.objective_overrides.cap": 0.3},
            "smoke+methods.r2d-lora.objective_overrides.cap0.3",
        ),
        ({"datasets.triage.difficulty": 0.7}, "smoke+difficulty0.7"),
        ({"train.common.lr": 1e-3, "train.common.batch": 8}, "smoke+batch8+lr0.001"),
        ({"train.common.warmup": 1}, "smoke+train.common.warmup1"),  # objectives have one, too
        ({"decode.labels": "score"}, "smoke+decode.labels-score"),
        ({"datasets.triage.optional": True}, "smoke+optional-true"),
    ],
)
def test_a_changed_profile_is_called_by_its_changes(overrides, name):
    assert recipes.load("smoke", overrides).profile == name


def test_what_no_name_can_tell_is_told_by_a_hash():
    keys = {f"train.common.{key}": 1 for key in ("lr", "batch", "clip", "micro_batch")}
    keys |= {"train.common.eval_every": 1, "train.common.patience": 1}
    several = [
        {"note": "a b"},
        {"note": "a c"},
        {"note": "1"},
        {"train.common.steps": 100} | keys,
        {"experiments.E1.seeds": [1, 2]},
    ]
    named = [recipes.load("smoke", overrides).profile for overrides in several]
    assert len(set(named)) == len(named)
    assert all(len(name) == len("smoke+123456") for name in named)
