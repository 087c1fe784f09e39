"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from r2d import paths

TABLE_FILE = "CSV, TSV, JSON, JSONL, Parquet, or a hub dataset's id"


def profiles() -> list[str]:
    """The names of the recipes."""
    return sorted(file.stem for file in paths.RECIPES.glob("*.yaml"))


def run_folder(given: str) -> Path:
    """A run's folder as it was given or, where there is none, the one below `R2D_HOME`."""
    here = Path(given)  # `~` and what no path can be are seen to by who opens it
    at_home = paths.home() / here
    return at_home if at_home.exists() and not here.exists() else here


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
    typer.Argument(
        metavar="RUN",
        help="A run's folder, e.g. runs/mini/triage/r2d-full/seed1.",
        parser=run_folder,
    ),
]
Column = Annotated[str, typer.Option(metavar="COLUMN")]
OptionsFrom = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="What stands before the options A. ... B. ... in questions, e.g. 'Answer Choices:'.",
    ),
]
Labels = Annotated[
    Literal["closed", "open"],
    typer.Option(help="Whether labels are a set, or any text, of which accuracy is measured."),
]
