"""Finished runs made by hand, whose numbers are known."""

import json

import pytest
import yaml

from r2d.evaluation import metrics
from r2d.experiments.run import Run
from r2d.recipes.settings import MetricSettings

LABELS = ["a", "b"]
SETTINGS = MetricSettings(bertscore="minilm", resamples=100)
REASON, NONE = "it is the fever that decides", "nothing in particular decides"
EXPLAINED = {"test_cases": 20, "test_seconds": 2.0, "probe_seconds": 5.0}


@pytest.fixture
def finish(home):
    """`finish(run, predictions, env)` writes a run directory on labels a and b."""

    def write(run: Run, predictions: list[dict], env: dict) -> Run:
        measured = metrics.evaluate(predictions, LABELS, SETTINGS) if predictions else {}
        run.folder.mkdir(parents=True)
        (run.folder / "env.json").write_text(json.dumps(env))
        (run.folder / "config.yaml").write_text(yaml.safe_dump({"seed": run.seed}))
        (run.folder / "metrics.json").write_text(json.dumps({"key": "k", **measured}))
        lines = "".join(json.dumps(row) + "\n" for row in predictions)
        (run.folder / "predictions.jsonl").write_text(lines)
        (run.folder / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
        return run

    return write


@pytest.fixture
def recipe(tiny):
    return tiny()


@pytest.fixture
def runs(recipe, finish):
    """r2d-full right on 36 and 32 of 40, dss-full on 35 of 40 by both seeds, majority on 20."""

    def made(method: str, seed: int, right: list[bool]) -> Run:
        predictions = [
            {
                "id": str(i),
                "gold": LABELS[i % 2],
                "label": LABELS[i % 2 if ok else 1 - i % 2],
                "valid": True,
                "rationale_gold": "x",
                "rationale": "",
                "reason": "",
            }
            for i, ok in enumerate(right)
        ]
        env = {
            "test_cases": len(right),
            "test_seconds": 4.0,
            "probe_seconds": 9.0,
            "peak_memory_mb": 7,
            "parameters": 10,
            "trainable": 5,
            "device": "abacus",
            "kind": "cpu",
            "threads": 1,
            "engine": "CTranslate2 float32",
            "latency": {
                "torch": {"median": 0.3, "p95": 0.4, "cases": 8},
                "CTranslate2 float32": {"median": 0.1, "p95": 0.2, "cases": 8},
            },
        }
        if method != "majority":
            training = {"steps": 4, "best_step": 2, "seconds": 8.0, "seconds_per_step": 2.0}
            env["training"] = training
        return finish(Run(recipe, "triage", method, seed), predictions, env)

    listed = [made("majority", seed, [i % 2 == 0 for i in range(40)]) for seed in (1, 2)]
    listed += [made("dss-full", seed, [i >= 5 for i in range(40)]) for seed in (1, 2)]
    listed += [made("r2d-full", 1, [i >= 4 for i in range(40)])]
    listed += [made("r2d-full", 2, [i >= 8 for i in range(40)])]
    return listed


@pytest.fixture
def decided(recipe, finish):
    """A run of 20 cases, the first `wrong` decided wrongly.

    Its rationales name the reason where `good(i)` says so.
    """

    def make(method, wrong, good, good_given_gold=None, seed=1) -> Run:
        predictions = []
        for i in range(20):
            row = {
                "id": str(i),
                "gold": "a",
                "label": "b" if i < wrong else "a",
                "valid": True,
                "reason": "fever",
                "rationale_gold": REASON,
                "rationale": REASON if good(i) else NONE,
                "label_from_rationale": "a",
            }
            if good_given_gold:
                row["rationale_given_gold"] = REASON if good_given_gold(i) else NONE
            predictions.append(row)
        return finish(Run(recipe, "triage", method, seed), predictions, EXPLAINED)

    return make
