"""The gallery: every figure is drawn from tables, with its caption and origin; what is committed is what the code would make."""

import hashlib
import json

import pandas as pd
import pytest

from r2d import paths, recipes
from r2d.reporting import gallery, readme, results

METHODS = ("majority", "sft-full", "dss-full", "r2d-full", "r2d-qlora")


def runs_table() -> pd.DataFrame:
    rows = [
        {"profile": "smoke", "dataset": "triage", "method": m, "title": m, "seed": s, "tuning": "full", "test_cases": 40}
        | {name: 0.5 for name in results.MEASURES}
        | {f"{name}_{end}": value for name in results.MEASURES for end, value in (("low", 0.4), ("high", 0.6))}
        | {"stage1_source": "rationale_llm", "stage2_source": "rationale_nurse"}
        for m in METHODS
        for s in (1, 2)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.loc[frame["method"].isin(["majority", "sft-full"]), "bertscore_f1"] = None
    return frame


def tables() -> dict[str, pd.DataFrame]:
    """Small tables of every kind that the gallery reads."""
    runs, same = runs_table(), {"dataset": "triage"}
    steps = [same | {"method": m, "seed": 1, "step": s, "loss": 2.0 / s, "label_weight": 0.1, "sampling_probability": 0.2,
                     "validation": 0.5} for m in METHODS[1:] for s in (1, 2)]  # fmt: skip
    exposed = [same | {"method": "r2d-full", "title": "R2D", "seed": 1, "measure": m, "decision": d, "n": 9, "own": 0.8,
                       "own_low": 0.7, "own_high": 0.9, "gold": 0.9, "gold_low": 0.8, "gold_high": 0.95}
               for m in ("bertscore_f1", "names_reason") for d in ("right", "wrong")]  # fmt: skip
    different = [
        same | {"method": "r2d-full", "against": m, "difference": 0.1, "low": -0.1, "high": 0.2}
        for m in METHODS[:3]
    ]
    models = (("zero-shot", "smollm2", "answer", 1e8), ("zero-shot", "smollm2", "scored", 1e8),
              ("fine-tuned", "r2d-full", "generated", 1e6), ("majority", "majority", None, None))  # fmt: skip
    zero = [same | {"kind": kind, "name": name, "title": name, "how": how, "parameters": size, "macro_f1": 0.4,
                    "macro_f1_low": 0.3, "macro_f1_high": 0.5, "cases": 9} for kind, name, how, size in models]  # fmt: skip
    grades = [same | {"method": m, "title": m, "criterion": c, "mean": 3.0, "low": 2.5, "high": 3.5, "missing_rate": 0.1}
              for m in ("dss-full", "r2d-full") for c in ("correctness", "alignment", "completeness", "harm")]  # fmt: skip
    judged = [same | {"judge": "J", "corruption": c, "accuracy": 0.9, "low": 0.8, "high": 1.0, "threshold": 0.8, "kappa": 0.7,
                      "kappa_threshold": 0.6, "passed": False} for c in ("another case", "label flipped")]  # fmt: skip
    classes = [
        same | {"method": m, "seed": 1, "label": label, "f1": 0.5}
        for m in METHODS
        for label in ("None", "b")
    ]
    return {
        "runs": runs, "per_class": pd.DataFrame(classes), "e2_sources": runs, "e3_ablations": runs,
        "e3_differences": pd.DataFrame(different), "e6_exposure": pd.DataFrame(exposed), "e8_curves": pd.DataFrame(steps),
        "zero_shot": pd.DataFrame(zero), "judge": pd.DataFrame(grades), "judge_qualification": pd.DataFrame(judged),
    }  # fmt: skip


@pytest.fixture
def written(home):
    recipe, made = recipes.load("smoke"), tables()
    folder = paths.runs(recipe.profile) / "results"
    folder.mkdir(parents=True)
    for name, table in made.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return recipe


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_every_figure_is_drawn_with_its_profile_caption_and_origin(written, name):
    (picture,) = gallery.draw(written, name, list(written.experiments))
    assert (
        picture.name == f"{name}_triage.png" and picture.with_suffix(".pdf").stat().st_size > 1000
    )
    entry = json.loads((picture.parent / "manifest.json").read_text())[picture.stem]
    assert entry["caption"].startswith("Figure ") and entry["caption"].endswith(
        f"triage. {gallery.GALLERY[name].caption}"
    )
    assert len(entry["inputs"]) == len(gallery.GALLERY[name].tables)
    assert (
        entry["sha256"] == hashlib.sha256(picture.with_suffix(".csv").read_bytes()).hexdigest()[:12]
    )


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_every_figure_carries_the_profiles_note_and_clips_no_text(written, name):
    entry = gallery.GALLERY[name]
    frames = [
        results.parse((paths.runs("smoke") / "results" / f"{table}.csv").read_text())
        for table in entry.tables
    ]
    figure = entry.draw(*frames, recipe=written, dataset="triage")
    for _ in range(2):  # the first drawing measures what the second lays out
        figure.draw_without_rendering()
    assert any(written.note in text.get_text() for text in figure.texts)
    (width, height), drawn = figure.get_size_inches(), figure.get_tightbbox()
    assert (
        drawn.x0 > -0.02
        and drawn.y0 > -0.02
        and drawn.x1 < width + 0.02
        and drawn.y1 < height + 0.02
    )


def test_only_chosen_experiments_are_drawn_and_the_rest_is_cleared_away(written):
    for name in gallery.GALLERY:
        gallery.draw(written, name, list(written.experiments))
    assert gallery.draw(written, "fig2_sources", ["E1"]) == []
    names = gallery.tidy(written, ["E1", "E3"])
    assert set(names) == {
        "fig1a_main_triage",
        "fig1b_classes_triage",
        "fig3_ablations_triage",
        "fig7_training_triage",
    }
    assert {p.stem for p in paths.figures("smoke").glob("*.png")} == set(names)


# --- what is committed

MINI = paths.ROOT / "figures" / "mini"
committed = pytest.mark.skipif(
    not (MINI / "manifest.json").is_file(), reason="figures/mini is not there"
)


@committed
def test_the_committed_figures_are_of_the_recipe_that_is_shipped():
    manifest = json.loads((MINI / "manifest.json").read_text(encoding="utf-8"))
    assert {entry["recipe"] for entry in manifest.values()} == {
        recipes.load("mini").fingerprint()
    }, "run ./run_all.sh and commit"
    drawn = {name.split("_")[0] for name in manifest if name.startswith("fig")}
    assert drawn == {"fig1a", "fig1b", *(f"fig{k}" for k in range(2, 8))}
    for name, entry in manifest.items():
        file = MINI / (f"{name}.csv" if "caption" in entry else name)
        assert hashlib.sha256(file.read_bytes()).hexdigest()[:12] == entry["sha256"], (
            f"{file.name} was edited"
        )


@committed
def test_the_readmes_results_are_those_of_the_committed_files():
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert text == readme.filled(text, readme.block(MINI)), "run python -m r2d.readme"
