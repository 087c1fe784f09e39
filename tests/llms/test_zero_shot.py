"""Chat models that were never trained.

Asked once, missing answers counted, on the same cases as the fine-tuned models.
"""

import json

import pytest
import servers
import yaml

from r2d import data, paths, recipes
from r2d.llms import zero_shot
from r2d.llms.chat import Chat
from r2d.models.decode import prediction
from r2d.recipes.settings import LlmSettings
from r2d.reporting import chat_models

FAR = {"title": "A server", "backend": "server", "model": "m", "parameters": 1e9, "batch": 2}
SMALL = {
    "title": "SmolLM2",
    "model": "smollm2",
    "parameters": 1.35e8,
    "batch": 4,
    "max_new_tokens": 100,
}


@pytest.fixture
def chat(tmp_path):
    """`chat(recipe)`: its chat model over one cache."""
    return lambda recipe: Chat(recipe.llms["smollm2"], cache=tmp_path / "answers.sqlite")


@pytest.fixture
def recipe(home, tiny):
    return tiny({"llms.smollm2": FAR, "zero_shot.cases": 5})


@pytest.fixture
def triage(recipe):
    return data.load("triage", recipe.datasets["triage"])


def note(message: dict) -> str:
    """The case in a turn of the user."""
    return message["content"].split("<<<QUESTION\n")[1].split("\nQUESTION>>>")[0]


def answers(records, unreadable=()):
    """A server that knows every label.

    Of the cases in `unreadable` it says nothing that can be read.
    """
    labels = {record.question: record.label for record in records}
    silent = {record.question for record in unreadable}

    def rule(request):
        cases = [m for m in request["messages"] if "<<<QUESTION" in m["content"]]
        question = note(cases[-1])
        if question in silent:
            return "I'd see a doctor."
        return json.dumps({"label": labels[question], "rationale": "So."})

    return servers.answering(rule)


def finished(recipe, method, rows, parameters=1e6):
    folder = paths.run(recipe.profile, "triage", method, 1)
    folder.mkdir(parents=True)
    paths.write_lines(folder / "predictions.jsonl", rows)
    (folder / "config.yaml").write_text(yaml.safe_dump({}))
    (folder / "env.json").write_text(json.dumps({"parameters": int(parameters)}))
    (folder / "metrics.json").write_text("{}")


def lines(file) -> list[dict]:
    return [json.loads(line) for line in file.open(encoding="utf-8")]


def test_what_cannot_be_read_is_an_invalid_label_and_stands_in_the_parse_rate(
    server, chat, recipe, triage
):
    server.usual = answers(triage.test, unreadable=triage.test[1:3])
    first = chat(recipe)
    (row,) = zero_shot.ask(recipe, "triage", "smollm2", first).to_dict("records")
    assert (row["how"], row["cases"]) == ("answer", 5)
    assert (row["parse_rate"], row["accuracy"]) == (0.6, 0.6)
    assert len(server.seen) == 5 + 2 and first.totals.calls == 7
    folder = paths.runs(recipe.profile) / "triage" / "zero-shot" / "smollm2"
    predictions = lines(folder / "predictions.jsonl")
    assert [each["id"] for each in predictions] == [record.id for record in triage.test[:5]]
    assert [each["valid"] for each in predictions] == [True, False, False, True, True]
    assert predictions[0]["rationale"] == "So."
    record = json.loads((folder / "env.json").read_text())
    assert (record["missing_rate"], record["retried"]) == (0.4, 2)
    assert record["totals"]["calls"] == 7
    again = chat(recipe)
    assert zero_shot.ask(recipe, "triage", "smollm2", again).to_dict("records") == [row]
    assert (again.totals.calls, len(server.seen)) == (0, 7)


