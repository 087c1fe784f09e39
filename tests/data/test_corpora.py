"""PubMedQA and BioASQ: from their official files or the hub, in their official and paper splits."""

import json
import os
import subprocess
import sys
import textwrap
import time
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from notes import SECRET, assert_disjoint, complaint, everything, settings, write

from r2d import data, paths

REAL = Path(os.environ.get("R2D_DATA") or paths.ROOT.parent / "shared" / "data")
needs_pubmedqa = pytest.mark.skipif(
    not (REAL / "pubmedqa" / "ori_pqal.json").is_file(),
    reason="R2D_DATA has no pubmedqa/ori_pqal.json",
)


def pubmedqa_entry(i: int, answer: str, question: str | None = None) -> dict:
    return {
        "QUESTION": question or f"Does drug {i} help?",
        "CONTEXTS": [f"Background {i}.", f"Results {i}: {SECRET}."],
        "LABELS": ["BACKGROUND", "RESULTS"],
        "LONG_ANSWER": f"Drug {i} is of {answer} use.",
        "final_decision": answer,
    }


@pytest.fixture
def pubmedqa(tmp_path, monkeypatch):
    """An invented PubMedQA: 30 expert-labelled and 220 artificial entries.

    The last repeats an expert's question.
    """
    folder = tmp_path / "pubmedqa"
    folder.mkdir()
    expert = {str(i): pubmedqa_entry(i, ("yes", "no", "maybe")[i % 3]) for i in range(30)}
    artificial = {str(i): pubmedqa_entry(i, ("yes", "no")[i % 2]) for i in range(1000, 1219)}
    artificial["1219"] = pubmedqa_entry(1219, "yes", question="does  DRUG 4 help?")
    write(folder / "ori_pqal.json", expert)
    write(folder / "ori_pqaa.json", artificial)
    truth = {str(i): expert[str(i)]["final_decision"] for i in range(0, 30, 2)}
    write(folder / "test_ground_truth.json", truth)
    monkeypatch.setenv("R2D_DATA", str(tmp_path))
    return folder


def load(split, **values) -> data.Dataset:
    return data.load("pubmedqa", settings("pubmedqa", split=split, **values))


def test_pubmedqa_entries_become_question_context_and_long_answer(pubmedqa):
    record = next(record for record in everything(load("random")) if record.id == "4")
    context = f"Background 4. Results 4: {SECRET}."
    assert record.question == f"question: Does drug 4 help? context: {context}"
    assert (record.label, record.rationale) == ("no", "Drug 4 is of no use.")


def test_the_official_split_takes_the_listed_ids(pubmedqa):
    dataset = load("official", validation=3)
    assert [record.id for record in dataset.test] == [str(i) for i in range(0, 30, 2)]
    assert len(dataset.validation) == 3 and len(dataset.train) == 12
    assert len(load("official", validation=3, test=6).test) == 6
    named = data.load("p", settings("pubmedqa", split="official", validation=3, path=str(pubmedqa)))
    assert named == replace(dataset, name="p")
    (pubmedqa / "test_ground_truth.json").unlink()
    message = complaint(card="pubmedqa", split="official")
    assert "take it from `data/` of https://github.com/pubmedqa/pubmedqa" in message


def test_an_official_file_that_lacks_test_records_is_refused(pubmedqa):
    write(pubmedqa / "test_ground_truth.json", {"4": "yes", "99999": "no"})
    assert "lacks 1 of the official test records" in complaint(card="pubmedqa", split="official")


def test_the_paper_split_mixes_ten_artificial_with_one_expert_record(pubmedqa):
    dataset = load("paper", test=110, validation=20)
    expert = [record for record in dataset.test if int(record.id) < 1000]
    assert len(expert) == 10 and len(dataset.test) == 110
    assert all(int(record.id) >= 1000 for record in dataset.train + dataset.validation)
    assert len(dataset.train) == 219 - 100 - 20 and dataset.dropped == 1
    assert "1219" not in {record.id for record in everything(dataset)}
    assert_disjoint(dataset)
    assert dataset.fingerprint == load("paper", test=110, validation=20).fingerprint
    assert "10000 records are wanted for test" in complaint(card="pubmedqa", split="paper")


