"""Two kinds of language model behind the same operations.

Token ids, teacher forcing, and going on from prompts that were read once. An `EncoderDecoder` reads
a prompt in its encoder and writes in its decoder. A `DecoderOnly` model has prompt and completion
in one row: prompts are padded on the left, so that completions begin in one column, and only they
are scored.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from r2d.errors import R2DError
from r2d.method.loss import IGNORE

Rows = Sequence[Sequence[int]]


def pad(rows: Rows, value: int, device, side: str = "right", multiple: int = 1) -> Tensor:
    """Pad id lists to one (rows, length) tensor, `multiple` dividing its length."""
    tensors = [torch.tensor(list(row), dtype=torch.long) for row in rows]
    padded = torch.nn.utils.rnn.pad_sequence(tensors, True, value, side)
    more = -padded.shape[1] % multiple
    around = (0, more) if side == "right" else (more, 0)
    return torch.nn.functional.pad(padded, around, value=value).to(device)


def by_length(rows: Rows, size: int) -> Iterator[list[int]]:
    """Index batches of rows of like length, longest first."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    yield from (order[i : i + size] for i in range(0, len(order), size))


def backbone_class(config) -> "type[Backbone]":
    """Which of the two a model's configuration describes.

    Raises `R2DError` for an encoder, which can't write.
    """
    if config.is_encoder_decoder:
        return EncoderDecoder
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise R2DError(
            f"A {config.model_type} model is an encoder and can't write: choose T5, SmolLM2 or "
            "another that can."
        )
    return DecoderOnly


