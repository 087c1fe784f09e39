"""Decoding a test set: by CTranslate2 where it gives torch's texts, and how long a case takes."""

import pytest

from r2d.experiments import decoding
from r2d.method import objective
from r2d.models.ctranslate import CTranslate2

R2D = objective.named("r2d")


@pytest.fixture
def decode(home, records, fresh, monkeypatch):
    """Decode a tiny test set, as if it were long enough to be worth a comparison, by torch too."""

    def decoded(worth: int = 1) -> tuple[list[dict], dict, list[dict]]:
        decoder = fresh(records)
        by_torch = decoder.predict(records.test, R2D)
        decoder.probe(records.test, by_torch, R2D)
        monkeypatch.setattr(decoding, "WORTH", worth)
        predictions, record = decoding.decode(decoder, records, R2D, "generate")
        assert decoding.name(decoder.engine) == record["engine"]
        return predictions, record, by_torch

    return decoded


def test_ctranslate2_decodes_where_its_texts_are_torchs(decode, records):
    predictions, record, by_torch = decode()
    assert predictions == by_torch
    assert record["engine"] == "CTranslate2 float32"
    cases = len(records.validation)
    assert record["engine_check"] == {"cases": cases, "same": cases}
    assert list(record["latency"]) == ["torch", "CTranslate2 float32", "CTranslate2 int8"]


def test_one_other_text_leaves_the_decoding_to_torch(decode, monkeypatch):
    write = CTranslate2.write

    def other_in_one(self, rows, max_new):
        written = write(self, rows, max_new)
        return [[*written[0], 40], *written[1:]]

    monkeypatch.setattr(CTranslate2, "write", other_in_one)
    predictions, record, by_torch = decode()
    assert predictions == by_torch
    assert record["engine"] == "torch"
    assert record["engine_check"]["same"] < record["engine_check"]["cases"]


def test_a_small_test_set_is_left_to_torch(decode, records):
    _, record, _ = decode(worth=len(records.test) + 1)
    assert record["engine"] == "torch" and "engine_check" not in record
    assert list(record["latency"]) == ["torch"]


def test_latency_is_of_one_case_at_a_time(records, fresh, monkeypatch):
    decoder, clock = fresh(records), iter([0, 1, 10, 12, 20, 23, 30, 34, 40, 50])
    asked = []
    monkeypatch.setattr(decoder, "predict", lambda cases, *_: asked.append(list(cases)))
    monkeypatch.setattr(decoding.time, "perf_counter", lambda: next(clock))
    found = decoding.latency(decoder, records.test[:5], R2D, "generate")
    assert found == {"median": 3, "p95": pytest.approx(8.8), "cases": 5}
    assert asked[1:] == [[case] for case in records.test[:5]]
