"""Answers held to a JSON schema, for models read into this process (llguidance)."""

from collections.abc import Sequence

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from r2d.errors import R2DError

# As json.dumps writes.
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def vocabulary(tokenizer, size: int, ends: Sequence[int]) -> LLTokenizer:
    """The tokens of a model with `size` logits, as grammars need them; takes about a second."""
    return from_tokenizer(tokenizer, n_vocab=size, eos_token=sorted(ends))


class SchemaProcessor:
    """A logits processor for `generate` that leaves what can still become an answer of `schema`.

    The answer's keys come in the schema's order; of a whole answer only its end is left. Raises
    `R2DError` for a schema that no answer can meet.
    """

    def __init__(self, tokens: LLTokenizer, schema: dict, rows: int):
        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_SPACING)
        self._matchers = [LLMatcher(tokens, grammar) for _ in range(rows)]
        self._started = False
        if self._matchers and self._matchers[0].is_error():
            raise R2DError(
                "No answer can meet the prompt's schema; mend its `answer`: "
                f"{self._matchers[0].get_error()}"
            )

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Logits (rows, vocabulary) after `ids` (rows, length), -inf for what can't follow."""
        for k, matcher in enumerate(self._matchers):
            if self._started and not matcher.is_stopped():
                matcher.consume_token(int(ids[k, -1]))
            bias = bytearray(matcher.compute_logit_bias())
            allowed = torch.frombuffer(bias, dtype=torch.uint8).to(logits.device)
            logits[k] = logits[k].masked_fill(allowed[: logits.shape[1]] == 0, -torch.inf)
        self._started = True
        return logits
