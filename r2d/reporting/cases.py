"""What a model wrote, for people to read before they read any mean of it."""

from collections.abc import Sequence

import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from pandas.io.formats.style import Styler

from r2d.data.record import Record

HIDDEN = "(not shown: these cases are not synthetic)"


def pick(predictions: Sequence[dict], each: int = 2) -> list[dict]:
    """The first `each` predictions that are right, then the first `each` that are wrong."""
    right = [made for made in predictions if made["label"] == made["gold"]]
    wrong = [made for made in predictions if made["label"] != made["gold"]]
    return right[:each] + wrong[:each]


def table(records: Sequence[Record], predictions: Sequence[dict], synthetic: bool) -> Styler:
    """Predictions beside gold: note, decided and gold label, the model's and the gold rationale.

    Texts are shown of synthetic cases only. Cells are escaped.
    """
    notes = {record.id: record.text for record in records}
    rows = [
        {
            "note": notes[made["id"]] if synthetic else HIDDEN,
            "decided": made["label"] + ("" if made["label"] == made["gold"] else " (wrong)"),
            "gold label": made["gold"],
            "the model's rationale": made["rationale"] if synthetic else HIDDEN,
            "gold rationale": made["rationale_gold"] if synthetic else HIDDEN,
        }
        for made in predictions
    ]
    return wrapped(pd.DataFrame(rows))


def wrapped(frame: pd.DataFrame) -> Styler:
    """A table of texts: left-aligned, broken over lines, escaped, without an index."""
    style = frame.style.hide().format(escape="html", na_rep="–")
    look = {"text-align": "left", "vertical-align": "top", "white-space": "normal"}
    return style.set_properties(**look, **{"min-width": "8em", "max-width": "22em"})


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
    style = frame.style.format(escape="html").apply(lambda _: colours, axis=1)
    return style.set_caption(title).hide(axis="columns")
