"""Finished tiny runs to use, calibrate and share."""

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished tiny triage run: `finished("r2d-full")`, made when first wanted.

    Its recipe is `finished.recipe`.
    """
    from conftest import TINY, new_home

    from r2d import recipes
    from r2d.experiments.run import Run

    home = new_home(tmp_path_factory.mktemp("deploy") / "home")
    recipe = recipes.load("smoke", TINY)
    folders = {}

    def folder(method: str):
        if method not in folders:
            start = recipe.methods[method].init
            if start:
                folder(start)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("R2D_HOME", str(home))
                folders[method] = Run(recipe, "triage", method, 1).execute()
        return folders[method]

    folder.recipe, folder.home = recipe, home
    return folder


@pytest.fixture(autouse=True)
def at_home(finished, monkeypatch):
    """Models are converted beside those runs."""
    monkeypatch.setenv("R2D_HOME", str(finished.home))


@pytest.fixture(scope="session")
def dataset(finished):
    """The dataset of those runs."""
    from r2d import data

    return data.load("triage", finished.recipe.datasets["triage"])


@pytest.fixture(scope="session")
def notes(dataset):
    """Its test cases."""
    return [record.question for record in dataset.test]


@pytest.fixture(scope="session")
def model(finished):
    """A model that decides and explains."""
    import r2d

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(finished.home))
        return r2d.load(finished("r2d-full"))
