"""The table of tried learning rates: what counts as a try, which is the best, what is refused."""

import csv
import json
from collections import defaultdict

import pytest
import yaml

from r2d import recipes
from r2d.errors import R2DError
from r2d.experiments import directory, tries
from r2d.experiments.run import Run

METHODS = ("sft-full", "r2d-full")


def finished(recipe, method: str, validation: float, seed: int = 1) -> None:
    """A finished run's folder, as far as tries look at it."""
    run = Run(recipe, "triage", method, seed)
    run.folder.mkdir(parents=True)
    (run.folder / directory.CONFIG).write_text(yaml.safe_dump(run.settings))
    trained = {"score": "macro_f1", "best_score": validation, "best_step": 6, "steps": 12}
    record = {"training": trained, "device": "a processor"}
    (run.folder / directory.ENV).write_text(json.dumps(record))
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


def test_the_best_has_the_highest_mean_among_the_rates_tried_with_most_seeds(home):
    finished(recipes.load("mini"), "dss-full", 0.3, 5)  # of this seed there is one rate only
    tried = ((1e-4, (0.6, 0.7)), (2e-4, (0.8, 0.4)), (3e-4, (0.9,)), (4e-4, (0.6, 0.704)))
    for rate, scores in tried:
        recipe = recipes.load("mini", {"train.dss.lr": rate})
        for seed, score in enumerate(scores, 1):
            finished(recipe, "dss-full", score, seed)
    rows = tries.collect(recipes.load("mini"))
    assert [(row["lr"], row["seed"]) for row in rows if row["best"]] == [(1e-4, 1), (1e-4, 2)]
    assert len(rows) == 7


def test_without_a_second_rate_it_says_how_to_try_one(home):
    finished(recipes.load("smoke"), "sft-full", 0.5)
    with pytest.raises(R2DError, match="--set train.common.lr="):
        tries.ship(recipes.load("smoke"))


def test_the_shipped_recipe_takes_the_rates_that_won_on_validation():
    recipe = recipes.load("mini")
    with tries.place("mini").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tried = defaultdict(list)
    for row in rows:
        numbers = {"lr": float(row["lr"]), "validation": float(row["validation"])}
        tried[row["method"]].append(row | numbers)
    assert set(tried) == {
        "sft-full",
        "sft-matched",
        "dss-full",
        "stage1-full",
        "r2d-full",
        "r2dc-full",
    }
    for method, of_method in tried.items():
        best = tries._best(of_method)
        assert recipe.training(method, "triage").lr == best
        assert {row["lr"] for row in of_method if row["best"]} == {best}
        seeds = defaultdict(set)
        for row in of_method:
            seeds[row["lr"]].add(row["seed"])
        assert min(seeds) < best < max(seeds), "no rate was tried on one side of the best"
        whole = [rate for rate, of_rate in seeds.items() if of_rate == {"1", "2", "3"}]
        assert best in whole and len(whole) > 1, "no second rate over three seeds"
