"""Finished runs of the study's experiment, and its tables, made by hand for the tests of them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from r2d import recipes
from r2d.evaluation import metrics
from r2d.experiments import grid
from r2d.experiments.run import Run

CASES = 60
ENTRIES = ["n0250", "n1000", "n0250-noise20"]
METHODS = ["sft-matched", "r2d-full-no-sampling", "r2d-full"]
NOTHING = pd.DataFrame()


def study(entries=ENTRIES, methods=METHODS, seeds=(1, 2, 3)):
    """The recipe with a smaller grid."""
    chosen = {"datasets": entries, "methods": methods, "seeds": list(seeds)}
    return recipes.load("study", {f"experiments.E9.{key}": chosen[key] for key in chosen})


def decided(finish, recipe, right) -> list[Run]:
    """Finished runs of E9; `right(run)` of 60 cases are."""
    runs = grid.runs(recipe, ["E9"])
    for run in runs:
        number = right(run)
        rows = []
        for i in range(CASES):
            gold = "ab"[i % 2]
            wrong = "ba"[i % 2]
            rows.append(
                {
                    "id": str(i),
                    "gold": gold,
                    "label": gold if i < number else wrong,
                    "valid": True,
                    "rationale": "",
                    "rationale_gold": "x",
                }
            )
        finish(run, rows, {"test_cases": CASES, "test_seconds": 1.0, "probe_seconds": 0.0})
    return runs


def rises(run) -> int:
    """R2D is better than SFT with few notes; the seed moves both a little."""
    few = {"sft-matched": 24, "r2d-full-no-sampling": 44, "r2d-full": 44}
    size = few[run.method] if run.dataset == "n0250" else 46
    return size + run.seed % 2


def told(finish, recipe, own: dict, follows: dict) -> list[Run]:
    """Runs whose wrong decisions are explained so, by method; of following, seeds differ a little.

    Told the gold label, every rationale names the true reason; half of all support their label.
    """
    evaluate, listed = metrics.evaluate, iter(grid.runs(recipe, ["E9"]))

    def with_rationales(*given):
        result, run = evaluate(*given), next(listed)
        examples = result["per_example"]
        named = [own[run.method] if not right else 1 for right in examples["correct"]]
        examples |= {"names_reason": named, "names_reason_given_gold": [1] * CASES}
        examples["agreement"] = [i % 2 for i in range(CASES)]
        level = follows[run.method] + 0.01 * (run.seed - 2)
        examples["follows_label"] = [level + 0.01 * (i % 2) for i in range(CASES)]
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(metrics, "evaluate", with_rationales)
        return decided(finish, recipe, lambda run: 40 + run.seed)


def measured(recipe, methods: dict, seeds: int, cases: int, draw: int = 0) -> list:
    """Runs without a directory: each decides so many of its cases right, by method and size.

    Some cases are hard for all, others for a method, and a run is better or worse by chance.
    """
    rng = np.random.default_rng(draw)
    gold = ["ab"[i % 2] for i in range(cases)]
    hard = rng.uniform(size=cases)
    runs = []
    for method, levels in methods.items():
        suits = 0.1 * rng.normal(size=cases)
        for entry, level in levels.items():
            for seed in range(seeds):
                skill = level + suits + 0.03 * rng.normal() + 0.1 * rng.normal(size=cases)
                right = hard < skill
                pairs = zip(gold, right, strict=True)
                predicted = [label if ok else "ab"[label == "a"] for label, ok in pairs]
                examples = {"id": list(range(cases)), "gold": gold, "predicted": predicted}
                metrics = {"metrics": {"labels": ["a", "b"], "per_example": examples}}
                run = {"dataset": entry, "method": method, "seed": seed}
                runs.append(SimpleNamespace(**run, read=lambda metrics=metrics: metrics))
    return runs


def cap_table(*loses) -> pd.DataFrame:
    """Tests of caps 0, 0.5, ...: (gap, following) of each, as `loses` says."""
    rows = []
    for place, (gap, follows) in enumerate(loses):
        shared = {"dataset": "triage", "cap": place / 2, "notes": 2000, "runs": 5}
        shared |= {"difference": -0.1, "low": -0.2, "high": 0.0}
        rows.append(shared | {"measure": "gap", "loses": gap})
        if follows:
            rows.append(shared | {"measure": "follows_label", "loses": follows})
    return pd.DataFrame(rows)
