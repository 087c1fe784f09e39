"""The gallery: every figure is drawn from tables, with its caption and its origin."""

import hashlib
import json

import pandas as pd
import pytest

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.reporting import gallery, manifest, tables

METHODS = ("majority", "sft-full", "dss-full", "r2d-full", "r2d-qlora")
TRIAGE = {"dataset": "triage"}


def runs_table() -> pd.DataFrame:
    values = {}
    for name in tables.MEASURES:
        values |= {name: 0.5, f"{name}_low": 0.4, f"{name}_high": 0.6}
    sources = {"stage1_source": "rationale_llm", "stage2_source": "rationale_nurse"}
    shared = {"profile": "smoke", "tuning": "full", "test_cases": 40} | TRIAGE | sources | values
    rows = [shared | {"method": m, "title": m, "seed": s} for m in METHODS for s in (1, 2)]
    frame = pd.DataFrame(rows)
    frame.loc[frame["method"].isin(["majority", "sft-full"]), "bertscore_f1"] = None
    return frame


def logs_table() -> pd.DataFrame:
    shared = {"seed": 1, "label_weight": 0.1, "sampling_probability": 0.2, "validation": 0.5}
    return pd.DataFrame(
        [
            TRIAGE | shared | {"method": method, "step": step, "loss": 2.0 / step}
            for method in METHODS[1:]
            for step in (1, 2)
        ]
    )


def exposure_table() -> pd.DataFrame:
    scores = {"own": 0.8, "own_low": 0.7, "own_high": 0.9}
    scores |= {"gold": 0.9, "gold_low": 0.8, "gold_high": 0.95}
    shared = TRIAGE | {"method": "r2d-full", "title": "R2D", "seed": 1, "n": 9} | scores
    return pd.DataFrame(
        [
            shared | {"measure": measure, "decision": decision}
            for measure in ("bertscore_f1", "names_reason")
            for decision in ("right", "wrong")
        ]
    )


def sizes_table() -> pd.DataFrame:
    models = (
        ("zero-shot", "smollm2", "answer", 1e8),
        ("zero-shot", "smollm2", "scored", 1e8),
        ("fine-tuned", "r2d-full", "generated", 1e6),
        ("majority", "majority", None, None),
    )
    shared = {"macro_f1": 0.4, "macro_f1_low": 0.3, "macro_f1_high": 0.5, "cases": 9}
    return pd.DataFrame(
        [
            TRIAGE
            | shared
            | {"kind": kind, "name": name, "title": name, "how": how, "parameters": size}
            for kind, name, how, size in models
        ]
    )


def grades_table() -> pd.DataFrame:
    shared = {"mean": 3.0, "low": 2.5, "high": 3.5, "missing_rate": 0.1}
    criteria = ("correctness", "alignment", "completeness", "harm")
    return pd.DataFrame(
        [
            TRIAGE | shared | {"method": method, "title": method, "criterion": criterion}
            for method in ("dss-full", "r2d-full")
            for criterion in criteria
        ]
    )


def qualification_table() -> pd.DataFrame:
    shared = {"judge": "J", "accuracy": 0.9, "low": 0.8, "high": 1.0, "passed": False}
    shared |= {"threshold": 0.8, "kappa": 0.7, "kappa_threshold": 0.6}
    corruptions = ("another case", "label flipped")
    return pd.DataFrame([TRIAGE | shared | {"corruption": name} for name in corruptions])


def every_table() -> dict[str, pd.DataFrame]:
    """Small tables of every kind that the gallery reads."""
    difference = TRIAGE | {"method": "r2d-full", "difference": 0.1, "low": -0.1, "high": 0.2}
    classes = [
        TRIAGE | {"method": method, "seed": 1, "label": label, "f1": 0.5}
        for method in METHODS
        for label in ("None", "b")
    ]
    return {
        "runs": runs_table(),
        "per_class": pd.DataFrame(classes),
        "e2_sources": runs_table(),
        "e3_ablations": runs_table(),
        "e3_differences": pd.DataFrame([difference | {"against": name} for name in METHODS[:3]]),
        "e6_exposure": exposure_table(),
        "e8_curves": logs_table(),
        "zero_shot": sizes_table(),
        "judge": grades_table(),
        "judge_qualification": qualification_table(),
    }


@pytest.fixture
def smoke(home):
    """The recipe of a profile whose tables are written."""
    recipe = recipes.load("smoke")
    tables.folder(recipe).mkdir(parents=True)
    for name, table in every_table().items():
        table.to_csv(tables.folder(recipe) / f"{name}.csv", index=False)
    return recipe


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_every_figure_is_drawn_with_its_profile_caption_and_origin(smoke, name):
    (picture,) = gallery.draw(smoke, name, list(smoke.experiments))
    assert picture.name == f"{name}_triage.png"
    assert picture.with_suffix(".pdf").stat().st_size > 1000
    entry = manifest.read(picture.parent)[picture.stem]
    caption = gallery.GALLERY[name].caption
    assert entry["caption"].startswith("Figure ") and entry["caption"].endswith(
        f"triage. {caption}"
    )
    assert len(entry["inputs"]) == len(gallery.GALLERY[name].tables)
    assert entry["sha256"] == digest(picture.with_suffix(".csv"))


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_every_figure_carries_the_profiles_note_and_clips_no_text(smoke, name):
    entry = gallery.GALLERY[name]
    sources = [tables.read(tables.folder(smoke) / f"{table}.csv") for table in entry.tables]
    figure = entry.draw(*sources, recipe=smoke, dataset="triage")
    for _ in range(2):  # the first drawing measures what the second lays out
        figure.draw_without_rendering()
    assert any(smoke.note in text.get_text() for text in figure.texts)
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()
    assert drawn.x0 > -0.02 and drawn.y0 > -0.02
    assert drawn.x1 < width + 0.02 and drawn.y1 < height + 0.02


