"""Sanity rows: what no language model is needed for."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from r2d.data import triage
from r2d.data.record import Record
from r2d.errors import R2DError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def majority(train: Sequence[Record], test: Sequence[Record], seed: int = 0) -> list[str]:
    """The most frequent training label for every test record."""
    counts = Counter(record.label for record in train)
    label = counts.most_common(1)[0][0]
    return [label] * len(test)


def tfidf(train: Sequence[Record], test: Sequence[Record], seed: int = 0) -> list[str]:
    """The labels that `text_classifier` gives test questions after training on the others."""
    model = text_classifier(seed)
    model.fit([record.question for record in train], [record.label for record in train])
    return list(model.predict([record.question for record in test]))


def text_classifier(seed: int = 0) -> "Pipeline":
    """Logistic regression on TF-IDF of words and word pairs (scikit-learn), not fitted yet.

    Word pairs, damped counts and weak regularisation (C 10) are [ours].
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(features, LogisticRegression(C=10, max_iter=1000, random_state=seed))


def rule(
    train: Sequence[Record],
    test: Sequence[Record],
    seed: int = 0,
    negation: bool = True,
    modifiers: bool = True,
) -> list[str]:
    """The synthetic notes' own rule, by their generator's record: the ceiling of what reads them.

    Without `negation`, or without `modifiers`, it is what reads everything but these. Raises
    `R2DError` for other data.
    """
    if not all(record.facts for record in test):
        raise R2DError(
            "Only the synthetic notes have a rule: leave the rule's rows out of other datasets "
            "(`datasets.<name>.methods`)."
        )
    return [triage.decide(record.facts, negation, modifiers) for record in test]


SANITY: dict[str, Callable[[Sequence[Record], Sequence[Record], int], list[str]]] = {
    "majority": majority,
    "tfidf": tfidf,
    "rule": rule,
    "rule-no-negation": partial(rule, negation=False),
    "rule-no-modifiers": partial(rule, modifiers=False),
}
