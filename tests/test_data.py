"""Records, splits and the sentences that bad data gets."""

import csv
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

import pandas
import pytest

import r2d
from r2d import data, paths
from r2d.data.record import FIELDS
from r2d.errors import R2DError
from r2d.recipes.settings import DataSettings

SECRET = "zebrafever overnight"  # stands in every note, and must stand in no message
REAL = Path(os.environ.get("R2D_DATA") or paths.ROOT.parent / "shared" / "data")
needs_pubmedqa = pytest.mark.skipif(
    not (REAL / "pubmedqa" / "ori_pqal.json").is_file(),
    reason="R2D_DATA has no pubmedqa/ori_pqal.json",
)


def settings(card="table", **values) -> DataSettings:
    return DataSettings(card=card, **values)


def rows(count=60, labels=("home", "None", "ED")) -> list[dict]:
    return [
        {
            "id": f"n{i}",
            "question": f'note {i}: {SECRET}, "quoted", commas\nand a line — ünïcode {i}',
            "label": labels[i % len(labels)],
            "rationale": f"because {i} {SECRET}",
        }
        for i in range(count)
    ]


def write(path: Path, content) -> Path:
    """Write rows in the format that the ending names, or text or bytes as they are."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    elif path.suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8"
        )
    elif path.suffix == ".parquet":
        pandas.DataFrame(content).to_parquet(path)
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


def complaint(**values) -> str:
    """The sentence that loading gives."""
    with pytest.raises(R2DError) as caught:
        data.load("mine", settings(**values))
    message = str(caught.value)
    assert SECRET not in message and SECRET[:10] not in message
    assert "\n" not in message and message.endswith(".")
    return message


def questions(split) -> set[str]:
    return {" ".join(record.question.casefold().split()) for record in split}


def assert_disjoint(dataset):
    seen = [questions(dataset.splits[split]) for split in ("train", "validation", "test")]
    assert all(seen) and len(set.union(*seen)) == sum(map(len, seen))


# --- own tables -------------------------------------------------------------------------------------------------------


def test_a_table_is_the_same_dataset_in_every_format(tmp_path):
    loaded = [
        data.load("mine", settings(path=str(write(tmp_path / f"notes.{ending}", rows()))))
        for ending in ("csv", "json", "jsonl", "parquet")
    ]
    assert all(
        each.splits == loaded[0].splits and each.labels == loaded[0].labels for each in loaded
    )
    assert len({each.fingerprint for each in loaded}) == 1
    assert loaded[0].labels == ("ED", "None", "home")
    by_id = {record.id: record for split in loaded[0].splits.values() for record in split}
    assert {key: by_id[key].question for key in by_id} == {
        row["id"]: row["question"] for row in rows()
    }
    assert_disjoint(loaded[0])


def test_semicolons_tabs_and_a_byte_order_mark_are_read(tmp_path):
    plain = data.load("mine", settings(path=str(write(tmp_path / "a.json", rows()))))
    for name, mark in (("b.csv", ";"), ("c.tsv", "\t")):
        pandas.DataFrame(rows()).to_csv(
            tmp_path / name, sep=mark, index=False, encoding="utf-8-sig"
        )
        assert (
            data.load("mine", settings(path=str(tmp_path / name))).fingerprint == plain.fingerprint
        )


@pytest.mark.parametrize("text", ["None", "nan", "NA", "null", "0"])
@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_labels_that_look_like_missing_values_stay_text(tmp_path, text, ending):
    path = write(tmp_path / f"notes.{ending}", rows(labels=(text, "other")))
    dataset = data.load("mine", settings(path=str(path)))
    assert set(dataset.labels) == {text, "other"}
    assert {record.label for record in dataset.test} == {text, "other"}


def test_labels_are_matched_but_for_case_and_blanks(tmp_path):
    assert data.canonical("  go TO ed now\n", ("Call 911", "Go to ED now")) == "Go to ED now"
    assert data.canonical("Go to ED", ("Call 911", "Go to ED now")) is None
    path = write(tmp_path / "notes.json", rows(labels=("Yes", "no", "Yes", " yes ", "NO", "no")))
    dataset = data.load("mine", settings(path=str(path)))
    assert dataset.labels == ("Yes", "no")
    assert {record.label for record in dataset.train} == {"Yes", "no"}


def test_columns_can_have_other_names_and_ids_can_be_absent(tmp_path):
    renamed = [
        {"note": row["question"], "plan": row["label"], "nurse": row["rationale"]} for row in rows()
    ]
    path = write(tmp_path / "notes.csv", renamed)
    columns = {"question": "note", "label": "plan", "rationale_nurse": "nurse"}
    dataset = data.load(
        "mine", settings(path=str(path), columns=columns, rationale="rationale_nurse")
    )
    record = dataset.train[0]
    assert record.rationale == record.rationale_nurse == rows()[int(record.id) - 1]["rationale"]


def test_splits_keep_the_label_proportions_and_the_sizes_asked_for(tmp_path):
    path = write(tmp_path / "notes.json", rows(200, labels=("a", "a", "a", "b")))
    dataset = data.load("mine", settings(path=str(path), test=40, validation=20, train=100))
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 100,
        "validation": 20,
        "test": 40,
    }
    assert Counter(record.label for record in dataset.test) == {"a": 30, "b": 10}
    assert Counter(record.label for record in dataset.validation) == {"a": 15, "b": 5}
    assert "records are wanted for train" in complaint(path=str(path), train=1000)


def test_a_longer_train_split_keeps_the_test_records(tmp_path):
    path = write(tmp_path / "notes.json", rows(200))
    short, long = (
        data.load("mine", settings(path=str(path), test=40, train=size)) for size in (20, 100)
    )
    assert short.test == long.test and short.train == long.train[:20]
    other = data.load("mine", settings(path=str(path), test=40, seed=1))
    assert questions(other.test) != questions(long.test)


def test_equal_questions_share_a_split(tmp_path):
    doubled = [row | {"id": f"{row['id']}{twin}", "question": row["question"].upper() + " " * twin}
               for row in rows() for twin in (0, 1)]  # fmt: skip
    path = write(tmp_path / "notes.csv", doubled)
    dataset = data.load("mine", settings(path=str(path), test=20, validation=10))
    assert_disjoint(dataset)
    assert len(dataset.test) == 20 and len(questions(dataset.test)) == 10


def test_a_test_file_is_kept_whole_and_apart(tmp_path):
    train, test = (
        write(tmp_path / "train.csv", rows()[:50]),
        write(tmp_path / "test.jsonl", rows()[50:]),
    )
    dataset = data.load("mine", settings(path=str(train), test_path=str(test)))
    assert [record.id for record in dataset.test] == [f"n{i}" for i in range(50, 60)]
    assert len(dataset.train) + len(dataset.validation) == 50
    write(test, rows()[49:])
    asked = {"path": str(train), "test_path": str(test)}
    assert "train.csv, row 51: its question is also in the test data" in complaint(**asked)
    dropped = data.load("mine", settings(on_bad_rows="drop", **asked))
    assert dropped.dropped == 1 and len(dropped.test) == 11
    assert_disjoint(dropped)


def test_a_leak_made_by_hand_is_found(tmp_path):
    dataset = data.load("mine", settings(path=str(write(tmp_path / "notes.json", rows()))))
    twin = replace(dataset.test[0], id="twin", question=f"  {dataset.test[0].question.upper()}")
    leaking = replace(dataset, splits=dataset.splits | {"train": [*dataset.train, twin]})
    with pytest.raises(R2DError, match="question is also in train") as caught:
        data.check(leaking)
    assert SECRET not in str(caught.value)


def test_fingerprints_follow_content_only(tmp_path):
    first = data.load("one", settings(path=str(write(tmp_path / "a.json", rows()))))
    again = data.load("two", settings(path=str(write(tmp_path / "b.csv", rows()))))
    assert first.fingerprint == again.fingerprint and len(first.fingerprint) == 12
    changed = rows()
    changed[7]["rationale"] += "!"
    other = data.load("one", settings(path=str(write(tmp_path / "a.json", changed))))
    assert other.fingerprint != first.fingerprint


def test_a_note_of_100000_words_is_read(tmp_path):
    long = rows()
    long[3]["question"] = " ".join(["word"] * 100_000)
    for ending in ("csv", "json"):
        dataset = data.load("mine", settings(path=str(write(tmp_path / f"notes.{ending}", long))))
        assert (
            max(len(r.question.split()) for split in dataset.splits.values() for r in split)
            == 100_000
        )


# --- bad rows ---------------------------------------------------------------------------------------------------------

BAD_ROWS = {
    "empty rationale": (
        {"rationale": "  "},
        "its rationale (column 'rationale') is missing or empty",
    ),
    "no question": ({"question": None}, "its question (column 'question') is missing or empty"),
    "no label": ({"label": ""}, "its label (column 'label') is missing or empty"),
    "no id": ({"id": None}, "its id (column 'id') is missing or empty"),
    "a list": ({"rationale": [SECRET]}, "its rationale (column 'rationale') is not text"),
    "same id": ({"id": "n2"}, "its id is that of row 3"),
    "half a character": ({"question": f"{SECRET} \ud800"}, "half of a character"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_stops_with_file_row_and_reason_or_is_counted(tmp_path, case):
    change, reason = BAD_ROWS[case]
    broken = rows()
    broken[6] |= change
    path = write(tmp_path / "notes.json", broken)
    message = complaint(path=str(path))
    assert (
        message.startswith("notes.json, row 7: ")
        and reason in message
        and "on_bad_rows: drop" in message
    )
    dataset = data.load("mine", settings(path=str(path), on_bad_rows="drop"))
    assert dataset.dropped == 1 and sum(map(len, dataset.splits.values())) == 59


def test_a_row_may_lack_its_rationale_where_the_label_alone_is_to_be_learned(tmp_path):
    some = [row | ({"rationale": ""} if i % 3 == 0 else {}) for i, row in enumerate(rows())]
    path = str(write(tmp_path / "notes.json", some))
    assert "or set `missing_rationale: label only`" in complaint(path=path)
    dataset = data.load("mine", settings(path=path, missing_rationale="label only"))
    records = [record for split in dataset.splits.values() for record in split]
    assert (
        len(records) == 60
        and sum(not record.rationale for record in records) == 20
        and dataset.dropped == 0
    )
    bare = str(
        write(
            tmp_path / "bare.json",
            [{k: v for k, v in row.items() if k != "rationale"} for row in rows()],
        )
    )
    assert len(data.load("mine", settings(path=bare, missing_rationale="label only")).train) == 42
    wrong = {"path": bare, "missing_rationale": "label only", "columns": {"rationale": "raionale"}}
    assert "has no column 'raionale' for rationale" in complaint(
        **wrong
    )  # a column that is named must be there
    assert "`missing_rationale` is not for card triage" in complaint(
        card="triage", missing_rationale="label only"
    )


def test_csv_rows_are_numbered_as_in_a_spreadsheet_and_must_be_whole(tmp_path):
    broken = rows()
    broken[6]["rationale"] = ""
    assert "notes.csv, row 8: its rationale" in complaint(
        path=str(write(tmp_path / "notes.csv", broken))
    )
    text = (
        "question,label,rationale\n"
        + "".join(f"q{i},a,{SECRET}\n" for i in range(9))
        + f"q,a,{SECRET},b\n"
    )
    assert "notes.csv, row 11: it is not a whole record" in complaint(
        path=str(write(tmp_path / "notes.csv", text))
    )


def test_a_long_label_outside_the_set_may_be_a_note_and_is_not_quoted(tmp_path):
    train = write(tmp_path / "train.json", rows())
    strange = rows()[:5]
    strange[2] |= {
        "label": "call the doctor about everything that there is to tell",
        "question": "new",
    }
    for row in strange:
        row["question"] += " asked again"
    test = write(tmp_path / "test.json", strange)
    message = complaint(path=str(train), test_path=str(test))
    assert message.startswith("test.json, row 3: its label (too long for a name) is not one of")


def test_a_column_of_notes_is_refused_as_label_without_quoting_it(tmp_path):
    path = write(tmp_path / "notes.csv", rows())
    message = complaint(path=str(path), columns={"label": "question"})
    assert "column 'question' has 60 different labels" in message


def test_a_wrong_column_names_those_that_are_there(tmp_path):
    path = write(tmp_path / "notes.csv", rows())
    message = complaint(path=str(path), columns={"label": "labels"})
    assert "no column 'labels' for label" in message and "'question', 'label'" in message
    assert "did you mean 'label'?" in message
    assert "`columns` maps 'lable'" in complaint(path=str(path), columns={"lable": "label"})
    headless = [list(row.values()) for row in rows()]
    pandas.DataFrame(headless).to_csv(path, index=False, header=False)
    assert "add a header row" in complaint(path=str(path))


# --- broken files -----------------------------------------------------------------------------------------------------


def test_a_broken_file_is_named_with_place_and_cure(tmp_path):
    def of(name, content):
        return complaint(path=str(write(tmp_path / name, content)))

    whole = json.dumps(rows(), indent=1)
    cut_short = whole[: whole.index("because 5")]
    assert f"a.json, line {cut_short.count(chr(10)) + 1}, column" in of("a.json", cut_short)
    lines = "".join(json.dumps(row) + "\n" for row in rows(5))
    assert "b.jsonl, line 5, column" in of("b.jsonl", lines[:-9])
    assert "name it .jsonl" in of("c.json", lines)
    latin = f"question,label,rationale\nna\u00efve,a,{SECRET}\n".encode("latin-1")
    message = of("d.csv", latin)
    assert (
        f"not UTF-8 at byte offset {latin.index(0xEF)}" in message
        and "iconv -f WINDOWS-1252" in message
    )
    assert "iconv -f UTF-16" in of("e.csv", "question,label\n".encode("utf-16"))
    assert "after row 2: not CSV" in of(
        "f.csv", f'question,label,rationale\na,b,c\n"{SECRET},b,c\n'
    )
    assert "is not a whole Parquet file" in of("g.parquet", b"PAR1 cut short")
    assert "is empty" in of("h.csv", "\ufeff\n") and "is empty" in of("i.parquet", b"")
    assert "no records" in of("j.csv", "question,label,rationale\n") and "no records" in of(
        "k.json", "[]"
    )
    assert "not a list of records" in of("l.json", '{"a": 1}')
    assert "unknown ending" in of("m.xlsx", "x")
    assert "two columns have the same name" in of("n.csv", "question,label,label\n1,2,3\n")


def test_absent_files_and_folders_are_said(tmp_path):
    assert "nowhere.csv is not there" in complaint(path=str(tmp_path / "nowhere.csv"))
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in complaint(path=str(tmp_path / "folder.csv"))
    assert "is a folder" in complaint(path=str(tmp_path))
    assert "Set `path`" in complaint()


def test_settings_a_card_has_no_use_for_are_refused():
    assert f"choose one of {', '.join(data.cards())}" in complaint(card="tirage")
    assert "`columns` is not for card pubmedqa" in complaint(
        card="pubmedqa", columns={"label": "x"}
    )
    assert "`path` is not for card triage" in complaint(card="triage", path="x")
    assert "expected 'random'" in complaint(card="triage", split="official")
    assert "expected 'rationale_llm', 'rationale_nurse'" in complaint(
        card="triage", rationale="rationale_doctor"
    )


# --- triage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stream(monkeypatch):
    """A stand-in generator that repeats every third note and tells how many were taken from it."""
    labels = data.card("triage").labels
    fake = types.ModuleType("r2d.triage")
    fake.taken = 0

    def generate(n, seed, difficulty=0.5):
        for i in range(n):
            fake.taken += 1
            note = f"Note {seed} {i - (i % 3 == 2)}".upper() if i % 3 == 2 else f"note {seed} {i}"
            sources = {
                f"rationale{end}": f"why{end} {i}" for end in ("", "_nurse", "_nurse_post", "_llm")
            }
            yield {
                "id": str(i),
                "question": note,
                "label": labels[i % 6],
                "reason": "fever",
                **sources,
            }

    fake.generate = generate
    monkeypatch.setitem(sys.modules, "r2d.triage", fake)
    monkeypatch.setattr(r2d, "triage", fake, raising=False)
    return fake


def test_triage_is_cut_from_one_stream_of_distinct_notes(stream):
    asked = {"train": 60, "validation": 20, "test": 20, "seed": 3}
    dataset = data.load("triage", settings("triage", **asked))
    assert [len(dataset.splits[split]) for split in ("train", "validation", "test")] == [60, 20, 20]
    assert_disjoint(dataset)
    assert (
        dataset.synthetic and dataset.labels[0] == "Call 911" and dataset.test[0].reason == "fever"
    )
    assert stream.taken <= 150
    assert dataset.fingerprint == data.load("triage", settings("triage", **asked)).fingerprint
    assert dataset.test == data.load("triage", settings("triage", **asked | {"train": 10})).test
    assert (
        dataset.fingerprint
        != data.load("triage", settings("triage", **asked | {"seed": 4})).fingerprint
    )


def test_the_rationale_source_of_triage_can_be_chosen(stream):
    sizes = {"train": 9, "validation": 3, "test": 3}
    usual = data.load("triage", settings("triage", **sizes))
    nurse = data.load("triage", settings("triage", rationale="rationale_nurse", **sizes))
    assert all(record.rationale == record.rationale_llm != "" for record in usual.train)
    assert all(record.rationale == record.rationale_nurse != "" for record in nurse.train)
    assert usual.fingerprint != nurse.fingerprint


def test_a_generator_that_runs_dry_is_said(stream):
    stream.generate = lambda n, seed, difficulty: iter(())
    assert "too few distinct notes for test" in complaint(
        card="triage", train=5, validation=5, test=5
    )


def test_the_real_generator_fits_its_card():
    triage = pytest.importorskip("r2d.triage")
    assert tuple(triage.LABELS) == data.card("triage").labels
    dataset = data.load("triage", settings("triage", train=300, validation=50, test=100))
    assert {record.label for record in dataset.train} == set(triage.LABELS)
    assert_disjoint(dataset)


# --- PubMedQA and BioASQ ----------------------------------------------------------------------------------------------


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
    """An invented PubMedQA: 30 expert-labelled and 220 artificial entries, the last repeating an expert's question."""
    folder = tmp_path / "pubmedqa"
    folder.mkdir()
    expert = {str(i): pubmedqa_entry(i, ("yes", "no", "maybe")[i % 3]) for i in range(30)}
    artificial = {str(i): pubmedqa_entry(i, ("yes", "no")[i % 2]) for i in range(1000, 1219)}
    artificial["1219"] = pubmedqa_entry(1219, "yes", question="does  DRUG 4 help?")
    write(folder / "ori_pqal.json", expert)
    write(folder / "ori_pqaa.json", artificial)
    write(
        folder / "test_ground_truth.json",
        {str(i): expert[str(i)]["final_decision"] for i in range(0, 30, 2)},
    )
    monkeypatch.setenv("R2D_DATA", str(tmp_path))
    return folder


