"""The command line for what was trained, and for training on a table of your own.

python -m r2d your-data --train tickets.csv --label-column queue
python -m r2d predict RUN --file cases.csv --abstain-below 0.6
python -m r2d calibrate RUN | export RUN OUT | push FOLDER REPO_ID
"""

import argparse
import csv
import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path

from r2d import paths
from r2d.data import tables
from r2d.data.record import as_text, some
from r2d.errors import R2DError


def predict(given: argparse.Namespace) -> None:
    """Labels, probabilities and rationales of cases; the cases themselves are shown only on demand."""
    import r2d

    if given.out:
        _expect_writable(given.out, ".csv", ".jsonl")
    texts, own = (
        ([given.text], [given.candidates])
        if given.text is not None
        else _cases(given.file, given.question_column)
    )
    model = r2d.load(given.run)
    found = model.predict(
        texts,
        not given.no_rationale,
        given.abstain_below,
        own if given.candidates or not model.labels else (),
    )
    rows = [
        {"case": number} | ({"text": text} if given.show_text else {}) | asdict(each)
        for number, (text, each) in enumerate(zip(texts, found, strict=True), 1)
    ]
    if given.out:
        _write(rows, given.out)
        print(f"{len(rows)} cases -> {given.out}")
    elif given.json:
        print("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    else:
        print("\n".join(_line(row) for row in rows))


def calibrate(given: argparse.Namespace) -> None:
    """Fit a run's temperature; with a wanted accuracy also the confidence below which to abstain."""
    import pandas as pd

    from r2d.evaluation import calibration

    found = calibration.calibrate(given.run)
    print("\n".join(calibration.sentences(found)))
    if given.target_accuracy:
        row = calibration.choose_threshold(pd.DataFrame(found["curve"]), given.target_accuracy)
        limit = (
            math.floor(row.threshold * 1e4) / 1e4
        )  # rounded up it would leave out the case it stands on
        print(
            f"--abstain-below {limit:.4f} answers {row.coverage:.0%} of validation at {row.accuracy:.0%} accuracy."
        )


def export(given: argparse.Namespace) -> None:
    """A folder to share."""
    from r2d.deploy import share

    print(
        f"exported to {share.export(given.run, given.out, given.merged)}: read its README.md before you share it"
    )


def push(given: argparse.Namespace) -> None:
    """A shared folder to the model hub."""
    from r2d.deploy import share

    print(share.push(given.folder, given.repo_id, private=not given.public))


def write_rationales(given: argparse.Namespace) -> None:
    """Rationales of a chat model for a table that has none, as a file to train on."""
    from r2d import recipes
    from r2d.data.record import Record
    from r2d.experiments import your_data
    from r2d.llms import chat, rationales

    _expect_writable(given.out, ".jsonl")
    known = recipes.load(given.profile).llms
    if given.llm not in known:
        raise R2DError(
            f"Profile {given.profile} has no chat model {given.llm!r}: choose one of {', '.join(known)}."
        )
    table = your_data.look(
        given.file, question=given.question_column, label=given.label_column, rationale=""
    )
    rows = [row for row in table.train if row["question"] and row["label"]]
    records = [
        Record(
            str(number),
            row["question"],
            row["label"],
            "",
            candidates=tuple(row.get("candidates", ())),
        )
        for number, row in enumerate(rows, 1)
    ]
    found = rationales.write(
        chat.Chat(known[given.llm]), records, sorted({r.label for r in records})
    )
    kept = rationales.save(records, found, given.out)
    print(
        f"{kept} of {len(records)} rationales -> {given.out}; rejected: {found.rejected or 'none'}; read some first."
    )


def your_data(given: argparse.Namespace) -> None:
    """Train and compare on a table by running notebook 09."""
    from papermill.exceptions import PapermillExecutionError

    from r2d import recipes
    from r2d.experiments import notebook, your_data

    columns = (given.question_column, given.label_column, given.rationale_column)
    overrides = recipes.settings_of(given.overrides)
    table = your_data.look(given.train, given.test, *columns)
    recipe = your_data.recipe(table, given.profile, given.tuning, overrides)
    out = paths.runs(recipe.profile) / "notebooks" / f"{your_data.NOTEBOOK}.ipynb"
    print(
        f"{recipe.note}\n{len(table.train)} rows; running the notebook, which ends up in {out}",
        flush=True,
    )
    chosen = dict(
        zip(("question_column", "label_column", "rationale_column"), columns, strict=True)
    )
    chosen |= {"train_file": table.train_file, "test_file": table.test_file}
    chosen |= {
        "profile": given.profile,
        "tuning": given.tuning,
        "seed": given.seed,
        "overrides": overrides,
    }
    try:
        notebook.execute(your_data.NOTEBOOK, out, chosen)
    except PapermillExecutionError as error:
        raise SystemExit(
            f"The notebook failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
        ) from None
    best = paths.run(
        recipe.profile, your_data.NAME, your_data.methods(table, given.tuning)[-1], given.seed
    )
    print(
        f"Done. Read {out}\nTrained model: {best}\nUse it: python -m r2d predict {best} --text '...'"
    )


def _cases(file: Path, column: str) -> tuple[list[str], list]:
    """The cases' texts, and the cells of their column `candidates`, empty where there is none."""
    source = tables.find(str(file))
    columns, rows = tables.composed(*tables.table(source), [column])
    if column not in columns:
        raise R2DError(
            f"{file.name} has no column {column!r}, only {some(columns)}: name it with --question-column."
        )
    cells = [
        ((values or {}).get(column), (values or {}).get("candidates") or ()) for _, values in rows
    ]
    texts = [as_text(cell) or "" for cell, _ in cells]
    if blank := [number for number, text in enumerate(texts, 1) if not text]:
        raise R2DError(
            f"{file.name}: case {blank[0]} has no text in column {column!r}: fill it in or take that row out."
        )
    if not texts:
        raise R2DError(f"{file.name} has a header but no cases: give it at least one row.")
    return texts, [own for _, own in cells]


def _line(row: dict) -> str:
    """A case in one line, as a person reads it."""
    label = f"(abstained) {row['label']}" if row["abstained"] else row["label"]
    return "  ".join(
        map(
            str,
            filter(
                None,
                (row["case"], label, f"{row['confidence']:.2f}", row["rationale"], row.get("text")),
            ),
        )
    )


def _expect_writable(out: Path, *endings: str) -> None:
    """Refuse a file that the answers can't be written to, before they are computed."""
    if out.suffix not in endings:
        raise R2DError(f"{out.name} has an unknown ending: name it {' or '.join(endings)}.")
    if not os.access(out if out.exists() else out.absolute().parent, os.W_OK):
        raise R2DError(f"{out} cannot be written: name a file in a folder that you may write to.")


def _write(rows: list[dict], out: Path) -> None:
    """A CSV with a column for each label's probability (one for all where cases differ in labels), or JSON lines."""
    try:
        with out.open("w", encoding="utf-8", newline="") as file:
            if out.suffix == ".jsonl":
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                return
            alike = len({tuple(row["probabilities"]) for row in rows}) == 1
            flat = [row | _columns(row.pop("probabilities"), alike) for row in rows]
            writer = csv.DictWriter(file, flat[0])
            writer.writeheader()
            writer.writerows(flat)
    except OSError as error:
        raise R2DError(
            f"{out} cannot be written ({error.strerror}): name a file in a folder that you may write to."
        ) from None


def _columns(probabilities: dict[str, float], alike: bool) -> dict:
    if not alike:
        return {"probabilities": json.dumps(probabilities, ensure_ascii=False)}
    return {f"p({label})": share for label, share in probabilities.items()}


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m r2d",
        description="Use, check and share what was trained; train on your own.",
    )
    add = top.add_subparsers(required=True, metavar="COMMAND").add_parser
    _add_predict(add("predict", help="labels, probabilities and rationales of new cases"))
    command = add("calibrate", help="fit a temperature on the run's validation split")
    command.add_argument("run", metavar="RUN")
    command.add_argument(
        "--target-accuracy",
        type=float,
        metavar="SHARE",
        help="also say when to abstain to reach it",
    )
    command.set_defaults(do=calibrate)
    command = add("export", help="a folder to share: weights, tokenizer, model card")
    command.add_argument("run", metavar="RUN")
    command.add_argument("out", metavar="OUT", type=Path)
    command.add_argument(
        "--merged", action="store_true", help="put an adapter into its backbone's weights"
    )
    command.set_defaults(do=export)
    command = add("push", help="upload an exported folder to the model hub (HF_TOKEN)")
    command.add_argument("folder", metavar="FOLDER", type=Path)
    command.add_argument("repo_id", metavar="REPO_ID")
    command.add_argument(
        "--public", action="store_true", help="for everyone to see; private without it"
    )
    command.set_defaults(do=push)
    _add_your_data(add("your-data", help="train and compare on a table of your own"))
    command = add(
        "write-rationales",
        help="have a chat model explain the labels of a table that has no rationales",
    )
    command.add_argument(
        "file", metavar="FILE", help="CSV, TSV, JSON, JSONL, Parquet, or a hub dataset's id"
    )
    command.add_argument("out", metavar="OUT", type=Path, help="a .jsonl to train on")
    command.add_argument(
        "--llm", default="smollm2", metavar="NAME", help="one of the recipe's `llms`"
    )
    command.add_argument("--profile", default="mini")
    for field in ("question", "label"):
        command.add_argument(f"--{field}-column", default=field, metavar="COLUMN")
    command.set_defaults(do=write_rationales)
    return top


