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
            for measure in ("agreement", "bertscore_f1", "names_reason")
            for decision in ("right", "wrong")
        ]
    )


def support_table() -> pd.DataFrame:
    row = {"method": "r2d-full", "title": "R2D", "seed": 1, "follows_label": 0.3}
    row |= {"follows_label_low": 0.2, "follows_label_high": 0.4, "follows_label_chance": 1 / 6}
    return pd.DataFrame([TRIAGE | row])


def sizes_table() -> pd.DataFrame:
    models = (
        ("zero-shot", "smollm2", "answer", 1e8),
        ("zero-shot", "smollm2", "scored", 1e8),
        ("zero-shot", "qwen", "answer", 4e9),
        *(("fine-tuned", method, "generated", 1e6) for method in METHODS[1:4]),
        ("majority", "majority", None, None),
    )
    shared = {"macro_f1": 0.4, "macro_f1_low": 0.3, "macro_f1_high": 0.5, "cases": 9}
    shared |= {"accuracy": 0.45, "seeds": 1}
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


def by_size(**values) -> list[dict]:
    """A row for each of four sizes and two noise levels."""
    places = [(notes, noise) for noise in (0.0, 0.2) for notes in (250, 500, 1000, 2000)]
    return [TRIAGE | {"notes": notes, "noise": noise} | values for notes, noise in places]


def curves_table() -> pd.DataFrame:
    rows = []
    for place, method in enumerate(("tfidf", "sft-matched", "r2d-full-no-stage1", "r2d-full")):
        for seed in (1, 2, 3):
            values = {"macro_f1": 0.3 + 0.1 * place + 0.01 * seed}
            values |= {"macro_f1_method_low": 0.25 + 0.1 * place, "macro_f1_method_high": 0.9}
            rows += by_size(method=method, seed=seed, **values)
    return pd.DataFrame(rows)


def size_tests() -> pd.DataFrame:
    """Reason2Decide told apart from SFT everywhere, and from nothing else."""
    test = {"method": "r2d-full", "measure": "macro_f1", "difference": 0.05, "runs": 3}
    asked = {
        "rationales": {"against": "sft-matched", "low": 0.01, "high": 0.09, "p_holm": 0.01},
        "sampling": {"against": "r2d-full-no-sampling", "low": -0.1, "high": 0.2, "p_holm": 0.6},
        "stage 1": {"against": "r2d-full-no-stage1", "low": -0.1, "high": 0.2, "p_holm": 0.6},
    }
    rows = []
    for question, values in asked.items():
        rows += by_size(question=question, **test, **values)
    return pd.DataFrame(rows)


def savings_table() -> pd.DataFrame:
    shared = {"sft_notes": 2000, "smallest": 250, "largest": 2000, "target": 0.8, "seeds": 3}
    shared |= {"against": "sft-matched"}
    needs = (
        {"method": "r2d-full", "title": "R2D", "needed": 700.0, "low": 500.0, "high": None},
        {"method": "tfidf", "title": "TF-IDF", "needed": None, "low": None, "high": None},
    )
    noises = [TRIAGE | shared | {"noise": noise} for noise in (0.0, 0.2)]
    return pd.DataFrame([noise | need for noise in noises for need in needs])


def caps_table() -> pd.DataFrame:
    shared = {"agreement_wrong": 0.9, "agreement_wrong_chance": 0.2, "follows_label": 0.8}
    shared |= {"follows_label_chance": 1 / 6, "gap": -0.3, "method": "r2d-full"}
    for name in ("agreement_wrong", "follows_label"):
        shared |= {f"{name}_method_low": 0.7, f"{name}_method_high": 0.95}
    rows = [{"cap": cap, "seed": seed} for cap in (0, 0.3, 0.9, 1.0) for seed in (1, 2)]
    return pd.DataFrame([TRIAGE | shared | row for row in rows])


def cap_tests() -> pd.DataFrame:
    rows = []
    for cap in (0, 0.3, 0.9, 1.0):
        gap = {"measure": "gap", "loses": "yes", "low": -0.4, "high": -0.2}
        rows.append(TRIAGE | {"cap": cap} | gap)
        rows.append(TRIAGE | {"cap": cap, "measure": "follows_label", "loses": "no"})
    return pd.DataFrame(rows)


