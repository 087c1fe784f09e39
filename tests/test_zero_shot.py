"""Chat models that were never trained: asked once, missing answers counted, on the same cases as the fine-tuned models."""

import json

import pandas as pd
import pytest
import servers
import yaml

from r2d import data, paths
from r2d.llms import zero_shot
from r2d.llms.chat import Chat
from r2d.recipes.settings import LlmSettings

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


def answers(records, wrong=()):
    """A server that knows every label but those of the cases in `wrong`, where it says nothing that can be read."""
    truth = {r.question: r for r in records}
    unreadable = {r.question for r in wrong}

    def rule(request):
        note = next(
            m["content"] for m in reversed(request["messages"]) if "<<<QUESTION" in m["content"]
        )
        record = truth[note.split("<<<QUESTION\n")[1].split("\nQUESTION>>>")[0]]
        return (
            "I'd see a doctor."
            if record.question in unreadable
            else json.dumps({"label": record.label, "rationale": "So."})
        )

    return servers.answering(rule)


def finished(recipe, method, rows, parameters=1e6):
    folder = paths.run(recipe.profile, "triage", method, 1)
    folder.mkdir(parents=True)
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.yaml").write_text(yaml.safe_dump({}))
    (folder / "env.json").write_text(json.dumps({"parameters": parameters}))
    (folder / "metrics.json").write_text("{}")


def test_what_cannot_be_read_is_an_invalid_label_and_stands_in_the_parse_rate(
    server, chat, recipe, triage
):
    server.usual = answers(triage.test, wrong=triage.test[1:3])
    first = chat(recipe)
    (found,) = zero_shot.ask(recipe, "triage", "smollm2", first).to_dict("records")
    assert (found["how"], found["cases"], found["parse_rate"], found["accuracy"]) == (
        "answer",
        5,
        0.6,
        0.6,
    )
    assert len(server.seen) == 5 + 2 and first.totals.calls == 7
    folder = paths.runs(recipe.profile) / "triage" / "zero-shot" / "smollm2"
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").open()]
    assert [row["id"] for row in rows] == [r.id for r in triage.test[:5]]
    assert [row["valid"] for row in rows] == [True, False, False, True, True] and rows[0][
        "rationale"
    ] == "So."
    took = json.loads((folder / "env.json").read_text())
    assert (took["missing_rate"], took["retried"], took["totals"]["calls"]) == (0.4, 2, 7)
    again = chat(recipe)
    assert zero_shot.ask(recipe, "triage", "smollm2", again).to_dict("records") == [found]
    assert (again.totals.calls, len(server.seen)) == (0, 7)


def test_worked_examples_come_from_training_and_take_the_labels_in_turn(server, chat, home, tiny):
    recipe = tiny({"llms.smollm2": FAR, "zero_shot.cases": 3, "zero_shot.shots": 4})
    triage = data.load("triage", recipe.datasets["triage"])
    server.usual = answers([*triage.test, *triage.train])
    (found,) = zero_shot.ask(recipe, "triage", "smollm2", chat(recipe)).to_dict("records")
    assert found["title"] == "A server (4 examples)"
    assert (
        paths.runs(recipe.profile) / "triage" / "few-shot-4" / "smollm2" / "metrics.json"
    ).is_file()
    messages = server.seen[0][1]["messages"]
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 4, "user"]
    shown = [json.loads(m["content"]) for m in messages if m["role"] == "assistant"]
    assert len({each["label"] for each in shown}) == 4 and set(shown[0]) == {"label", "rationale"}
    train, test = ({r.question for r in part} for part in (triage.train, triage.test))
    said = [
        m["content"].split("<<<QUESTION\n")[1].split("\nQUESTION>>>")[0]
        for m in messages
        if m["role"] == "user"
    ]
    assert set(said[:4]) <= train and said[4] in test


def test_a_local_model_answers_in_form_and_is_also_scored_over_the_label_set(chat, home, tiny):
    recipe = tiny({"llms.smollm2": SMALL, "zero_shot.cases": 1})
    found = zero_shot.ask(recipe, "triage", "smollm2", chat(recipe))
    assert list(found["how"]) == ["answer", "scored"] and (found["parse_rate"] == 1).all()
    rows = [
        json.loads(line)
        for line in (
            paths.runs(recipe.profile) / "triage/zero-shot/smollm2/predictions.jsonl"
        ).open()
    ]
    labels = data.load("triage", recipe.datasets["triage"]).labels
    assert all(
        row["label"] in labels and row["label_scored"] in labels and row["rationale"]
        for row in rows
    )


