"""Sanity rows: what no language model is needed for."""

from collections import Counter
from collections.abc import Callable, Sequence

from r2d.data.record import Record


def majority(train: Sequence[Record], test: Sequence[Record], seed: int = 0) -> list[str]:
    """The most frequent training label for every test record."""
    counts = Counter(record.label for record in train)
    label = counts.most_common(1)[0][0]
    return [label] * len(test)


def tfidf(train: Sequence[Record], test: Sequence[Record], seed: int = 0) -> list[str]:
    """Logistic regression on TF-IDF of words and word pairs (scikit-learn).

    Word pairs, damped counts and weak regularisation (C 10) are [ours].
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    classifier = LogisticRegression(C=10, max_iter=1000, random_state=seed)
    model = make_pipeline(features, classifier)
    model.fit([record.question for record in train], [record.label for record in train])
    return list(model.predict([record.question for record in test]))


SANITY: dict[str, Callable[[Sequence[Record], Sequence[Record], int], list[str]]] = {
    "majority": majority,
    "tfidf": tfidf,
}
