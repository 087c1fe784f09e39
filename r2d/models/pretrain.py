"""The small T5 base shipped in `r2d/base/`: its tokenizer, its denoising pretraining, and the command that rebuilds it.

    python -m r2d.base OUT [--steps 1600]

Pretraining text: synthetic triage notes (no labels, no rationales, a seed no experiment uses) and, for general medical
English, the abstracts of PubMedQA's expert-labelled records that are *not* in the official test split (`R2D_DATA`). Only
the tokenizer, not the model, also sees labels and rationales of synthetic notes, so that their words are whole tokens.
"""

import argparse
import random
import time
from pathlib import Path

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from r2d.data import triage

SEED = 811_000
SENTINELS = 32
VOCABULARY = 1_500
WINDOW = 40
WHOLE = 0.7


def corpus(notes: int) -> tuple[list[str], list[str]]:
    """Unlabelled text: synthetic notes of mixed difficulty, and windows of non-test PubMedQA-L abstracts."""
    from r2d import data
    from r2d.recipes.settings import DataSettings

    typed = [
        r["question"]
        for i, d in enumerate((0.3, 0.6))
        for r in triage.generate(notes // 2, SEED + i, d)
    ]
    settings = DataSettings(card="pubmedqa", split="official")
    dataset = data.load("pubmedqa", settings)
    abstracts = []
    for record in [*dataset.train, *dataset.validation]:
        words = record.question.split()
        abstracts += [" ".join(words[i : i + 12]) for i in range(0, len(words), 12)]
    return typed, abstracts


def build_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `VOCABULARY` tokens: any UTF-8 text has tokens; digits stand alone."""
    specials = ["<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in range(SENTINELS))]
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=specials, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    names = dict(
        pad_token="<pad>", eos_token="</s>", unk_token="<unk>", extra_special_tokens=specials[3:]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def corrupt(ids: list[int], rng: random.Random, first_sentinel: int) -> tuple[list[int], list[int]]:
    """One denoising example, (input, target) ids: spans of 1 to 5 tokens, a fifth of the text, become sentinels.

    The target is the spans alone (Raffel et al. 2020, section 3.1.4) or, for `WHOLE` of the examples, the whole text, as in
    text infilling (Lewis et al. 2020). Spans alone teach a model this small to guess words and ignore its encoder: fine-tuned
    from there it stayed at the majority class, where one trained from scratch did not.
    """
    source, spans, i, sentinel = [], [], 0, first_sentinel
    while i < len(ids):
        if rng.random() < 0.07 and sentinel < first_sentinel + SENTINELS:
            span = rng.randint(1, 5)
            source.append(sentinel)
            spans += [sentinel, *ids[i : i + span]]
            sentinel += 1
            i += span
        else:
            source.append(ids[i])
            i += 1
    return [*source, 1], [*(ids if rng.random() < WHOLE else spans), 1]


def config() -> T5Config:
    """A small T5 with v1.1's gated GELU and the original's scaled outputs, 2 + 2 layers of width 128.

    With v1.1's unscaled outputs the first logits are in the tens, and a model this small stayed at the majority class.
    """
    return T5Config(
        vocab_size=VOCABULARY, d_model=128, d_kv=32, num_heads=4, d_ff=256, num_layers=2, num_decoder_layers=2,
        feed_forward_proj="gated-gelu", dropout_rate=0.0, decoder_start_token_id=0,
    )  # fmt: skip


def pretrain(
    tokenizer, notes: list[str], abstracts: list[str], steps: int, batch: int = 32, lr: float = 1e-3
):
    """Pretrain a fresh model by denoising; a fifth of every batch is abstracts."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    model = T5ForConditionalGeneration(config())
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.05)
    encoded = [
        tokenizer(group, add_special_tokens=False)["input_ids"] for group in (notes, abstracts)
    ]
    sentinel, started = tokenizer.convert_tokens_to_ids("<extra_id_0>"), time.time()
    for step in range(1, steps + 1):
        chosen = rng.choices(encoded[0], k=batch * 4 // 5) + rng.choices(
            encoded[1], k=batch - batch * 4 // 5
        )
        pairs = [corrupt(ids[:WINDOW], rng, sentinel) for ids in chosen]
        source = torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s, _ in pairs], True, 0)
        target = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for _, t in pairs], True, -100)
        loss = model(input_ids=source, attention_mask=source.ne(0).long(), labels=target).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step % 200 == 0:
            print(
                f"step {step}/{steps}  loss {loss.item():.3f}  {time.time() - started:.0f} s",
                flush=True,
            )
    return model


def main() -> None:
    """Rebuild the base into a folder."""
    parser = argparse.ArgumentParser(prog="python -m r2d.base", description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--notes", type=int, default=60_000)
    given = parser.parse_args()
    notes, abstracts = corpus(given.notes)
    written = [
        f"{r['label']} {r['rationale_llm']} {r['rationale_nurse_post']}"
        for r in triage.generate(6000, SEED)
    ]
    tokenizer = build_tokenizer([*notes[:6000], *written, *abstracts])
    model = pretrain(tokenizer, notes, abstracts, given.steps)
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)


if __name__ == "__main__":
    main()