def test_only_chosen_experiments_are_drawn_and_what_others_drew_stays(smoke):
    for name in ("fig1a_main", "fig2_sources", "fig3_ablations"):
        gallery.draw(smoke, name, list(smoke.experiments))
    assert gallery.draw(smoke, "fig2_sources", ["E1"]) == []
    old = paths.figures("smoke") / "fig9_of_another_recipe.png"
    old.write_bytes(b"")
    names = gallery.tidy(smoke, ["E1", "E3"])
    chosen = ("fig1a_main", "fig1b_classes", "fig3_ablations", "fig7_training")
    assert names == [f"{name}_triage" for name in chosen]
    left = {path.name for path in paths.figures("smoke").iterdir()} - {"manifest.json"}
    stems = {"fig1a_main_triage", "fig2_sources_triage", "fig3_ablations_triage"}
    assert left == {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf", "csv")}
    assert {picture.stem for picture in gallery.pictures(smoke)} == stems
    with (tables.folder(smoke) / "e2_sources.csv").open("a") as file:
        file.write("\n")
    assert {p.stem for p in gallery.pictures(smoke)} == stems - {"fig2_sources_triage"}


def test_figures_are_kept_with_the_project_when_all_are_there(smoke, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    kept = paths.committed("smoke")
    kept.mkdir(parents=True)
    (kept / "old.png").write_bytes(b"")
    gallery.draw(smoke, "fig1a_main", list(smoke.experiments))
    with pytest.raises(R2DError, match="has no comparisons.csv, fig.*: run all of the profile"):
        gallery.commit(smoke)
    assert (kept / "old.png").exists()
    monkeypatch.setattr(gallery, "names", lambda recipe, experiments: ["fig1a_main_triage"])
    monkeypatch.setattr(gallery, "TABLES", {})
    manifest.record_origin(
        gallery.FINDINGS, paths.figures("smoke") / "fig1a_main_triage.csv", smoke, []
    )
    assert gallery.commit(smoke) == kept
    names = {path.name for path in kept.iterdir()}
    assert names == {"manifest.json", *(f"fig1a_main_triage.{x}" for x in ("csv", "pdf", "png"))}


def test_a_picture_is_shown_with_its_caption_below_and_instead_of_it(smoke, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda output: shown.append(output.data))
    gallery.show(gallery.draw(smoke, "fig3_ablations", ["E3"]))
    (figure,) = shown
    caption = "Figure 3, triage. Left, macro-F1 of every variant, the reference&#x27;s"
    assert f"<figcaption>{caption}" in figure and f'alt="{caption}' in figure
    assert "data:image/png;base64," in figure


def test_findings_come_together_by_the_number_of_their_experiment(smoke):
    folder = tables.folder(smoke)
    (folder / "findings.md").write_text("**Table 1**\n\n- a\n\n**E2**\n\n- b\n\n**E10**\n\n- c\n")
    (folder / "findings_E4.md").write_text("**E4**\n\n- d\n")
    (folder / "findings_E5.md").write_text("**E5**\n\n- of an experiment that was not chosen\n")
    for name in gallery.TABLES:
        (folder / name).write_text("a,b\n")
    (folder / "e7_runs.csv").write_text("a,b\n")
    target = paths.figures("smoke")
    target.mkdir(parents=True)
    gallery.copy_tables(smoke, ["E1", "E4"])
    headings = ["**Table 1**", "- a", "**E2**", "- b", "**E4**", "- d", "**E10**", "- c"]
    assert (target / "findings.md").read_text().split("\n\n") == [*headings[:-1], "- c\n"]
    assert set(manifest.read(target)) == {*gallery.TABLES, "findings.md"}


def test_a_figure_is_saved_with_its_source_and_its_origin(smoke, home):
    source = tables.folder(smoke) / "runs.csv"
    frame = tables.read(source)
    for name in ("fig_b", "fig_a"):
        figure = gallery.figures.main_result(frame, smoke, "triage")
        picture = manifest.save(figure, name, frame, smoke, [source])
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert len(pd.read_csv(picture.with_suffix(".csv"))) == len(frame)
    entries = json.loads((picture.parent / "manifest.json").read_text())
    assert list(entries) == ["fig_a", "fig_b"]
    entry = entries["fig_a"]
    assert (entry["profile"], entry["recipe"]) == ("smoke", smoke.fingerprint())
    assert entry["commit"] and entry["inputs"] == {"runs/smoke/results/runs.csv": digest(source)}
    pair = [picture.with_name(f"{name}.pdf").read_bytes() for name in entries]
    assert pair[0] == pair[1]  # without a date, equal figures are equal files


# --- what is committed

MINI = paths.ROOT / "figures" / "mini"
committed = pytest.mark.skipif(
    not (MINI / "manifest.json").is_file(), reason="figures/mini is not there"
)


@committed
def test_the_committed_figures_are_of_the_recipe_that_is_shipped():
    entries = manifest.read(MINI)
    shipped = recipes.load("mini").fingerprint()
    assert {entry["recipe"] for entry in entries.values()} == {shipped}, "run ./run_all.sh, commit"
    drawn = {name.split("_")[0] for name in entries if name.startswith("fig")}
    assert drawn == {"fig1a", "fig1b", *(f"fig{k}" for k in range(2, 8))}
    for name, entry in entries.items():
        file = MINI / (f"{name}.csv" if "caption" in entry else name)
        assert digest(file) == entry["sha256"], f"{file.name} was edited"