def test_fine_tuned_models_stand_beside_them_on_the_same_cases(server, chat, recipe, triage):
    server.usual = answers(triage.test)
    asked = [zero_shot.ask(recipe, "triage", "smollm2", chat(recipe))]
    for k, method in enumerate(
        recipe.experiments["E4"].methods
    ):  # right on the first k of the cases, wrong beyond them
        rows = [zero_shot._prediction(r, None, "", triage.labels) for r in triage.test]
        rows = [
            row | {"label": row["gold"] if i < k + 3 or i >= 5 else "x"}
            for i, row in enumerate(rows)
        ]
        finished(recipe, method, rows, parameters=1e6 * (k + 1))
    table = zero_shot.table(recipe, ["E4"], asked).set_index("name")
    assert list(table.index) == ["smollm2", "majority", "sft-full", "r2d-full", "r2d-qlora"]
    assert (table["cases"] == 5).all() and list(table["accuracy"])[2:] == [0.6, 0.8, 1.0]
    assert (table["macro_f1_low"] <= table["macro_f1"]).all() and (
        table["macro_f1"] <= table["macro_f1_high"]
    ).all()
    assert list(table.loc[["smollm2", "r2d-qlora"], "parameters"]) == [1e9, 3e6]
    (said,) = zero_shot.sentences(table.reset_index())
    assert (
        "R2D (QLoRA) (" in said
        and "is 333 times smaller than the best zero-shot model here, A server" in said
    )


ROW = {"dataset": "d", "kind": "fine-tuned", "how": "generated", "cases": 9}
SIZES = [
    ROW | {"title": "Small", "parameters": 1e6, "macro_f1": 0.5, "macro_f1_low": 0.45, "macro_f1_high": 0.55},
    ROW | {"title": "Large", "parameters": 8e8, "macro_f1": 0.7, "macro_f1_low": 0.66, "macro_f1_high": 0.74},
    ROW | {"title": "Chat", "kind": "zero-shot", "how": "answer", "parameters": 3.2e10, "macro_f1": 0.6, "macro_f1_low": 0.56,
           "macro_f1_high": 0.64},
    ROW | {"title": "Majority", "kind": "majority", "parameters": None, "macro_f1": 0.2},
]  # fmt: skip


def test_times_smaller_is_computed_from_the_smallest_model_that_does_as_well():
    assert zero_shot.sentences(pd.DataFrame(SIZES)) == [
        "On d Large (generated, macro-F1 70.0) is 40 times smaller than the best zero-shot model here, Chat (answer, macro-F1 "
        "60.0); 9 test cases."
    ]
    unsure = [row | {"macro_f1_low": 0.1, "macro_f1_high": 0.9} for row in SIZES]
    assert zero_shot.sentences(pd.DataFrame(unsure))[0].endswith(
        "9 test cases. Their intervals overlap. The majority class is inside that model's interval."
    )
    worse = [row | {"macro_f1": 0.1} if row["kind"] == "fine-tuned" else row for row in SIZES]
    assert (
        "is the best fine-tuned model and does not reach"
        in zero_shot.sentences(pd.DataFrame(worse))[0]
    )
    assert zero_shot.sentences(pd.DataFrame(SIZES[:2])) == []


def test_every_size_that_a_recipe_names_fits_its_model():
    from r2d import recipes

    llms = recipes.load("paper").llms
    assert (
        LlmSettings(**FAR).parameters == 1e9
        and len(llms) >= 4
        and any("medgemma" in m.model for m in llms.values())
    )
    assert llms["qwen3-32b"].model == "Qwen/Qwen3-32B"
    for model in llms.values():
        named = float(model.title.rpartition(" ")[2].removesuffix("B"))
        assert (
            f"{named:.0f}b" in model.model.lower()
            and 0.9 < model.parameters / named / 1e9 < 1.1
            and 4 <= named <= 70
        )
