"""What to do next with a table of one's own: advice that a finished run's measures ask for.

Each sentence says what was measured, then what would change it. None quotes a case.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from r2d.data.dataset import Dataset
from r2d.data.record import listed
from r2d.evaluation.support import Background
from r2d.models import sanity
from r2d.reporting import undertrained

FEW_ROWS = 30  # training rows of a label
WIDE = 0.2  # of an interval of accuracy
FEW_ERRORS = 5  # between two labels, below which they may be chance
MANY = 0.05  # of degenerate rationales
TELLING = 0.8  # of gold rationales whose label a reader finds: fewer, and they do not say it
WRITE = "`python -m r2d write-rationales` has a chat model write"
NOTHING = (
    "Nothing stands out: run other seeds before you rely on it, and read its wrong cases first."
)


def advice(finished: Mapping, loaded: Dataset) -> list[str]:
    """What to do next, most useful first; a run that needs nothing of it gets one that says so.

    `finished` is what `Run.read` gives for a run on `loaded`, a method that predicts.
    """
    metrics = finished["metrics"]
    cure = _cure(finished)
    sentences = [
        *_about_baselines(metrics, loaded, cure),
        *_about_labels(metrics, loaded, cure),
        *_about_test_set(metrics),
        *_about_gold_rationales(metrics, loaded),
        *_about_rationales(metrics, loaded, cure),
    ]
    return sentences or [NOTHING]


def _cure(finished: Mapping) -> str:
    """What a run learned too little from: rows, and steps where it was still learning."""
    if not undertrained.still_climbing(finished["log"]):
        return "give more rows"
    config = finished["config"]
    key, steps = f"train.{config['method']['objective']}.steps", config["train"]["steps"]
    return (
        f'give more rows and more steps (overrides={{"{key}": {2 * steps}}}), as its best '
        "evaluation came at the end"
    )


def _about_baselines(metrics: Mapping, loaded: Dataset, cure: str) -> Iterator[str]:
    """Does it beat the majority, and counting words? Of one label set: others have no such rows."""
    if not loaded.labels:
        return
    accuracy = metrics["metrics"]["accuracy"]
    always = sanity.majority(loaded.train, loaded.test)
    constant = _accuracy(always, loaded)
    if _low(accuracy) <= constant:
        yield (
            f"It is not clearly better ({accuracy['value']:.0%} right) than always answering "
            f"{listed(always[:1])} ({constant:.0%}): make sure that the text alone tells the "
            f"label; {cure}."
        )
    counted = _counting_words(loaded)
    if counted is not None and accuracy["value"] <= counted > constant:
        yield (
            f"Counting words (TF-IDF + logistic regression) is right in {counted:.0%}, it in "
            f"{accuracy['value']:.0%}: another backbone reads better than a small one; try "
            'overrides={"backbone": "google/flan-t5-small"} or larger.'
        )


def _about_labels(metrics: Mapping, loaded: Dataset, cure: str) -> Iterator[str]:
    invalid = metrics["metrics"].get("invalid_rate", {"value": 0})["value"]
    if invalid:
        yield (
            f"{invalid:.0%} of the labels that it wrote are none of the table's: {cure}; "
            "`predict` chooses among the labels and is spared."
        )
    if not loaded.labels:
        return
    rows = Counter(record.label for record in loaded.train)
    mean = metrics["metrics"]["macro_f1"]["value"]
    f1 = {label: each["value"] for label, each in metrics["per_class_f1"].items()}
    weak = [label for label in loaded.labels if rows[label] < FEW_ROWS and f1[label] < mean]
    if weak:
        yield (
            f"Below the mean F1, and with fewer than {FEW_ROWS} training rows: {listed(weak)}. "
            "More rows of these are the surest gain, or joining labels that mean nearly the same."
        )
    yield from _about_confusions(metrics)


def _about_confusions(metrics: Mapping) -> Iterator[str]:
    """The pair of labels that at least a third of the errors are between."""
    labels, confusion = metrics["labels"], metrics["confusion"]
    size = range(len(labels))
    errors = metrics["n"] - sum(confusion[i][i] for i in size)
    pairs = {(i, k): confusion[i][k] + confusion[k][i] for i in size for k in size if i < k}
    if len(labels) < 3:  # of two labels every error is between both
        return
    one, other = max(pairs, key=pairs.get)
    between = pairs[one, other]
    if between >= FEW_ERRORS and 3 * between >= errors:
        yield (
            f"{between} of {errors} errors are between {listed([labels[one], labels[other]])}: "
            "clearer labels would help; write down what tells them apart and look those rows over."
        )


def _about_test_set(metrics: Mapping) -> Iterator[str]:
    interval = metrics["metrics"]["accuracy"]["interval"]
    if interval and interval[1] - interval[0] > WIDE:
        yield (
            f"{metrics['n']} test cases leave its accuracy open between {interval[0]:.0%} and "
            f"{interval[1]:.0%}: label more rows, some of them in a test file of their own."
        )


def _about_gold_rationales(metrics: Mapping, loaded: Dataset) -> Iterator[str]:
    """Are there enough of them, and do they tell the label?"""
    explained = sum(bool(record.rationale) for record in loaded.train)
    missing = len(loaded.train) - explained
    if missing > explained:
        yield (
            f"{missing} of {len(loaded.train)} training rows have no rationale: {WRITE} them, to "
            "be read before they are learned."
        )
    reader = metrics.get("reader")
    if reader and reader["gold"] < TELLING:
        yield (
            f"Of the table's own rationales only {reader['gold']:.0%} tell their label to a simple "
            f"reader ({reader['name']}): what is learned from them is as vague. Rationales that "
            f"name what decides teach more; {WRITE} such."
        )


def _about_rationales(metrics: Mapping, loaded: Dataset, cure: str) -> Iterator[str]:
    """Are the written ones any, its own, and about the decided label?"""
    measures = metrics["metrics"]
    if "degenerate" in measures and measures["degenerate"]["value"] > MANY:
        yield (
            f"{measures['degenerate']['value']:.0%} of its rationales are blank, one word, or the "
            f"same for most cases: {cure}."
        )
    if "copied" in measures:
        gold = [record.rationale for record in loaded.test if record.rationale]
        copied = Background(loaded.train, loaded.labels, False).copied(gold)
        usual = sum(copied) / max(1, len(copied))
        if _low(measures["copied"]) > usual:
            yield (
                f"{measures['copied']['value']:.0%} of its rationales are training rationales word "
                f"for word, of the table's own {usual:.0%}: it retrieves rather than explains; "
                "more rows, explained each in words of its own, would help."
            )
    reader = metrics.get("reader")
    if reader and "agreement" in measures and _high(measures["agreement"]) < reader["gold"]:
        yield (
            f"{measures['agreement']['value']:.0%} of its rationales support the label that it "
            f"decided, of the table's own {reader['gold']:.0%}: do not take them as its reasons; "
            "give more rows with a rationale."
        )
    follows = measures.get("follows_label")
    if follows and _low(follows) <= follows["chance"]:
        yield (
            "Told another label it writes no rationale for that one: its rationales do not depend "
            f"on the label; {cure}."
        )


def _counting_words(loaded: Dataset) -> float | None:
    """Accuracy of the words' counts; None where there are no words to learn from."""
    try:
        return _accuracy(sanity.tfidf(loaded.train, loaded.test), loaded)
    except ValueError:  # scikit-learn's "empty vocabulary"
        return None


def _accuracy(predicted: list[str], loaded: Dataset) -> float:
    pairs = zip(predicted, loaded.test, strict=True)
    return sum(label == record.label for label, record in pairs) / len(loaded.test)


def _low(measure: Mapping) -> float:
    return measure["interval"][0] if measure["interval"] else measure["value"]


def _high(measure: Mapping) -> float:
    return measure["interval"][1] if measure["interval"] else measure["value"]
