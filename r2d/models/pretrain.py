"""The small T5 base shipped in `r2d/models/base/`: its tokenizer, its denoising pretraining.

`rebuild` (`python -m r2d pretrain OUT`) makes it again. Its text: synthetic triage notes (no
labels, no rationales, a seed no experiment uses) and, for general medical English, the abstracts of
PubMedQA's expert-labelled records that are *not* in the official test split (`R2D_DATA`). Only the
tokenizer, not the model, also sees labels and rationales of synthetic notes, so that their words
are whole tokens.
"""

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
from torch import nn
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from r2d import hashes
from r2d.data import load as load_dataset
from r2d.data import triage
from r2d.method.loss import IGNORE
from r2d.models.backbone import pad
from r2d.recipes.settings import DataSettings

SEED = 811_000
VOCABULARY = 1_500
SENTINELS = 32
WINDOW = 40  # tokens of a text in one example
WHOLE = 0.7  # share of examples whose target is the whole text
PAD, END = 0, 1  # token ids
TEXTS = ("README.md", hashes.LIST)  # of the folder, beside the model's files


def rebuild(out: Path, steps: int = 1600, notes: int = 60_000) -> None:
    """Make the base's tokenizer and model again in the folder `out`."""
    texts, abstracts = corpus(notes)
    explained = [
        f"{note['label']} {note['rationale_llm']} {note['rationale_nurse_post']}"
        for note in triage.generate(6000, SEED)
    ]
    tokenizer = build_tokenizer([*texts[:6000], *explained, *abstracts])
    model = pretrain(tokenizer, texts, abstracts, steps)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    hashes.record(out, [path.name for path in out.iterdir() if path.name not in TEXTS])


def corpus(notes: int) -> tuple[list[str], list[str]]:
    """Unlabelled text: synthetic notes of mixed difficulty, windows of PubMedQA-L abstracts.

    No abstract is of PubMedQA's test split.
    """
    easy = triage.generate(notes // 2, SEED, 0.3)
    hard = triage.generate(notes // 2, SEED + 1, 0.6)
    texts = [note["question"] for note in [*easy, *hard]]
    dataset = load_dataset("pubmedqa", DataSettings(card="pubmedqa", split="official"))
    abstracts = []
    for record in [*dataset.train, *dataset.validation]:
        words = record.question.split()
        abstracts += [" ".join(words[i : i + 12]) for i in range(0, len(words), 12)]
    return texts, abstracts


def build_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `VOCABULARY` tokens.

    Any UTF-8 text has tokens; digits stand alone.
    """
    sentinels = [f"<extra_id_{i}>" for i in range(SENTINELS)]
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>", "<unk>", *sentinels],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=sentinels,
    )


def corrupt(ids: list[int], rng: random.Random, first_sentinel: int) -> tuple[list[int], list[int]]:
    """One denoising example, (input, target) ids.

    Spans of 1 to 5 tokens, a fifth of the text, become sentinels. The target is the spans alone
    (Raffel et al. 2020, section 3.1.4) or, for `WHOLE` of the examples, the whole text, as in text
    infilling (Lewis et al. 2020). Spans alone teach a model this small to guess words and ignore
    its encoder: fine-tuned from there it stayed at the majority class, where one trained from
    scratch did not.
    """
    source, spans = [], []
    sentinel = first_sentinel
    position = 0
    while position < len(ids):
        if rng.random() < 0.07 and sentinel < first_sentinel + SENTINELS:
            length = rng.randint(1, 5)
            source.append(sentinel)
            spans += [sentinel, *ids[position : position + length]]
            sentinel += 1
            position += length
        else:
            source.append(ids[position])
            position += 1
    target = ids if rng.random() < WHOLE else spans
    return [*source, END], [*target, END]


def config() -> T5Config:
    """A small T5 with v1.1's gated GELU and the original's scaled outputs, 2 + 2 layers of 128.

    With v1.1's unscaled outputs the first logits are in the tens, and a model this small stayed at
    the majority class.
    """
    return T5Config(
        vocab_size=VOCABULARY,
        d_model=128,
        d_kv=32,
        num_heads=4,
        d_ff=256,
        num_layers=2,
        num_decoder_layers=2,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        decoder_start_token_id=PAD,
    )


def pretrain(
    tokenizer,
    notes: list[str],
    abstracts: list[str],
    steps: int,
    batch: int = 32,
    lr: float = 1e-3,
) -> nn.Module:
    """Pretrain a fresh model by denoising; a fifth of every batch is abstracts."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    model = T5ForConditionalGeneration(config())
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.05)
    note_ids = tokenizer(notes, add_special_tokens=False)["input_ids"]
    abstract_ids = tokenizer(abstracts, add_special_tokens=False)["input_ids"]
    sentinel = tokenizer.convert_tokens_to_ids("<extra_id_0>")
    began = time.time()
    for step in range(1, steps + 1):
        chosen = rng.choices(note_ids, k=batch * 4 // 5)
        chosen += rng.choices(abstract_ids, k=batch - batch * 4 // 5)
        pairs = [corrupt(ids[:WINDOW], rng, sentinel) for ids in chosen]
        source = pad([source for source, _ in pairs], PAD, "cpu")
        target = pad([target for _, target in pairs], IGNORE, "cpu")
        mask = source.ne(PAD).long()
        loss = model(input_ids=source, attention_mask=mask, labels=target).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step % 200 == 0:
            seconds = time.time() - began
            print(f"step {step}/{steps}  loss {loss.item():.3f}  {seconds:.0f} s", flush=True)
    return model
