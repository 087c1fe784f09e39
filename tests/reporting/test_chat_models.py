"""Chat models beside the fine-tuned ones: the smallest that does as well, and how sure that is."""

import pandas as pd

from r2d.reporting import chat_models


def model(title: str, kind: str, parameters: float | None, f1: float, margin: float) -> dict:
    return {
        "dataset": "d",
        "kind": kind,
        "title": title,
        "how": "answer" if kind == "zero-shot" else "generated",
        "cases": 9,
        "parameters": parameters,
        "macro_f1": f1,
        "macro_f1_low": f1 - margin,
        "macro_f1_high": f1 + margin,
    }


SIZES = [
    model("Small", "fine-tuned", 1e6, 0.5, 0.05),
    model("Large", "fine-tuned", 8e8, 0.7, 0.04),
    model("Chat", "zero-shot", 3.2e10, 0.6, 0.04),
    model("Majority", "majority", None, 0.2, 0.0),
]


def test_times_smaller_is_computed_from_the_smallest_model_that_does_as_well():
    assert chat_models.sentences(pd.DataFrame(SIZES)) == [
        "On d Large (generated, macro-F1 70.0) is 40 times smaller than the best zero-shot model "
        "here, Chat (answer, macro-F1 60.0); 9 test cases."
    ]
    unsure = [row | {"macro_f1_low": 0.1, "macro_f1_high": 0.9} for row in SIZES]
    (sentence,) = chat_models.sentences(pd.DataFrame(unsure))
    assert sentence.endswith(
        "9 test cases. Their intervals overlap. The majority class is inside that model's interval."
    )
    worse = [row | {"macro_f1": 0.1} if row["kind"] == "fine-tuned" else row for row in SIZES]
    (sentence,) = chat_models.sentences(pd.DataFrame(worse))
    assert "is the best fine-tuned model and does not reach" in sentence
    assert chat_models.sentences(pd.DataFrame(SIZES[:2])) == []
