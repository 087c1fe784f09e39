"""Decoding: greedy as in transformers, exact label scores, and which label a rationale supports."""

import random

import pytest
import torch

from r2d.data import triage
from r2d.data.record import Record
from r2d.method import objective
from r2d.models import decode
from r2d.models.backbone import by_length, pad
from r2d.models.decode import Decoder, generate, greedy, score, verified

NOTES = [note["question"] for note in triage.generate(12, seed=5)]


@pytest.fixture
def decoder(records, fresh):
    decoder = fresh(records)
    decoder.model.eval()
    return decoder


@pytest.fixture
def prompt_rows(decoder):
    """Token ids of prompts of very different lengths, and some of random tokens."""
    rng = random.Random(0)
    noise = [[rng.randrange(5, 1400) for _ in range(rng.randint(1, 40))] + [1] for _ in range(6)]
    texts = [f"predict: {note}" for note in NOTES] + ["predict: ", "explain: cp"]
    return decoder.encode(texts) + noise


def shake(decoder, by):
    """Move the weights: the base itself ends every answer at once."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in decoder.model.parameters():
            weight += by * torch.randn(weight.shape).to(weight.device)


@pytest.mark.parametrize("by", [0, 0.15, 0.2])
def test_greedy_equals_generate_without_beams(decoder, prompt_rows, by):
    shake(decoder, by)
    ids = pad(prompt_rows, 0, decoder.model.device)
    mask = ids.ne(0).long()
    with torch.no_grad():
        expected = decoder.model.generate(
            ids, attention_mask=mask, do_sample=False, num_beams=1, max_new_tokens=20
        )[:, 1:]
    assert torch.equal(greedy(decoder.network, ids, mask, 20), expected)


@pytest.mark.parametrize("by", [0, 0.15, 0.2])
def test_labels_found_from_drafts_are_those_of_greedy(decoder, prompt_rows, by):
    shake(decoder, by)
    ids, mask = decoder.network.batch(prompt_rows)
    limit = 9
    expected = [
        row[: row.index(1) + 1] if 1 in row else row
        for row in greedy(decoder.network, ids, mask, limit).tolist()
    ]
    labels = decoder.targets(decoder.labels)
    right, prefix = [[row] for row in expected], [[[*row[:2], 7]] for row in expected]
    for drafts in ([labels] * len(prompt_rows), right, prefix):
        assert verified(decoder.network, ids, mask, limit, drafts) == expected


def test_greedy_ends_each_row_at_its_end_token_and_all_at_the_limit(decoder, prompt_rows):
    shake(decoder, 0.2)
    ids = pad(prompt_rows, 0, decoder.model.device)
    mask = ids.ne(0).long()
    decoder.model.config.eos_token_id = -1
    endless = greedy(decoder.network, ids, mask, 7)
    assert endless.shape == (len(prompt_rows), 7)
    end = endless[0, 3].item()  # a token that really comes, in the middle of some rows
    decoder.model.config.eos_token_id = end
    ended = greedy(decoder.network, ids, mask, 7).tolist()
    for row, before in zip(ended, endless.tolist(), strict=True):
        stop = before.index(end) + 1 if end in before else 7
        assert row == before[:stop] + [0] * (7 - stop)


def test_batches_by_length_give_what_one_by_one_gives_in_the_callers_order(decoder, prompt_rows):
    shake(decoder, 0.2)
    together = generate(decoder.network, prompt_rows, 16, size=5)
    alone = [generate(decoder.network, [row], 16, size=1)[0] for row in prompt_rows]
    assert together == alone
    assert len(set(together)) > 3
    batches = list(by_length(prompt_rows, 5))
    assert sorted(i for batch in batches for i in batch) == list(range(len(prompt_rows)))
    lengths = [len(prompt_rows[i]) for batch in batches for i in batch]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("training", [True, False])
def test_generating_leaves_the_models_mode_as_it_was(decoder, prompt_rows, training):
    decoder.model.train(training)
    generate(decoder.network, prompt_rows[:2], 2, 2)
    score(decoder.network, prompt_rows[:2], [decoder.labels] * 2, 2)
    assert decoder.model.training is training


def test_scores_are_the_exact_log_probabilities_of_each_label(decoder, prompt_rows):
    scores = score(decoder.network, prompt_rows, [decoder.labels] * len(prompt_rows), size=16)
    for i, row in enumerate(prompt_rows):
        for k, label in enumerate(decoder.labels):
            target = decoder.tokenizer(label)["input_ids"]
            assert target[-1] == decoder.tokenizer.eos_token_id
            source, shifted = (
                torch.tensor([ids], device=decoder.model.device)
                for ids in (list(row), [0, *target[:-1]])
            )
            with torch.no_grad():
                output = decoder.model(input_ids=source, decoder_input_ids=shifted)
            log_probs = torch.log_softmax(output.logits[0], -1)
            by_hand = log_probs[range(len(target)), target].sum().item()
            assert scores[i, k].item() == pytest.approx(by_hand, rel=1e-4)
    assert (scores.exp().sum(1) <= 1).all()


def test_scored_labels_are_the_most_probable_of_the_set(decoder, prompt_rows):
    texts = decoder.label_texts(prompt_rows, "score")
    scores = score(decoder.network, prompt_rows, [decoder.labels] * len(prompt_rows), 64)
    assert texts == [decoder.labels[k] for k in scores.argmax(1)]


def spy(decoder, monkeypatch, labels):
    """Give the decoder its labels; returns the lists of prompts that it encodes from now on."""
    encoded, encode, answers = [], decoder.encode, iter(labels)

    def encode_and_keep(texts):
        encoded.append(list(texts))
        return encode(encoded[-1])

    def given_labels(rows, how="generate", choices=None):
        return next(answers)

    monkeypatch.setattr(decoder, "encode", encode_and_keep)
    monkeypatch.setattr(decoder, "label_texts", given_labels)
    return encoded


def test_invalid_labels_are_kept_flagged_and_explained(decoder, records, monkeypatch):
    cases = [record for record in records.test if record.label != "Home care"][:3]
    decided = ["Banana ", " home CARE", cases[2].label.upper()]
    encoded = spy(decoder, monkeypatch, [decided, ["Call 911", "nothing", "HOME care "]])
    predictions = decoder.predict(cases, objective.named("r2d"))
    decoder.probe(cases, predictions, objective.named("r2d"))
    assert [(p["label"], p["valid"]) for p in predictions] == [
        ("Banana ", False),
        ("Home care", True),
        (cases[2].label, True),
    ]
    assert [p["label_from_rationale"] for p in predictions] == ["Call 911", "nothing", "Home care"]
    _, under_own, under_gold, under_each, from_rationale = encoded
    both = list(zip(predictions, cases, strict=True))
    assert under_own == [f"given label: {p['label']}, explain: {c.question}" for p, c in both]
    # The third was right already: its rationale is the one under the gold label.
    assert under_gold == [f"given label: {c.label}, explain: {c.question}" for c in cases[:2]]
    assert predictions[2]["rationale_given_gold"] == predictions[2]["rationale"]
    # Told its own label a case's rationale is known; "Banana" is no label to be told.
    told = [(p, c, x) for p, c in both for x in decoder.labels if x != p["label"]]
    assert under_each == [f"given label: {x}, explain: {c.question}" for _, c, x in told]
    assert [list(p["rationale_under"]) for p in predictions] == [list(decoder.labels)] * 3
    assert predictions[2]["rationale_under"][cases[2].label] == predictions[2]["rationale"]
    assert from_rationale == [f"predict: {p['rationale']}" for p in predictions]
    for prediction, case in both:
        assert prediction["id"] == case.id
        assert prediction["gold"] == case.label
        assert prediction["reason"] == case.reason


def test_forced_labels_are_told_of_as_many_cases_as_prompts_are_allowed(
    decoder, records, monkeypatch
):
    monkeypatch.setattr(decode, "PROBED", 3 * len(decoder.labels) + 1)
    probed = []
    for labels in (["Home care"] * 8, ["Call 911"] * 8):
        spy(decoder, monkeypatch, [labels] * 2)
        predictions = decoder.predict(records.test, objective.named("r2d"))
        decoder.probe(records.test, predictions, objective.named("r2d"))
        probed.append([p["id"] for p in predictions if "rationale_under" in p])
    assert len(probed[0]) == 3 and probed[0] == probed[1]  # the same cases for every model


def test_prompts_without_a_label_are_used_by_methods_trained_so(decoder, records, monkeypatch):
    encoded = spy(decoder, monkeypatch, [["Home care"] * 8] * 2)
    predictions = decoder.predict(records.test, objective.named("dss"))
    decoder.probe(records.test, predictions, objective.named("dss"))
    assert encoded[1] == [f"explain: {case.question}" for case in records.test]
    assert not any("rationale_given_gold" in prediction for prediction in predictions)
    assert not any("rationale_under" in prediction for prediction in predictions)
    assert {prediction["label_from_rationale"] for prediction in predictions} == {"Home care"}


def test_a_method_without_rationales_writes_none(decoder, records):
    predictions = decoder.predict(records.test, objective.named("sft"))
    assert {prediction["rationale"] for prediction in predictions} == {""}
    assert not any("label_from_rationale" in prediction for prediction in predictions)


def test_predicting_switches_dropout_off(records, fresh):
    decoder = fresh(records, dropout=0.5)
    decoder.model.train()
    first, second = (decoder.predict(records.test, objective.named("dss")) for _ in range(2))
    assert first == second
    assert not decoder.model.training


def test_a_label_is_decoded_to_the_longest_of_the_set_and_no_further(decoder, records):
    longest = max(len(decoder.tokenizer(label)["input_ids"]) for label in records.labels)
    assert decoder.max_label == longest
    assert Decoder(decoder.model, decoder.tokenizer, ["a"], (64, 24)).max_label == 2


def test_a_note_of_100_000_words_is_cut_at_the_limit_with_its_end_token(decoder):
    note = Record("1", "headache and more " * 33_334, "Home care", "long")
    (ids,) = decoder.encode([f"predict: {note.question}"])
    assert len(ids) == 64
    assert ids[-1] == decoder.tokenizer.eos_token_id
    (prediction,) = decoder.predict([note], objective.named("r2d"))
    assert isinstance(prediction["rationale"], str)


def test_braces_and_other_scripts_in_a_note_become_tokens_as_typed(decoder):
    note = "BP {120}/80 {label} température 39° 発熱 🤒"
    ids = decoder.tokenizer(note)["input_ids"]
    text = decoder.tokenizer.decode(ids, skip_special_tokens=True)
    assert "".join(text.split()) == "".join(note.split())
    assert decoder.tokenizer.unk_token_id not in ids
