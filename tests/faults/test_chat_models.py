"""Chat models' own files: damaged weights, templates, prompts and people's grades are sentences."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from r2d import paths
from r2d.errors import R2DError
from r2d.llms import local
from r2d.llms.ask import template
from r2d.llms.chat import Chat
from r2d.llms.judge import CRITERIA, agreement
from r2d.recipes.settings import LlmSettings

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "SECRET"}]
WEIGHT = "model.layers.0.mlp.up_proj.weight"
PLAIN = (
    "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture
def model(llama, tmp_path, monkeypatch) -> Path:
    """A tiny chat model in a folder of its own, forgotten after the test."""
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    (folder / "chat_template.jinja").write_text(PLAIN)
    monkeypatch.setattr(local, "_LOADED", {})
    return folder


def chat(folder: Path) -> Chat:
    settings = LlmSettings(title="Tiny", model=str(folder), parameters=1, max_new_tokens=3)
    return Chat(settings, cache=folder.parent / "answers.sqlite")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def with_weight(folder: Path, weight: torch.Tensor | None) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(WEIGHT)
    if weight is not None:
        weights[WEIGHT] = weight
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_template(folder: Path, text: str) -> None:
    (folder / "chat_template.jinja").write_text(text)


def without_end(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"eos_token": None, "pad_token": None}
    file.write_text(json.dumps(settings))


NOT_LOADED = (
    "The chat model {0!r} could not be loaded: it is neither a causal model's folder here nor one "
    "a model hub gave (safetensors only); check `llms` in the recipe and the network, or ask a "
    "server instead."
)
DAMAGED = "The chat model {{0!r}} is damaged, or is no causal model ({}): get its folder again."
NO_TEMPLATE = "The model {0!r} has no chat template: choose an instruction-tuned one."
BAD_TEMPLATE = (
    "The chat template of {0!r} is broken, or takes no system message: choose another model, or "
    "ask a server."
)
FAULTS = {
    "cut weights": (
        lambda folder: cut(folder / "model.safetensors"),
        DAMAGED.format("SafetensorError"),
    ),
    "empty weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        DAMAGED.format("SafetensorError"),
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), NOT_LOADED),
    "a weight missing": (
        lambda folder: with_weight(folder, None),
        DAMAGED.format(f"no {WEIGHT}"),
    ),
    "a weight of another shape": (
        lambda folder: with_weight(folder, torch.zeros(3, 3)),
        DAMAGED.format("RuntimeError"),
    ),
    "a cut tokenizer": (lambda folder: cut(folder / "tokenizer.json"), NOT_LOADED),
    "a cut config": (lambda folder: cut(folder / "config.json"), NOT_LOADED),
    "a config that is a list": (
        lambda folder: (folder / "config.json").write_text("[]"),
        DAMAGED.format("TypeError"),
    ),
    "no template": (lambda folder: (folder / "chat_template.jinja").unlink(), NO_TEMPLATE),
    "a broken template": (lambda folder: with_template(folder, "{% for"), BAD_TEMPLATE),
    "a template without system messages": (
        lambda folder: with_template(folder, "{{ raise_exception(messages[1].content) }}"),
        BAD_TEMPLATE,
    ),
    "no end token": (
        without_end,
        "The tokenizer of {0!r} has no end token: choose another model.",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_chat_model_that_is_damaged_is_a_sentence(model, damage, sentence):
    damage(model)
    with pytest.raises(R2DError) as caught:
        chat(model).ask([TURNS], "v1")
    assert str(caught.value) == sentence.format(str(model))


def test_weights_that_are_no_numbers_choose_nothing(model):
    assert chat(model).ask([TURNS], "v1")[0].finish in ("stop", "length")
    with_weight(model, torch.full((48, 32), torch.nan))
    local._LOADED.clear()
    for act in (
        lambda: chat(model).ask([TURNS], "v1", {"enum": ["a", "b"]}),
        lambda: chat(model).score([TURNS], [["a", "b"]], "v1"),
    ):
        with pytest.raises(R2DError) as caught:
            act()
        assert str(caught.value) == (
            f"The chat model {str(model)!r} gives probabilities that are no numbers: its weights "
            "are damaged; get it again."
        )


# --- prompts

PROMPT = """
system: s
user: '{q}'
answer: [{name: a, type: int, meaning: m}]
settings: {max_new_tokens: 9}
"""
CURE = "mend it there, or get it again."
PROMPTS = {
    "no YAML": (PROMPT + "fenced: [", f"{{}} is not YAML, perhaps cut short; {CURE}"),
    "binary": ("\x00\x01", f"{{}} is not YAML, perhaps cut short; {CURE}"),
    "depth": ("[" * 3000, f"{{}} is not YAML, perhaps cut short; {CURE}"),
    "a Python object": (
        PROMPT + "example: !!python/object/apply:os.getcwd []",
        f"{{}} is not YAML, perhaps cut short; {CURE}",
    ),
    "a list": ("[1, 2]", f"{{}} does not hold what it should; {CURE}"),
    "empty": ("", f"{{}} does not hold what it should; {CURE}"),
    "a number as key": (PROMPT + "1: x", "{} has a key that is not known; remove it."),
    "a key of ours": (PROMPT + "name: x", "{} has a key that is not known; remove it."),
    "an unknown key": (
        PROMPT + "hello: 1",
        "in {} key `hello` is not known; remove it or mend its spelling.",
    ),
    "no system": (PROMPT.replace("system: s", ""), "in {} key `system` is missing; add it."),
    "no meaning": (
        PROMPT.replace(", meaning: m", ""),
        "in {} key `answer.0.meaning` is missing; add it.",
    ),
    "a field that is not there": (
        PROMPT + "fenced: [x]",
        "in {} fenced names ['x'], which `user` doesn't use.",
    ),
    "an example that is none": (
        PROMPT + "example: {a: b}",
        "in {} the example is not an answer as `answer` describes it.",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), PROMPTS.values(), ids=PROMPTS)
def test_a_broken_prompt_is_a_sentence(tmp_path, monkeypatch, text, sentence):
    monkeypatch.setattr(paths, "PROMPTS", tmp_path)
    file = tmp_path / "task" / "v1.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(R2DError) as caught:
        template("task")
    assert str(caught.value) == f"The prompt file is broken: {sentence.format(file)}"


# --- people's grades

HEADER = "id,method,criterion,score,seed\n"
GRADES = {
    "": "{} is empty: get or write it again.",
    "id,method\na,r2d\n": "{} has no column criterion, score: add it.",
    HEADER + 'a,r2d,"harm,1,1\n': (
        "{}, after row 1: not CSV (unexpected end of data); mend the quotes there."
    ),
    HEADER + "a,r2d\n": (
        "{}, row 2: it is not a whole record; give it the fields the other rows have."
    ),
    HEADER + "a,r2d,SECRET,1,1\n": (
        "{}, row 2: its criterion is not one of the rubric's, which are correctness, alignment, "
        "completeness, harm: mend it."
    ),
    HEADER + "a,r2d,harm,1,1\na,r2d,harm,SECRET,1\n": (
        "{}, row 3: its score or seed is no number: mend it."
    ),
    HEADER + "a,r2d,harm,1,SECRET\n": "{}, row 2: its score or seed is no number: mend it.",
    HEADER + "a,r2d,harm,nan,1\n": (
        "{}, row 2: its score is not a whole number from 1 to 5: mend it."
    ),
    HEADER + "a,r2d,harm,6,1\n": "{}, row 2: its score is not a whole number from 1 to 5: mend it.",
    HEADER: (
        "{} shares no id, method and criterion with a grade of the judge: use predictions.jsonl's "
        "ids."
    ),
}


@pytest.mark.parametrize(("text", "sentence"), GRADES.items(), ids=map(str, range(len(GRADES))))
def test_broken_grades_of_people_are_a_sentence_without_their_cells(tmp_path, text, sentence):
    file = tmp_path / "people.csv"
    file.write_text(text)
    graded = pd.DataFrame({"id": ["a"], "method": "r2d", "seed": 1, **dict.fromkeys(CRITERIA, 3)})
    with pytest.raises(R2DError) as caught:
        agreement(graded, str(file))
    assert str(caught.value) == sentence.format("people.csv")
    file.write_text(HEADER + "a,r2d,harm,3.0,1\n")
    assert agreement(graded, str(file))["equal"].tolist() == [1.0]
