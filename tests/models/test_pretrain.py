"""The small base: its tokenizer, its denoising examples, and the shape that is shipped."""

import random

import pytest
import torch
from transformers import T5Config

from r2d import env, paths
from r2d.data import triage
from r2d.models import pretrain
from r2d.models.load import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    notes = triage.generate(200, pretrain.SEED)
    return pretrain.build_tokenizer([note["question"] for note in notes])


def test_any_text_has_tokens_and_decodes_to_itself(tokenizer):
    text = "t 39.5, température 39° 発熱 🤒"
    ids = tokenizer(text)["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id == pretrain.END
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer) <= pretrain.VOCABULARY


def test_digits_stand_alone(tokenizer):
    assert len(tokenizer("1234", add_special_tokens=False)["input_ids"]) == 4


def test_a_corrupted_text_and_its_spans_make_the_text_again():
    rng, first, whole = random.Random(0), 1000, 0
    for _ in range(200):
        ids = [rng.randrange(40, 900) for _ in range(rng.randint(1, pretrain.WINDOW))]
        source, target = pretrain.corrupt(ids, rng, first)
        assert source[-1] == target[-1] == pretrain.END
        if target[:-1] == ids:
            whole += 1
            continue
        spans = {}
        for token in target[:-1]:
            if token >= first:
                span = spans[token] = []
            else:
                span.append(token)
        restored = []
        for token in source[:-1]:
            restored += spans[token] if token >= first else [token]
        assert restored == ids
    assert 100 < whole < 180  # most targets are the whole text


def test_the_base_is_taught_what_is_present_and_never_which_finding_is_worse():
    facts = "present: b, a; denied: d, c; modifier: age over 80"
    assert pretrain.answer(facts) == "a, b; denied: c, d; modifier: age over 80"
    notes = list(triage.generate(200, pretrain.SEED, pretrain.DIFFICULTY))
    taught = [pretrain.answer(note["facts"]) for note in notes]
    assert not any(label in text for text in taught for label in triage.LABELS)


def test_the_shipped_base_has_the_shape_and_the_tokenizer_that_are_built(tokenizer):
    shipped = T5Config.from_pretrained(paths.BASE)
    built = pretrain.config()
    for name in (
        "vocab_size",
        "d_model",
        "d_kv",
        "num_heads",
        "d_ff",
        "num_layers",
        "num_decoder_layers",
    ):
        assert getattr(shipped, name) == getattr(built, name)
    assert load_tokenizer("mini-base").all_special_tokens == tokenizer.all_special_tokens


def test_pretraining_takes_the_threads_that_serve_the_base(tokenizer, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(env, "_usual_threads", lambda: 2)
    torch.set_num_threads(2)
    pretrain.pretrain(tokenizer, [("54 yo M", "present: a")], ["An abstract."], 1, batch=4)
    assert torch.get_num_threads() == 1
