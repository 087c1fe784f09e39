"""Decoding: greedy as in transformers, exact label scores, and the label that the rationale must support."""

import random

import pytest
import torch

from r2d.data import Record, triage
from r2d.method import objective
from r2d.models.decode import Decoder, by_length, generate, greedy, pad, score

NOTES = [note["question"] for note in triage.generate(12, seed=5)]


@pytest.fixture
def decoder(records, fresh):
    made = fresh(records)
    made.model.eval()
    return made


def shake(decoder, by):
    """Move the weights: the base itself ends every answer at once."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in decoder.model.parameters():
            weight += by * torch.randn_like(weight)


@pytest.fixture
def prompts_(decoder):
    """Prompts of very different lengths, and some of random tokens."""
    rng = random.Random(0)
    noise = [[rng.randrange(5, 1400) for _ in range(rng.randint(1, 40))] + [1] for _ in range(6)]
    return (
        decoder.encode([f"predict: {note}" for note in NOTES] + ["predict: ", "explain: cp"])
        + noise
    )


@pytest.mark.parametrize("by", [0, 0.15, 0.2])
def test_greedy_equals_generate_without_beams(decoder, prompts_, by):
    shake(decoder, by)
    ids = pad(prompts_, 0, "cpu")
    mask = ids.ne(0).long()
    with torch.no_grad():
        wanted = decoder.model.generate(
            ids, attention_mask=mask, do_sample=False, num_beams=1, max_new_tokens=20
        )[:, 1:]
    found = greedy(decoder.network, ids, mask, 20)
    assert found.shape == wanted.shape and torch.equal(found, wanted)


def test_greedy_ends_each_row_at_its_end_token_and_all_at_the_limit(decoder, prompts_):
    shake(decoder, 0.2)
    ids = pad(prompts_, 0, "cpu")
    decoder.model.config.eos_token_id = -1
    free = greedy(decoder.network, ids, ids.ne(0).long(), 7)
    assert free.shape == (len(prompts_), 7)
    end = decoder.model.config.eos_token_id = free[
        0, 3
    ].item()  # a token that really comes, in the middle of some rows
    for row, before in zip(
        greedy(decoder.network, ids, ids.ne(0).long(), 7).tolist(), free.tolist(), strict=True
    ):
        stop = before.index(end) + 1 if end in before else 7
        assert row == before[:stop] + [0] * (7 - stop)


def test_batches_by_length_give_what_one_by_one_gives_in_the_callers_order(decoder, prompts_):
    shake(decoder, 0.2)
    together = generate(decoder.network, prompts_, 16, size=5)
    alone = [generate(decoder.network, [row], 16, size=1)[0] for row in prompts_]
    assert together == alone and len(set(together)) > 3
    batches = list(by_length(prompts_, 5))
    assert sorted(i for batch in batches for i in batch) == list(range(len(prompts_)))
    lengths = [len(prompts_[i]) for batch in batches for i in batch]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("training", [True, False])
def test_generating_leaves_the_models_mode_as_it_was(decoder, prompts_, training):
    decoder.model.train(training)
    generate(decoder.network, prompts_[:2], 2, 2)
    score(decoder.network, prompts_[:2], [decoder.labels] * 2, 2)
    assert decoder.model.training is training


def test_scores_are_the_exact_log_probabilities_of_each_label(decoder, prompts_):
    found = score(decoder.network, prompts_, [decoder.labels] * len(prompts_), size=16)
    for i, row in enumerate(prompts_):
        for k, label in enumerate(decoder.labels):
            target = decoder.tokenizer(label)["input_ids"]
            assert target[-1] == decoder.tokenizer.eos_token_id
            with torch.no_grad():
                shifted = torch.tensor([[0, *target[:-1]]])
                logits = decoder.model(
                    input_ids=torch.tensor([row]), decoder_input_ids=shifted
                ).logits[0]
            by_hand = torch.log_softmax(logits, -1)[range(len(target)), target].sum().item()
            assert found[i, k].item() == pytest.approx(by_hand, rel=1e-4)
    assert (found.exp().sum(1) <= 1).all()


def test_scored_labels_are_the_most_probable_of_the_set(decoder, prompts_):
    texts = decoder.label_texts(prompts_, "score")
    best = score(decoder.network, prompts_, [decoder.labels] * len(prompts_), 64)
    assert set(texts) <= set(decoder.labels)
    assert [decoder.labels.index(t) for t in texts] == best.argmax(1).tolist()


def spied(decoder, monkeypatch, labels):
    """A decoder whose labels are given; returns the lists of prompts it encodes."""
    asked, encode, answers = [], decoder.encode, iter(labels)
    monkeypatch.setattr(
        decoder, "encode", lambda texts: (asked.append(list(texts)), encode(asked[-1]))[1]
    )
    monkeypatch.setattr(
        decoder, "label_texts", lambda rows, how="generate", choices=None: next(answers)
    )
    return asked


def test_invalid_labels_are_kept_flagged_and_explained(decoder, records, monkeypatch):
    cases = [r for r in records.test if r.label != "Home care"][:3]
    said = ["Banana ", " home CARE", cases[2].label.upper()]
    asked = spied(decoder, monkeypatch, [said, ["Call 911", "nothing", "HOME care "]])
    rows = decoder.predict(cases, objective.named("r2d"))
    decoder.probe(cases, rows, objective.named("r2d"))
    assert [(r["label"], r["valid"]) for r in rows] == [
        ("Banana ", False),
        ("Home care", True),
        (cases[2].label, True),
    ]
    assert [r["label_from_rationale"] for r in rows] == ["Call 911", "nothing", "Home care"]
    _, own, under_gold, again = asked
    assert own == [
        f"given label: {row['label']}, explain: {case.question}"
        for row, case in zip(rows, cases, strict=True)
    ]
    assert under_gold == [
        f"given label: {case.label}, explain: {case.question}" for case in cases[:2]
    ]  # the third was right
    assert again == [f"predict: {row['rationale']}" for row in rows]
    assert rows[2]["rationale_given_gold"] == rows[2]["rationale"]
    assert all(
        r["id"] == c.id and r["gold"] == c.label and r["reason"] == c.reason
        for r, c in zip(rows, cases, strict=True)
    )


def test_prompts_without_a_label_are_used_by_methods_trained_so(decoder, records, monkeypatch):
    asked = spied(decoder, monkeypatch, [["Home care"] * 8] * 2)
    rows = decoder.predict(records.test, objective.named("dss"))
    decoder.probe(records.test, rows, objective.named("dss"))
    assert asked[1] == [f"explain: {case.question}" for case in records.test]
    assert all(
        "rationale_given_gold" not in row and row["label_from_rationale"] == "Home care"
        for row in rows
    )


def test_a_method_without_rationales_writes_none(decoder, records):
    rows = decoder.predict(records.test, objective.named("sft"))
    assert {row["rationale"] for row in rows} == {""} and all(
        "label_from_rationale" not in row for row in rows
    )


def test_predicting_switches_dropout_off(records, fresh):
    decoder = fresh(records, dropout=0.5)
    decoder.model.train()
    first, second = (decoder.predict(records.test, objective.named("dss")) for _ in range(2))
    assert first == second and not decoder.model.training


def test_a_label_is_decoded_to_the_longest_of_the_set_and_no_further(decoder, records):
    longest = max(len(decoder.tokenizer(label)["input_ids"]) for label in records.labels)
    assert decoder.max_label == longest
    assert Decoder(decoder.model, decoder.tokenizer, ["a"], (64, 24)).max_label == 2


def test_a_note_of_100_000_words_is_cut_at_the_limit_with_its_end_token(decoder):
    note = Record("1", "headache and more " * 33_334, "Home care", "long")
    (ids,) = decoder.encode([f"predict: {note.question}"])
    assert len(ids) == 64 and ids[-1] == decoder.tokenizer.eos_token_id
    rows = decoder.predict([note], objective.named("r2d"))
    assert len(rows) == 1 and isinstance(rows[0]["rationale"], str)


def test_braces_and_other_scripts_in_a_note_stand_as_typed(decoder):
    from r2d.method import prompts

    note = "BP {120}/80 {label} température 39° 発熱 🤒"
    assert prompts.explain(note, "Home care") == f"given label: Home care, explain: {note}"
    text = decoder.tokenizer.decode(decoder.tokenizer(note)["input_ids"], skip_special_tokens=True)
    assert "".join(text.split()) == "".join(note.split())
    assert decoder.tokenizer.unk_token_id not in decoder.tokenizer(note)["input_ids"]
