"""What a user of the workflow has: a copy of the project, and a home elsewhere."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import new_home, project_copy

from r2d import paths, recipes
from r2d.experiments import grid
from r2d.experiments.run import Run


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project, so that neither its figures nor its lock are touched."""
    return project_copy(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def outside(project) -> dict[str, str]:
    """The environment of a user: a home elsewhere, the data sets there are, this interpreter."""
    data = Path(os.environ.get("R2D_DATA") or paths.ROOT.parent / "shared" / "data")
    data = data.expanduser().resolve()
    environment = {k: v for k, v in os.environ.items() if k not in ("CONDA_PREFIX", "R2D_DATA")}
    environment["R2D_HOME"] = str(new_home(project.parent / "home"))
    environment["VIRTUAL_ENV"] = sys.prefix
    if data.is_dir():
        environment["R2D_DATA"] = str(data)
    return environment


@pytest.fixture(scope="module")
def smoke(outside):
    """The recipe, all of its runs, and the datasets that are present."""
    with as_user(outside):
        recipe = recipes.load("smoke")
        experiments = list(recipe.experiments)
        return recipe, grid.runs(recipe, experiments), grid.datasets(recipe, experiments)


@pytest.fixture(scope="module")
def needed(outside):
    """What experiments of smoke need: `needed("E6")` are the runs and the datasets by name."""

    def look(only: str = "") -> tuple[list[Run], list[str]]:
        with as_user(outside):
            recipe = recipes.load("smoke")
            experiments = grid.chosen(recipe, only)
            return grid.to_train(recipe, experiments), grid.datasets(recipe, experiments)

    return look


@contextmanager
def as_user(outside) -> Iterator[None]:
    """The user's data and home, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("R2D_HOME", "R2D_DATA"):
            patch.delenv(name, raising=False)
            if name in outside:
                patch.setenv(name, outside[name])
        yield
