"""Which runs the experiments of a recipe are made of, and which notebook carries each."""

from collections.abc import Sequence

from r2d import paths, provenance, recipes
from r2d.errors import R2DError
from r2d.experiments import directory
from r2d.experiments.run import Run, training_code
from r2d.recipes import Recipe
from r2d.recipes.settings import DataSettings

CURVES = "E9"  # its datasets differ in size and noise; notebook 10 has tables of its own for it


def chosen(recipe: Recipe, only: str) -> list[str]:
    """Experiment ids from a comma list; all of the recipe's when it is empty."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in recipe.experiments:
            raise R2DError(
                f"Profile {recipe.profile} has no experiment {name!r}; choose from "
                f"{', '.join(recipe.experiments)}."
            )
    return names or list(recipe.experiments)


def present(recipe: Recipe, dataset: str) -> bool:
    """False for an optional dataset whose files are not under `R2D_DATA`; it is left out then."""
    folder = paths.data()
    if not recipe.datasets[dataset].optional:
        return True
    return bool(folder and (folder / dataset).is_dir())


def datasets(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """The datasets of these experiments that are present, each once."""
    named = (name for e in experiments for name in recipe.experiments[e].datasets)
    return [name for name in dict.fromkeys(named) if present(recipe, name)]


def runs(recipe: Recipe, experiments: Sequence[str]) -> list[Run]:
    """Every run of these experiments, each once; runs that only start others are not listed."""
    listed: dict[Run, None] = {}
    for experiment in (recipe.experiments[name] for name in experiments):
        for dataset in experiment.datasets:
            if not present(recipe, dataset):
                continue
            settings = recipe.datasets[dataset]
            for method in _narrowed(experiment.methods, settings.methods):
                for seed in _narrowed(experiment.seeds, settings.seeds):
                    listed[Run(recipe, dataset, method, seed)] = None
    return list(listed)


def readers(recipe: Recipe, experiments: Sequence[str]) -> list[Run]:
    """What reads the rationales of these experiments beside their datasets' own measure.

    Nothing where labels are no fixed set; a dataset's `methods` do not narrow it.
    """
    listed: dict[Run, None] = {}
    for experiment in (recipe.experiments[name] for name in experiments):
        for dataset in experiment.datasets:
            settings = recipe.datasets[dataset]
            if not present(recipe, dataset) or not _has_label_set(settings):
                continue
            seed = _narrowed(experiment.seeds, settings.seeds)[0]
            for method in experiment.readers:
                listed[Run(recipe, dataset, method, seed)] = None
    return list(listed)


def with_starts(runs: Sequence[Run]) -> list[Run]:
    """The runs, and the stage 1 runs that they go on from."""
    return list(dict.fromkeys([*runs, *(run.start for run in runs if run.start)]))


def to_train(recipe: Recipe, experiments: Sequence[str]) -> list[Run]:
    """Every run that these experiments need, those that only start or read others included."""
    return with_starts([*runs(recipe, experiments), *readers(recipe, experiments)])


def changed(recipe: Recipe, experiments: Sequence[str]) -> list[Run]:
    """The runs of these experiments that differ from the shipped recipe's; none of that itself."""
    shipped = as_shipped(recipe)
    if recipe.profile == shipped.profile:
        return []
    return [
        run
        for run in runs(recipe, experiments)
        if run.settings != getattr(before(shipped, run), "settings", None)
    ]


def as_shipped(recipe: Recipe) -> Recipe:
    """The recipe as it was before it was changed."""
    profile = recipe.profile.partition("+")[0]
    return recipe if profile == recipe.profile else recipes.load(profile)


def before(shipped: Recipe, run: Run) -> Run | None:
    """The same run of the shipped recipe, if that has its dataset and method."""
    if run.dataset not in shipped.datasets or run.method not in shipped.methods:
        return None
    return Run(shipped, run.dataset, run.method, run.seed)


def notebook(recipe: Recipe, method: str) -> str:
    """The notebook that carries a method's runs."""
    objective = Run(recipe, "", method, 0).objective
    if objective is None or not recipe.methods[method].objective.startswith(("r2d", "stage1")):
        return "04_baselines"
    return "03_stage2" if objective.predicts else "02_stage1"


def carried(recipe: Recipe) -> dict[str, list[str]]:
    """The methods whose runs each notebook carries, none where the recipe has none."""
    methods: dict[str, list[str]] = {"02_stage1": [], "03_stage2": [], "04_baselines": []}
    for method in recipe.methods:
        methods[notebook(recipe, method)].append(method)
    return methods


