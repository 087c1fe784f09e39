"""A dataset's card (`cards/<name>.yaml`): how it is read, its labels and usual sizes."""

from typing import Literal

import yaml

from r2d import paths
from r2d.errors import R2DError
from r2d.recipes.settings import Settings


class Card(Settings):
    """What is fixed about a dataset.

    `rationales[0]` is meant by "rationale" where that is not among them. `sizes` holds, for each
    kind of split, the usual sizes: below 1 a share, left out all that remains. `path` and
    `test_path` are where a table is, unless the recipe says.
    """

    title: str
    reader: Literal["triage", "pubmedqa", "bioasq", "table"]
    synthetic: bool
    licence: str
    source: str
    get: str
    labels: tuple[str, ...] | None = None
    rationales: tuple[str, ...]
    path: str | None = None
    test_path: str | None = None
    columns: dict[str, str] = {}
    context_mark: str | None = None
    sizes: dict[str, dict[str, float]]


def card_names() -> list[str]:
    """Names of the cards that are shipped; other files beside them say no reader."""
    files = paths.CARDS.glob("*.yaml")
    return sorted(file.stem for file in files if "\nreader:" in file.read_text(encoding="utf-8"))


def load_card(name: str) -> Card:
    """The card `name`; raises `R2DError` naming those that exist."""
    names = card_names()
    if name not in names:
        raise R2DError(f"Dataset card {name!r} is not known: choose one of {', '.join(names)}.")
    return Card(**yaml.safe_load((paths.CARDS / f"{name}.yaml").read_text(encoding="utf-8")))
