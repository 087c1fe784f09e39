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
        ("train.comon.steps", "the recipe has no 'comon'; did you mean 'common'"),
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