def _add_predict(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "run", metavar="RUN", help="a run folder, e.g. runs/mini/triage/r2d-full/seed1"
    )
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", help="one case")
    source.add_argument("--file", type=Path, help="cases: CSV, TSV, JSON, JSONL or Parquet")
    command.add_argument("--question-column", default="question", metavar="COLUMN")
    command.add_argument(
        "--candidates",
        default="",
        metavar="A|B",
        help="what --text chooses from, if cases bring their own",
    )
    command.add_argument(
        "--out", type=Path, help="write to this .csv or .jsonl instead of the screen"
    )
    command.add_argument("--json", action="store_true", help="print JSON lines")
    command.add_argument(
        "--abstain-below", type=float, metavar="P", help="mark answers less sure than this"
    )
    command.add_argument(
        "--no-rationale", action="store_true", help="labels only, which is much faster"
    )
    command.add_argument(
        "--show-text", action="store_true", help="repeat the cases' text in the output"
    )
    command.set_defaults(do=predict)


def _add_your_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--train",
        required=True,
        metavar="FILE",
        help="CSV, TSV, JSON, JSONL, Parquet, or a hub dataset's id",
    )
    command.add_argument(
        "--test", default="", metavar="FILE", help="without it a part of --train is held back"
    )
    for field in ("question", "label", "rationale"):
        command.add_argument(f"--{field}-column", default=field, metavar="COLUMN")
    command.add_argument("--profile", default="mini")
    command.add_argument("--tuning", default="full", choices=("full", "lora", "qlora"))
    command.add_argument("--seed", type=int, default=1)
    command.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE"
    )
    command.set_defaults(do=your_data)


def main(arguments: list[str] | None = None) -> int:
    """0 when done, 2 on a sentence for the user; a notebook's failing cell ends the program with 1."""
    given = parser().parse_args(arguments)
    try:
        given.do(given)
    except R2DError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough
        sys.stdout = None
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
