"""The report's first page as Markdown: asked, found, figures, environment, minutes, each read from files of the runs."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from r2d import paths
from r2d.errors import R2DError
from r2d.experiments import grid
from r2d.experiments.grid import Run
from r2d.recipes import Recipe
from r2d.reporting import results

COSTS = {  # column of table 2 -> heading in units that people read, factor, whether it is a whole number
    "parameters": ("parameters (millions)", 1e-6, False),
    "trainable_share": ("trained (%)", 100, False),
    "peak_memory_mb": ("peak memory (MB)", 1, True),
    "steps": ("steps", 1, True),
    "seconds": ("training (s)", 1, False),
    "seconds_per_step": ("a step (ms)", 1000, False),
    "seconds_per_case": ("a test case (ms)", 1000, False),
}
TABLES = ("runs.csv", "e2_sources.csv", "e3_ablations.csv", "e7_runs.csv")  # a row a run


@dataclass(frozen=True)
class Page:
    """An executed notebook in the site: its title, its section of the menu and its shorter name there, its run if it has one."""

    stem: str
    title: str
    section: str
    menu: str
    minutes: float
    run: Run | None
    notebook: dict

    @property
    def document(self) -> str:
        """Its name in the site."""
        return f"notebooks/{self.stem}"


def write(recipe: Recipe, pages: Sequence[Page]) -> str:
    """The whole page."""
    environments = _environments(recipe, pages)
    parts = [
        f"# Reason2Decide: report of profile {recipe.profile}", _about(environments),
        "## What was asked", _asked(recipe, environments),
        "### The data", _data(recipe, pages),
        "## What was found", _findings(recipe),
        "### Table 1: labels and rationales", _table_1(recipe),
        "### Table 2: what it costs", _costs(recipe),
        "### The published numbers, and ours", _published(recipe),
        "## Figures", _figures(recipe),
        "## Environment", _environment(environments.values()),
        "## Notebooks and minutes", _minutes(pages, environments),
        _contents(pages),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def stamp(recipe: Recipe, pages: Sequence[Page]) -> str:
    """What stands at the top of every page: the profile's note, and which data are synthetic."""
    invented = [name for name, card in _cards(recipe, pages).items() if card["synthetic"]]
    return f"Profile {recipe.note}." + (
        f" Synthetic data: {', '.join(invented)}." if invented else ""
    )


def _environments(recipe: Recipe, pages: Sequence[Page]) -> dict[Run, dict]:
    """Run -> its env.json; every run of the tables has to have its executed notebook."""
    found = {
        page.run: json.loads(_text(recipe, *page.run[:2], f"seed{page.run[2]}", "env.json"))
        for page in pages
        if page.run
    }
    for name in (name for name in TABLES if _path(recipe, "results", name).is_file()):
        for run in _csv(recipe, name)[["dataset", "method", "seed"]].itertuples(
            index=False, name=None
        ):
            if run not in found:
                named = "{}-{}-seed{}.ipynb".format(*run)
                raise R2DError(
                    f"The tables hold a run whose executed notebook {named} is not there; run `./run_all.sh` again."
                )
    return found


def _about(environments: dict[Run, dict]) -> str:
    commits = ", ".join(sorted({e["commit"] for e in environments.values()}))
    return (
        f"Every number and figure here was read from the files of {len(environments)} runs (commit {commits}); the notebooks in "
        "the menu are the ones that made them. This is not by the authors of the [paper](https://arxiv.org/abs/2512.20074)."
    )


def _asked(recipe: Recipe, environments: dict[Run, dict]) -> str:
    rows = []
    for name, experiment in recipe.experiments.items():
        runs = grid.runs(recipe, [name])
        titles = "; ".join(grid.titles(recipe, name))
        done = f"{sum(run in environments for run in runs)} of {len(runs)}"
        rows.append(
            [
                name,
                experiment.title,
                ", ".join(experiment.datasets),
                titles,
                len(experiment.seeds),
                done,
            ]
        )
    return _table(
        pd.DataFrame(rows, columns=["", "experiment", "datasets", "methods", "seeds", "runs here"])
    )


def _cards(recipe: Recipe, pages: Sequence[Page]) -> dict[str, dict]:
    """Dataset -> what notebook 01 noted about it."""
    named = dict.fromkeys(page.run[0] for page in pages if page.run)
    return {name: json.loads(_text(recipe, name, "data.json")) for name in named}


def _data(recipe: Recipe, pages: Sequence[Page]) -> str:
    rows = []
    for name, card in _cards(recipe, pages).items():
        sizes = ", ".join(f"{count:,} {split}" for split, count in card["counts"].items())
        rows.append(
            [
                name,
                card["title"],
                "**synthetic**" if card["synthetic"] else "real",
                sizes,
                card["source"],
            ]
        )
    return _table(
        pd.DataFrame(rows, columns=["dataset", "what it is", "cases are", "cases", "source"])
    )


