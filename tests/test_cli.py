"""The command line: what each command calls, and how every mistake ends.

`tests/deploy` and `tests/experiments` run the commands on real models.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from r2d import cli, paths
from r2d.cli.options import run_folder
from r2d.experiments import workflow

COMMANDS = [
    "run",
    "report",
    "lab",
    "test",
    "train",
    "notebook",
    "figures",
    "durations",
    "tries",
    "pretrain",
    "your-data",
    "write-rationales",
    "predict",
    "calibrate",
    "export",
    "push",
]
HEAVY = {"torch", "snakemake", "pandas", "transformers", "papermill", "sphinx", "matplotlib"}
USAGE = (paths.PACKAGE / "usage.txt").read_text(encoding="utf-8")


def answered(*words: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "r2d", *words]
    return subprocess.run(
        command, cwd=paths.ROOT, env=os.environ | env, capture_output=True, text=True, timeout=60
    )


def test_help_lists_every_command_and_imports_nothing_that_takes_long():
    code = "import sys; from r2d.cli import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    text, modules = done.stdout.rstrip("\n").rsplit("\n", 1)
    assert re.findall(r"^  ([a-z-]+) ", text.partition("Commands:")[2], re.MULTILINE) == COMMANDS
    assert not HEAVY & set(modules.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert cli.main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage:") and f" {command} " in shown and "--help" in shown


def test_run_all_shows_every_command_and_every_option_of_a_run(capsys):
    cli.main(["run", "--help"])
    options = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    shown = set(re.findall(r"^  (--[a-z-]+)", USAGE, re.MULTILINE))
    assert options and shown == options | {"--no-install"}
    assert all(re.search(rf"[ ]{command}[ ,\n]", USAGE) for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["papr"], "No such command 'papr'."),
        (["run", "papr"], "Profile 'papr' is not known: choose one of mini, paper, smoke, study."),
        (["run", "mini", "paper"], "One profile at a time, please: mini or paper."),
        (["run", "--epochs", "3"], "No such option: --epochs."),
        (["run", "--only", "E1,E99"], "has no experiment 'E99'"),
        (["run", "--only"], "'--only' requires an argument."),
        (["run", "--cores", "two"], "--cores takes a whole number above 0, not 'two'."),
        (["run", "--cores", "0"], "--cores takes a whole number above 0, not '0'."),
        (["run", "--gpus", "all"], "--gpus takes a whole number, not 'all'."),
        (["run", "--set", "batch"], "KEY=VALUE, not 'batch'"),
        (["run", "--on", "pbs"], "kubernetes or slurm"),
        (["report", "papr", "--no-open"], "'papr' is not known"),
        (["train", "mini", "triage", "r2d-ful", "1"], "Profile mini has no 'r2d-ful'"),
        (["train", "mini", "triage"], "Missing argument 'METHOD'."),
        (["notebook", "03_stage3", "x.ipynb"], "There is no notebook '03_stage3'"),
        (["your-data"], "Missing option '--train'."),
        (["your-data", "--train", "x", "--tuning", "half"], "not one of 'full', 'lora', 'qlora'."),
        (["your-data", "--train", "absent.csv"], "absent.csv is not there"),
        (["predict", "RUN"], "Give one case with --text, or a file of cases with --file."),
        (["predict", "RUN", "--text", "a", "--file", "b"], "Give one case with --text, or a file"),
        (["calibrate", "nowhere"], "There is no finished run at nowhere"),
        (["write-rationales", "a.csv", "b.csv"], "name it .jsonl"),
        (["write-rationales", "a.csv", "b.jsonl", "--llm", "gpt"], "no chat model 'gpt'"),
    ],
)
def test_a_mistake_ends_with_2_and_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(workflow, "start", lambda plan: pytest.fail("it was started"))
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and shown.out == ""
    assert shown.err.count("\n") == 1 and shown.err.endswith((".\n", "?\n"))
    assert not (tmp_path / "home").exists()


def test_a_mistake_reaches_the_shell_without_a_traceback():
    done = answered("run", "papr")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Profile 'papr' is not known: choose one of mini, paper, smoke, study.\n"


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        ([], workflow.Plan()),
        (["smoke", "--only", "E1", "--cores", "2"], workflow.Plan("smoke", "E1", cores=2)),
        (["--gpus", "0", "--on", "slurm"], workflow.Plan(gpus=0, on="slurm")),
        (["--set", "lora.r=2", "--set", "note=a"], workflow.Plan(settings=("lora.r=2", "note=a"))),
        (["--", "--until", "run"], workflow.Plan(passed=("--until", "run"))),
        (["smoke", "--", "mini", "--"], workflow.Plan("smoke", passed=("mini", "--"))),
    ],
)
def test_a_run_is_started_as_it_is_asked_for(words, plan, monkeypatch):
    started = []
    for name, status in (("start", 1), ("dry_run", 0), ("unlock", 3)):
        monkeypatch.setattr(
            workflow, name, lambda plan, n=name, s=status: started.append((n, plan)) or s
        )
    assert cli.main(["run", *words]) == 1
    assert cli.main(["run", "--dry-run", *words]) == 0
    assert cli.main(["run", "--unlock", *words]) == 3
    assert started == [("start", plan), ("dry_run", plan), ("unlock", plan)]


@pytest.mark.parametrize(
    ("words", "failed", "said"),
    [
        ([], 0, ""),
        (["--set", "metrics.resamples=300"], 1, ""),
        (["--set", "metrics.resamples=300"], 0, "\nshown\n"),
    ],
)
def test_a_changed_run_ends_with_before_and_after(words, failed, said, monkeypatch, capsys):
    monkeypatch.setattr(workflow, "start", lambda plan: failed)
    monkeypatch.setattr("r2d.reporting.changes.written", lambda recipe: "shown")
    assert cli.main(["run", "smoke", *words]) == failed
    assert capsys.readouterr().out == said


def test_relative_folders_are_those_of_the_caller(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("R2D_HOME", "disk")
    monkeypatch.setenv("R2D_DATA", "~/sets")
    monkeypatch.setenv("R2D_ASSETS", "")
    seen = {}
    monkeypatch.setattr(workflow, "start", lambda plan: seen.update(os.environ) or 0)
    assert cli.main(["run"]) == 0
    assert seen["R2D_HOME"] == str(tmp_path / "disk")
    assert seen["R2D_DATA"] == str(Path("~/sets").expanduser()) and seen["R2D_ASSETS"] == ""


def test_tests_and_lab_hand_their_arguments_on(monkeypatch):
    become = []
    monkeypatch.setattr(os, "chdir", lambda folder: become.append(folder))
    monkeypatch.setattr(os, "execv", lambda path, command: become.append(command))
    monkeypatch.setitem(os.environ, "JUPYTER_PREFER_ENV_PATH", "0")
    cli.main(["test", "-k", "two words", "-n", "0", "--lf"])
    cli.main(["lab", "--no-browser"])
    python = [sys.executable, "-m"]
    workers = ["--numprocesses", "logical", "--maxprocesses", "4"]
    workers += ["--dist", "loadfile", "--no-loadscope-reorder"]
    first = "--LabApp.default_url=/lab/tree/notebooks/00_overview.ipynb"
    as_root = ["--allow-root"] if os.geteuid() == 0 else []
    lab = [*python, "jupyterlab", "--notebook-dir=.", first, *as_root, "--no-browser"]
    assert become == [
        paths.ROOT,
        [*python, "pytest", *workers, "-k", "two words", "-n", "0", "--lf"],
        paths.ROOT,
        lab,
    ]
    # This environment's kernel, not one of the user's of the same name.
    assert os.environ["JUPYTER_PREFER_ENV_PATH"] == "1"


@pytest.mark.parametrize("opened", [True, False])
def test_the_report_is_that_of_the_profile_and_its_settings(monkeypatch, capsys, opened, tmp_path):
    built, shown = [], []
    index = tmp_path / "index.html"
    monkeypatch.setattr("r2d.reporting.site.build", lambda recipe: built.append(recipe) or index)
    monkeypatch.setattr("webbrowser.open", shown.append)
    words = ["report", "smoke", "--set", "note=a b", *([] if opened else ["--no-open"])]
    assert cli.main(words) == 0
    assert (built[0].note, built[0].profile.partition("+")[0]) == ("a b", "smoke")
    assert capsys.readouterr().out == f"{index}\n"
    assert shown == ([index.as_uri()] if opened else [])


def test_one_run_is_trained_from_its_recipe_and_settings(monkeypatch, capsys, tmp_path):
    trained = []
    monkeypatch.setattr(
        "r2d.experiments.run.Run.execute", lambda run: trained.append(run) or tmp_path
    )
    assert cli.main(["train", "smoke", "triage", "sft-full", "3", "--set", "lora.r=2"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}\n"
    assert str(trained[0]) == "triage sft-full seed 3" and trained[0].recipe.lora.r == 2


def test_calibration_says_below_which_confidence_to_abstain(monkeypatch, capsys):
    curve = [
        {"threshold": 0.40, "coverage": 1.0, "accuracy": 0.70},
        {"threshold": 0.76543, "coverage": 0.60, "accuracy": 0.95},
        {"threshold": 0.99, "coverage": 0.10, "accuracy": 1.0},
    ]
    split = {"n": 200, "ece_before": 0.2, "ece_after": 0.1}
    result = {"temperature": 1.5, "bins": "15 bins", "validation": split, "test": split}
    monkeypatch.setattr("r2d.deploy.calibrate.calibrate", lambda run: result | {"curve": curve})
    assert cli.main(["calibrate", "RUN", "--target-accuracy", "0.9"]) == 0
    shown = capsys.readouterr().out
    assert "Temperature 1.500" in shown
    assert shown.endswith("--abstain-below 0.7654 answers 60% of validation at 95% accuracy.\n")


@pytest.mark.parametrize(
    ("words", "function", "arguments"),
    [
        (["pretrain", "out", "--steps", "3"], "r2d.models.pretrain.rebuild", ("out", 3, 60_000)),
        (
            ["export", "RUN", "out", "--merged"],
            "r2d.deploy.share.export",
            ("RUN", "out", True, False),
        ),
    ],
)
def test_a_command_calls_its_function(words, function, arguments, monkeypatch):
    called = []
    monkeypatch.setattr(function, lambda *given: called.append(given))
    assert cli.main(words) == 0
    assert [tuple(map(str, given)) for given in called] == [tuple(map(str, arguments))]


def test_figures_are_kept_and_the_readme_follows(monkeypatch, capsys):
    called = []
    monkeypatch.setattr("r2d.reporting.gallery.commit", lambda recipe: Path(recipe.profile))
    monkeypatch.setattr("r2d.reporting.story.keep", lambda recipe, to: called.append(str(to)))
    monkeypatch.setattr("r2d.reporting.readme.rewrite", lambda: called.append("README"))
    monkeypatch.setattr("r2d.deploy.examples.write", lambda recipe: called.append(recipe.profile))
    assert cli.main(["figures", "smoke"]) == 0
    assert capsys.readouterr().out == "smoke\n" and called == ["smoke/notebooks", "README"]
    assert cli.main(["figures"]) == 0
    assert called[2:] == ["mini", "mini/notebooks", "README"]


def test_an_interrupt_ends_without_a_traceback(monkeypatch, capsys):
    def interrupted(plan):
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "start", interrupted)
    assert cli.main(["run"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_that_is_not_the_users_is_not_hidden(monkeypatch):
    def broken(plan):
        raise KeyError("a bug")

    monkeypatch.setattr(workflow, "start", broken)
    with pytest.raises(KeyError, match="a bug"):
        cli.main(["run"])


@pytest.mark.parametrize(
    ("words", "completed"),
    [("r2d pre", {"predict", "pretrain"}), ("r2d run m", {"mini"}), ("r2d run --o", {"--only"})],
)
def test_a_shell_can_complete_commands_profiles_and_options(words, completed):
    env = {"_R2D_COMPLETE": "complete_bash", "COMP_WORDS": words}
    env["COMP_CWORD"] = str(len(words.split()) - 1)
    code = "import sys; sys.argv = ['r2d']; from r2d.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=paths.ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
    )
    assert completed <= set(done.stdout.split())


def test_a_run_is_found_from_here_or_below_the_home_of_runs(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home / "runs" / "a", here / "runs" / "b", home / "runs" / "b"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("R2D_HOME", str(home))
    monkeypatch.chdir(here)
    assert run_folder("runs/a") == home / "runs" / "a"
    assert run_folder("runs/b") == Path("runs/b")
    assert run_folder("runs/neither") == Path("runs/neither")