def test_the_hub_copy_gives_the_same_dataset_as_the_official_file(pubmedqa, tmp_path, monkeypatch):
    import huggingface_hub

    official = load("official", validation=3)
    entries = json.loads((pubmedqa / "ori_pqal.json").read_text())
    rows = [
        {
            "pubid": int(pmid),
            "question": entry["QUESTION"],
            "context": {"contexts": entry["CONTEXTS"], "labels": entry["LABELS"]},
            "long_answer": entry["LONG_ANSWER"],
            "final_decision": entry["final_decision"],
        }
        for pmid, entry in entries.items()
    ]
    hub = tmp_path / "hub"
    (hub / "pqa_labeled").mkdir(parents=True)
    write(hub / "pqa_labeled" / "train-00000-of-00001.parquet", rows)
    (pubmedqa / "ori_pqal.json").unlink()
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *_, **__: types.SimpleNamespace(sha="0" * 40)
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **_: str(hub))
    loaded = load("official", validation=3)
    assert loaded.splits == official.splits and loaded.source == "qiaojin/PubMedQA (pqa_labeled)"


SILENT_HUB = """
    import os, socket
    server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.getsockname()[1]}"
    from r2d import data
    from r2d.data import corpora
    from r2d.errors import R2DError
    from r2d.recipes.settings import DataSettings
    corpora.HUB_SECONDS = 1
    try:
        data.load("p", DataSettings(card="pubmedqa"))
    except R2DError as error:
        print(error)
"""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_hub_one_sentence_says_how_to_get_the_files(tmp_path, offline):
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": offline, "R2D_DATA": ""}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SILENT_HUB)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=paths.ROOT,
        timeout=60,
    )
    assert "qiaojin/PubMedQA can't be reached" in done.stdout, done.stderr
    assert "Put the official ori_pqal.json" in done.stdout
    assert done.stdout.count("\n") == 1 and time.monotonic() - started < 20


@needs_pubmedqa
def test_the_real_pubmedqa_has_its_published_counts(monkeypatch):
    monkeypatch.setenv("R2D_DATA", str(REAL))
    dataset = load("official")
    labels = Counter(record.label for record in everything(dataset))
    assert labels == {"yes": 552, "no": 338, "maybe": 110}
    listed = json.loads((REAL / "pubmedqa" / "test_ground_truth.json").read_text())
    assert {record.id: record.label for record in dataset.test} == listed and len(listed) == 500
    assert len(dataset.train) == 450 and len(dataset.validation) == 50
    labels = Counter(record.label for record in dataset.validation)
    assert labels == {"yes": 28, "no": 17, "maybe": 5}
    assert dataset.dropped == 0
    assert dataset.fingerprint == "db64ade90f37"  # that of the committed results
    assert_disjoint(dataset)


def bioasq_entries() -> list[dict]:
    """Every second is a yes/no question; answers stand there as a text or as a list."""
    entries = []
    for i in range(40):
        yes = i % 4 == 1
        entries.append(
            {
                "id": f"b{i}",
                "type": "yesno" if i % 2 else "factoid",
                "body": f"Is gene {i} involved?",
                "snippets": [{"text": f"Snippet {i}."}, {"text": SECRET}],
                "exact_answer": ["yes"] if yes else "No",
                "ideal_answer": [f"Gene {i} was seen.", "other"]
                if yes
                else f"Gene {i} was not seen.",
            }
        )
    return entries


def test_bioasq_takes_yes_no_questions_with_snippets_and_ideal_answer(tmp_path, monkeypatch):
    monkeypatch.delenv("R2D_DATA", raising=False)
    assert "Register at https://participants-area.bioasq.org" in complaint(card="bioasq")
    entries = bioasq_entries()
    (tmp_path / "bioasq").mkdir()
    path = write(tmp_path / "bioasq" / "training.json", {"questions": entries})
    dataset = data.load("bioasq", settings("bioasq", path=str(path)))
    monkeypatch.setenv("R2D_DATA", str(tmp_path))
    assert data.load("bioasq", settings("bioasq")) == dataset
    by_id = {record.id: record for record in everything(dataset)}
    assert len(by_id) == 20 and dataset.labels == ("yes", "no")
    yes, no = by_id["b1"], by_id["b3"]
    assert yes.question == f"question: Is gene 1 involved? context: Snippet 1. {SECRET}"
    assert (yes.label, yes.rationale) == ("yes", "Gene 1 was seen.")
    assert (no.label, no.rationale) == ("no", "Gene 3 was not seen.")
    entries[3]["ideal_answer"] = []
    write(path, {"questions": entries})
    assert "training.json, row 4: its rationale" in complaint(card="bioasq")
