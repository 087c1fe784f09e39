"""Settings reach every job of the workflow verbatim, and no shell on their way obeys them."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import new_home, project_copy

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.experiments import grid
from r2d.experiments.workflow import Plan

CANARY = "a-shell-was-here"
VALUES = (
    f"`touch {CANARY}` $(touch {CANARY}) ${{HOME}} $PATH !!",
    f'"; touch {CANARY}; "',
    f"'; touch {CANARY}; '",
    f"a\ntouch {CANARY}\n\n&& touch {CANARY} || x; y & z | w > {CANARY} < b",
    "{x} {{y}} {wildcards.dataset} {params} {log:q} {} }{",
    "% %s %(x)s %25 %7B 100%",
    "\\ \\\\ \\n \\' \\\" \\$ \t * ? [a] ~ # ( ) ^ = -rf --config a=b",
    "é 漢字 💩 \u2028 \u00a0",
    "- a: b, [c, {d: e}] # f",
)
KEYS = (
    "note",
    "experiments.E1.title",
    "experiments.E8.title",
    "methods.sft-full.title",
    "methods.dss-full.title",
    "methods.r2d-full.title",
    "methods.stage1-full.title",
    "methods.majority.title",
    "methods.tfidf.title",
)
# In the place of `python -m r2d`: notes its words, and leaves the files that the job promised.
STAND_IN = """
import json, os, sys
from pathlib import Path
from r2d import paths, recipes

words = sys.argv[1:]
with open(os.environ["CALLS"], "a") as file:
    print(json.dumps(words), file=file)
if words[0] == "report":
    changes = recipes.parse_settings(words[words.index("--set") + 1 :: 2])
    files = [paths.runs(recipes.load(words[1], changes).profile) / "report" / "index.html"]
else:
    given = recipes.parse_settings(words[words.index("-p") + 1 :: 2])
    profile = recipes.load(given["profile"], given["overrides"]).profile
    files = [Path(words[2])]
    if "seed" in given:
        run = paths.run(profile, given["dataset"], given["method"], given["seed"])
        files.append(run / "metrics.json")
    elif "dataset" in given:
        files.append(paths.runs(profile) / given["dataset"] / "data.json")
    files.append(paths.runs(profile) / "results" / "table_1.csv")
    files.append(paths.figures(profile) / "manifest.json")
for file in files:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
"""


def test_every_job_gets_the_settings_as_they_were_given(tmp_path):
    project = project_copy(tmp_path)
    (project / "r2d" / "__main__.py").write_text(STAND_IN)
    home = new_home(tmp_path / f"home '$(touch {CANARY})' `x` \"y\"")
    settings = [f"{key}={json.dumps(text)}" for key, text in zip(KEYS, VALUES, strict=True)]
    plan = Plan("smoke", "E8", cores=2, gpus=0, settings=[*settings, "decode.batch=8"])
    assert plan.overrides == dict(zip(KEYS, VALUES, strict=True)) | {"decode.batch": 8}
    command = list(plan.command)
    command[command.index("--directory") + 1] = str(project)
    calls = tmp_path / "calls"
    environment = {name: value for name, value in os.environ.items() if name != "R2D_DATA"}
    environment |= {"R2D_HOME": str(home), "CALLS": str(calls)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [json.loads(line) for line in calls.read_text().splitlines()]
    runs = grid.with_starts(grid.runs(plan.recipe, ["E8"]))
    assert len(asked) == 1 + len(runs) + 4  # data, runs; tables, figures, overview, report
    for words in asked:
        if words[0] == "report":
            given = {"profile": words[1]}
            given["overrides"] = recipes.parse_settings(words[words.index("--set") + 1 :: 2])
        else:
            given = recipes.parse_settings(words[words.index("-p") + 1 :: 2])
        assert (given["profile"], given["overrides"]) == ("smoke", plan.overrides)
    assert not [*tmp_path.rglob(CANARY), *Path.cwd().glob(CANARY)]


@pytest.mark.parametrize("value", VALUES)
def test_nothing_in_snakemakes_command_line_means_anything_to_a_shell_or_to_yaml(value):
    """A cluster's submission repeats it."""
    plan = Plan("smoke", "E1,E8", settings=[f"note={json.dumps(value)}"])
    words = plan.command[plan.command.index("--config") + 1 :]
    assert words[:2] == ["profile=smoke", "only=E1,E8"]
    assert re.fullmatch(r"overrides=%7B[\w.%~/-]+", words[2]) and len(words) == 3


def test_a_home_with_a_pattern_in_its_name_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "{dataset}"))
    with pytest.raises(R2DError, match="has a brace in its name, which Snakemake would read"):
        Plan("smoke")


@pytest.mark.parametrize("text", [f"note={value}" for value in VALUES])
def test_a_value_that_is_no_json_is_read_as_text_or_refused(text):
    try:
        overrides = recipes.parse_settings([text])
        note = recipes.load("smoke", overrides).note
    except R2DError as error:
        assert "note" in str(error)
    else:
        assert note == overrides["note"]


@pytest.mark.parametrize(
    "text",
    [
        "note=!!python/object/apply:os.system ['touch a-shell-was-here']",
        "note=!!python/name:os.system",
        "note=2020-01-01",
        "note=2020-13-41",
        'note="\\ud800"',
        "note=&a [*a]",
        "note=!!binary aGk=",
        "note=" + 20000 * "[",
        "datasets.$(touch a-shell-was-here)={card: triage}",
        "methods.`x`={objective: sft, title: x}",
        "=x",
        "note",
    ],
)
def test_what_no_run_could_hold_is_refused_by_one_sentence(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(R2DError) as caught:
        recipes.load("smoke", recipes.parse_settings([text]))
    assert "\n" not in str(caught.value) and str(caught.value).endswith((".", "?"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", VALUES)
def test_papermill_writes_a_parameter_as_the_literal_that_it_is(value):
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(str(paths.NOTEBOOKS / "02_stage1.ipynb"))
    given = {"dataset": value, "overrides": {value: [value, {"a": value}]}}
    (cell,) = [
        cell
        for cell in parameterize_notebook(notebook, given, kernel_name="python3").cells
        if "injected-parameters" in cell.metadata.get("tags", [])
    ]
    statements = ast.parse(cell.source).body
    found = {each.targets[0].id: ast.literal_eval(each.value) for each in statements}
    assert found == given


def test_the_gpu_launcher_hands_its_words_on_as_they_are(tmp_path):
    launcher = paths.NOTEBOOKS / "workflow" / "gpu.py"
    say = "import json, sys; print(json.dumps(sys.argv[1:]))"
    command = [sys.executable, str(launcher), sys.executable, "-c", say, *VALUES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == list(VALUES) and not list(tmp_path.iterdir())