def test_worked_examples_come_from_training_and_take_the_labels_in_turn(server, chat, home, tiny):
    recipe = tiny({"llms.smollm2": FAR, "zero_shot.cases": 3, "zero_shot.shots": 4})
    triage = data.load("triage", recipe.datasets["triage"])
    server.usual = answers([*triage.test, *triage.train])
    (row,) = zero_shot.ask(recipe, "triage", "smollm2", chat(recipe)).to_dict("records")
    assert row["title"] == "A server (4 examples)"
    folder = paths.runs(recipe.profile) / "triage" / "few-shot-4" / "smollm2"
    assert (folder / "metrics.json").is_file()
    messages = server.seen[0][1]["messages"]
    roles = [message["role"] for message in messages]
    assert roles == ["system", *["user", "assistant"] * 4, "user"]
    examples = [json.loads(m["content"]) for m in messages if m["role"] == "assistant"]
    assert len({each["label"] for each in examples}) == 4
    assert set(examples[0]) == {"label", "rationale"}
    *shown, asked = [note(message) for message in messages if message["role"] == "user"]
    assert set(shown) <= {record.question for record in triage.train}
    assert asked in {record.question for record in triage.test}


def test_a_local_model_answers_in_form_and_is_also_scored_over_the_label_set(chat, home, tiny):
    recipe = tiny({"llms.smollm2": SMALL, "zero_shot.cases": 1})
    table = zero_shot.ask(recipe, "triage", "smollm2", chat(recipe))
    assert list(table["how"]) == ["answer", "scored"] and (table["parse_rate"] == 1).all()
    folder = paths.runs(recipe.profile) / "triage" / "zero-shot" / "smollm2"
    labels = data.load("triage", recipe.datasets["triage"]).labels
    (row,) = lines(folder / "predictions.jsonl")
    assert row["label"] in labels and row["label_scored"] in labels and row["rationale"]
    (kept,) = zero_shot.labels_only([row], "label_scored")
    assert (kept["kind"], kept["facts"]) == (row["kind"], row["facts"]) and kept["facts"]
    assert (kept["label"], kept["rationale"]) == (row["label_scored"], "")


def test_fine_tuned_models_stand_beside_them_on_the_same_cases(server, chat, recipe, triage):
    server.usual = answers(triage.test)
    answered = [zero_shot.ask(recipe, "triage", "smollm2", chat(recipe))]
    for k, method in enumerate(recipe.experiments["E4"].methods):
        # Right on the first 3 + k of the 5 cases that are asked about, and on all beyond them.
        rows = []
        for i, record in enumerate(triage.test):
            label = record.label if i < k + 3 or i >= 5 else "x"
            rows.append(prediction(record, label, triage.labels))
        finished(recipe, method, rows, parameters=1e6 * (k + 1))
    table = zero_shot.table(recipe, ["E4"], answered).set_index("name")
    assert list(table.index) == ["smollm2", "majority", "sft-full", "r2d-full", "r2d-qlora"]
    assert (table["cases"] == 5).all() and list(table["accuracy"])[2:] == [0.6, 0.8, 1.0]
    assert (table["macro_f1_low"] <= table["macro_f1_high"]).all()
    assert list(table.loc[["smollm2", "r2d-qlora"], "parameters"]) == [1e9, 3e6]
    (sentence,) = chat_models.sentences(table.reset_index())
    assert "R2D (QLoRA) (" in sentence
    assert "is 333 times smaller than the best zero-shot model here, A server" in sentence


def test_every_size_that_a_recipe_names_fits_its_model():
    llms = recipes.load("paper").llms
    assert LlmSettings(**FAR).parameters == 1e9
    assert len(llms) >= 4 and any("medgemma" in llm.model for llm in llms.values())
    assert llms["qwen3-32b"].model == "Qwen/Qwen3-32B"
    for llm in llms.values():
        billions = float(llm.title.rpartition(" ")[2].removesuffix("B"))
        assert 4 <= billions <= 70 and f"{billions:.0f}b" in llm.model.lower()
        assert 0.9 < llm.parameters / billions / 1e9 < 1.1
