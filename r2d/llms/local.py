"""Chat models read into this process: any causal model with a chat template.

4 bits (NF4) on CUDA, fp32 on the CPU.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from llguidance import LLTokenizer
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from r2d import env, provenance
from r2d.errors import R2DError
from r2d.llms.constrained import SchemaProcessor, vocabulary
from r2d.llms.types import Answer, Decoding, Keep, Message
from r2d.method.loss import IGNORE, token_losses
from r2d.models import assets
from r2d.models.backbone import DecoderOnly, by_length, pad, positions
from r2d.models.load import count_parameters, four_bits
from r2d.recipes.settings import LlmSettings

SHORTEST_OPENING = 16  # tokens; a shorter common start is not worth a reading of its own


class Local:
    """The model `settings.model`, loaded at the first call; its answers are greedy.

    A hub id, a folder, or the name of an asset such as `smollm2`. Rows are decoded in left-padded
    batches of like length. Answers are held to the JSON schema.
    """

    can_score = True

    def __init__(self, settings: LlmSettings):
        self.settings = settings

    @cached_property
    def _weights(self) -> str:
        """What tells these weights from others: sha256 of an asset, hash of a folder, revision."""
        name = self.settings.model
        if name in assets.ASSETS:
            return assets.ASSETS[name].sha256
        if Path(name).is_dir():
            return provenance.checkpoint(Path(name))
        return self.settings.revision or ""

    def identity(self) -> dict:
        """What the model is, in which precision it runs here, and the code that runs it."""
        return {
            "backend": "local",
            "model": self.settings.model,
            "weights": self._weights,
            "precision": "fp32" if env.device() == "cpu" else "nf4",
            "schema": "enforced",
            "code": provenance.code(__name__, without="r2d.recipes"),
        }

    @torch.inference_mode()
    def answer(
        self,
        conversations: Sequence[list[Message]],
        decoding: Decoding,
        schema: dict | None,
        keep: Keep,
    ) -> None:
        """Hand the answer to each conversation to `keep`.

        One too long for the model's context is a fault.
        """
        llm = load_llm(self.settings)
        prompts = llm.prompts(conversations)
        room = llm.context - decoding.max_new_tokens
        fits = [i for i, prompt in enumerate(prompts) if len(prompt) <= room]
        too_long = f"the prompt and its answer exceed the model's {llm.context} tokens"
        for i in sorted(set(range(len(prompts))) - set(fits)):
            keep(i, Answer("", "fault", fault=too_long))
        opening = common_opening(llm.model, [prompts[i] for i in fits])
        for batch in by_length([prompts[i] for i in fits], self.settings.batch):
            chosen = [fits[k] for k in batch]
            written = llm.write([prompts[i] for i in chosen], opening, decoding, schema)
            for i, ids in zip(chosen, written, strict=True):
                keep(i, llm.answer(ids, len(prompts[i])))

    @torch.inference_mode()
    def score(
        self,
        conversations: Sequence[list[Message]],
        options: Sequence[Sequence[str]],
        keep: Keep,
    ) -> None:
        """Hand each conversation's log-probabilities to `keep`, as a JSON list.

        Each prompt is read once.
        """
        llm = load_llm(self.settings)
        prompts = llm.prompts(conversations)
        opening = common_opening(llm.model, prompts)
        size = max(1, self.settings.batch // max(map(len, options)))
        for batch in by_length(prompts, size):
            targets = [llm.targets(options[i]) for i in batch]
            longest = max(len(target) for each in targets for target in each)
            if max(len(prompts[i]) for i in batch) + longest - 1 > llm.context:
                raise R2DError(
                    f"A prompt is longer than the {llm.context} tokens of {self.settings.title}: "
                    "shorten it."
                )
            scores = llm.score([prompts[i] for i in batch], opening, targets)
            for i, values, each in zip(batch, scores, targets, strict=True):
                tokens = len(prompts[i]) + sum(map(len, each))
                keep(i, Answer(json.dumps(values), "stop", tokens, 0))


@dataclass(frozen=True)
class Opening:
    """The tokens that all prompts start with, and the model's reading of them.

    None, with length 0, where nothing is shared.
    """

    length: int = 0
    reading: DynamicCache | None = None

    def for_rows(self, rows: int) -> DynamicCache | None:
        """A copy of the reading for each of so many rows."""
        if self.reading is None:
            return None
        copied = copy.deepcopy(self.reading)
        copied.batch_repeat_interleave(rows)
        return copied


@dataclass(frozen=True)
class LocalLlm:
    """A model in memory, its tokenizer, the ids that end an answer, a grammar's view of them."""

    name: str
    model: nn.Module
    tokenizer: Any
    ends: set[int]
    tokens: LLTokenizer

    @property
    def context(self) -> int:
        """The most tokens that the model reads and writes."""
        return self.model.config.get_text_config().max_position_embeddings

    @cached_property
    def end_of_turn(self) -> int:
        """The token that this chat template ends an answer with."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        ends = [token for token in ids if token in self.ends]
        return ends[-1] if ends else self.tokenizer.eos_token_id

    def prompts(self, conversations: Sequence[list[Message]]) -> list[list[int]]:
        """Token ids of each conversation up to where the assistant speaks.

        Models that think aloud are asked not to.
        """
        try:
            texts = self.tokenizer.apply_chat_template(
                list(conversations),
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
        except TemplateError:  # its text may quote the conversation
            raise R2DError(
                f"The chat template of {self.name!r} is broken, or takes no system message: choose "
                "another model, or ask a server."
            ) from None
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"]

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of whole answers, their end included."""
        rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [[*row, self.end_of_turn] for row in rows]

    def write(
        self, prompts: list[list[int]], opening: Opening, decoding: Decoding, schema: dict | None
    ) -> list[list[int]]:
        """The ids that are written greedily after each prompt, as far as the longest goes."""
        ids, mask = self._left_padded(prompts, opening.length)
        processors = [self._expect_numbers]
        if schema:
            processors.append(SchemaProcessor(self.tokens, schema, len(prompts)))
        written = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(self.ends),
            pad_token_id=self.tokenizer.pad_token_id,
            logits_processor=processors,
            past_key_values=opening.for_rows(len(prompts)),
        )
        return written[:, ids.shape[1] :].tolist()

    def answer(self, written: list[int], prompt_length: int) -> Answer:
        """The answer in the ids that were written after a prompt."""
        length = next((n for n, token in enumerate(written) if token in self.ends), None)
        text = self.tokenizer.decode(written[:length], skip_special_tokens=True).strip()
        if length is None:
            return Answer(text, "length", prompt_length, len(written))
        return Answer(text, "stop", prompt_length, length + 1)

    def score(
        self, prompts: list[list[int]], opening: Opening, targets: list[list[list[int]]]
    ) -> list[list[float]]:
        """Log-probability of each of `targets[k]` after prompt k."""
        ids, mask = self._left_padded(prompts, opening.length)
        output = self.model(
            input_ids=ids[:, opening.length :],
            attention_mask=mask,
            position_ids=positions(mask)[:, opening.length :],
            past_key_values=opening.for_rows(len(prompts)),
            use_cache=True,
            logits_to_keep=1,
        )
        read = {"mask": mask, "past": output.past_key_values, "next": output.logits[:, -1]}
        owners = [k for k, each in enumerate(targets) for _ in each]
        flat = pad([target for each in targets for target in each], IGNORE, ids.device)
        network = DecoderOnly(self.model, self.tokenizer)
        logits = network.after(read, torch.tensor(owners, device=ids.device), flat)
        sums = -token_losses(logits, flat).sum(1)
        self._expect_numbers(flat, sums)
        values = iter(sums.tolist())
        return [[next(values) for _ in each] for each in targets]

    def _expect_numbers(self, ids: Tensor, values: Tensor) -> Tensor:
        """The values, logits or their sums; one that is no number would choose in silence."""
        if values.isnan().any():
            raise R2DError(
                f"The chat model {self.name!r} gives probabilities that are no numbers: its "
                "weights are damaged; get it again."
            )
        return values

    def _left_padded(self, prompts: list[list[int]], shared: int) -> tuple[Tensor, Tensor]:
        """Ids and mask, both (rows, longest); the padding follows the `shared` first tokens."""
        rest = {"input_ids": [prompt[shared:] for prompt in prompts]}
        padded = self.tokenizer.pad(rest, padding_side="left", return_tensors="pt")
        start = torch.tensor([prompt[:shared] for prompt in prompts], dtype=torch.long)
        ids = torch.cat([start, padded["input_ids"]], 1)
        mask = torch.cat([torch.ones_like(start), padded["attention_mask"]], 1)
        return ids.to(self.model.device), mask.to(self.model.device)