def executed(run: Run) -> str:
    """What the executed notebook of a run is called: like its source, then as the run."""
    source = notebook(run.recipe, run.method)
    return f"{source}-{run.dataset}-{run.method}-seed{run.seed}"


def titles(recipe: Recipe, name: str) -> list[str]:
    """The methods and chat models of an experiment by their titles, readers and judge as such."""
    experiment = recipe.experiments[name]
    named = [recipe.methods[method].title for method in experiment.methods]
    named += [f"reader: {recipe.methods[method].title}" for method in experiment.readers]
    named += [recipe.llms[llm].title for llm in experiment.llms]
    if experiment.judged and recipe.judge:
        named.append(f"judge: {recipe.llms[recipe.judge.llm].title}")
    return named


def with_llms(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """Those of the experiments that ask chat models for decisions (notebook 05)."""
    return [name for name in experiments if recipe.experiments[name].llms]


def in_tables(experiments: Sequence[str]) -> list[str]:
    """Those of the experiments that table 1 and its like are made of (notebook 06)."""
    return [name for name in experiments if name != CURVES]


def with_curves(experiments: Sequence[str]) -> list[str]:
    """Those of the experiments whose results are learning curves (notebook 10)."""
    return [name for name in experiments if name == CURVES]


def judged(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """Those of the experiments whose rationales a chat model judges (notebook 07)."""
    return [name for name in experiments if recipe.experiments[name].judged]


def data_key(recipe: Recipe, dataset: str) -> str:
    """Changes when the dataset's settings or files change, or the code that reads or shows it."""
    from r2d import data

    settings = recipe.datasets[dataset]
    code = provenance.code("r2d.data", "r2d.data.describe", without="r2d.recipes")
    shown = settings.model_dump(mode="json")
    return provenance.digest(shown, data.content(settings), code, training_code())


def zero_shot_key(recipe: Recipe, experiments: Sequence[str]) -> str:
    """Changes when the zero-shot models, what they are asked and write, or that code changes."""
    parts = _part(recipe, experiments, "llms", "zero_shot")
    names = ("r2d.llms.zero_shot", "r2d.llms.rationales", "r2d.reporting.chat_models")
    code = provenance.code(*names, without="r2d.recipes")
    return provenance.digest(parts, code, _prompts("zero_shot"), _prompts("rationale"))


def judge_key(recipe: Recipe, experiments: Sequence[str]) -> str:
    """Changes when the judge, what it is shown, its prompts or the code that asks it change."""
    parts = _part(recipe, experiments, "llms", "judge")
    code = provenance.code("r2d.llms.judge", "r2d.llms.qualification", without="r2d.recipes")
    return provenance.digest(parts, code, _prompts("judge"))


def reporting_key(recipe: Recipe, *modules: str) -> str:
    """Changes with the recipe, the code of these modules of reporting, and its style and texts."""
    code = provenance.code(*(f"r2d.reporting.{module}" for module in modules))
    folder = paths.PUBLISHED.parent
    files = [paths.PUBLISHED, *sorted(folder.glob("*.css")), *sorted(folder.glob("pages/*.md"))]
    return provenance.digest(recipe.fingerprint(), code, provenance.files(files))


def before_key(recipe: Recipe, experiments: Sequence[str]) -> str:
    """Changes when another of the runs that a changed recipe is compared with is finished."""
    shipped = as_shipped(recipe)
    twins = [before(shipped, run) for run in changed(recipe, experiments)]
    keys = [directory.metrics_key(twin.folder) for twin in twins if twin]
    return provenance.digest(keys)


def _part(recipe: Recipe, experiments: Sequence[str], *fields: str) -> dict:
    """Some fields of a recipe, and of its experiments these with their titles."""
    shown = recipe.model_dump(mode="json", include={*fields, "experiments"})
    named = {name: [shown["experiments"][name], titles(recipe, name)] for name in experiments}
    return shown | {"experiments": named}


def _prompts(task: str) -> str:
    return provenance.files(sorted((paths.PROMPTS / task).glob("*.yaml")))


def _has_label_set(settings: DataSettings) -> bool:
    own_candidates = settings.options_from or "candidates" in settings.columns
    return settings.labels == "closed" and not own_candidates


def _narrowed(wanted: Sequence, allowed: Sequence) -> list:
    return [each for each in wanted if not allowed or each in allowed]