def test_pubmedqa_entries_become_question_context_and_long_answer(pubmedqa):
    dataset = data.load("pubmedqa", settings("pubmedqa", split="random"))
    record = next(r for split in dataset.splits.values() for r in split if r.id == "4")
    assert (
        record.question
        == f"question: Does drug 4 help? context: Background 4. Results 4: {SECRET}."
    )
    assert (record.label, record.rationale) == ("no", "Drug 4 is of no use.")


def test_the_official_split_takes_the_listed_ids(pubmedqa):
    dataset = data.load("pubmedqa", settings("pubmedqa", split="official", validation=3))
    assert [record.id for record in dataset.test] == [str(i) for i in range(0, 30, 2)]
    assert len(dataset.validation) == 3 and len(dataset.train) == 12
    assert (
        len(data.load("p", settings("pubmedqa", split="official", validation=3, test=6)).test) == 6
    )
    assert data.load(
        "p", settings("pubmedqa", split="official", validation=3, path=str(pubmedqa))
    ) == replace(dataset, name="p")
    (pubmedqa / "test_ground_truth.json").unlink()
    message = complaint(card="pubmedqa", split="official")
    assert "take it from `data/` of https://github.com/pubmedqa/pubmedqa" in message


def test_an_official_file_that_lacks_test_records_is_refused(pubmedqa):
    write(pubmedqa / "test_ground_truth.json", {"4": "yes", "99999": "no"})
    assert "lacks 1 of the official test records" in complaint(card="pubmedqa", split="official")


