"""Commands over a table of yours and over trained models: train, predict, calibrate, share."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from r2d import paths
from r2d.cli.options import (
    TABLE_FILE,
    Changes,
    Column,
    Labels,
    OptionsFrom,
    ProfileOption,
    RunFolder,
)
from r2d.errors import R2DError

app = typer.Typer()


@app.command()
def your_data(
    train: Annotated[str, typer.Option(metavar="FILE", help=TABLE_FILE)],
    test: Annotated[
        str, typer.Option(metavar="FILE", help="Without it a part of --train is held back.")
    ] = "",
    question_column: Column = "question",
    label_column: Column = "label",
    rationale_column: Column = "rationale",
    profile: ProfileOption = "mini",
    options_from: OptionsFrom = "",
    labels: Labels = "closed",
    tuning: Literal["full", "lora", "qlora"] = "full",
    seed: int = 1,
    changes: Changes = None,
) -> int:
    """Train and compare on a table of your own: notebook 09."""
    from r2d import recipes
    from r2d.experiments import notebook, your_data

    overrides = your_data.label_overrides(labels, options_from)
    overrides |= recipes.parse_settings(changes or ())
    columns = question_column, label_column, rationale_column
    table = your_data.read_table(train, test, *columns, **your_data.label_options(overrides))
    recipe = your_data.recipe(table, profile, tuning, overrides)
    out = paths.runs(recipe.profile) / "notebooks" / f"{your_data.NOTEBOOK}.ipynb"
    rows = len(table.train)
    print(f"{recipe.note}\n{rows} rows; running the notebook, which ends up in {out}", flush=True)
    parameters = your_data.parameters(table, profile, tuning, seed, overrides)
    failed = notebook.run(your_data.NOTEBOOK, out, parameters)
    if not failed:
        method = your_data.methods(table, tuning)[-1]
        best = paths.run(recipe.profile, your_data.NAME, method, seed)
        print(f"Done. Read {out}\nTrained model: {best}")
        print(paths.notes_in("The notebook", "the predictions.jsonl beside the model"))
        print(f"Use it: ./run_all.sh predict {shlex.quote(str(best))} --text '...'")
    return failed


@app.command()
def write_rationales(
    file: Annotated[str, typer.Argument(metavar="FILE", help=TABLE_FILE)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .jsonl to train on.")],
    llm: Annotated[str, typer.Option(metavar="NAME", help="One of the recipe's `llms`.")] = (
        "smollm2"
    ),
    profile: ProfileOption = "mini",
    question_column: Column = "question",
    label_column: Column = "label",
    options_from: OptionsFrom = "",
    labels: Labels = "closed",
) -> None:
    """Have a chat model explain the labels of a table that has no rationales."""
    from r2d import recipes
    from r2d.deploy import answers
    from r2d.experiments import your_data
    from r2d.llms import chat, rationales

    answers.expect_writable(out, [".jsonl"])
    llms = recipes.load(profile).llms
    if llm not in llms:
        raise R2DError(
            f"Profile {profile} has no chat model {llm!r}: choose one of {', '.join(llms)}."
        )
    meant = your_data.label_options(your_data.label_overrides(labels, options_from))
    columns = question_column, label_column, ""
    table = your_data.read_table(file, "", *columns, **meant, to_learn=False)
    records = your_data.labelled(table)
    known = [] if table.open_labels else sorted({record.label for record in records})
    written = rationales.write(chat.Chat(llms[llm]), records, known)
    kept = rationales.save(records, written, out)
    print(
        f"{kept} of {len(records)} rationales -> {out}; rejected: {written.rejected or 'none'}; "
        f"read some first.\n{paths.notes_in(out, 'the cache of answers')}"
    )


@app.command()
def predict(
    folder: RunFolder,
    text: Annotated[str | None, typer.Option(help="One case.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Cases: CSV, TSV, JSON, JSONL or Parquet.")
    ] = None,
    question_column: Column = "question",
    candidates: Annotated[
        str,
        typer.Option(
            metavar="A|B", help="What --text chooses from, if cases bring their own options."
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write to this .csv (in which no text can be a spreadsheet's formula) or .jsonl "
            "instead of the screen; --text also to an .html with the deciding words marked."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    abstain_below: Annotated[
        float | None, typer.Option(metavar="P", help="Mark answers less sure than this.")
    ] = None,
    no_rationale: Annotated[
        bool, typer.Option("--no-rationale", help="Labels only, which is much faster.")
    ] = False,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Repeat the cases' text in the output.")
    ] = False,
    engine: Annotated[
        Literal["ctranslate2", "int8", "torch"],
        typer.Option(
            help="What decodes on the CPU; int8 is fastest, and is used where it changes under 1 % "
            "of the validation set's labels."
        ),
    ] = "ctranslate2",
) -> None:
    """Labels, probabilities and rationales of new cases."""
    if (text is None) == (file is None):
        raise R2DError("Give one case with --text, or a file of cases with --file.")
    import r2d
    from r2d.data import tables
    from r2d.deploy import answers
    from r2d.reporting import spreadsheet

    if out:
        answers.expect_writable(out, answers.ENDINGS + ((answers.PAGE,) if text else ()))
    if text is None:
        texts, choices = tables.cases(file, question_column)
    else:
        texts, choices = [text], [candidates]
    model = r2d.load(folder, engine)
    if not model.takes_candidates and not candidates:
        choices = []
    if out and out.suffix == answers.PAGE:
        from r2d.deploy import demo

        answers.put(out, demo.document(model, texts[0], abstain_below or 0.0, candidates))
        print(f"1 case -> {out}\n{paths.notes_in(out)}")
        return
    predictions = model.predict(texts, not no_rationale, abstain_below, choices)
    rows = answers.rows(predictions, texts if show_text else None)
    if out:
        marked = answers.write(rows, out)
        remark = f"; {spreadsheet.REMARK}" if marked else ""
        print(f"{len(rows)} cases -> {out}{remark}\n{paths.notes_in(out)}")
    else:
        for row in rows:
            print(answers.as_json(row) if as_json else answers.line(row))


@app.command()
def calibrate(
    folder: RunFolder,
    target_accuracy: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Also say when to abstain to reach it.")
    ] = None,
) -> None:
    """Fit a temperature on the run's validation split."""
    from r2d.deploy import calibrate

    result = calibrate.calibrate(folder)
    print("\n".join(calibrate.sentences(result)))
    if target_accuracy:
        print(calibrate.abstention(result, target_accuracy))


@app.command()
def export(
    folder: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    merged: Annotated[
        bool, typer.Option("--merged", help="Put an adapter into its backbone's weights.")
    ] = False,
    ctranslate2: Annotated[
        bool, typer.Option("--ctranslate2", help="Add the merged weights for CTranslate2.")
    ] = False,
) -> None:
    """A folder to share: weights, tokenizer, model card."""
    from r2d.deploy import share

    target = share.export(folder, out, merged, ctranslate2)
    print(f"exported to {target}: read its README.md before you share it")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `export` made.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="E.g. you/my-model.")],
    public: Annotated[
        bool, typer.Option("--public", help="For everyone to see; private without it.")
    ] = False,
) -> None:
    """Upload an exported folder to the model hub (HF_TOKEN)."""
    from r2d.deploy import share

    print(share.push(folder, repo_id, private=not public))
