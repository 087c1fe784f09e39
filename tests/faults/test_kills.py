"""Killed by SIGKILL at random moments, then started again: it ends as if it had never been killed.

Each trial forks, so that no second of it goes into importing; `tests/experiments/test_killed.py`
does the same once with the command itself.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import servers
from conftest import TINY, new_home
from judges import graded, marks, shown
from matplotlib.figure import Figure
from trainers import outcome

from r2d import paths, recipes
from r2d.evaluation.bertscore import scorer
from r2d.experiments.run import Run
from r2d.llms import judge
from r2d.llms.ask import template
from r2d.llms.chat import Chat
from r2d.recipes.settings import LlmSettings
from r2d.reporting import manifest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks after importing torch")
LONG = TINY | {
    "train.common.steps": 12,
    "train.common.eval_every": 4,
    "train.common.dropout": 0.1,  # so that a resumed run must draw the same masks
    "train.common.patience": 50,
}
FAR = LlmSettings(title="A judge", backend="server", model="m", parameters=1e9, batch=1)


def forked(work) -> int:
    """Start `work` in a child process; its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        work()
        status = 0
    finally:
        os._exit(status)


def killed(work, begun, delay: float) -> bool:
    """Kill `work` so many seconds after `begun`; False where it has ended before."""
    child = forked(work)
    wait_for(begun)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def wait_for(happened) -> float:
    """The moment when it happens."""
    deadline = time.monotonic() + 240
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return time.monotonic()


def trials(**counts) -> list:
    """(phase, number) of each trial; all but the first of some phases are slow."""
    listed = []
    for phase, count in counts.items():
        for number in range(count):
            quick = number == 0 and phase in ("stage_2", "judging", "figures")
            listed.append(pytest.param(phase, number, marks=[] if quick else pytest.mark.slow))
    return listed


# --- a run

PHASES = {
    "stage_1": ("log.jsonl", "model"),
    "stage_2": ("log.jsonl", "model"),
    "decoding": ("model", ""),
}


def run_of(recipe, phase: str) -> Run:
    run = Run(recipe, "triage", "r2d-full", 1)
    return run.start if phase == "stage_1" else run


def reached(run: Run, name: str):
    """Whether a run that is being made has a file, or its name."""
    part = run.folder.with_name(f".{run.folder.name}.part")
    place = part / name if name else run.folder
    return place.exists


@pytest.fixture(scope="module")
def whole(tmp_path_factory, one_thread):
    """(home, recipe, outcome by phase, seconds by phase) of runs that nothing interrupts."""
    home = new_home(tmp_path_factory.mktemp("whole") / "home")
    recipe = recipes.load("smoke", LONG)
    outcomes, seconds = {}, {}
    scorer(recipe.metrics.bertscore, recipe.metrics.bertscore_layer)  # once for all children
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(home))
        for phase, (first, _) in PHASES.items():
            run = run_of(recipe, phase)
            if not run.folder.exists():
                child = forked(run.execute)
                moments = {
                    name: wait_for(reached(run, name)) for name in ("log.jsonl", "model", "")
                }
                assert os.waitpid(child, 0)[1] == 0
            last = PHASES[phase][1]
            seconds[phase] = moments[last] - moments[first]
            outcomes[phase] = outcome(run)
    return home, recipe, outcomes, seconds


@pytest.mark.parametrize(("phase", "number"), trials(stage_1=5, stage_2=5, decoding=4))
def test_a_killed_run_ends_as_one_that_was_not(phase, number, whole, tmp_path, monkeypatch):
    home, recipe, outcomes, seconds = whole
    delay = random.Random(f"{phase} {number}").random() * seconds[phase]
    for attempt in range(5):
        monkeypatch.setenv("R2D_HOME", str(copy_of(home, tmp_path / str(attempt))))
        run = run_of(recipe, phase)
        shutil.rmtree(run.folder)
        if killed(run.execute, reached(run, PHASES[phase][0]), delay):
            break
        delay /= 2
    else:
        pytest.fail("it ended before it could be killed")
    run.execute()
    assert outcome(run) == outcomes[phase]
    assert [path.name for path in run.folder.parent.glob(".*")] == [".seed1.lock"]


def copy_of(home: Path, folder: Path) -> Path:
    new_home(folder)
    shutil.copytree(home / "runs", folder / "runs")
    return folder


# --- a judge

PROMPT = template("judge", "v1")
CASES = [judge.Case(str(i), f"Note {i}", "Home care", f"Because of {i}.") for i in range(12)]


def by_number(request: dict) -> str:
    """A judge whose grades depend on the case alone."""
    return graded(request, marks(1 + int(shown(request)["question"].split()[1]) % 5))


@pytest.mark.parametrize(("phase", "number"), trials(judging=3))
def test_a_killed_judge_is_asked_again_only_what_was_under_way(phase, number, server, tmp_path):
    server.usual = servers.slow(0.03, servers.answering(by_number))

    def grades(name: str):
        return judge.grade(Chat(FAR, cache=tmp_path / name), PROMPT, CASES)

    rng = random.Random(f"{phase} {number}")
    expected, answered = grades("whole"), len(server.seen)
    last = answered + rng.randrange(1, len(CASES))
    delay = rng.random() * 0.03
    assert killed(lambda: grades("killed"), lambda: len(server.seen) >= last, delay)
    assert grades("killed") == expected
    assert len(server.seen) <= 2 * answered + 1


# --- figures

FIGURES = [f"fig{i}_triage" for i in range(5)]


def draw(recipe, table: Path) -> None:
    frame = pd.read_csv(table)
    for k, name in enumerate(FIGURES):
        figure = Figure()
        figure.subplots().plot(frame["x"], frame["y"] * k)
        manifest.save(figure, name, frame, recipe, [table], f"Figure {k}.")


@pytest.mark.parametrize(("phase", "number"), trials(figures=3))
def test_killed_figures_are_drawn_again_as_they_would_have_been(
    phase, number, home, tiny, tmp_path
):
    recipe, table = tiny(), home / "table.csv"
    pd.DataFrame({"x": [1, 2, 3], "y": [2, 3, 5]}).to_csv(table)
    folder, rng = paths.figures(recipe.profile), random.Random(f"{phase} {number}")
    draw(recipe, table)
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    begun = (folder / f"{FIGURES[rng.randrange(2)]}.png").exists
    assert killed(lambda: draw(recipe, table), begun, rng.random() * 0.2)
    draw(recipe, table)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