def test_the_paper_split_mixes_ten_artificial_with_one_expert_record(pubmedqa):
    asked = {"card": "pubmedqa", "split": "paper", "test": 110, "validation": 20}
    dataset = data.load("pubmedqa", settings(**asked))
    expert = [record for record in dataset.test if int(record.id) < 1000]
    assert len(expert) == 10 and len(dataset.test) == 110
    assert all(int(record.id) >= 1000 for record in dataset.train + dataset.validation)
    assert len(dataset.train) == 219 - 100 - 20 and dataset.dropped == 1
    assert "1219" not in {record.id for split in dataset.splits.values() for record in split}
    assert_disjoint(dataset)
    assert dataset.fingerprint == data.load("pubmedqa", settings(**asked)).fingerprint
    assert "10000 records are wanted for test" in complaint(card="pubmedqa", split="paper")


def test_the_hub_copy_gives_the_same_dataset_as_the_official_file(pubmedqa, tmp_path, monkeypatch):
    import huggingface_hub

    official = data.load("pubmedqa", settings("pubmedqa", split="official", validation=3))
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
    loaded = data.load("pubmedqa", settings("pubmedqa", split="official", validation=3))
    assert loaded.splits == official.splits and loaded.source == "qiaojin/PubMedQA (pqa_labeled)"


