"""Which examples a step takes, and their token ids."""

import pytest

from r2d.method import objective
from r2d.training import batches
from r2d.training.batches import TokenCache, batch_order


def test_every_example_is_seen_once_an_epoch_in_an_order_of_the_seed():
    order = [i for step in range(6) for i in batch_order(1, 12, step, 4)]
    assert sorted(order[:12]) == sorted(order[12:]) == list(range(12))
    assert order[:12] != order[12:]
    assert batch_order(1, 12, 4, 4) == order[16:20]
    assert batch_order(2, 12, 4, 4) != order[16:20]


def test_a_batch_larger_than_the_data_goes_on_into_the_next_epoch():
    order = batch_order(1, 3, 0, 8)
    assert len(order) == 8
    assert sorted(order[:3]) == sorted(order[3:6]) == [0, 1, 2]


@pytest.fixture
def decoder(records, fresh):
    return fresh(records)


def test_ids_are_those_of_the_tokenizer_cut_at_their_limits(decoder, records):
    tokens = TokenCache(decoder)
    tokens.add(records.train, objective.named("r2d"))
    prompt = "given label: no label of the set, explain: " + "pain " * 200
    (row,) = tokens.sources([prompt])
    assert row.tolist() == decoder.tokenizer(prompt, truncation=True, max_length=64)["input_ids"]
    long = "word " * 200
    for task, limit in (("label", None), ("rationale", 24)):
        (row,) = tokens.targets(task, [long])
        assert (
            row.tolist()
            == decoder.tokenizer(long, truncation=bool(limit), max_length=limit)["input_ids"]
        )
    assert [list(row) for row in tokens.targets("rationale", [""])] == [[]]


def test_counts_are_those_of_the_targets_with_their_end_tokens_and_at_least_one(decoder, records):
    tokens = TokenCache(decoder)
    tokens.add(records.train, objective.named("dss"))
    counts = tokens.counts(records.train[:5])
    tokenizer = decoder.tokenizer
    assert counts["label"] == sum(len(tokenizer(r.label)["input_ids"]) for r in records.train[:5])
    cut = [
        tokenizer(r.rationale, truncation=True, max_length=24)["input_ids"]
        for r in records.train[:5]
    ]
    assert counts["rationale"] == sum(map(len, cut))
    assert tokens.counts([]) == {"label": 1, "rationale": 1}


def test_texts_of_the_records_are_tokenised_once(decoder, records, monkeypatch):
    tokens = TokenCache(decoder)
    tokens.add(records.train, objective.named("r2d"))
    encoded, encode = [], decoder.encode

    def encode_and_keep(texts):
        encoded.extend(texts)
        return encode(texts)

    monkeypatch.setattr(decoder, "encode", encode_and_keep)
    first = records.train[0]
    tokens.sources([f"predict: {first.question}"])
    tokens.sources([f"given label: {first.label}, explain: {first.question}"])
    assert encoded == []
    other = f"given label: something else, explain: {first.question}"
    tokens.sources([other])
    tokens.sources([other])
    assert encoded == [other]


def test_prompts_that_are_seldom_asked_for_again_are_forgotten_in_time(decoder, monkeypatch):
    monkeypatch.setattr(batches, "RECENT", 3)
    tokens = TokenCache(decoder)
    texts = [f"explain: note {k}" for k in range(12)]
    rows = [tokens.sources([text, texts[0]]) for text in texts]
    assert [row.tolist() for row, _ in rows] == [row.tolist() for row in decoder.encode(texts)]
    assert {tuple(again) for _, again in rows} == {tuple(decoder.encode(texts[:1])[0])}
