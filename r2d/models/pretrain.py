"""The small T5 base shipped in `r2d/models/base/`: its tokenizer, its pretraining.

`rebuild` (`python -m r2d pretrain OUT`) makes it again. It reads synthetic triage notes of a seed
that no experiment uses, without labels and rationales, and learns two tasks on them: denoising, and
writing a note's findings as present, denied or a relative's (the generator's `facts`), so that it
can tell what is said of a finding from the finding's being mentioned. What a finding is worth, it
is never told. For general medical English it denoises the abstracts of PubMedQA's expert-labelled
records that are *not* in the official test split (`R2D_DATA`). Only the tokenizer, not the model,
also sees labels and rationales of synthetic notes, so that their words are whole tokens.
"""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
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

from r2d import env, hashes
from r2d.data import load as load_dataset
from r2d.data import triage
from r2d.method.loss import IGNORE
from r2d.models.backbone import pad
from r2d.models.load import count_parameters
from r2d.recipes.settings import DataSettings

SEED = 811_000
VOCABULARY = 1_500
SENTINELS = 32
# Of the notes that are read: more that has to be read than in any profile, and denials of what
# would change nothing, so that being denied does not tell that a finding is urgent.
DIFFICULTY, HARMLESS = 0.7, 0.8
WINDOW = 40  # tokens of a text in one example
FINDINGS = "findings: {question}"  # the prompt whose target is a note's facts
SHARES = {"facts": 0.6, "notes": 0.2, "abstracts": 0.2}  # of every batch
WHOLE = 0.7  # share of examples whose target is the whole text
PAD, END = 0, 1  # token ids
TEXTS = ("README.md", hashes.LIST)  # of the folder, beside the model's files


def rebuild(out: Path, steps: int = 1500, notes: int = 100_000) -> None:
    """Make the base's tokenizer and model again in the folder `out`."""
    read, abstracts = corpus(notes)
    explained = [
        f"{note['label']} {note['rationale_llm']} {note['rationale_nurse_post']}"
        for note in triage.generate(6000, SEED, harmless=HARMLESS)
    ]
    texts = [text for note in read[:6000] for text in note]
    tokenizer = build_tokenizer([*texts, *explained, *abstracts])
    model = pretrain(tokenizer, read, abstracts, steps)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    hashes.record(out, [path.name for path in out.iterdir() if path.name not in TEXTS])


def corpus(notes: int) -> tuple[list[tuple[str, str]], list[str]]:
    """Unlabelled text: synthetic notes with their facts, windows of PubMedQA-L abstracts.

    No abstract is of PubMedQA's test split.
    """
    stream = triage.generate(notes, SEED, DIFFICULTY, harmless=HARMLESS)
    read = [(note["question"], note["facts"]) for note in stream]
    dataset = load_dataset("pubmedqa", DataSettings(card="pubmedqa", split="official"))
    abstracts = []
    for record in [*dataset.train, *dataset.validation]:
        words = record.question.split()
        abstracts += [" ".join(words[i : i + 12]) for i in range(0, len(words), 12)]
    return read, abstracts


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
    """A small T5 with v1.1's gated GELU and the original's scaled outputs, 3 + 2 layers of 128.

    With v1.1's unscaled outputs the first logits are in the tens, and a model this small stayed at
    the majority class.
    """
    return T5Config(
        vocab_size=VOCABULARY,
        d_model=128,
        d_kv=32,
        num_heads=4,
        d_ff=256,
        num_layers=3,
        num_decoder_layers=2,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        decoder_start_token_id=PAD,
    )


def answer(facts: str) -> str:
    """A note's facts as they are to be written: what is present first, in alphabetical order.

    In the record the most urgent comes first, which is for no base to know.
    """
    parts = [
        ("" if part == "present" else f"{part}: ") + ", ".join(sorted(names))
        for part, names in triage.facts_of(facts).items()
        if names
    ]
    return "; ".join(parts)


def pretrain(
    tokenizer,
    read: Sequence[tuple[str, str]],
    abstracts: Sequence[str],
    steps: int,
    batch: int = 256,
    lr: float = 1e-3,
) -> nn.Module:
    """Pretrain a fresh model on notes with their facts and on abstracts, mixed by `SHARES`."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    device = env.device()
    model = T5ForConditionalGeneration(config()).to(device)
    env.choose_threads(count_parameters(model)["parameters"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.05)
    examples = _examples(tokenizer, read, abstracts, rng)
    began = time.time()
    for step in range(1, steps + 1):
        tasks = rng.choices(list(SHARES), list(SHARES.values()), k=batch)
        pairs = [examples[task]() for task in tasks]
        source = pad([source for source, _ in pairs], PAD, device)
        target = pad([target for _, target in pairs], IGNORE, device)
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


def _examples(
    tokenizer, read: Sequence[tuple[str, str]], abstracts: Sequence[str], rng: random.Random
) -> dict[str, Callable[[], tuple[list[int], list[int]]]]:
    """By task, what draws one example, (input, target) ids."""
    plain = partial(tokenizer, add_special_tokens=False)
    note_ids = plain([question for question, _ in read])["input_ids"]
    abstract_ids = plain(list(abstracts))["input_ids"]
    sources = tokenizer([FINDINGS.format(question=question) for question, _ in read])["input_ids"]
    targets = tokenizer([answer(facts) for _, facts in read])["input_ids"]
    pairs = list(zip(sources, targets, strict=True))
    sentinel = tokenizer.convert_tokens_to_ids("<extra_id_0>")
    return {
        "facts": lambda: rng.choice(pairs),
        "notes": lambda: corrupt(rng.choice(note_ids)[:WINDOW], rng, sentinel),
        "abstracts": lambda: corrupt(rng.choice(abstract_ids)[:WINDOW], rng, sentinel),
    }
