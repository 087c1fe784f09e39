"""Every command of `python -m r2d`: each reads its options, calls the package and prints.

What takes long to import is imported inside the commands, so that `--help` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from r2d import paths
from r2d.errors import R2DError

app = typer.Typer(
    help="Train, compare, use and share clinical decision models with rationales.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PASSING = {"allow_extra_args": True, "ignore_unknown_options": True}
TABLE_FILE = "CSV, TSV, JSON, JSONL, Parquet, or a hub dataset's id"


def profiles() -> list[str]:
    """The names of the recipes."""
    return sorted(file.stem for file in paths.RECIPES.glob("*.yaml"))


Profile = Annotated[
    str,
    typer.Argument(
        metavar="PROFILE",
        help=f"Recipe: one of {', '.join(profiles())}.",
        autocompletion=profiles,
    ),
]
ProfileOption = Annotated[str, typer.Option(help="Recipe to start from.", autocompletion=profiles)]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting of the recipe, e.g. train.common.batch=16; may be repeated.",
    ),
]
RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run's folder, e.g. runs/mini/triage/r2d-full/seed1."),
]
Column = Annotated[str, typer.Option(metavar="COLUMN")]


class Passing(TyperCommand):
    """A command that finds the words after `--` in its context's `obj`."""

    def parse_args(self, ctx, args):
        ctx.obj = []
        if "--" in args:
            mark = args.index("--")
            args, ctx.obj = args[:mark], args[mark + 1 :]
        return super().parse_args(ctx, args)


@app.command(cls=Passing)
def run(
    context: typer.Context,
    profile: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROFILE",
            help=f"Recipe: one of {', '.join(profiles())}; default: mini.",
            autocompletion=profiles,
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="E1,E2", help="Only these experiments.")
    ] = None,
    cores: Annotated[
        str | None, typer.Option(metavar="N", help="Notebooks at a time; default: all cores.")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Those of them that use a GPU, one each; default: all GPUs. 0: use none.",
        ),
    ] = None,
    on: Annotated[
        str | None, typer.Option(metavar="CLUSTER", help="Submit them: slurm or kubernetes.")
    ] = None,
    changes: Changes = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would run, and how long it takes.")
    ] = False,
    unlock: Annotated[
        bool, typer.Option("--unlock", help="Release the lock that a killed run left.")
    ] = False,
) -> int:
    """Run every notebook that is out of date; words after -- go to Snakemake."""
    from r2d.experiments import workflow

    named = profile or ["mini"]
    if len(named) > 1:
        raise R2DError(f"One profile at a time, please: {' or '.join(named)}.")
    plan = workflow.Plan(
        profile=named[0],
        only=only,
        cores=workflow.whole_number("--cores", cores, 1),
        gpus=workflow.whole_number("--gpus", gpus),
        on=on,
        settings=tuple(changes or ()),
        passed=tuple(context.obj),
    )
    if unlock:
        return workflow.unlock(plan)
    return workflow.dry_run(plan) if dry_run else workflow.start(plan)


@app.command()
def report(
    profile: Profile = "mini",
    changes: Changes = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = True,
) -> None:
    """Build the report of a run: a site that needs no server."""
    import webbrowser

    from r2d import recipes

    recipe = recipes.load(profile, recipes.parse_settings(changes or ()))
    from r2d.reporting import site  # which takes seconds

    index = site.build(recipe)
    print(index)
    if show:
        webbrowser.open(index.as_uri())


@app.command(context_settings=PASSING)
def lab(context: typer.Context) -> None:
    """Open the notebooks in JupyterLab, which gets all further words."""
    # This environment's kernel, not one of the user's of the same name.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    _become("jupyterlab", "--notebook-dir=notebooks", *context.args)


@app.command(context_settings=PASSING)
def test(context: typer.Context) -> None:
    """Run the tests; pytest gets all further words."""
    workers = ["--numprocesses", "logical", "--maxprocesses", "4", "--dist", "loadfile"]
    _become("pytest", *workers, *context.args)