def common_opening(model: nn.Module, prompts: list[list[int]]) -> Opening:
    """What all prompts start with, so that instructions are read only once.

    Empty where there are few prompts, where they share little, or where the model's attention has a
    window or a state that padding would disturb.
    """
    if len(prompts) < 2:
        return Opening()
    first, last = min(prompts), max(prompts)  # in alphabetical order: all others lie between
    pairs = enumerate(zip(first, last, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), len(first))
    shared = min(same, min(map(len, prompts)) - 1)
    if shared < SHORTEST_OPENING:
        return Opening()
    reading = DynamicCache(config=model.config)
    ids = torch.tensor([first[:shared]], device=model.device)
    model(input_ids=ids, past_key_values=reading, logits_to_keep=1)
    if any(type(layer) is not DynamicLayer for layer in reading.layers):
        return Opening()
    return Opening(shared, reading)


_LOADED: dict[tuple, LocalLlm] = {}  # at most one, which several chats of a notebook share


def load_llm(settings: LlmSettings) -> LocalLlm:
    """The model, read once, and torch's threads for it; another in memory is let go first.

    Raises `R2DError` for a model that can't be had or has no chat template.
    """
    key = (settings.model, settings.revision)
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = _read(settings)
    env.choose_threads(count_parameters(_LOADED[key].model)["parameters"])
    return _LOADED[key]


