"""Notebooks 05 and 07, executed against a server.

Their tables, and nothing secret in what they leave behind.
"""

import json

import nbformat
import pandas as pd
import pytest
import servers
import yaml
from canaries import expect_only_named
from judges import examiner

from r2d import data, paths, recipes
from r2d.experiments import grid, notebook
from r2d.llms.ask import template

KEY = "sk-secret-key-0123456789"
SERVED = {
    "title": "A server",
    "backend": "server",
    "model": "m",
    "parameters": 1e9,
    "batch": 2,
    "max_new_tokens": 50,
}
OVERRIDES = {
    "llms.smollm2": SERVED,
    "zero_shot.cases": 4,
    "judge.cases": 3,
    "judge.qualification": 3,
    "datasets.triage.test": 8,
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with the project's assets but none of its answers."""
    folder = tmp_path / "home"
    store = paths.cache() / "assets"
    store.mkdir(parents=True, exist_ok=True)
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "assets").symlink_to(store)
    monkeypatch.setenv("R2D_HOME", str(folder))
    return folder


@pytest.fixture
def executed(home, monkeypatch, capfd):
    """Run a notebook on stand-in predictions.

    `executed(name, rule)` gives its tables' folder and its outputs.
    """
    monkeypatch.setenv("R2D_LLM_API_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", str(paths.ROOT))
    recipe = recipes.load("smoke", OVERRIDES)
    records = data.load("triage", recipe.datasets["triage"])
    for run in grid.runs(recipe, ["E4", "E5"]):
        pretend(run.folder, records.test, right=run.method == "r2d-full")

    def execute(name, rule):
        out = paths.runs(recipe.profile) / "notebooks" / f"{name}.ipynb"
        with servers.running() as server:
            server.usual = rule(records)
            monkeypatch.setenv("R2D_LLM_BASE_URL", server.url)
            notebook.execute(name, out, {"profile": "smoke", "overrides": OVERRIDES})
        assert {key for _, _, key in server.seen} == {f"Bearer {KEY}"}
        left_behind = out.read_text(encoding="utf-8") + "".join(capfd.readouterr())
        for secret in (KEY, *(record.question for record in records.test), *prompt_lines()):
            assert secret not in left_behind
            assert json.dumps(secret)[1:-1] not in left_behind
        notes = [record.question for record in records.test]
        execute.holding = expect_only_named(home, notes, [KEY])
        cells = nbformat.read(out, as_version=4).cells
        outputs = [each for cell in cells if cell.cell_type == "code" for each in cell.outputs]
        return paths.runs(recipe.profile) / "results", "\n".join(map(str, outputs))

    return execute


def pretend(folder, records, right: bool) -> None:
    """A finished run's folder, with gold labels and, if `right`, gold rationales."""
    folder.mkdir(parents=True)
    rows = [
        {
            "id": record.id,
            "gold": record.label,
            "label": record.label,
            "reason": record.reason,
            "rationale_gold": record.rationale,
            "rationale": record.rationale if right else "Wrong.",
        }
        for record in records
    ]
    paths.write_lines(folder / "predictions.jsonl", rows)
    (folder / "config.yaml").write_text(yaml.safe_dump({}))
    (folder / "env.json").write_text('{"parameters": 1000000}')
    (folder / "metrics.json").write_text("{}")


def prompt_lines() -> list[str]:
    """The longer lines of every prompt."""
    prompts = [template(file.parent.name, file.stem) for file in paths.PROMPTS.glob("*/*.yaml")]
    lines = [line for prompt in prompts for line in prompt.system.splitlines()]
    return [line for line in lines if len(line) > 40]


def decider(records):
    """Gives every case its gold label, and repeats it in place of a reason.

    Of the rationales that it is asked for it writes some, and contradicts the label in the others.
    """
    labels = {record.question: record.label for record in records.test}

    def fenced(name: str, text: str) -> str:
        return text.split(f"<<<{name}\n")[1].split(f"\n{name}>>>")[0]

    def rule(request):
        prompt = request["messages"][1]["content"]
        note = fenced("QUESTION", prompt)
        if note in labels:
            return json.dumps({"label": labels[note], "rationale": f"The findings: {note}"})
        label = fenced("LABEL", prompt) if len(note) % 2 else "wait and see"
        return json.dumps({"rationale": f"The main finding leads to this: {label}."})

    return servers.answering(rule)


def test_zero_shot_models_are_asked_and_tabled_and_nothing_secret_is_left(executed):
    results, outputs = executed("05_zero_shot_llms", decider)
    table = pd.read_csv(results / "zero_shot.csv").set_index("name")
    assert list(table.index) == ["smollm2", "majority", "sft-full", "r2d-full", "r2d-qlora"]
    assert (table["cases"] == 4).all()
    assert table.loc["smollm2", ["accuracy", "parse_rate"]].tolist() == [1, 1]
    kept = (results / "written_rationales.jsonl").read_text().splitlines()
    assert f"A server: {len(kept)} of 4 accepted" in outputs
    assert "rejected" in outputs and outputs.count("nurse: ") == 4
    assert "is 1000 times smaller than" in outputs
    answers = f"runs/{results.parent.name}/triage/zero-shot/smollm2/predictions.jsonl"
    assert executed.holding == {answers, ".cache/answers.sqlite"}


def test_a_judge_that_passed_is_tabled_beside_its_qualification_and_nothing_secret_is_left(
    executed,
):
    results, outputs = executed("07_llm_judge", lambda records: examiner(records.test))
    scores = pd.read_csv(results / "judge.csv")
    tests = pd.read_csv(results / "judge_qualification.csv")
    assert tests["passed"].all() and scores["qualified"].all()
    assert (scores["missing_rate"] == 0).all() and len(scores) == 3 * 4
    means = scores[scores["criterion"] == "correctness"].set_index("method")["mean"]
    assert means["r2d-full"] == 5 and means["dss-full"] == 2
    assert (pd.read_csv(results / "judge_injection.csv")["shift"] == 0).all()
    assert "passed its qualification" in outputs
    assert "FAILED" not in outputs and "#999999" not in outputs
    assert not executed.holding
