"""Sanity rows: what no language model is needed for."""

from collections import Counter
from collections.abc import Sequence

from r2d.data import Record


def majority(train: Sequence[Record], test: Sequence[Record]) -> list[str]:
    """The most frequent training label for every test record."""
    label = Counter(r.label for r in train).most_common(1)[0][0]
    return [label] * len(test)


def tfidf(train: Sequence[Record], test: Sequence[Record], seed: int) -> list[str]:
    """Logistic regression on TF-IDF of words and word pairs (scikit-learn).

    Word pairs, damped counts and weak regularisation (C 10) are [ours].
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(features, LogisticRegression(C=10, max_iter=1000, random_state=seed))
    return list(
        model.fit([r.question for r in train], [r.label for r in train]).predict(
            [r.question for r in test]
        )
    )


SANITY = {"majority": lambda train, test, seed: majority(train, test), "tfidf": tfidf}
