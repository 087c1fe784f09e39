"""What notebook 00 shows: read from files, and a way to get what is not there."""

import json

import pandas as pd
import pytest

from r2d import paths, recipes
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.reporting import overview, tables

RUNS = [
    ("triage", "majority", 1),
    ("triage", "r2d-full", 1),
    ("triage", "r2d-full", 2),
    ("pubmedqa", "r2d-qlora", 1),
]


@pytest.fixture
def smoke(home):
    """The recipe of a profile with invented numbers in its figures folder."""
    recipe = recipes.load("smoke")
    rows = [
        {
            "profile": "smoke",
            "dataset": dataset,
            "method": method,
            "seed": seed,
            "title": recipe.methods[method].title,
            "test_cases": 9,
            "macro_f1": 0.4567,
            "macro_f1_low": 0.4,
            "macro_f1_high": 0.5,
            "accuracy": 0.5,
        }
        for dataset, method, seed in RUNS
    ]
    table_1 = tables.summarise(pd.DataFrame(rows))
    folder = paths.figures("smoke")
    folder.mkdir(parents=True)
    table_1.to_csv(folder / "table_1.csv", index=False)
    readable = tables.readable(table_1, recipe).to_markdown(index=False)
    parts = ["Profile: invented", readable, "These rows: 4 runs.", "Published:", "| 60.58 |"]
    (folder / "table_1.md").write_text("\n\n".join(parts) + "\n")
    findings = "**Table 1**\n\n- R2D beats nothing.\n\n**E3: Parts**\n\n- None is worth it.\n"
    (folder / "findings.md").write_text(findings)
    cost = dict.fromkeys(tables.COSTS, 2.0) | {"dataset": "triage", "title": "R2D", "steps": 77}
    pd.DataFrame([cost]).to_csv(folder / "table_2.csv", index=False)
    return recipe


def plain(text: str) -> str:
    """Words and cells with single blanks between them."""
    return " ".join(text.replace("\u00a0", " ").replace("|", " ").split())


def test_every_experiment_is_listed_with_its_finished_runs(smoke):
    folder = Run(smoke, "triage", "r2d-full", 1).folder
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    text = overview.experiments(smoke)
    assert all(experiment.title in text for experiment in smoke.experiments.values())
    (ablations,) = [line for line in text.splitlines() if line.startswith("| E3")]
    assert plain(ablations).endswith(f"1 1 of {len(grid.runs(smoke, ['E3']))}")


def test_datasets_are_those_that_were_read_and_the_synthetic_are_marked(smoke):
    assert overview.datasets(smoke) == "None was read on this machine: notebook 01_data does."
    note = {"title": "Notes", "synthetic": True, "source": "here", "counts": {"test": 4321}}
    (paths.runs("smoke") / "triage").mkdir(parents=True)
    (paths.runs("smoke") / "triage" / "data.json").write_text(json.dumps(note))
    text = overview.datasets(smoke)
    assert "triage Notes **synthetic** 4,321 test here" in plain(text) and "pubmedqa" not in text


def test_table_1_stands_with_its_origin_and_keeps_values_and_intervals_on_a_line(smoke):
    text = overview.table_1(smoke)
    assert "45.7\u00a0±\u00a00.0\u00a0[40,\u00a050]" in text and text.endswith("4 runs.")
    assert "60.58" not in text  # the published numbers have a place of their own


def test_findings_are_those_of_the_notebooks(smoke):
    text = overview.findings(smoke)
    assert "- R2D beats nothing." in text and "**E3: Parts**" in text


def test_costs_are_in_units_that_people_read(smoke):
    text = overview.costs(smoke)
    assert "parameters (millions)" in text and "2000.0" in text  # 2 s a step, in ms
    assert " 77 " in text


def test_published_numbers_stand_beside_ours_with_mark_and_reason(smoke):
    text = plain(overview.published(smoke))
    triage = "60.58 ± 0.46 (R2D, T5-Large) [2nd] R2D 45.7 ± 0.0 [40, 50]"
    assert f"{triage} no: on private nurse notes; ours are synthetic" in text
    assert "96.05 (R2D, size not stated) [2nd] R2D (QLoRA) 50.0 only with profile paper" in text


def test_a_published_number_without_ours_says_so(smoke):
    table_1 = tables.read(paths.figures("smoke") / "table_1.csv")
    triage = table_1[table_1["dataset"] == "triage"]
    triage.to_csv(paths.figures("smoke") / "table_1.csv", index=False)
    assert "[2nd] not measured in this profile only with" in plain(overview.published(smoke))


def test_results_stand_part_by_part_each_after_how_to_read_it(smoke):
    table_1, findings, costs, published = overview.results(smoke)
    assert table_1.startswith("**Table 1: labels and rationales.** Mean") and "45.7" in table_1
    assert findings.startswith("**Every comparison in words**") and "R2D beats nothing" in findings
    assert costs.startswith("**Table 2: what it costs.**") and " 77 " in plain(costs)
    assert published.startswith("**The published numbers, and ours.**") and "60.58" in published


def test_a_profile_without_tables_answers_its_questions_and_has_no_part_of_a_table(home):
    study = recipes.load("study")
    folder = paths.figures("study")
    folder.mkdir(parents=True)
    answers = [
        "Do rationales help? In macro-F1 R2D is above SFT at 2 of 4 sizes.",
        "Does scheduled sampling help? It is not told apart, by -6.4 to +5.7 points.",
        "Does a cap of p(t) close the exposure gap? No cap does.",
    ]
    others = ["Told apart, stage 1: R2D is below itself without it. Is it? It is."]
    lines = "\n".join(f"- {sentence}" for sentence in [*answers, *others])
    (folder / "findings.md").write_text(f"**E9: When**\n\n{lines}\n")
    opening, *said = overview.in_short(study).splitlines()
    assert opening.startswith("- Profile study has no table 1;")
    assert said == [f"- {answer}" for answer in answers]
    (findings,) = overview.results(study)
    assert "**E9: When**" in findings and others[0] in findings


def test_limitations_are_those_of_the_profile_itself(home):
    known = {name: overview.limitations(recipes.load(name)) for name in ("mini", "study", "paper")}
    assert all(f"of profile {name}: " in text for name, text in known.items())
    assert [name for name, text in known.items() if "E2 compares" in text] == ["mini"]
    assert [name for name, text in known.items() if "*synthetic*" in text] == ["mini", "study"]
    assert "1.1 million" in known["study"] and "1.1 million" not in known["paper"]


def test_before_any_run_results_are_one_sentence(home):
    assert overview.results(recipes.load("smoke")) == [overview.NOTHING]


@pytest.mark.parametrize("part", ["table_1", "findings", "costs", "published"])
def test_before_any_run_a_sentence_says_how_to_get_results(home, part):
    shown = getattr(overview, part)(recipes.load("smoke"))
    assert shown == "No results yet: run `./run_all.sh` first."


def test_a_fresh_clone_shows_every_part_of_what_it_brings_along(home):
    mini = recipes.load("mini")
    parts = [overview.table_1, overview.findings, overview.costs, overview.published]
    assert not [part.__name__ for part in parts if overview.NOTHING in part(mini)]
    assert len(overview.gallery.pictures(mini)) >= 6