def _read(settings: LlmSettings) -> LocalLlm:
    from transformers import GenerationConfig

    tokenizer, model = _from_pretrained(settings)
    if tokenizer.chat_template is None:
        raise R2DError(
            f"The model {settings.model!r} has no chat template: choose an instruction-tuned one."
        )
    if tokenizer.eos_token_id is None:
        raise R2DError(
            f"The tokenizer of {settings.model!r} has no end token: choose another model."
        )
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    stops = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])} - {None}
    # A model's own habits (sampling, penalties) would change the answers.
    model.generation_config = GenerationConfig()
    size = model.get_output_embeddings().out_features
    tokens = vocabulary(tokenizer, size, ends)
    return LocalLlm(settings.model, model.eval(), tokenizer, ends, tokens)


def _from_pretrained(settings: LlmSettings) -> tuple[Any, nn.Module]:
    """The tokenizer and the model; code that comes with them is never run."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = settings.model
    if source in assets.ASSETS:
        source = str(assets.converted(source))
    options = {"revision": settings.revision, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        options |= _precision(source, options)
        model, report = AutoModelForCausalLM.from_pretrained(
            source, use_safetensors=True, output_loading_info=True, **options
        )
    except (OSError, ValueError) as error:
        raise R2DError(
            f"The chat model {settings.model!r} could not be loaded: it is neither a causal "
            "model's folder here nor one a model hub gave (safetensors only); check `llms` in the "
            "recipe and the network, or ask a server instead."
        ) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise R2DError(
            f"The chat model {settings.model!r} does not fit into memory: choose a smaller one, or "
            "ask a server."
        ) from error
    except Exception as error:  # safetensors, tokenizers and torch each have their own
        raise _damaged(settings, type(error).__name__) from error
    if report["missing_keys"]:
        raise _damaged(settings, f"no {min(report['missing_keys'])}")
    return tokenizer, model


def _damaged(settings: LlmSettings, problem: str) -> R2DError:
    return R2DError(
        f"The chat model {settings.model!r} is damaged, or is no causal model ({problem}): get "
        "its folder again."
    )


def _precision(source: str, options: dict) -> dict:
    """How `from_pretrained` is to read the weights on this machine."""
    from transformers import AutoConfig

    if env.device() == "cpu":
        return {"dtype": torch.float32}
    precision = {"dtype": torch.bfloat16, "device_map": {"": env.device()}}
    config = AutoConfig.from_pretrained(source, **options)
    if not hasattr(config, "quantization_config"):
        precision["quantization_config"] = four_bits()
    return precision
