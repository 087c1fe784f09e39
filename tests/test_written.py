"""Rationales by a chat model: checked, counted when rejected, and asked for once."""

import json

import pytest
import servers

from r2d import __main__ as command_line
from r2d import data, paths, recipes
from r2d.llms import rationales
from r2d.llms.chat import Chat
from r2d.recipes.settings import DataSettings, LlmSettings

FAR = LlmSettings(title="A server", backend="server", model="m", parameters=1e9, batch=2)
LABELS = ("Home care", "Go to ED now", "Call 911")


@pytest.mark.parametrize(
    "text, why",
    [
        ("Mild cold without fever, so home care is enough.", None),
        ("Mild cold without fever, nothing more is needed.", None),
        ("Home care is enough: no need to go to ED now.", None),
        ("The crushing chest pain means: Go to ED now.", "contradicts the label"),
        ("Mild cold.", "too short"),
        ("word " * 121, "too long"),
        ("", "empty"),
        (None, "unreadable"),
    ],
)
def test_a_text_is_rejected_for_one_stated_reason(text, why):
    assert rationales.fault(text, "Home care", LABELS) == why


def test_accepted_texts_become_a_dataset_and_rejected_ones_are_counted(server, tmp_path, records):
    part = records.train[:6]
    said = {r.question: f"The finding decides here, so the label is {r.label}." for r in part}
    said[part[1].question], said[part[2].question] = "Too short.", None

    def rule(request):
        note = request["messages"][1]["content"].split("<<<QUESTION\n")[1].split("\nQUESTION>>>")[0]
        label = request["messages"][1]["content"].split("<<<LABEL\n")[1].split("\nLABEL>>>")[0]
        assert label in records.labels
        return "no JSON" if said[note] is None else json.dumps({"rationale": said[note]})

    server.usual = servers.answering(rule)
    chat = Chat(FAR, cache=tmp_path / "a.sqlite")
    found = rationales.write(chat, part, records.labels)
    assert found.rejected == {
        "too short": 1,
        "unreadable": 1,
    } and found.rejected_share == pytest.approx(2 / 6)
    assert [text is None for text in found.rationales] == [False, True, True, False, False, False]
    assert (
        len(server.seen) == 7
        and rationales.write(Chat(FAR, cache=tmp_path / "a.sqlite"), part, records.labels) == found
    )
    assert len(server.seen) == 7

    file = tmp_path / "made" / "rationales.jsonl"
    assert rationales.save(part, found, file) == 4
    rows = [json.loads(line) for line in file.open()]
    assert [row["id"] for row in rows] == [
        r.id for r in part
    ]  # nothing is lost: the rejected teach their label alone
    kept = [row for row in rows if row["rationale"]]
    assert [row["id"] for row in kept] == [part[i].id for i in (0, 3, 4, 5)]
    assert all(row["rationale"] == said[row["question"]] for row in kept)
    settings = DataSettings(
        card="table", path=str(file), validation=1, test=1, missing_rationale="label only"
    )
    assert len(data.load("mine", settings).train) == len(part) - 2


def test_no_records_need_no_model(server, tmp_path):
    found = rationales.write(Chat(FAR, cache=tmp_path / "a.sqlite"), [], LABELS)
    assert (found.rationales, found.rejected, found.rejected_share, server.seen) == ([], {}, 0, [])


def test_mini_shows_ten_beside_the_nurses():
    recipe = recipes.load("mini")
    assert recipe.zero_shot.cases >= 100 and recipe.judge.cases >= 50
    triage = data.load("triage", recipe.datasets["triage"])
    assert triage.synthetic and all(r.rationale_nurse for r in triage.train[:10])


def test_a_copy_of_the_case_is_no_rationale():
    note = "54 yo M with chest pain since this morning. denies fever"
    assert (
        rationales.fault("Chest pain  since this MORNING.", "Call 911", LABELS, note)
        == "copies the case"
    )
    assert (
        rationales.fault("He has had chest pain since this morning.", "Call 911", LABELS, note)
        is None
    )


def test_a_cases_own_candidates_are_asked_with_it_and_stay_with_it(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(paths, "cache", lambda: tmp_path)
    both = ["the cellar", "the moon"]
    rows = [
        {"question": f"Jar {i}?", "label": both[0], "candidates": both[:: 1 - 2 * (i % 2)]}
        for i in range(6)
    ]
    (tmp_path / "jars.json").write_text(json.dumps(rows), encoding="utf-8")
    server.usual = servers.reply(
        json.dumps({"rationale": "Jars of jam are kept in the cellar of most houses."})
    )
    out = tmp_path / "explained.jsonl"
    command = [
        "write-rationales",
        str(tmp_path / "jars.json"),
        str(out),
        "--profile",
        "paper",
        "--llm",
        "medgemma-27b",
    ]
    assert command_line.main(command) == 0 and "6 of 6 rationales" in capsys.readouterr().out
    made = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["candidates"] for row in made] == [
        row["candidates"] for row in rows
    ] and "the moon" in str(server.seen[0])


def test_the_command_line_writes_a_file_to_train_on(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "cache", lambda: tmp_path)
    notes = tmp_path / "notes.csv"
    rows = [f"case {i} of a scraped knee,{LABELS[i % 2]}" for i in range(6)]
    notes.write_text("\n".join(["text,queue", *rows]), encoding="utf-8")
    server.usual = servers.reply(
        json.dumps({"rationale": "Only the skin is broken and the bleeding has stopped."})
    )
    out, columns = (
        tmp_path / "explained.jsonl",
        ["--question-column", "text", "--label-column", "queue"],
    )
    command = [
        "write-rationales",
        str(notes),
        str(out),
        "--profile",
        "paper",
        "--llm",
        "medgemma-27b",
        *columns,
    ]
    assert command_line.main(command) == 0 and "6 of 6 rationales" in capsys.readouterr().out
    made = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [f"{row['question']},{row['label']}" for row in made] == rows
    assert command_line.main([*command[:2], str(tmp_path / "out.csv"), *command[3:]]) == 2
    assert "out.csv has an unknown ending: name it .jsonl" in capsys.readouterr().err
    command[command.index("medgemma-27b")] = "medgema"
    assert (
        command_line.main(command) == 2
        and "has no chat model 'medgema': choose one of qwen3-4b" in capsys.readouterr().err
    )
