"""Rationales by a chat model: checked, counted when rejected, and asked for once."""

import json

import pytest
import servers

from r2d import config, data, written
from r2d.llm import Chat
from r2d.settings import DataSettings, LlmSettings

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
    assert written.fault(text, "Home care", LABELS) == why


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
    found = written.write(chat, part, records.labels)
    assert found.rejected == {"too short": 1, "unreadable": 1} and found.rejected_share == pytest.approx(2 / 6)
    assert [text is None for text in found.rationales] == [False, True, True, False, False, False]
    assert len(server.seen) == 7 and written.write(Chat(FAR, cache=tmp_path / "a.sqlite"), part, records.labels) == found
    assert len(server.seen) == 7

    file = tmp_path / "made" / "rationales.jsonl"
    assert written.save(part, found, file) == 4
    rows = [json.loads(line) for line in file.open()]
    assert [row["id"] for row in rows] == [part[i].id for i in (0, 3, 4, 5)]
    assert all(row["rationale"] == said[row["question"]] for row in rows)
    settings = DataSettings(card="table", path=str(file), validation=1, test=1, on_bad_rows="stop")
    assert len(data.load("mine", settings).train) == 2


def test_no_records_need_no_model(server, tmp_path):
    found = written.write(Chat(FAR, cache=tmp_path / "a.sqlite"), [], LABELS)
    assert (found.rationales, found.rejected, found.rejected_share, server.seen) == ([], {}, 0, [])


def test_mini_shows_ten_beside_the_nurses():
    recipe = config.load("mini")
    assert recipe.zero_shot.cases >= 100 and recipe.judge.cases >= 50
    triage = data.load("triage", recipe.datasets["triage"])
    assert triage.synthetic and all(r.rationale_nurse for r in triage.train[:10])