def _findings(recipe: Recipe) -> str:
    """The sentences that the notebooks generated, each experiment's under its title."""
    text = _read(paths.figures(recipe.profile) / "findings.md")
    for name, experiment in recipe.experiments.items():
        text = text.replace(f"**{name}**", f"**{name}: {experiment.title}**")
    return text


def _table_1(recipe: Recipe) -> str:
    """Notebook 06's table alone, without its profile and the published numbers; a value and its interval stay on one line."""
    return re.sub(
        r"(?<=[\d,±]) (?=[\d\[±])",
        "\u00a0",
        _text(recipe, "results", "table_1.md").split("\n\n")[1],
    )


def _costs(recipe: Recipe) -> str:
    known = _csv(recipe, "table_2.csv")
    shown = known[["dataset", "title"]].rename(columns={"title": "method"})
    for name, (heading, factor, whole) in COSTS.items():
        values = known[name] * factor
        shown[heading] = values.round().astype("Int64") if whole else values
    return _table(shown)


def _published(recipe: Recipe) -> str:
    """Each published number with its mark, and every R2D row of table 1 on the same dataset."""
    table = _csv(recipe, "table_1.csv")
    readable, rows = results.readable(table, recipe), []
    staged = table["method"].map(
        lambda m: m in recipe.methods and recipe.methods[m].objective.startswith("r2d")
    )
    for _, row in results.published().iterrows():
        measure = results.heading(row["measure"], recipe)
        ours = readable[staged & (table["dataset"] == row["dataset"])]
        said = (
            "; ".join(f"{o['method']} {o[measure]}" for _, o in ours.iterrows())
            or "not measured in this profile"
        )
        value = f"{row['value']:.2f}" + ("" if pd.isna(row["sd"]) else f" ± {row['sd']:.2f}")
        rows.append(
            [
                row["dataset"],
                measure,
                f"{value} ({row['method']})",
                row["mark"],
                said,
                row["comparable"],
            ]
        )
    columns = [
        "dataset",
        "measure",
        "published",
        "mark",
        f"ours, profile {recipe.profile}",
        "comparable?",
    ]
    return (
        _table(pd.DataFrame(rows, columns=columns))
        + "\n\n[2nd]: second-hand, not read in the paper itself."
    )


def _figures(recipe: Recipe) -> str:
    """Every figure of the manifest that has a caption, by number."""
    folder = paths.figures(recipe.profile)
    known = (
        json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if (folder / "manifest.json").is_file()
        else {}
    )
    parts = [f"Each is also a PDF with its source CSV in `figures/{recipe.profile}/`."]
    for name, origin in known.items():
        if "caption" in origin:
            parts.append(
                f"```{{figure}} figures/{name}.png\n:alt: {origin['caption']}\n\n{origin['caption']}\n```"
            )
    return "\n\n".join(parts)


def _environment(found: Iterable[dict]) -> str:
    """Versions, device and commit of the runs; several values where the runs differ."""
    values: dict[str, dict[str, None]] = {}
    for env in found:
        line = {
            "Python": env["python"],
            **env["packages"],
            "device": f"{env['device']} ({env['kind']})",
        }
        line |= {"threads": env["threads"], "commit": env["commit"]}
        for name, value in line.items():
            values.setdefault(name, {})[str(value)] = None
    return _table(
        pd.DataFrame(
            [[name, ", ".join(seen)] for name, seen in values.items()], columns=["", "of the runs"]
        )
    )


def _minutes(pages: Sequence[Page], environments: dict[Run, dict]) -> str:
    rows = []
    for page in pages:
        seconds = environments.get(page.run, {}).get("training", {}).get("seconds")
        rows.append([f"[{page.title}]({page.document})", page.minutes, seconds])
    table = pd.DataFrame(rows, columns=["notebook", "minutes", "training (s)"])
    total = f"{len(pages)} notebooks took {table['minutes'].sum():.1f} minutes, one after another"
    return f"{total}; one that found its run finished only read it.\n\n{_table(table)}"


def _contents(pages: Sequence[Page]) -> str:
    """The menu: a list of pages under every heading."""
    parts = []
    for section in dict.fromkeys(page.section for page in pages):
        lines = "\n".join(
            f"{page.menu} <{page.document}>" for page in pages if page.section == section
        )
        parts.append(f"```{{toctree}}\n:hidden:\n:titlesonly:\n:caption: {section}\n\n{lines}\n```")
    return "\n\n".join(parts)


def _table(frame: pd.DataFrame) -> str:
    return (
        frame.astype(object)
        .where(frame.notna(), None)
        .to_markdown(index=False, floatfmt=".1f", missingval="–")
    )


def _text(recipe: Recipe, *inside: str) -> str:
    return _read(_path(recipe, *inside))


def _read(path: Path) -> str:
    if not path.is_file():
        raise R2DError(
            f"{path} is not there; run `./run_all.sh` with this profile and settings first."
        )
    return path.read_text(encoding="utf-8").strip()


def _csv(recipe: Recipe, name: str) -> pd.DataFrame:
    return results.parse(_text(recipe, "results", name))


def _path(recipe: Recipe, *inside: str) -> Path:
    return paths.runs(recipe.profile).joinpath(*inside)