class Backbone(ABC):
    """A language model with its tokenizer.

    `auto` is the class of transformers that loads it, `task` peft's name of what it does, `side`
    where its prompts are padded.
    """

    auto: str
    task: str
    side: str

    def __init__(self, model: nn.Module, tokenizer):
        self.model, self.tokenizer = model, tokenizer

    def batch(self, rows: Rows, multiple: int = 1) -> tuple[Tensor, Tensor]:
        """Prompt ids and attention mask, padded as by `pad`, on the model's device."""
        device = next(self.model.parameters()).device
        ids = pad(rows, self.tokenizer.pad_token_id, device, self.side, multiple)
        return ids, pad([[1] * len(row) for row in rows], 0, device, self.side, multiple)

    @abstractmethod
    def prompts(self, texts: list[str], limit: int) -> list[list[int]]:
        """Ids of prompts, cut at `limit` tokens."""

    @abstractmethod
    def targets(self, texts: list[str], limit: int | None = None) -> list[list[int]]:
        """Ids of targets with their end token, cut at `limit` tokens."""

    @abstractmethod
    def forced(self, ids: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        """Logits of `targets` (rows, length; padded with `IGNORE`) after the prompts.

        Shape (rows, length, vocabulary).
        """

    def read_softly(
        self, prefix: Tensor, embeddings: Tensor, mask: Tensor, targets: Tensor
    ) -> Tensor:
        """As `forced`, after a prompt of `prefix` ids (length) and then a row's own embeddings.

        `embeddings` are (rows, length, width), `mask` (rows, length) says which of them count.
        Raises `R2DError` for a model that cannot.
        """
        raise R2DError(
            "The cycle loss of Reason2Decide-C needs an encoder-decoder: choose a T5, or another "
            "method."
        )

    @abstractmethod
    def read(self, ids: Tensor, mask: Tensor) -> dict:
        """The prompts, read once: what `step` and `after` go on from."""

    @abstractmethod
    def step(self, state: dict, token: Tensor | None) -> Tensor:
        """Logits of the next token (rows, vocabulary) once `token` (rows, 1) is written.

        None begins.
        """

    @abstractmethod
    def after(self, state: dict, owners: Tensor, targets: Tensor) -> Tensor:
        """As `forced`, for `targets[k]` after the prompt `owners[k]` of those read."""


class EncoderDecoder(Backbone):
    """An encoder-decoder (T5, BART, ...): prompts and targets each end with the end token."""

    auto, task, side = "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM", "right"

    def __init__(self, model: nn.Module, tokenizer):
        super().__init__(model, tokenizer)
        if tokenizer("a")["input_ids"][-1] != tokenizer.eos_token_id:
            raise R2DError(
                "This encoder-decoder's tokenizer appends no end token: choose a backbone such as "
                "T5, or mend it."
            )

    def prompts(self, texts: list[str], limit: int) -> list[list[int]]:
        return self.tokenizer(texts, truncation=True, max_length=limit)["input_ids"]

    def targets(self, texts: list[str], limit: int | None = None) -> list[list[int]]:
        return self.tokenizer(texts, truncation=limit is not None, max_length=limit)["input_ids"]

    def forced(self, ids: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            # Not `labels`, with which transformers computes a loss that nobody asked for.
            decoder_input_ids=self.model.prepare_decoder_input_ids_from_labels(labels=targets),
            use_cache=False,
        )
        return output.logits

    def read_softly(
        self, prefix: Tensor, embeddings: Tensor, mask: Tensor, targets: Tensor
    ) -> Tensor:
        rows = len(embeddings)
        first = self.model.get_input_embeddings()(prefix).to(embeddings.dtype)
        inputs = torch.cat([first.expand(rows, -1, -1), embeddings], 1)
        seen = torch.cat([mask.new_ones(rows, len(prefix)), mask], 1)
        output = self.model(
            inputs_embeds=inputs, attention_mask=seen, labels=targets, use_cache=False
        )
        return output.logits

    def read(self, ids: Tensor, mask: Tensor) -> dict:
        encoded = self.model.get_encoder()(input_ids=ids, attention_mask=mask)
        return {"encoded": encoded, "mask": mask, "past": None}

    def step(self, state: dict, token: Tensor | None) -> Tensor:
        if token is None:
            start = self.model.config.decoder_start_token_id
            token = torch.full_like(state["mask"][:, :1], start)
        output = self.model(
            encoder_outputs=state["encoded"],
            attention_mask=state["mask"],
            decoder_input_ids=token,
            past_key_values=state["past"],
            use_cache=True,
        )
        state["past"] = output.past_key_values
        return output.logits[:, -1]

    def after(self, state: dict, owners: Tensor, targets: Tensor) -> Tensor:
        encoded = BaseModelOutput(last_hidden_state=state["encoded"].last_hidden_state[owners])
        output = self.model(
            encoder_outputs=encoded,
            attention_mask=state["mask"][owners],
            decoder_input_ids=self.model.prepare_decoder_input_ids_from_labels(labels=targets),
            use_cache=False,
        )
        return output.logits


class DecoderOnly(Backbone):
    """A decoder-only model (SmolLM2, Qwen3, ...): `{prompt}\\n{completion}<end>` in one row.

    No chat template is used.
    """

    auto, task, side = "AutoModelForCausalLM", "CAUSAL_LM", "left"

    def __init__(self, model: nn.Module, tokenizer):
        super().__init__(model, tokenizer)
        first = tokenizer("a")["input_ids"][0]
        self._begin = [first] if first == tokenizer.bos_token_id else []
        self._turn = tokenizer("\n", add_special_tokens=False)["input_ids"]

    def prompts(self, texts: list[str], limit: int) -> list[list[int]]:
        """Ids of prompts; a long one loses its end, not the line break before the completion."""
        room = max(1, limit - len(self._begin) - len(self._turn))
        rows = self.tokenizer(texts, add_special_tokens=False, truncation=True, max_length=room)
        return [[*self._begin, *row, *self._turn] for row in rows["input_ids"]]

    def targets(self, texts: list[str], limit: int | None = None) -> list[list[int]]:
        rows = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [[*row[: limit and limit - 1], end] for row in rows]

    def forced(self, ids: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        """Logits of `targets` after the prompts; none are computed within the prompts."""
        real = targets.ne(IGNORE)
        whole = torch.cat([ids, targets.masked_fill(~real, 0)], 1)
        seen = torch.cat([mask, real.long()], 1)
        output = self.model(
            input_ids=whole,
            attention_mask=seen,
            position_ids=positions(seen),
            logits_to_keep=targets.shape[1] + 1,
            use_cache=False,
        )
        return output.logits[:, :-1]

    def read(self, ids: Tensor, mask: Tensor) -> dict:
        """The prompts, read once: their cache and the logits of what comes next."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=True,
            logits_to_keep=1,
        )
        return {"mask": mask, "past": output.past_key_values, "next": output.logits[:, -1]}

    def step(self, state: dict, token: Tensor | None) -> Tensor:
        if token is not None:
            state["mask"] = torch.cat([state["mask"], torch.ones_like(token)], 1)
            state["next"] = self._go_on(token, state["mask"], state["past"])[:, -1]
        return state["next"]

    def after(self, state: dict, owners: Tensor, targets: Tensor) -> Tensor:
        past, written = copy.deepcopy(state["past"]), targets[:, :-1]
        past.batch_select_indices(owners)
        seen = torch.cat([state["mask"][owners], written.ne(IGNORE).long()], 1)
        rest = self._go_on(written.masked_fill(written.eq(IGNORE), 0), seen, past)
        return torch.cat([state["next"][owners][:, None], rest], 1)

    def _go_on(self, ids: Tensor, seen: Tensor, past) -> Tensor:
        """Logits of `ids` after what `past` holds; `seen` masks both."""
        output = self.model(
            input_ids=ids,
            attention_mask=seen,
            position_ids=positions(seen)[:, seen.shape[1] - ids.shape[1] :],
            past_key_values=past,
            use_cache=True,
        )
        return output.logits


def positions(mask: Tensor) -> Tensor:
    """Position ids of left-padded rows, counted from each row's first token."""
    return (mask.cumsum(1) - 1).clamp(min=0)
