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
    ("text", "reason"),
    [
        ("Mild cold without fever, so home care is enough.", None),
        ("Mild cold without fever, nothing more is needed.", None),
        ("Home care is enough: no need to go to ED now.", None),
        ("The crushing chest pain means: Go to ED now.", "contradicts the label"),
        ("Mild cold.", "too short"),
        ("The label is home care: home care.", "repeats the label"),
        ("word " * 121, "too long"),
        ("", "empty"),
        (None, "unreadable"),
    ],
)
def test_a_text_is_rejected_for_one_stated_reason(text, reason):
    assert rationales.fault(text, "Home care", LABELS) == reason


def test_a_copy_of_the_case_is_no_rationale():
    note = "54 yo M with chest pain since this morning. denies fever"
    copied = "Chest pain  since this MORNING."
    assert rationales.fault(copied, "Call 911", LABELS, note) == "copies the case"
    told = "He has had chest pain since this morning."
    assert rationales.fault(told, "Call 911", LABELS, note) is None


def fenced(name: str, text: str) -> str:
    """What stands in one fence of a prompt."""
    return text.split(f"<<<{name}\n")[1].split(f"\n{name}>>>")[0]


def test_accepted_texts_become_a_dataset_and_rejected_ones_are_counted(server, tmp_path, records):
    part = records.train[:6]
    texts = [f"The finding decides here, so the label is {record.label}." for record in part]
    texts[1], texts[2] = "Too short.", None
    answers = {record.question: text for record, text in zip(part, texts, strict=True)}

    def rule(request):
        prompt = request["messages"][1]["content"]
        assert fenced("LABEL", prompt) in records.labels
        text = answers[fenced("QUESTION", prompt)]
        return "no JSON" if text is None else json.dumps({"rationale": text})

    server.usual = servers.answering(rule)
    chat = Chat(FAR, cache=tmp_path / "a.sqlite")
    written = rationales.write(chat, part, records.labels)
    assert written.rejected == {"too short": 1, "unreadable": 1}
    assert written.rejected_share == pytest.approx(2 / 6)
    assert written.texts == [texts[0], None, None, *texts[3:]]
    assert len(server.seen) == 7
    again = Chat(FAR, cache=tmp_path / "a.sqlite")
    assert rationales.write(again, part, records.labels) == written
    assert len(server.seen) == 7

    file = tmp_path / "made" / "rationales.jsonl"
    assert rationales.save(part, written, file) == 4
    rows = [json.loads(line) for line in file.open()]
    # Nothing is lost: the rejected teach their label alone.
    assert [row["id"] for row in rows] == [record.id for record in part]
    assert [row["rationale"] for row in rows] == [text or "" for text in written.texts]
    settings = DataSettings(
        card="table", path=str(file), validation=1, test=1, missing_rationale="label only"
    )
    truth_kept = {name: name for name in rationales.TRUTH}
    loaded = data.load("mine", settings.model_copy(update={"columns": truth_kept}))
    assert len(loaded.train) == len(part) - 2
    truth = {record.question: (record.reason, record.kind, record.facts) for record in part}
    for each in loaded.train:
        assert (each.reason, each.kind, each.facts) == truth[each.question] and each.facts


def test_no_records_need_no_model(server, tmp_path):
    written = rationales.write(Chat(FAR, cache=tmp_path / "a.sqlite"), [], LABELS)
    assert (written.texts, written.rejected, written.rejected_share) == ([], {}, 0)
    assert server.seen == []


def test_mini_shows_ten_beside_the_nurses():
    recipe = recipes.load("mini")
    assert recipe.zero_shot.cases >= 100 and recipe.judge.cases >= 50
    triage = data.load("triage", recipe.datasets["triage"])
    assert triage.synthetic and all(record.rationale_nurse for record in triage.train[:10])


# --- python -m r2d write-rationales

SERVED = ["--profile", "paper", "--llm", "medgemma-27b"]


def test_a_cases_own_candidates_are_asked_with_it_and_stay_with_it(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(paths, "cache", lambda: tmp_path)
    both = ["the cellar", "the moon"]
    rows = [
        {"question": f"Jar {i}?", "label": both[0], "candidates": both if i % 2 else both[::-1]}
        for i in range(6)
    ]
    table, out = tmp_path / "jars.json", tmp_path / "explained.jsonl"
    table.write_text(json.dumps(rows), encoding="utf-8")
    text = "Jars of jam are kept in the cellar of most houses."
    server.usual = servers.reply(json.dumps({"rationale": text}))
    assert command_line.main(["write-rationales", str(table), str(out), *SERVED]) == 0
    assert "6 of 6 rationales" in capsys.readouterr().out
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["candidates"] for row in written] == [row["candidates"] for row in rows]
    assert "the moon" in str(server.seen[0])


@pytest.mark.parametrize("labels", [LABELS[:2], [LABELS[0]] * 2], ids=["of two", "of one label"])
def test_two_rows_are_explained_though_nobody_could_learn_from_them(
    server, tmp_path, monkeypatch, capsys, labels
):
    monkeypatch.setattr(paths, "cache", lambda: tmp_path)
    table, out = tmp_path / "two.csv", tmp_path / "explained.jsonl"
    rows = [f"case {i} of a scraped knee,{label}" for i, label in enumerate(labels)]
    table.write_text("\n".join(["question,label", *rows]), encoding="utf-8")
    text = "Only the skin is broken and the bleeding has stopped."
    server.usual = servers.reply(json.dumps({"rationale": text}))
    assert command_line.main(["write-rationales", str(table), str(out), *SERVED]) == 0
    assert "2 of 2 rationales" in capsys.readouterr().out
    table.write_text("question,label\na scraped knee,\n", encoding="utf-8")
    assert command_line.main(["write-rationales", str(table), str(out), *SERVED]) == 2
    assert "column 'label' is empty in every row" in capsys.readouterr().err


def test_the_command_line_writes_a_file_to_train_on(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "cache", lambda: tmp_path)
    notes, out = tmp_path / "notes.csv", tmp_path / "explained.jsonl"
    rows = [f"case {i} of a scraped knee,{LABELS[i % 2]}" for i in range(6)]
    notes.write_text("\n".join(["text,queue", *rows]), encoding="utf-8")
    text = "Only the skin is broken and the bleeding has stopped."
    server.usual = servers.reply(json.dumps({"rationale": text}))
    columns = ["--question-column", "text", "--label-column", "queue"]

    def command(out, *more):
        return command_line.main(["write-rationales", str(notes), str(out), *more, *columns])

    assert command(out, *SERVED) == 0
    assert "6 of 6 rationales" in capsys.readouterr().out
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [f"{row['question']},{row['label']}" for row in written] == rows
    assert command(tmp_path / "out.csv", *SERVED) == 2
    assert "out.csv has an unknown ending: name it .jsonl" in capsys.readouterr().err
    assert command(out, "--profile", "paper", "--llm", "medgema") == 2
    assert "has no chat model 'medgema': choose one of qwen3-4b" in capsys.readouterr().err
