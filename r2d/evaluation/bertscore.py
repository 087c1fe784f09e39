"""BERTScore through the bert-score package, with its known faults under transformers 5 mended."""

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version

from r2d.errors import R2DError
from r2d.models import assets

MINILM_LAYER = 5  # the layer bert-score's own table picks for every six-layer BERT
_CHUNK = 512  # pairs scored at once: bounds the embeddings that bert-score holds in memory


def bert_score(
    references: Sequence[str], candidates: Sequence[str], model: str, layer: int | None = None
) -> dict:
    """BERTScore F1 of each pair, no idf, no rescaling, and the hash to report with it (Zhang et al. 2020).

    `model` is `minilm` (layer 5 unless told otherwise) or a model on the hub or disk, e.g. `roberta-large`, layer 17.
    Texts are cut at 512 tokens; a blank text scores 0. Returns {"f1": [...], "hash": str}.
    Raises `R2DError` when the model can't be loaded or its layer is not known.
    """
    scorer, signature, known = _scorer(model, layer)
    pairs = list(zip(references, candidates, strict=True))
    new = [
        pair
        for pair in dict.fromkeys(pairs)
        if pair not in known and all(text.strip() for text in pair)
    ]
    for start in range(0, len(new), _CHUNK):
        part = new[start : start + _CHUNK]
        scores = scorer.score(
            [candidate for _, candidate in part], [reference for reference, _ in part]
        )[2]
        known |= {pair: min(score, 1.0) for pair, score in zip(part, scores.tolist(), strict=True)}
    return {"f1": [known.get(pair, 0.0) for pair in pairs], "hash": signature}


@lru_cache(maxsize=2)
def _scorer(model: str, layer: int | None):
    """A bert-score scorer with a mended tokenizer, its hash with the true version, and the pairs it has scored.

    transformers 5 drops RoBERTa's `add_prefix_space`, and a tokenizer without a length limit overflows the model.
    An asset is opened by its bare name from the folder above: bert-score takes any path with "t5" in it for a T5.
    """
    from bert_score import BERTScorer  # seconds to import, and not every notebook needs it
    from bert_score.utils import model2layers
    from transformers import AutoTokenizer

    folder = assets.fetch(model) if model == "minilm" else None
    usual = MINILM_LAYER if folder else model2layers.get(model)
    layer = usual if layer is None else layer
    if layer is None:
        raise R2DError(
            f"BERTScore has no usual layer for {model!r}: set metrics.bertscore_layer in the recipe."
        )
    try:
        with contextlib.chdir(folder.parent) if folder else contextlib.nullcontext():
            scorer = BERTScorer(model_type=model, num_layers=layer)
            scorer._tokenizer = AutoTokenizer.from_pretrained(model, add_prefix_space=True)
    except (OSError, ValueError, AssertionError) as error:
        way_out = "name another in metrics.bertscore (minilm needs no hub), or one of its layers in bertscore_layer"
        raise R2DError(
            f"BERTScore model {model!r} at layer {layer} can't be loaded: {way_out}."
        ) from error
    scorer._tokenizer.model_max_length = min(scorer._tokenizer.model_max_length, 512)
    title = assets.ASSETS[model].title if folder else model
    versions = f"{version('bert-score')}(hug_trans={version('transformers')})"
    return (
        scorer,
        f"{title}_L{layer}_no-idf_version={versions}",
        {},
    )  # as scorer.hash, whose own version is wrong
