"""The project's own commands: the workflow, its parts, its tests and its pages."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from r2d import paths
from r2d.cli.options import Changes, Profile, profiles
from r2d.errors import R2DError

app = typer.Typer()
PASSING = {"allow_extra_args": True, "ignore_unknown_options": True}


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
    if dry_run:
        return workflow.dry_run(plan)
    failed = workflow.start(plan)
    if plan.overrides and not failed:
        from r2d.reporting.changes import written

        print(f"\n{written(plan.recipe)}")
    return failed


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
    """Open the project in JupyterLab, which gets all further words: 00_overview is in view."""
    # This environment's kernel, not one of the user's of the same name.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    first = "--LabApp.default_url=/lab/tree/notebooks/00_overview.ipynb"
    as_root = ["--allow-root"] if os.geteuid() == 0 else []  # in a container
    _become("jupyterlab", "--notebook-dir=.", first, *as_root, *context.args)


@app.command(context_settings=PASSING)
def test(context: typer.Context) -> None:
    """Run the tests; pytest gets all further words."""
    workers = ["--numprocesses", "logical", "--maxprocesses", "4"]
    files = ["--dist", "loadfile", "--no-loadscope-reorder"]
    _become("pytest", *workers, *files, *context.args)


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
    folder = Run(recipe, dataset, method, seed).execute()
    print(folder)
    print(paths.notes_in(folder / "predictions.jsonl"), file=sys.stderr)


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
def figures(profile: Profile = "mini") -> None:
    """Put a run's figures into figures/PROFILE/; mini's results and examples go into the README."""
    from r2d import recipes
    from r2d.reporting import gallery, readme, story

    recipe = recipes.load(profile)
    if profile == readme.PROFILE:
        from r2d.deploy import examples

        examples.write(recipe)
    kept = gallery.commit(recipe)
    story.keep(recipe, kept / story.FOLDER)
    print(kept)
    readme.rewrite()


@app.command()
def durations(profile: Profile = "mini") -> None:
    """Ship how long a finished run's notebooks took, by which another machine estimates them."""
    from r2d import recipes
    from r2d.experiments import estimate

    print(estimate.ship(recipes.load(profile)))


@app.command()
def tries(profile: Profile = "mini") -> None:
    """Keep what learning rates that were run reached on validation, beside the recipe."""
    from r2d import recipes
    from r2d.experiments import tries

    print(tries.ship(recipes.load(profile)))


@app.command()
def pretrain(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for it.")],
    steps: int = 1600,
    notes: Annotated[int, typer.Option(help="Synthetic notes to read.")] = 60_000,
) -> None:
    """Make the small T5 again that the project ships."""
    from r2d.models.pretrain import rebuild

    rebuild(out, steps, notes)


def _become(module: str, *arguments: str) -> None:
    """Go on as another program, in the project's folder."""
    os.chdir(paths.ROOT)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
