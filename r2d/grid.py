"""Which runs the experiments of a recipe are made of, and which notebook carries each."""

from collections.abc import Sequence

from r2d import R2DError, paths
from r2d.config import Recipe
from r2d.objective import OBJECTIVES

Run = tuple[str, str, int]  # dataset, method, seed


def chosen(recipe: Recipe, only: str) -> list[str]:
    """Experiment ids from a comma list; all of the recipe's when it is empty."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in recipe.experiments:
            raise R2DError(f"Profile {recipe.profile} has no experiment {name!r}; choose from {', '.join(recipe.experiments)}.")
    return names or list(recipe.experiments)


def present(recipe: Recipe, dataset: str) -> bool:
    """False for an optional dataset whose files are not under `R2D_DATA`; the workflow leaves it out and says so."""
    settings = recipe.datasets[dataset]
    folder = paths.data()
    return not settings.optional or bool(folder and (folder / dataset).is_dir())


def datasets(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """The datasets of these experiments that are present, each once."""
    named = (d for e in experiments for d in recipe.experiments[e].datasets)
    return [d for d in dict.fromkeys(named) if present(recipe, d)]


def runs(recipe: Recipe, experiments: Sequence[str]) -> list[Run]:
    """Every run of these experiments, each once; runs that only start others are not listed."""
    found: dict[Run, None] = {}
    for name in experiments:
        experiment = recipe.experiments[name]
        for dataset in filter(lambda d: present(recipe, d), experiment.datasets):
            settings = recipe.datasets[dataset]
            for method in settings.methods or experiment.methods:
                for seed in settings.seeds or experiment.seeds:
                    found[dataset, method, seed] = None
    return list(found)


def notebook(recipe: Recipe, method: str) -> str:
    """The notebook that carries a method's runs."""
    name = recipe.methods[method].objective
    if name in OBJECTIVES and not OBJECTIVES[name].decides:
        return "02_stage1"
    return "03_stage2" if name.startswith("r2d") else "04_baselines"
