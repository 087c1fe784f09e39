"""Predictions as rows: on the screen, as CSV and as JSON lines."""

import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from r2d import paths
from r2d.deploy.predict import Prediction
from r2d.errors import R2DError
from r2d.reporting import escape, spreadsheet

ENDINGS = (".csv", ".jsonl")
PAGE = ".html"  # of one case


def rows(predictions: Sequence[Prediction], texts: Sequence[str] | None = None) -> list[dict]:
    """A row a case, numbered from 1; with the cases themselves only where `texts` are given."""
    numbered = []
    for number, prediction in enumerate(predictions, 1):
        row = {"case": number}
        if texts is not None:
            row["text"] = texts[number - 1]
        numbered.append(row | asdict(prediction))
    return numbered


def line(row: dict) -> str:
    """A case in one line, as a person reads it; what a terminal would obey is left out."""
    label = f"(abstained) {row['label']}" if row["abstained"] else row["label"]
    parts = [str(row["case"]), label, f"{row['confidence']:.2f}", row["rationale"], row.get("text")]
    return "  ".join(escape.one_line(part) for part in parts if part)


def as_json(row: dict) -> str:
    """A case as one line of JSON."""
    return json.dumps(row, ensure_ascii=False)


def expect_writable(out: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Refuse a file that the answers can't be written to, before they are computed."""
    if out.suffix not in endings:
        raise R2DError(f"{out.name} has an unknown ending: name it {' or '.join(endings)}.")
    paths.expect_outside_runs(out)
    is_file = out.is_file() or not out.exists()
    if not is_file or not os.access(out.absolute().parent, os.W_OK):
        raise R2DError(f"{out} cannot be written: name a file in a folder that you may write to.")


def write(answers: Sequence[dict], out: Path) -> bool:
    """Write rows as JSON lines or as CSV, by the ending of `out`.

    Only its owner can read it. Returns whether a cell of the CSV had to be marked as no formula.
    """
    text, marked = io.StringIO(newline=""), False
    if out.suffix == ".csv":
        marked = spreadsheet.write_rows(_flat(answers), text)
    else:
        text.writelines(as_json(row) + "\n" for row in answers)
    put(out, text.getvalue())
    return marked


def put(out: Path, text: str) -> None:
    """Write a file with notes, which only its owner can read."""
    try:
        paths.write_notes(out, text)
    except OSError as error:
        raise R2DError(
            f"{out} cannot be written ({error.strerror}): name a file in a folder that you may "
            "write to."
        ) from None


def _flat(answers: Sequence[dict]) -> list[dict]:
    """A column for each label's probability, or one for all where cases differ in their labels."""
    labels = {tuple(row["probabilities"]) for row in answers}
    alike = len(labels) == 1 and len(next(iter(labels))) > 1  # one alone was written freely
    flat = []
    for row in answers:
        rest = {name: value for name, value in row.items() if name != "probabilities"}
        if alike:
            columns = {f"p({label})": share for label, share in row["probabilities"].items()}
        else:
            columns = {"probabilities": json.dumps(row["probabilities"], ensure_ascii=False)}
        flat.append(rest | columns)
    return flat
