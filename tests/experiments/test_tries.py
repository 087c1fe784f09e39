"""The table of tried learning rates: what counts as a try, which is the best, what is refused."""

import csv
import json

import pytest
import yaml

from r2d import recipes
from r2d.errors import R2DError
from r2d.experiments import directory, tries
from r2d.experiments.run import Run

METHODS = ("sft-full", "r2d-full")


def finished(recipe, method: str, validation: float) -> None:
    """A finished run's folder, as far as tries look at it."""
    run = Run(recipe, "triage", method, 1)
    run.folder.mkdir(parents=True)
    (run.folder / directory.CONFIG).write_text(yaml.safe_dump(run.settings))
    trained = {"score": "macro_f1", "best_score": validation, "best_step": 6, "steps": 12}
    (run.folder / directory.ENV).write_text(json.dumps({"training": trained}))
    (run.folder / directory.METRICS).write_text("{}")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("R2D_HOME", str(tmp_path))


def test_a_try_differs_in_its_learning_rate_alone_and_the_best_is_marked(home):
    slower = {"train.common.lr": 1e-4}
    for method, validation in zip(METHODS, (0.5, 0.6), strict=True):
        finished(recipes.load("smoke"), method, validation)
        finished(recipes.load("smoke", slower), method, 0.55)
    finished(recipes.load("smoke", slower | {"train.common.batch": 4}), "sft-full", 0.9)
    finished(recipes.load("smoke"), "dss-full", 0.9)  # tried once
    rows = tries.collect(recipes.load("smoke"))
    found = [(row["method"], row["lr"], row["validation"], row["best"]) for row in rows]
    assert found == [
        ("r2d-full", 1e-4, 0.55, ""),
        ("r2d-full", 1e-3, 0.6, "x"),
        ("sft-full", 1e-4, 0.55, "x"),
        ("sft-full", 1e-3, 0.5, ""),
    ]


def test_without_a_second_rate_it_says_how_to_try_one(home):
    finished(recipes.load("smoke"), "sft-full", 0.5)
    with pytest.raises(R2DError, match="--set train.common.lr="):
        tries.ship(recipes.load("smoke"))


def test_the_shipped_recipe_takes_the_rate_that_won_on_validation():
    recipe = recipes.load("mini")
    with tries.place("mini").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tried = {row["method"] for row in rows}
    assert {"sft-full", "dss-full", "stage1-full", "r2d-full", "r2dc-full"} <= tried
    for row in rows:
        if row["best"]:
            assert recipe.training(row["method"], row["dataset"]).lr == float(row["lr"])
    rates = {method: {r["lr"] for r in rows if r["method"] == method} for method in tried}
    common = rates.pop("stage1-full")  # whose best was the highest of the others' rates
    assert all(each < common for each in rates.values())
    assert len({frozenset(each) for each in rates.values()}) == 1, "not the same tries for all"
