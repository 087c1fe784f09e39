"""The chat models of E4 beside the fine-tuned ones, in words, from `llms.zero_shot.table`."""

import pandas as pd


def sentences(frame: pd.DataFrame) -> list[str]:
    """Per dataset: the smallest fine-tuned model that does as well as the best zero-shot one.

    And how much smaller it is. Intervals that overlap, and a zero-shot model whose interval holds
    the majority class, are said to.
    """
    lines = []
    for dataset, rows in frame.groupby("dataset", sort=False):
        sized = rows[rows["parameters"].notna()]
        tuned = sized[sized["kind"] == "fine-tuned"]
        zero_shot = sized[sized["kind"] == "zero-shot"]
        if not tuned.empty and not zero_shot.empty:
            best = zero_shot.loc[zero_shot["macro_f1"].idxmax()]
            floor = rows.loc[rows["kind"] == "majority", "macro_f1"].max()
            lines.append(_sentence(dataset, tuned, best, floor))
    return lines


def _sentence(dataset: str, tuned: pd.DataFrame, best: pd.Series, floor: float) -> str:
    """The fine-tuned models of a dataset beside its best zero-shot one; `floor` is majority's."""
    enough = tuned[tuned["macro_f1"] >= best["macro_f1"]]
    if enough.empty:
        chosen = tuned.loc[tuned["macro_f1"].idxmax()]
        verb = "is the best fine-tuned model and does not reach"
    else:
        chosen = enough.loc[enough["parameters"].idxmin()]
        verb = f"is {best['parameters'] / chosen['parameters']:.0f} times smaller than"
    parts = [
        f"On {dataset} {_named(chosen)} {verb} the best zero-shot model here, {_named(best)}; "
        f"{int(best['cases'])} test cases."
    ]
    if _overlap(chosen, best):
        parts.append("Their intervals overlap.")
    if best["macro_f1_low"] <= floor <= best["macro_f1_high"]:
        parts.append("The majority class is inside that model's interval.")
    elif best["macro_f1_high"] < floor:
        parts.append(f"The majority class ({100 * floor:.1f}) is above that model.")
    return " ".join(parts)


def _named(row: pd.Series) -> str:
    return f"{row['title']} ({row['how']}, macro-F1 {100 * row['macro_f1']:.1f})"


def _overlap(one: pd.Series, other: pd.Series) -> bool:
    return (
        one["macro_f1_low"] <= other["macro_f1_high"]
        and other["macro_f1_low"] <= one["macro_f1_high"]
    )
