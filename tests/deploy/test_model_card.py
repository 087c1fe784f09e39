"""The model card says what the run's files say, whatever labels and titles are called."""

import json
import re
import shutil
from functools import partial

import jinja2
import pytest
import yaml
from docutils.core import publish_doctree
from huggingface_hub import ModelCard
from myst_nb.docutils_ import MystParser

from r2d.deploy.model_card import model_card
from r2d.experiments import directory
from r2d.method.prompts import CHOICE
from r2d.reporting import tables

NASTY = [
    "a `b` ``c``",
    "`",
    "two\nlines\n\n# of a heading",
    "| a | row |",
    "<script>alert(1)</script>",
    "---",
    "{{ title }}{% if %}",
    "](http://evil.example)",
]


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """A variable that the template wants and nobody gives is an error here."""
    template = partial(jinja2.Template, undefined=jinja2.StrictUndefined)
    monkeypatch.setattr(jinja2, "Template", template)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the QLoRA run, to be changed, which its hashes would tell."""
    unwanted = shutil.ignore_patterns("sha256.json")
    return shutil.copytree(finished("r2d-qlora"), tmp_path / "run", ignore=unwanted)


def change_env(folder, **changes) -> None:
    env = json.loads((folder / "env.json").read_text(encoding="utf-8")) | changes
    (folder / "env.json").write_text(json.dumps(env), encoding="utf-8")


def test_the_card_says_what_the_runs_files_say(finished):
    folder = finished("r2d-qlora")
    card, trained = model_card(folder), directory.read(folder)
    for name in ("accuracy", "macro_f1", "consistency"):
        measure = trained["metrics"]["metrics"][name]
        low, high = (f"{100 * end:.1f}" for end in measure["interval"])
        title, value = tables.MEASURES[name], f"{100 * measure['value']:.1f}"
        if name == "consistency":
            value += f" (by chance {100 * measure['chance']:.1f})"
        assert f"| {title} | {value} | {low} to {high} | {measure['n']} |" in card
    assert "| BERTScore F1 (all-MiniLM-L6-v2), given the gold label |" in card
    assert "**synthetic**" in card and "no medical advice" in card
    assert finished.recipe.note in card and trained["env"]["dataset_fingerprint"] in card
    assert f"torch {trained['env']['packages']['torch']}" in card
    assert ", ".join(f"`{label}`" for label in trained["env"]["labels"]) in card
    metadata = ModelCard(card).data
    assert metadata.library_name == "peft" and "synthetic" in metadata.tags
    assert metadata.base_model is None
    settings = yaml.safe_load(card.split("```yaml")[1].split("```")[0])
    assert settings["train"] == trained["config"]["train"]
    assert settings["lora"] == trained["config"]["lora"]


@pytest.mark.parametrize(
    ("method", "gives", "prompts"),
    [
        ("sft-full", "a label", ["`predict: {question}`"]),
        ("stage1-full", "a rationale", ["`explain: {question}`"]),
        (
            "r2d-full",
            "a label and a rationale",
            ["`predict: {question}`", "`given label: {label}, explain: {question}`"],
        ),
    ],
)
def test_the_card_promises_what_the_method_learned(finished, method, gives, prompts):
    card = model_card(finished(method))
    assert f"reads a case and gives {gives}, trained with" in card
    assert re.findall("^- (?:label|rationale): (.*)$", card, re.MULTILINE) == prompts
    assert "not measured by itself" in card if method == "stage1-full" else "| Accuracy |" in card


def test_a_backbone_of_the_hub_is_named_for_the_hub(copy):
    settings = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(settings | {"backbone": "google/t5-x"}))
    card = model_card(copy)
    assert ModelCard(card).data.base_model == "google/t5-x"
    assert "it needs its backbone.\n" in card


def test_no_label_or_title_breaks_the_card(copy):
    usual = publish(model_card(copy))
    change_env(copy, labels=NASTY, title=" ".join(NASTY))
    card = model_card(copy)
    document = publish(card)
    assert shape(document) == shape(usual)
    listed = [node.astext() for node in find(document, "literal")]
    assert all(" ".join(label.split()) in listed for label in NASTY)
    (heading, *_) = find(document, "title")
    title = " ".join(" ".join(NASTY).split())
    assert heading.astext() == f"{title} on Telephone triage (synthetic)"
    assert ModelCard(card).data.tags == ModelCard(model_card(copy)).data.tags


def test_cases_with_candidates_of_their_own_have_no_label_list(copy):
    change_env(copy, labels=[])
    card = model_card(copy)
    assert "- Labels: each case brings its own candidates; classes are their positions\n" in card
    assert f"\nA case with its candidates is written `{CHOICE}`, with ` | ` between them.\n" in card


def test_a_long_label_list_is_cut(copy):
    change_env(copy, labels=[f"label {k}" for k in range(70)])
    card = model_card(copy)
    assert "`label 49` and 20 more\n" in card and "label 50" not in card


def publish(card: str):
    """The card as a Markdown parser reads it."""
    settings = {"report_level": 5, "myst_enable_extensions": []}
    return publish_doctree(ModelCard(card).text, parser=MystParser(), settings_overrides=settings)


def find(document, name: str) -> list:
    return [node for node in document.findall() if node.tagname == name]


def shape(document) -> list[str]:
    """The blocks of a document, without what stands in a line."""
    blocks = {"section", "title", "bullet_list", "list_item", "table", "row", "block_quote"}
    blocks |= {"literal_block", "raw", "paragraph", "reference", "transition", "comment"}
    return [node.tagname for node in document.findall() if node.tagname in blocks]
