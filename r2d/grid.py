"""Which runs the experiments of a recipe are made of, which notebook carries each, and what makes a result out of date."""

from collections.abc import Sequence

from r2d import R2DError, paths, run
from r2d.config import Recipe
from r2d.objective import OBJECTIVES

Run = tuple[str, str, int]  # dataset, method, seed
RESULT_CODE = ("results", "stats", "studies", "published.yaml")
FIGURE_CODE = ("figures", "figures_llm", "figures_studies", "gallery", "results", "published.yaml")
REPORT_CODE = ("gallery", "published.yaml", "report", "report.css", "report_index")
ASK_CODE = (*run.CHAT_CODE, "asking", "llm", "llm_server", "written", "zero_shot")
JUDGE_CODE = (*run.CHAT_CODE, "asking", "judge", "llm", "llm_server", "qualification")


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
            for method in _narrowed(experiment.methods, settings.methods):
                for seed in _narrowed(experiment.seeds, settings.seeds):
                    found[dataset, method, seed] = None
    return list(found)


def _narrowed(wanted: Sequence, allowed: Sequence) -> list:
    return [each for each in wanted if each in (allowed or wanted)]


def with_starts(recipe: Recipe, runs: Sequence[Run]) -> list[Run]:
    """The runs, and the stage 1 runs that they start from."""
    starts = [(d, recipe.methods[m].init, s) for d, m, s in runs if recipe.methods[m].init]
    return list(dict.fromkeys([*runs, *starts]))


def notebook(recipe: Recipe, method: str) -> str:
    """The notebook that carries a method's runs."""
    name = recipe.methods[method].objective
    if name in OBJECTIVES and not OBJECTIVES[name].decides:
        return "02_stage1"
    return "03_stage2" if name.startswith("r2d") else "04_baselines"


def titles(recipe: Recipe, name: str) -> list[str]:
    """The methods and chat models of an experiment by their titles, the judge as such."""
    asked = recipe.experiments[name]
    judge = [f"judge: {recipe.llms[recipe.judge.llm].title}"] if asked.judged and recipe.judge else []
    return [recipe.methods[m].title for m in asked.methods] + [recipe.llms[llm].title for llm in asked.llms] + judge


def asking(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """Those of the experiments that ask chat models for decisions (notebook 05)."""
    return [name for name in experiments if recipe.experiments[name].llms]


def judging(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """Those of the experiments whose rationales a chat model judges (notebook 07)."""
    return [name for name in experiments if recipe.experiments[name].judged]


def key(modules: tuple[str, ...], *parts) -> str:
    """Twelve hex digits that change when the code of these package modules or these parts of a recipe change."""
    return run.digest(parts, run.code_hash(modules))


def asking_key(recipe: Recipe, experiments: Sequence[str]) -> str:
    """Changes when the zero-shot models, what they are asked and write, their prompts or the code that asks them change."""
    return key(ASK_CODE, _part(recipe, experiments, "llms", "zero_shot"), _prompts("zero_shot"), _prompts("rationale"))


def judging_key(recipe: Recipe, experiments: Sequence[str]) -> str:
    """Changes when the judge, what it is shown, its prompts or the code that asks it change."""
    return key(JUDGE_CODE, _part(recipe, experiments, "llms", "judge"), _prompts("judge"))


def _part(recipe: Recipe, experiments: Sequence[str], *fields: str) -> dict:
    found = recipe.model_dump(mode="json", include={*fields, "experiments"})
    return found | {"experiments": {name: [found["experiments"][name], titles(recipe, name)] for name in experiments}}


def _prompts(use: str) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted((paths.PACKAGE / "prompts" / use).glob("*.yaml"))]
