"""Notebooks 05 and 07, executed against a server: their tables, and nothing secret in what they leave behind."""

import json
import os
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
import servers
import yaml
from test_judge import examiner

from r2d import data, paths, recipes
from r2d.experiments import grid
from r2d.llms import ask

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
    "llms.smollm2": SERVED, "zero_shot.cases": 4, "judge.cases": 3, "judge.qualification": 3, "datasets.triage.test": 8,
}  # fmt: skip


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Run a notebook on stand-in predictions: `executed(name, rule)` gives its tables' folder and its outputs."""
    home = tmp_path / "home"
    (home / ".cache").mkdir(parents=True)
    (paths.cache() / "assets").mkdir(parents=True, exist_ok=True)
    (home / ".cache" / "assets").symlink_to(
        paths.cache() / "assets"
    )  # but none of the project's answers
    monkeypatch.setenv("R2D_HOME", str(home))
    monkeypatch.setenv("R2D_LLM_API_KEY", KEY)
    recipe = recipes.load("smoke", OVERRIDES)
    records = data.load("triage", recipe.datasets["triage"])
    for dataset, method, seed in grid.runs(recipe, ["E4", "E5"]):
        folder = paths.run(recipe.profile, dataset, method, seed)
        folder.mkdir(parents=True)
        rows = [{"id": r.id, "gold": r.label, "label": r.label, "reason": r.reason, "rationale_gold": r.rationale,
                 "rationale": r.rationale if method == "r2d-full" else "Wrong."} for r in records.test]  # fmt: skip
        (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "config.yaml").write_text(yaml.safe_dump({}))
        (folder / "env.json").write_text('{"parameters": 1000000}')
        (folder / "metrics.json").write_text("{}")

    def run(name, usual):
        out = home / f"{name}.ipynb"
        with servers.running() as server:
            server.usual = usual(records)
            command = [sys.executable, "-m", "r2d.notebook", name, str(out), "-p", "profile=smoke"]
            done = subprocess.run(
                [*command, "-p", f"overrides={json.dumps(OVERRIDES)}"], capture_output=True, text=True, timeout=300, check=False,
                env=os.environ | {"R2D_LLM_BASE_URL": server.url, "PYTHONPATH": str(paths.ROOT)},
            )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert {key for _, _, key in server.seen} == {f"Bearer {KEY}"}
        said = out.read_text() + done.stdout + done.stderr
        for secret in (
            KEY,
            *(r.question for r in records.test),
            *(line for m in prompts() for line in m),
        ):
            assert secret not in said and json.dumps(secret)[1:-1] not in said
        code = [cell for cell in nbformat.read(out, as_version=4).cells if cell.cell_type == "code"]
        return paths.runs(recipe.profile) / "results", "\n".join(
            str(output) for cell in code for output in cell.outputs
        )

    return run


def prompts():
    """The longer lines of every prompt."""
    for file in ask.PROMPTS.glob("*/*.yaml"):
        template = ask.template(file.parent.name, file.stem)
        yield [line for line in template.system.splitlines() if len(line) > 40]


def decider(records):
    """Gives every case its gold label; writes half of the rationales that it is asked for, and contradicts in the others."""
    truth = {r.question: r.label for r in records.test}

    def rule(request):
        note = request["messages"][1]["content"].split("<<<QUESTION\n")[1].split("\nQUESTION>>>")[0]
        if note in truth:
            return json.dumps({"label": truth[note], "rationale": "The findings fit it."})
        label = request["messages"][1]["content"].split("<<<LABEL\n")[1].split("\nLABEL>>>")[0]
        return json.dumps(
            {
                "rationale": f"The main finding leads to this: {label if len(note) % 2 else 'wait and see'}."
            }
        )

    return servers.answering(rule)


def test_zero_shot_models_are_asked_and_tabled_and_nothing_secret_is_left(executed):
    results, said = executed("05_zero_shot_llms", decider)
    table = pd.read_csv(results / "zero_shot.csv").set_index("name")
    assert list(table.index) == ["smollm2", "majority", "sft-full", "r2d-full", "r2d-qlora"]
    assert (table["cases"] == 4).all() and table.loc[
        "smollm2", ["accuracy", "parse_rate"]
    ].tolist() == [1, 1]
    kept = (results / "written_rationales.jsonl").read_text().splitlines()
    assert (
        f"A server: {len(kept)} of 4 accepted" in said
        and "rejected" in said
        and said.count("nurse: ") == 4
    )
    assert "is 1000 times smaller than" in said


def test_a_judge_that_passed_is_tabled_beside_its_qualification_and_nothing_secret_is_left(
    executed,
):
    results, said = executed("07_llm_judge", lambda records: examiner(records.test))
    scores, tests = (
        pd.read_csv(results / f"{name}.csv") for name in ("judge", "judge_qualification")
    )
    assert (
        tests["passed"].all() and scores["qualified"].all() and (scores["missing_rate"] == 0).all()
    )
    means = scores[scores["criterion"] == "correctness"].set_index("method")["mean"]
    assert means["r2d-full"] == 5 and means["dss-full"] == 2 and len(scores) == 3 * 4
    assert (pd.read_csv(results / "judge_injection.csv")["shift"] == 0).all()
    assert "passed its qualification" in said and "FAILED" not in said and "#999999" not in said
