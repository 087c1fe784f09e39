"""Every command of `python -m r2d`: each reads its options, calls the package and prints.

What takes long to import is imported inside the commands, so that `--help` answers at once.
"""

import os
import sys

import typer
from typer.exceptions import TyperException

from r2d import paths
from r2d.cli import models, project
from r2d.errors import R2DError

app = typer.Typer(
    help="Train, compare, use and share clinical decision models with rationales.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(project.app)
app.add_typer(models.app)


def main(arguments: list[str] | None = None) -> int:
    """0 when done, 1 when what was run failed, 2 on a mistake that a sentence explains."""
    try:
        for name in ("R2D_HOME", "R2D_DATA", "R2D_ASSETS"):  # notebooks run in another folder
            if os.environ.get(name):
                os.environ[name] = str(paths.of_user(os.environ[name]).absolute())
        return app(arguments, standalone_mode=False) or 0
    except R2DError as error:
        print(error, file=sys.stderr)
    except TyperException as error:
        message = error.format_message()
        print(message if message.endswith((".", "?")) else f"{message}.", file=sys.stderr)
    return 2
