"""No name or path of a recipe, a table or a command leaves its place, or changes a finished run."""

import json
import re

import pytest
import yaml

from r2d import __main__, paths, recipes
from r2d.data.card import load_card
from r2d.deploy import answers, share
from r2d.errors import R2DError
from r2d.experiments import notebook
from r2d.experiments.run import Run
from r2d.llms.ask import template
from r2d.reporting import gallery

STRANGE = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc",
    "a b",
    "-rf",
    ".hidden",
    "_x",
    "$(touch x)",
    "`x`",
    "a;b",
    "a'b",
    'a"b',
    "a\nb",
    "a\n",
    "{x}",
    "a*",
    "a\\b",
    "C:x",
    "é",
    "a\0b",
    "ａ",
    "<script>",
]
RULE = "is no name: use letters, digits, '.', '_', '+' and '-', a letter or digit first"
SHIPPED = yaml.safe_load((paths.RECIPES / "smoke.yaml").read_text(encoding="utf-8"))


def renamed(part: str, name: str) -> dict:
    """The shipped recipe with one more entry of this name."""
    (first, *_) = SHIPPED[part].values()
    return SHIPPED | {part: SHIPPED[part] | {name: first}}


@pytest.fixture
def own_recipes(tmp_path, monkeypatch):
    """A folder of recipes, and how to load one that says `raw`."""
    monkeypatch.setattr(paths, "RECIPES", tmp_path)

    def load(raw: dict) -> recipes.Recipe:
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
        return recipes.load("own")

    return load


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("part", ["datasets", "methods", "llms", "experiments"])
def test_a_recipe_with_a_strange_name_is_refused_by_a_sentence(own_recipes, part, name):
    with pytest.raises(R2DError) as caught:
        own_recipes(renamed(part, name))
    assert str(caught.value) == f"Recipe own.yaml: {part}: {name!r} {RULE}."


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("key", ["profile", "zero_shot.prompt", "judge.prompt"])
def test_profiles_and_prompts_are_names_too(own_recipes, key, name):
    raw = json.loads(json.dumps(SHIPPED))
    recipes.overrides.override(raw, key, name, recipes.Recipe)
    with pytest.raises(R2DError, match=re.escape(f"{key}: {name!r} {RULE}")):
        own_recipes(raw)


@pytest.mark.parametrize("name", ["a", "0", "r2d-full_2.1+x", "T5.v1_1"])
def test_usual_names_are_taken(own_recipes, name):
    for part in ("datasets", "methods", "llms", "experiments"):
        assert name in getattr(own_recipes(renamed(part, name)), part)


@pytest.mark.parametrize("name", ["figures", "results", "notebooks", "logs", "report", "Results"])
def test_a_dataset_is_not_called_as_a_folder_of_every_profile(own_recipes, name):
    with pytest.raises(R2DError, match=f"the name {name!r}, which is a folder of every profile"):
        own_recipes(renamed("datasets", name))


@pytest.mark.parametrize("name", [name for name in STRANGE if name])
def test_a_name_that_is_set_on_the_command_line_is_refused(name):
    key = f"datasets.{name}"
    if "." in name:  # it then leads into another part of the recipe
        key = "datasets.triage"
    changes = {key: {"card": "triage"}} if "." not in name else {f"{key}.card": name}
    with pytest.raises(R2DError) as caught:
        recipe = recipes.load("smoke", changes)
        load_card(recipe.datasets["triage"].card)
    assert RULE in str(caught.value) or f"Dataset card {name!r} is not known" in str(caught.value)


@pytest.mark.parametrize("name", STRANGE)
def test_a_path_is_never_made_of_one(tiny, home, name):
    recipe = tiny()
    for place in (
        lambda: paths.runs(name),
        lambda: paths.run(name, "a", "b", 1),
        lambda: paths.run("smoke", name, "b", 1),
        lambda: paths.run("smoke", "a", name, 1),
        lambda: Run(recipe, name, "r2d-full", 1).folder,
        lambda: recipes.load(name),
        lambda: template("judge", name),
        lambda: load_card(name),
        lambda: notebook.execute(name, home / "out.ipynb", {}),
    ):
        with pytest.raises(R2DError):
            place()
    assert not (home / "runs").exists()


@pytest.mark.parametrize("name", ["../../x", "a/b", ".."])
def test_a_figure_is_not_called_by_what_a_table_says(tiny, home, name):
    recipe = tiny()
    results = paths.runs(recipe.profile) / "results"
    results.mkdir(parents=True)
    (results / "per_class.csv").write_text(f"dataset,method,label,f1\n{name},majority,a,1\n")
    with pytest.raises(R2DError, match=re.escape(f"{name!r} {RULE}")):
        gallery.draw(recipe, "fig1b_classes", ["E1"])


# --- a finished run is changed by nothing else


@pytest.fixture
def finished_elsewhere(tmp_path):
    """A folder that looks like a run, outside `runs/`."""
    folder = tmp_path / "copied" / "seed1"
    folder.mkdir(parents=True)
    for name in paths.OF_A_RUN:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("inside", ["", "model", "model/deep/er", "../other/new"])
def test_an_export_never_goes_where_runs_are(home, finished_elsewhere, inside, capsys):
    places = [paths.runs("smoke") / "triage" / "r2d-full" / "seed1" / inside, home / "runs"]
    if not inside.startswith(".."):
        places.append(finished_elsewhere / inside)
    for place in places:
        with pytest.raises(R2DError, match="is among the runs, which nothing else may change"):
            share.export(finished_elsewhere, place)
        assert __main__.main(["export", str(finished_elsewhere), str(place)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert sorted(file.name for file in finished_elsewhere.iterdir()) == sorted(paths.OF_A_RUN)
    assert not (home / "runs").exists()


def test_nor_through_a_link_or_a_relative_path(home, finished_elsewhere, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(finished_elsewhere)
    monkeypatch.chdir(finished_elsewhere)
    for place in (tmp_path / "link" / "new", ".", "new", "../seed1/new"):
        with pytest.raises(R2DError, match="is among the runs"):
            share.export(finished_elsewhere, place)


def test_predictions_are_not_written_over_a_run(finished_elsewhere):
    with pytest.raises(R2DError, match="is among the runs"):
        answers.expect_writable(finished_elsewhere / "predictions.jsonl")
    answers.expect_writable(finished_elsewhere.parent / "answers.jsonl")
