"""Logits processors for models read into this process: answers held to a JSON schema, and sampling that batches don't change."""

import hashlib
import json
from collections.abc import Sequence

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from r2d.errors import R2DError
from r2d.llms.chat import Decoding

_SPACING = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}  # as json.dumps writes


def vocabulary(tokenizer, size: int, ends: Sequence[int]) -> LLTokenizer:
    """The tokens of a model with `size` logits, as grammars need them; takes about a second."""
    return from_tokenizer(tokenizer, n_vocab=size, eos_token=sorted(ends))


class Form:
    """A logits processor for `generate`: only tokens that can still become an answer of `schema` are left, keys in its order.

    Raises `R2DError` for a schema that no answer can meet.
    """

    def __init__(self, tokens: LLTokenizer, schema: dict, rows: int):
        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_SPACING)
        self._rows, self._started = [LLMatcher(tokens, grammar) for _ in range(rows)], False
        if self._rows and self._rows[0].is_error():
            raise R2DError(
                f"No answer can meet the prompt's schema; mend its `answer`: {self._rows[0].get_error()}"
            )

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        for k, row in enumerate(self._rows):
            if self._started and not row.is_stopped():
                row.consume_token(int(ids[k, -1]))
            allowed = torch.frombuffer(bytearray(row.compute_logit_bias()), dtype=torch.uint8).to(
                logits.device
            )
            logits[k] = logits[k].masked_fill(
                allowed[: logits.shape[1]] == 0, -torch.inf
            )  # of a whole answer: all but its end
        self._started = True
        return logits


class Gumbel:
    """Sampling as argmax: logits / temperature + Gumbel noise, from a generator of each row's own (Maddison et al. 2014)."""

    def __init__(self, rows: Sequence[list[int]], how: Decoding):
        self.temperature = how.temperature
        digests = (
            hashlib.sha256(json.dumps([how.seed, how.repeat, row]).encode()).digest()
            for row in rows
        )
        self.generators = [
            torch.Generator().manual_seed(int.from_bytes(d[:7], "big")) for d in digests
        ]

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        uniform = torch.stack(
            [torch.rand(logits.shape[1], generator=g, dtype=torch.float64) for g in self.generators]
        )
        noise = -torch.log(-torch.log(uniform.clamp(1e-300, 1 - 1e-16)))
        return logits.double() / self.temperature + noise.to(logits.device)
