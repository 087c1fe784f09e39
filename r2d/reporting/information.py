"""What each source of information about a case is worth to a bag of words (question, context, ...).

The row of the long answer is the step from a rationale to its label: no model writes it here, it is
the gold one. So it bounds what a rationale may say, and is nothing that can be had at test.
"""

from collections.abc import Callable

import pandas as pd

from r2d import data
from r2d.data import Record, load_card
from r2d.evaluation import metrics, stats
from r2d.models.sanity import majority, text_classifier
from r2d.recipes.settings import DataSettings


def worth(name: str, settings: DataSettings) -> pd.DataFrame:
    """Accuracy and macro-F1 of TF-IDF + logistic regression by what it reads, with intervals.

    A row a source (`reads`), the first the majority class. Trained and tested on the whole of the
    official split, or of the recipe's where the card has none; nothing is chosen by test cases.
    Without rows for data whose questions have no context.
    """
    card = load_card(settings.card)
    mark = card.context_mark
    if not mark:
        return pd.DataFrame()
    split = "official" if "official" in card.sizes else settings.split
    sizes = dict.fromkeys(("train", "validation", "test"))
    loaded = data.load(name, settings.model_copy(update=sizes | {"split": split}))
    gold = [record.label for record in loaded.test]
    rows = [_row("nothing (majority class)", gold, majority(loaded.train, loaded.test), loaded)]
    for reads, text in _sources(mark).items():
        model = text_classifier()
        model.fit([text(record) for record in loaded.train], [r.label for r in loaded.train])
        answers = model.predict([text(record) for record in loaded.test])
        rows.append(_row(reads, gold, [str(answer) for answer in answers], loaded))
    return pd.DataFrame(rows).assign(dataset=name)


def _sources(mark: str) -> dict[str, Callable[[Record], str]]:
    return {
        "question": lambda record: record.question.partition(mark)[0],
        "context": lambda record: record.question.partition(mark)[2],
        "question + context": lambda record: record.question,
        "long answer (the gold rationale)": lambda record: record.rationale,
    }


def _row(reads: str, gold: list[str], answers: list[str], loaded: data.Dataset) -> dict:
    scores = metrics.classification(gold, answers, loaded.labels)
    hits = [int(a == b) for a, b in zip(gold, answers, strict=True)]
    row = {"reads": reads, "train": len(loaded.train), "test": len(gold)}
    found = {
        "accuracy": stats.interval(hits),
        "macro_f1": stats.f1_intervals(scores["confusion"])["macro"],
    }
    for measure, (low, high) in found.items():
        row |= {measure: scores[measure], f"{measure}_low": low, f"{measure}_high": high}
    return row


def sentence(table: pd.DataFrame) -> str:
    """The table in one sentence, with macro-F1's intervals over cases."""
    floor, *read = table.to_dict("records")
    each = [
        f"{row['reads']} {100 * row['macro_f1']:.1f} "
        f"[{100 * row['macro_f1_low']:.0f}, {100 * row['macro_f1_high']:.0f}]"
        for row in read
    ]
    return (
        f"What decides {floor['dataset']}: macro-F1 of TF-IDF + logistic regression that reads "
        f"{', '.join(each)}; majority class {100 * floor['macro_f1']:.1f} ({floor['train']} cases "
        f"to learn from, {floor['test']} of test)."
    )
