"""Chat models read into this process: any causal model with a chat template, 4 bits (NF4) on CUDA, fp32 on the CPU."""

import copy
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from r2d import env, provenance
from r2d.errors import R2DError
from r2d.llms.chat import Answer, Decoding, Keep, Message
from r2d.llms.constrained import Form, Gumbel, vocabulary
from r2d.method.loss import IGNORE, token_losses
from r2d.models import assets
from r2d.models.backbone import DecoderOnly, pad, positions
from r2d.models.decode import by_length
from r2d.recipes.settings import LlmSettings

_LOADED: dict = {}  # the one model in memory, so that several chats of a notebook share it


class Local:
    """The model `settings.model`: a hub id, a folder, or the name of an asset such as `smollm2`; loaded at the first call.

    Rows are decoded in left-padded batches of like length. A sampled answer depends on its own prompt, seed and repeat, not
    on its batch. Answers are held to the JSON schema.
    """

    scores = True

    def __init__(self, settings: LlmSettings):
        self.settings = settings

    @cached_property
    def _weights(self) -> str:
        """What tells these weights from others: the asset's sha256, the revision, or a hash of the folder."""
        name = self.settings.model
        if name in assets.ASSETS:
            return assets.ASSETS[name].sha256
        return (
            provenance.checkpoint(Path(name))
            if Path(name).is_dir()
            else self.settings.revision or ""
        )

    def identity(self) -> dict:
        """What the model is, in which precision it runs here, and the code that runs it."""
        precision = "fp32" if env.device() == "cpu" else "nf4"
        model = {"model": self.settings.model, "weights": self._weights, "precision": precision}
        return {
            "backend": "local",
            **model,
            "schema": "enforced",
            "code": provenance.code(__name__, without="r2d.recipes"),
        }

    @torch.inference_mode()
    def answer(
        self, conversations: Sequence[list[Message]], how: Decoding, schema: dict | None, keep: Keep
    ) -> None:
        """Hand the answer to each conversation to `keep`; one too long for the model's context is a fault."""
        model, tokenizer, ends, tokens = _load(self.settings)
        rows = _prompts(tokenizer, conversations)
        fits = [i for i, row in enumerate(rows) if len(row) + how.max_new_tokens <= _context(model)]
        for i in set(range(len(rows))) - set(fits):
            keep(
                i,
                Answer(
                    "",
                    "fault",
                    fault=f"the prompt and its answer exceed the model's {_context(model)} tokens",
                ),
            )
        shared, start = _common_start(model, [rows[i] for i in fits])
        for batch in by_length([rows[i] for i in fits], self.settings.batch):
            chosen = [fits[i] for i in batch]
            ids, mask = _left(tokenizer, [rows[i] for i in chosen], model.device, shared)
            steps = [Form(tokens, schema, len(batch))] if schema else []
            steps += [Gumbel([rows[i] for i in chosen], how)] if how.temperature else []
            out = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=how.max_new_tokens, do_sample=False,
                eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id, logits_processor=steps,
                past_key_values=_repeated(start, len(batch)),
            )  # fmt: skip
            for i, new in zip(chosen, out[:, ids.shape[1] :].tolist(), strict=True):
                length = next((n for n, token in enumerate(new) if token in ends), None)
                text = tokenizer.decode(new[:length], skip_special_tokens=True).strip()
                made = len(new) if length is None else length + 1
                keep(i, Answer(text, "length" if length is None else "stop", len(rows[i]), made))

    @torch.inference_mode()
    def score(
        self, conversations: Sequence[list[Message]], options: Sequence[Sequence[str]], keep: Keep
    ) -> None:
        """Hand each conversation's log-probabilities to `keep`, as a JSON list; each prompt is read once."""
        model, tokenizer, ends, _ = _load(self.settings)
        net = DecoderOnly(model, tokenizer)
        rows, end = _prompts(tokenizer, conversations), _end_of_turn(tokenizer, ends)
        shared, start = _common_start(model, rows)
        size = max(1, self.settings.batch // max(map(len, options)))
        for batch in by_length(rows, size):
            ids, mask = _left(tokenizer, [rows[i] for i in batch], model.device, shared)
            answers = [
                tokenizer(list(options[i]), add_special_tokens=False)["input_ids"] for i in batch
            ]
            if ids.shape[1] + max(len(a) for some in answers for a in some) > _context(model):
                raise R2DError(
                    f"A prompt is longer than the {_context(model)} tokens of {self.settings.title}: shorten it."
                )
            owners = [row for row, some in enumerate(answers) for _ in some]
            flat = [[*answer, end] for some in answers for answer in some]
            values = iter(
                _score(net, ids, mask, owners, flat, _repeated(start, len(batch)), shared).tolist()
            )
            for i, some in zip(batch, answers, strict=True):
                found = json.dumps([next(values) for _ in some])
                keep(i, Answer(found, "stop", len(rows[i]) + sum(len(a) + 1 for a in some), 0))


def _score(
    net: DecoderOnly,
    ids: Tensor,
    mask: Tensor,
    owners: list[int],
    answers: list[list[int]],
    start,
    shared: int,
) -> Tensor:
    """Log-probability of every answer's tokens after the prompt of row `owners[k]`, shape (answers,)."""
    read = net.model(
        input_ids=ids[:, shared:], attention_mask=mask, position_ids=positions(mask)[:, shared:], past_key_values=start,
        use_cache=True, logits_to_keep=1,
    )  # fmt: skip
    state = {"mask": mask, "past": read.past_key_values, "next": read.logits[:, -1]}
    targets = pad(answers, IGNORE, ids.device)
    return -token_losses(
        net.after(state, torch.tensor(owners, device=ids.device), targets), targets
    ).sum(1)


def _prompts(tokenizer, conversations: Sequence[list[Message]]) -> list[list[int]]:
    """Token ids of each conversation up to where the assistant speaks; models that think aloud are asked not to."""
    texts = tokenizer.apply_chat_template(
        list(conversations), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )  # fmt: skip
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def _left(tokenizer, rows: list[list[int]], device, shared: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, shape (rows, longest), padded between the `shared` first tokens and the rest."""
    padded = tokenizer.pad(
        {"input_ids": [row[shared:] for row in rows]}, padding_side="left", return_tensors="pt"
    )
    start = torch.tensor([row[:shared] for row in rows], dtype=torch.long)
    ids = torch.cat([start, padded["input_ids"]], 1)
    return ids.to(device), torch.cat([torch.ones_like(start), padded["attention_mask"]], 1).to(
        device
    )


def _common_start(model, rows: list[list[int]]) -> tuple[int, DynamicCache | None]:
    """How many tokens all rows start with, and the model's reading of them, so that instructions are read only once.

    (0, None) where there are few, or where the model's attention has a window or a state that padding would disturb.
    """
    first, last = (
        min(rows, default=[]),
        max(rows, default=[]),
    )  # in the order of words, so all others lie between
    same = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    shared = min(same, min(map(len, rows), default=0) - 1)
    if len(rows) < 2 or shared < 16:
        return 0, None
    start = DynamicCache(config=model.config)
    model(
        input_ids=torch.tensor([first[:shared]], device=model.device),
        past_key_values=start,
        logits_to_keep=1,
    )
    return (
        (shared, start) if all(type(layer) is DynamicLayer for layer in start.layers) else (0, None)
    )


def _repeated(start: DynamicCache | None, rows: int) -> DynamicCache | None:
    if start is not None:
        start = copy.deepcopy(start)
        start.batch_repeat_interleave(rows)
    return start


def _context(model) -> int:
    return model.config.get_text_config().max_position_embeddings


def _end_of_turn(tokenizer, ends: set[int]) -> int:
    """The token this chat template ends an answer with."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)[
        "input_ids"
    ]
    return next((token for token in reversed(ids) if token in ends), tokenizer.eos_token_id)


def _load(settings: LlmSettings) -> tuple:
    """Model, tokenizer, the ids that end an answer, and a grammar's view of all; another model in memory is let go first."""
    key = (settings.model, settings.revision)
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = _read(settings)
    return _LOADED[key]


def _read(settings: LlmSettings) -> tuple:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    from r2d.models.load import four_bits

    logging.disable_progress_bar()
    source = (
        str(assets.converted(settings.model)) if settings.model in assets.ASSETS else settings.model
    )
    how: dict = {"dtype": torch.float32}
    try:
        if env.device() != "cpu":
            how = {"dtype": torch.bfloat16, "device_map": {"": env.device()}}
            if not hasattr(
                AutoConfig.from_pretrained(source, revision=settings.revision),
                "quantization_config",
            ):
                how["quantization_config"] = four_bits()
        tokenizer = AutoTokenizer.from_pretrained(source, revision=settings.revision)
        model = AutoModelForCausalLM.from_pretrained(
            source, revision=settings.revision, use_safetensors=True, **how
        )
    except (OSError, ValueError) as error:
        raise R2DError(
            f"The chat model {settings.model!r} could not be loaded: it is neither a causal model's folder here nor one a model "
            "hub gave (safetensors only); check `llms` in the recipe and the network, or ask a server instead."
        ) from error
    if tokenizer.chat_template is None:
        raise R2DError(
            f"The model {settings.model!r} has no chat template: choose an instruction-tuned one."
        )
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    stops = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])} - {None}
    model.generation_config = (
        GenerationConfig()
    )  # a model's own habits (sampling, penalties) would change the answers
    return (
        model.eval(),
        tokenizer,
        ends,
        vocabulary(tokenizer, model.get_output_embeddings().out_features, ends),
    )