@app.command()
def train(
    profile: Profile,
    dataset: Annotated[str, typer.Argument(metavar="DATASET")],
    method: Annotated[str, typer.Argument(metavar="METHOD")],
    seed: Annotated[int, typer.Argument(metavar="SEED")],
    changes: Changes = None,
) -> None:
    """Do one run of a recipe, on several GPUs under `torchrun` or `accelerate launch`."""
    from r2d import recipes
    from r2d.experiments.run import Run

    recipe = recipes.load(profile, recipes.parse_settings(changes or ()))
    print(Run(recipe, dataset, method, seed).execute())


@app.command()
def notebook(
    name: Annotated[str, typer.Argument(metavar="NAME", help="E.g. 03_stage2.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The executed notebook.")],
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME=VALUE", help="A parameter of it; may be repeated."),
    ] = None,
) -> int:
    """Execute one notebook."""
    from r2d import recipes
    from r2d.experiments import notebook

    return notebook.run(name, out, recipes.parse_settings(parameters or ()))


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
    tuning: Literal["full", "lora", "qlora"] = "full",
    seed: int = 1,
    changes: Changes = None,
) -> int:
    """Train and compare on a table of your own: notebook 09."""
    from r2d import recipes
    from r2d.experiments import notebook, your_data

    overrides = recipes.parse_settings(changes or ())
    table = your_data.read_table(train, test, question_column, label_column, rationale_column)
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
        print(f"Use it: python -m r2d predict {best} --text '...'")
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
    table = your_data.read_table(file, "", question_column, label_column, rationale="")
    records = your_data.labelled(table)
    labels = sorted({record.label for record in records})
    written = rationales.write(chat.Chat(llms[llm]), records, labels)
    kept = rationales.save(records, written, out)
    print(
        f"{kept} of {len(records)} rationales -> {out}; rejected: {written.rejected or 'none'}; "
        "read some first."
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
        Path | None, typer.Option(help="Write to this .csv or .jsonl instead of the screen.")
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
) -> None:
    """Labels, probabilities and rationales of new cases."""
    if (text is None) == (file is None):
        raise R2DError("Give one case with --text, or a file of cases with --file.")
    import r2d
    from r2d.data import tables
    from r2d.deploy import answers

    if out:
        answers.expect_writable(out)
    if text is None:
        texts, choices = tables.cases(file, question_column)
    else:
        texts, choices = [text], [candidates]
    model = r2d.load(folder)
    if model.labels and not candidates:
        choices = []
    predictions = model.predict(texts, not no_rationale, abstain_below, choices)
    rows = answers.rows(predictions, texts if show_text else None)
    if out:
        answers.write(rows, out)
        print(f"{len(rows)} cases -> {out}")
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
) -> None:
    """A folder to share: weights, tokenizer, model card."""
    from r2d.deploy import share

    target = share.export(folder, out, merged)
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


@app.command()
def readme() -> None:
    """Write the README's results anew, from figures/mini/."""
    from r2d.reporting import readme

    readme.rewrite()


@app.command()
def pretrain(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for it.")],
    steps: int = 1600,
    notes: Annotated[int, typer.Option(help="Synthetic notes to read.")] = 60_000,
) -> None:
    """Make the small T5 again that the project ships."""
    from r2d.models.pretrain import rebuild

    rebuild(out, steps, notes)


def main(arguments: list[str] | None = None) -> int:
    """0 when done, 1 when what was run failed, 2 on a mistake that a sentence explains."""
    for name in ("R2D_HOME", "R2D_DATA", "R2D_ASSETS"):  # notebooks run in another folder
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).expanduser().absolute())
    try:
        return app(arguments, standalone_mode=False) or 0
    except R2DError as error:
        print(error, file=sys.stderr)
    except TyperException as error:
        message = error.format_message()
        print(message if message.endswith((".", "?")) else f"{message}.", file=sys.stderr)
    return 2


def _become(module: str, *arguments: str) -> None:
    """Go on as another program, in the project's folder."""
    os.chdir(paths.ROOT)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