SILENT_HUB = """
    import os, socket, sys
    server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.getsockname()[1]}"
    from r2d import R2DError, corpora, data
    from r2d.settings import DataSettings
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
        capture_output=True, text=True, env=environment, cwd=paths.ROOT, timeout=60,
    )  # fmt: skip
    assert (
        "qiaojin/PubMedQA can't be reached" in done.stdout
        and "Put the official ori_pqal.json" in done.stdout
    )
    assert done.stdout.count("\n") == 1 and time.monotonic() - started < 20


@needs_pubmedqa
def test_the_real_pubmedqa_has_its_published_counts(monkeypatch):
    monkeypatch.setenv("R2D_DATA", str(REAL))
    dataset = data.load("pubmedqa", settings("pubmedqa", split="official"))
    everything = [record for split in dataset.splits.values() for record in split]
    assert Counter(record.label for record in everything) == {"yes": 552, "no": 338, "maybe": 110}
    listed = json.loads((REAL / "pubmedqa" / "test_ground_truth.json").read_text())
    assert {record.id: record.label for record in dataset.test} == listed and len(listed) == 500
    assert len(dataset.train) == 450 and len(dataset.validation) == 50
    assert Counter(record.label for record in dataset.validation) == {
        "yes": 28,
        "no": 17,
        "maybe": 5,
    }
    assert dataset.dropped == 0
    assert_disjoint(dataset)


def test_bioasq_takes_yes_no_questions_with_snippets_and_ideal_answer(tmp_path, monkeypatch):
    monkeypatch.delenv("R2D_DATA", raising=False)
    assert "Register at https://participants-area.bioasq.org" in complaint(card="bioasq")
    entries = [
        {
            "id": f"b{i}",
            "type": "yesno" if i % 2 else "factoid",
            "body": f"Is gene {i} involved?",
            "snippets": [{"text": f"Snippet {i}."}, {"text": SECRET}],
            "exact_answer": ["yes"] if i % 4 == 1 else "No",
            "ideal_answer": [f"Gene {i} was seen.", "other"]
            if i % 4 == 1
            else f"Gene {i} was not seen.",
        }
        for i in range(40)
    ]
    (tmp_path / "bioasq").mkdir()
    path = write(tmp_path / "bioasq" / "training.json", {"questions": entries})
    dataset = data.load("bioasq", settings("bioasq", path=str(path)))
    monkeypatch.setenv("R2D_DATA", str(tmp_path))
    assert data.load("bioasq", settings("bioasq")) == dataset
    everything = {record.id: record for split in dataset.splits.values() for record in split}
    assert len(everything) == 20 and dataset.labels == ("yes", "no")
    assert (
        everything["b1"].question == f"question: Is gene 1 involved? context: Snippet 1. {SECRET}"
    )
    assert (everything["b1"].label, everything["b1"].rationale) == ("yes", "Gene 1 was seen.")
    assert (everything["b3"].label, everything["b3"].rationale) == ("no", "Gene 3 was not seen.")
    entries[3]["ideal_answer"] = []
    write(path, {"questions": entries})
    assert "training.json, row 4: its rationale" in complaint(card="bioasq")


def test_every_card_is_whole():
    assert data.cards() == ["bioasq", "esnli", "pubmedqa", "strategyqa", "table", "triage"]
    for card in map(data.card, data.cards()):
        assert set(card.rationales) <= set(FIELDS) and set(card.columns) <= set(FIELDS)
        assert (card.labels is None) == (card == data.card("table")) and "random" in card.sizes
        assert (card.path is not None) == (card.reader == "table" and card.labels is not None)