def every_table() -> dict[str, pd.DataFrame]:
    """Small tables of every kind that the gallery reads."""
    difference = TRIAGE | {"method": "r2d-full", "measure": "macro_f1"}
    difference |= {"difference": 0.1, "low": -0.1, "high": 0.2, "runs": 2, "p_holm": 0.3}
    tests = pd.DataFrame([difference | {"against": name} for name in METHODS[:3]])
    gap = {"measure": "gap", "quality": "names_reason", "against": METHODS[0], "ours": -0.2}
    gap |= {"theirs": -0.3, "degenerate": 0.0}
    kind = TRIAGE | {"kind": "plain", "cases": 9, "accuracy": 0.7}
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
        "comparisons": tests,
        "by_kind": pd.DataFrame([kind | {"method": method} for method in METHODS]),
        "e2_differences": tests,
        "e3_differences": tests,
        "e6_exposure": exposure_table(),
        "e6_support": support_table(),
        "e6_gap_differences": pd.DataFrame([difference | gap]),
        "e8_curves": logs_table(),
        "e9_runs": curves_table(),
        "e9_tests": size_tests(),
        "e9_savings": savings_table(),
        "e9_caps": caps_table(),
        "e9_cap_tests": cap_tests(),
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


@pytest.mark.parametrize(
    ("name", "title"),
    [
        (
            "fig8a_curves",
            "Macro-F1 by training notes: R2D is above SFT with R2D's compute at 8 of 8 sizes and "
            "noise levels",
        ),
        (
            "fig8b_gains",
            "What each part changes in macro-F1: rationales above zero at 8 of 8 sizes and noise "
            "levels; nothing told apart for sampling and stage 1",
        ),
        (
            "fig8c_saved",
            "Notes needed for the macro-F1 of SFT with R2D's compute: told fewer than its own: "
            "no method; told more: TF-IDF (at 2 of 2)",
        ),
        ("fig8d_caps", "Exposure gap: no cap closes it while the label is followed as before"),
    ],
)
def test_the_titles_of_figure_8_say_what_its_tests_say(smoke, name, title):
    entry = gallery.GALLERY[name]
    sources = [tables.read(tables.folder(smoke) / f"{table}.csv") for table in entry.tables]
    figure = entry.draw(*sources, recipe=smoke, dataset="triage")
    assert " ".join(figure.get_suptitle().split()) == title


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


def test_the_tests_of_methods_are_copied_where_their_experiment_was_chosen(smoke):
    folder = tables.folder(smoke)
    for name in (*gallery.TABLES, *gallery.DIFFERENCES, "runs.csv", "e3_ablations.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("dataset\n")
    (folder / "findings.md").write_text("**Table 1**\n\n- a\n")
    (folder / "e7_runs.csv").write_text("dataset\n")
    target = paths.figures("smoke")
    target.mkdir(parents=True)
    gallery.copy_tables(smoke, ["E1", "E3"])
    assert (target / "e3_differences.csv").is_file()
    assert not any(target.glob("e6_*"))
    assert "e3_differences.csv" in manifest.read(target)


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
    assert set(manifest.read(target)) == {*gallery.TABLES, "table_4.md", "findings.md"}
    sizes = (target / "table_4.md").read_text()
    assert smoke.note in sizes and "4,000.0 " in sizes and "40.0 [30, 50]" in sizes


def test_a_dataset_on_which_no_network_learned_has_no_figure_1(smoke):
    for name in ("runs", "per_class"):
        file = tables.folder(smoke) / f"{name}.csv"
        rows = tables.read(file)  # all methods, majority among them, are equally accurate
        pd.concat([rows, rows.assign(dataset="pubmedqa")]).to_csv(file, index=False)
    drawn = [name for name in gallery.names(smoke, ["E1"]) if name.startswith("fig1")]
    assert drawn == ["fig1a_main_triage", "fig1b_classes_triage"]


def test_fewer_than_five_models_are_a_table_and_no_figure(smoke):
    file = tables.folder(smoke) / "zero_shot.csv"
    few = tables.read(file).query("name != 'qwen'")
    few.to_csv(file, index=False)
    assert gallery.draw(smoke, "fig4_size", ["E4"]) == []
    assert "fig4_size_triage" not in gallery.names(smoke, ["E4"])
    assert "smollm2" in gallery.table_4(smoke, ["E4"]) and gallery.table_4(smoke, ["E1"]) == ""


def test_a_figure_is_saved_with_its_source_and_its_origin(smoke, home):
    source = tables.folder(smoke) / "runs.csv"
    frame = tables.read(source)
    for name in ("fig_b", "fig_a"):
        nothing = pd.DataFrame()
        figure = gallery.figures.main_result(frame, nothing, nothing, smoke, "triage")
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
    assert drawn == {"fig1a", "fig1b", *(f"fig{k}" for k in (2, 3, 5, 6, 7))}
    for name, entry in entries.items():
        file = MINI / (f"{name}.csv" if "caption" in entry else name)
        assert digest(file) == entry["sha256"], f"{file.name} was edited"
