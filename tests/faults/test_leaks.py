"""A note, a key and a password go in; afterwards they are in no file but those that hold notes.

The files that do are named in the site's page on privacy, and only their owner can read them.
Notebooks 05 and 07 are looked at in `tests/llms/test_llm_notebooks.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from canaries import NAMED, expect_only_named, holding

from r2d import cli, paths, recipes
from r2d.errors import R2DError
from r2d.experiments import notebook
from r2d.llms.chat import Chat
from r2d.recipes.settings import LlmSettings
from r2d.reporting import site

NOTE, KEY, PASSWORD = "zebrafever7731", "sk-canary-0123456789", "pw-canary-9876"
QUICK = {
    "train.common.steps": 2,
    "train.common.eval_every": 2,
    "train.common.batch": 4,
    "metrics.resamples": 100,
    "max_rationale_tokens": 12,
    "max_input_tokens": 32,
}
LABELS = ("home", "ED")
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of Sphinx's theme


def rows(count: int) -> list[dict]:
    return [
        {
            "question": f"{NOTE} {i} x 2h, sweaty",
            "label": LABELS[i % 2],
            "rationale": f"{NOTE} since {i} is a sign of it. So it is.",
        }
        for i in range(count)
    ]


def look(home: Path) -> set[str]:
    """The files that hold the note, all of them named for it; the key and password are nowhere."""
    return expect_only_named(home, [NOTE], [KEY, PASSWORD])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with the project's assets alone, IPython's own files in it, and a key to lose."""
    folder = tmp_path_factory.mktemp("leaks") / "home"
    (folder / ".cache").mkdir(parents=True)
    (paths.cache() / "assets").mkdir(parents=True, exist_ok=True)
    (folder / ".cache" / "assets").symlink_to(paths.cache() / "assets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(folder))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("PYTHONPATH", str(paths.ROOT))
        patch.setenv("R2D_LLM_API_KEY", KEY)
        yield folder


@pytest.fixture(scope="module")
def table(home) -> Path:
    """A table of the user's, outside the home."""
    path = home.parent / "notes.json"
    path.write_text(json.dumps(rows(28)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(home, table) -> tuple[Path, str]:
    """The run that `your-data` trains, and all that the command says."""
    asked = ["your-data", "--train", str(table), "--profile", "smoke"]
    for name, value in QUICK.items():
        asked += ["--set", f"{name}={value}"]
    url = f"http://user:{PASSWORD}@127.0.0.1:9/v1"  # set, though nothing is asked
    environment = {**os.environ, "R2D_LLM_BASE_URL": url}
    command = [sys.executable, "-m", "r2d", *asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder,) = home.glob("runs/smoke+*/yours/r2d-full/seed1")
    return folder, done.stdout + done.stderr


def test_your_data_keeps_notes_where_it_says(home, trained):
    folder, said = trained
    for secret in (NOTE, KEY, PASSWORD):
        assert secret not in said
    assert "hold notes: only you can read them" in said
    files = look(home)
    notebooks = {name for name in files if name.endswith(".ipynb")}
    assert {Path(name).name for name in files - notebooks} == {"predictions.jsonl"}
    assert len(notebooks) == 1 and folder.name == "seed1"


def test_predict_keeps_what_it_is_given_to_itself(home, trained, table, tmp_path, capfd):
    folder = str(trained[0])
    before = holding(home, [NOTE])
    assert cli.main(["predict", folder, "--text", NOTE, "--json"]) == 0
    assert cli.main(["predict", folder, "--file", str(table), "--no-rationale"]) == 0
    out = tmp_path / "out.csv"
    asked = ["predict", folder, "--file", str(table), "--no-rationale", "--show-text"]
    assert cli.main([*asked, "--out", str(out)]) == 0
    said = "".join(capfd.readouterr())
    assert NOTE not in said and f"{out} holds notes: only you can read it." in said
    assert NOTE in out.read_text() and out.stat().st_mode & 0o777 == 0o600
    headless = tmp_path / "headless.csv"
    headless.write_text(f"{NOTE},home,since\nfever,ED,so\n")
    for asked in (["--file", str(headless)], ["--file", str(headless), "--question-column", "x"]):
        assert cli.main(["predict", folder, *asked]) == 2
    assert cli.main(["your-data", "--train", str(headless)]) == 2
    assert cli.main(["write-rationales", str(headless), str(tmp_path / "out.jsonl")]) == 2
    said = "".join(capfd.readouterr())
    assert NOTE not in said and said.count("are not shown") == 4
    assert holding(home, [NOTE]) == before


def test_a_notebook_that_fails_keeps_the_note_in_itself(home, tmp_path, capfd, monkeypatch):
    bad = [row | {"label": LABELS[0]} for row in rows(20)]
    bad += [row | {"question": f"{row['question']} again"} for row in rows(20)]
    bad[7]["rationale"] = [NOTE]
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(bad), encoding="utf-8")
    before = holding(home, [NOTE])
    assert cli.main(["your-data", "--train", str(path), "--profile", "smoke"]) == 1
    said = "".join(capfd.readouterr())
    assert "R2DError: bad.json, row 8: its rationale (column 'rationale') is not text" in said
    assert NOTE not in said and holding(home, [NOTE]) == before

    stub = nbformat.v4.new_notebook()
    stub.cells = [nbformat.v4.new_code_cell(f"raise KeyError({NOTE!r})")]
    nbformat.write(stub, tmp_path / "stub.ipynb")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    out = home / "runs" / "smoke" / "logs" / "stub.ipynb"
    assert notebook.run("stub", out, {}) == 1
    said = "".join(capfd.readouterr())
    assert NOTE not in said and f"KeyError: {out} has its message." in said
    look(home)


def test_the_report_shows_nothing_of_a_table(home, table, capfd):
    given = {
        "profile": "smoke",
        "overrides": {"datasets.mine": {"card": "table", "path": str(table)}},
    }
    recipe = recipes.load(**given)
    folder = paths.runs(recipe.profile) / "notebooks"
    notebook.execute("01_data", folder / "01_data-mine.ipynb", given | {"dataset": "mine"})
    first = nbformat.read(paths.NOTEBOOKS / "00_overview.ipynb", as_version=4)
    nbformat.write(first, folder / "00_overview.ipynb")
    index = site.build(recipe)
    assert NOTE not in "".join(capfd.readouterr())
    assert (index.parent / "notebooks" / "01_data-mine.html").is_file()
    assert not holding(index.parent, [NOTE, KEY, PASSWORD])
    assert not any(name.startswith(f"runs/{recipe.profile}/") for name in look(home))


def test_a_password_in_a_server_s_address_is_refused_and_repeated_nowhere(home, monkeypatch):
    monkeypatch.setenv("R2D_LLM_BASE_URL", f"http://user:{PASSWORD}@127.0.0.1:9/v1")
    served = {"title": "A server", "backend": "server", "model": "m", "parameters": 1e9}
    with pytest.raises(R2DError, match="R2D_LLM_BASE_URL holds a user name or password") as caught:
        Chat(LlmSettings(**served))
    assert PASSWORD not in str(caught.value)
    look(home)


def test_files_that_hold_notes_are_named_for_readers():
    page = (paths.PACKAGE / "reporting" / "pages" / "llms_and_privacy.md").read_text()
    listed = page.partition("## Privacy")[2].partition("\n## ")[0]
    assert all(name in listed for name in NAMED.values())
    assert "`predict --out`" in listed and "`write-rationales`" in listed
