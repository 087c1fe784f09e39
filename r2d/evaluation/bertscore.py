"""BERTScore by the bert-score package, with its known faults under transformers 5 mended."""

import contextlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import version
from itertools import islice

from r2d.errors import R2DError
from r2d.models import assets

MINILM_LAYER = 5  # the layer bert-score's own table picks for every six-layer BERT
MAX_TOKENS = 512
CHUNK = 512  # pairs scored at once: bounds the embeddings that bert-score holds in memory
REMEMBERED = 200_000  # pairs whose score is kept, at about 200 bytes each


def bert_score(
    references: Sequence[str], candidates: Sequence[str], model: str, layer: int | None = None
) -> dict:
    """BERTScore F1 of each pair, no idf, no rescaling, and the hash to report with it.

    `model` is `minilm` (layer 5 unless told otherwise) or a model on the hub or disk, e.g.
    `roberta-large`, layer 17. Texts are cut at 512 tokens; a blank text scores 0. Returns
    {"f1": [...], "hash": str}. Raises `R2DError` when the model can't be loaded or its layer is not
    known. Source: Zhang et al. 2020.
    """
    chosen = scorer(model, layer)
    return {"f1": chosen.f1(zip(references, candidates, strict=True)), "hash": chosen.hash}


class Scorer:
    """A BERTScore model at one layer, which remembers the pairs it has scored.

    `hash` is as bert-score's own, whose version is wrong.
    """

    def __init__(self, model: str, layer: int | None):
        folder = assets.fetch(model) if model == "minilm" else None
        usual = MINILM_LAYER if folder else _usual_layer(model)
        self.layer = usual if layer is None else layer
        if self.layer is None:
            raise R2DError(
                f"BERTScore has no usual layer for {model!r}: set metrics.bertscore_layer in the "
                "recipe."
            )
        # An asset is opened by its bare name from the folder above: bert-score takes any path with
        # "t5" in it for a T5.
        place = contextlib.chdir(folder.parent) if folder else contextlib.nullcontext()
        try:
            with place:
                self.model = _load(model, self.layer)
        except (OSError, ValueError, AssertionError) as error:
            raise R2DError(
                f"BERTScore model {model!r} at layer {self.layer} can't be loaded: name another in "
                "metrics.bertscore (minilm needs no hub), or one of its layers in bertscore_layer."
            ) from error
        title = assets.ASSETS[model].title if folder else model
        versions = f"{version('bert-score')}(hug_trans={version('transformers')})"
        self.hash = f"{title}_L{self.layer}_no-idf_version={versions}"
        self._known: dict[bytes, float] = {}

    def f1(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """F1 in [0, 1] of every (reference, candidate); 0 where one is blank.

        Pairs are taken as they come, `CHUNK` at a time; of those before, only scores are in memory.
        """
        scores, stream = [], iter(pairs)
        while chunk := list(islice(stream, CHUNK)):
            scores += self._scores(chunk)
        return scores

    def _scores(self, pairs: list[tuple[str, str]]) -> list[float]:
        """The pairs' F1; of those not known yet it is computed."""
        if len(self._known) > REMEMBERED:
            self._known.clear()
        keys = [_key(pair) for pair in pairs]
        new = {
            key: pair
            for key, pair in zip(keys, pairs, strict=True)
            if key not in self._known and all(text.strip() for text in pair)
        }
        if new:
            self._known |= zip(new, self._computed(list(new.values())), strict=True)
        return [self._known.get(key, 0.0) for key in keys]

    def _computed(self, pairs: list[tuple[str, str]]) -> list[float]:
        """The F1 of pairs without a blank text, one text at a time.

        bert-score pads its batches, which it takes in the order of a set: a score would differ in
        its eighth digit from process to process, and with the other pairs.
        """
        references, candidates = (list(texts) for texts in zip(*pairs, strict=True))
        _, _, f1 = self.model.score(candidates, references, batch_size=1)
        return [min(score, 1.0) for score in f1.tolist()]


def _key(pair: tuple[str, str]) -> bytes:
    """What a pair is remembered by: its texts may be long."""
    return blake2b("\0".join(pair).encode(), digest_size=16).digest()


@lru_cache(maxsize=2)
def scorer(model: str, layer: int | None) -> Scorer:
    """The scorer of a model and layer, loaded once."""
    return Scorer(model, layer)


def _usual_layer(model: str) -> int | None:
    from bert_score.utils import model2layers

    return model2layers.get(model)


def _load(model: str, layer: int):
    """A bert-score scorer with a mended tokenizer.

    transformers 5 drops RoBERTa's `add_prefix_space`, and a tokenizer without a length limit
    overflows the model.
    """
    from bert_score import BERTScorer  # seconds to import, and not every notebook needs it
    from transformers import AutoTokenizer

    loaded = BERTScorer(model_type=model, num_layers=layer)
    tokenizer = AutoTokenizer.from_pretrained(model, add_prefix_space=True)
    tokenizer.model_max_length = min(tokenizer.model_max_length, MAX_TOKENS)
    loaded._tokenizer = tokenizer
    return loaded
