"""What a model wrote, for people to read before they read any mean of it."""

import html
from collections.abc import Sequence

import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from pandas.io.formats.style import Styler

from r2d.data.record import Record, same_label
from r2d.reporting import escape

HIDDEN = "(not shown: these cases are not synthetic)"


def pick(predictions: Sequence[dict], each: int = 2) -> list[dict]:
    """The first `each` predictions that are right, then the first `each` that are wrong."""
    right = [case for case in predictions if same_label(case["label"], case["gold"])]
    wrong = [case for case in predictions if not same_label(case["label"], case["gold"])]
    return right[:each] + wrong[:each]


def table(records: Sequence[Record], predictions: Sequence[dict], synthetic: bool) -> Styler:
    """Predictions beside gold: note, decided and gold label, the model's and the gold rationale.

    Texts are shown of synthetic cases only.
    """
    notes = {record.id: record.text for record in records}
    rows = [
        {
            "note": notes[case["id"]] if synthetic else HIDDEN,
            "decided": case["label"]
            + ("" if same_label(case["label"], case["gold"]) else " (wrong)"),
            "gold label": case["gold"],
            "the model's rationale": case["rationale"] if synthetic else HIDDEN,
            "gold rationale": case["rationale_gold"] if synthetic else HIDDEN,
        }
        for case in predictions
    ]
    return wrapped(pd.DataFrame(rows))


def wrapped(frame: pd.DataFrame) -> Styler:
    """A table of texts: left-aligned, broken over lines, without an index."""
    style = escape.styled(frame).hide().format(na_rep="–")
    layout = {"text-align": "left", "vertical-align": "top", "white-space": "normal"}
    return style.set_properties(**layout, **{"min-width": "8em", "max-width": "22em"})


def token_strip(tokens: Sequence[tuple[str, float]], title: str) -> Styler:
    """The tokens of a target in one row, the darker the larger their loss (nats, below each)."""
    shade = colormaps["Oranges"]
    columns = [str(place) for place in range(1, len(tokens) + 1)]
    frame = pd.DataFrame(
        [[text for text, _ in tokens], [f"{loss:.2f}" for _, loss in tokens]],
        index=["token", "loss"],
        columns=columns,
    )
    colours = [f"background-color: {to_hex(shade(min(loss, 4) / 5))}" for _, loss in tokens]
    style = escape.styled(frame).apply(lambda _: colours, axis=1)
    return style.set_caption(html.escape(title)).hide(axis="columns")


def greyed(scores: pd.DataFrame) -> Styler:
    """A judge's grades (`judge.table`), with the rows of one that failed in grey."""
    columns = scores.drop(columns=["method", "qualified"])
    style = escape.styled(columns).hide().format(precision=2, na_rep="–")
    return style.set_properties(subset=(~scores["qualified"], slice(None)), color="#999999")
