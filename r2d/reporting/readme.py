"""The README's blocks of results and the figure of the method, made by code and never typed."""

import re
from pathlib import Path

import pandas as pd

from r2d import files, paths, recipes
from r2d.errors import R2DError
from r2d.recipes import Recipe
from r2d.reporting import curves_in_words, escape, method_figure, tables, undertrained
from r2d.reporting.comparisons import TOLD_APART
from r2d.reporting.gallery import FINDINGS

START, END = "<!-- results: made by ./run_all.sh figures -->", "<!-- end of results -->"
EXAMPLES_START = "<!-- examples: made by ./run_all.sh figures -->"
EXAMPLES_END = "<!-- end of examples -->"
ANSWERS_START = "<!-- answers: made by ./run_all.sh figures -->"
ANSWERS_END = "<!-- end of answers -->"
PROFILE, DATASET, STUDY = "mini", "triage", "study"
EXAMPLES = "examples.json"
SHAPE = {
    "run": str,
    "title": str,
    "temperature": float,
    "abstain_below": float,
    "coverage": float,
    "accuracy": float,
    "examples": [
        {
            "outcome": str,
            "kind": str,
            "note": str,
            "gold": str,
            "label": str,
            "rationale": str,
            "gold_rationale": str,
            "confidence": float,
            "abstained": bool,
        }
    ],
}
FIGURE = f"fig1a_main_{DATASET}"
SHOWN = ("macro_f1", "agreement", "follows_label", "names_reason")
COST = "E7"  # the experiment of table 2


def rewrite() -> None:
    """Draw the method, and rewrite README.md's blocks from `figures/mini/` and `figures/study/`."""
    method_figure.draw(paths.ROOT / "figures")
    readme, folder = paths.ROOT / "README.md", paths.committed(PROFILE)
    text = filled(readme.read_text(encoding="utf-8"), block(folder))
    text = filled(text, examples(folder), EXAMPLES_START, EXAMPLES_END)
    text = filled(text, answers(paths.committed(STUDY)), ANSWERS_START, ANSWERS_END)
    paths.write(readme, text)


def filled(text: str, block: str, start: str = START, end: str = END) -> str:
    """`text` with `block` between the markers; `R2DError` when they are not there."""
    if text.count(start) != 1 or text.count(end) != 1:
        raise R2DError(f"The text to fill needs one line {start} and one line {end}.")
    head, rest = text.split(start)
    return f"{head}{start}\n\n{block}\n\n{end}{rest.split(end)[1]}"


def block(folder: Path) -> str:
    """One table, its findings and one figure from a shipped profile's figures folder."""
    recipe = recipes.load(folder.name)
    for name in ("table_1.csv", "table_1.md", "table_2.csv", FINDINGS, f"{FIGURE}.png"):
        if not (folder / name).is_file():
            raise R2DError(f"{folder / name} is not there; run `./run_all.sh` first.")
    place = f"figures/{folder.name}"
    table_1 = (folder / "table_1.md").read_text(encoding="utf-8")
    origin = table_1.partition("\nThese rows")[2].partition("\n")[0]
    rows, costs = (_of_dataset(folder / f"{name}.csv") for name in ("table_1", "table_2"))
    title = escape.plain(recipe.experiments[COST].title)
    parts = [
        f"Profile {escape.plain(tables.stamp(recipe, [DATASET]))}",
        escape.table(_table(rows, costs, recipe)),
        f"Points of 100, mean ± standard deviation over {_count(rows['seeds'])} seeds; in brackets "
        "the 95 % interval, over seeds and test cases. Steps and target tokens are means over the "
        "same runs; in brackets the fewest and the most steps where runs differ, as early stopping "
        "may end one before its steps are used up. Seconds are those of the cost experiment, "
        f"*{title}* ({COST}: {_count(costs['seeds'])} seeds), by the clock. All three take in "
        f"stage 1. All of [table 1]({place}/table_1.md){origin}",
        _sentences((folder / FINDINGS).read_text(encoding="utf-8"), recipe),
        f"All comparisons: [findings.md]({place}/findings.md); the other tables and figures are in "
        f"[{place}/]({place}).",
        f"![How well every method decides, and which cases]({place}/{FIGURE}.png)",
    ]
    return "\n\n".join(parts)


def examples(folder: Path) -> str:
    """A case decided right and one decided wrong, and how sure the model was of each."""
    file = folder / EXAMPLES
    if not file.is_file():
        raise R2DError(f"{file} is not there; run `./run_all.sh figures` first.")
    made = files.read_json(file, SHAPE, "make it again with `./run_all.sh figures`")
    shown = pd.DataFrame(
        {"": ["note", "gold label", "decides", "explains", "gold rationale", "sure"]}
    )
    for each in made["examples"]:
        verdict = "would leave it to a person" if each["abstained"] else "answers"
        shown[f"decided {each['outcome']}"] = [
            each["note"],
            each["gold"],
            each["label"],
            each["rationale"],
            each["gold_rationale"],
            f"{each['confidence']:.1%}, {verdict}",
        ]
    return (
        f"{escape.table(shown)}\n\nTest cases of {escape.code(made['run'])}, a model of "
        f"{escape.plain(made['title'])}: the first of their kind among those that notebook "
        f"`03_stage2` shows. *Sure* is the label's probability after calibration (temperature "
        f"{made['temperature']:.2f}); leaving cases below {made['abstain_below']:.0%} to a person "
        f"answers {made['coverage']:.0%} of the validation cases, {made['accuracy']:.0%} of them "
        "right."
    )


def answers(folder: Path) -> str:
    """What the study answers, what it told apart there, and its training, as its findings say."""
    file = folder / FINDINGS
    if not file.is_file():
        raise R2DError(f"{file} is not there; run `./run_all.sh {STUDY}` first.")
    stamp = tables.stamp(recipes.load(folder.name), [DATASET])
    asked = "|".join(curves_in_words.HEADLINES)
    shown = rf"^- (?:[^.?]+\? |Told apart, (?:{asked}): |{undertrained.MARK}).+$"
    found = re.findall(shown, file.read_text(encoding="utf-8"), re.MULTILINE)
    return "\n\n".join([f"Profile {escape.plain(stamp)}", "\n".join(found)])


def _of_dataset(file: Path) -> pd.DataFrame:
    """The rows of a table on `DATASET`."""
    table = tables.read(file)
    return table[table["dataset"] == DATASET]


def _count(seeds: pd.Series) -> str:
    """How many seeds a method has, or from how few to how many."""
    return " to ".join(dict.fromkeys(f"{end:.0f}" for end in (seeds.min(), seeds.max())))


def _table(rows: pd.DataFrame, costs: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """A row a method: its measures, and what it learned from and took, with stage 1.

    `rows` are those of table 1, `costs` those of table 2.
    """
    shown = pd.DataFrame({"method": undertrained.titles(rows)})
    for name in SHOWN:
        shown[tables.heading(name, recipe)] = tables.cells(rows, name)
    shown["Steps"] = [_steps(row) for _, row in rows.iterrows()]
    tokens = rows["total_target_tokens"] / 1000
    shown["Target tokens (thousands)"] = ["–" if pd.isna(n) else f"{n:,.0f}" for n in tokens]
    seconds = costs.set_index("method")["seconds"]
    sums = [_with_stage_1(method, recipe, seconds) for method in rows["method"]]
    shown["Training"] = ["–" if pd.isna(each) else f"{each:,.0f} s" for each in sums]
    return shown


def _steps(row: pd.Series) -> str:
    """A method's steps over its stages: their mean, and from how few to how many a run had."""
    if pd.isna(row["total_steps"]):
        return "–"
    mean, low, high = (f"{row[f'total_steps{end}']:,.0f}" for end in ("", "_min", "_max"))
    return mean if low == high else f"{mean} ({low}–{high})"


def _with_stage_1(method: str, recipe: Recipe, costs: pd.Series) -> float | None:
    """A cost of a method and of the stage 1 that it goes on from; None for a sanity row."""
    stages = [name for name in (method, recipe.methods[method].init) if name]
    if not set(stages) <= set(costs.index):
        return None
    return sum(costs[name] for name in stages)


def _sentences(findings: str, recipe: Recipe) -> str:
    """Table 1's comparisons on `DATASET`, E3's and gaps that were told apart, R2D's agreement.

    An experiment is named by its title.
    """
    found = re.findall(r"\*\*(.+?)\*\*\n\n(.+?)(?=\n\n\*\*|\Z)", findings, re.DOTALL)
    blocks = {heading.partition(":")[0]: text for heading, text in found}
    title = escape.plain(recipe.methods[recipe.reference].title)
    wanted = {
        TOLD_APART: rf"^- (?:(?:Table 1|E3): .* on {DATASET}: |E6: .* {DATASET} the gap of ).*$",
        "Table 1": rf"^- .* {DATASET}\b.*$",
        "E6": rf"^- {re.escape(title)} on {DATASET} .*: the rationale supports .*$",
    }
    lines = []
    for heading, pattern in wanted.items():
        lines += re.findall(pattern, blocks.get(heading, ""), re.MULTILINE)
    if not lines:
        raise R2DError(f"The findings hold no comparison on {DATASET}; run `./run_all.sh` first.")
    return "\n".join(_with_title(line, recipe) for line in lines)


def _with_title(line: str, recipe: Recipe) -> str:
    """A sentence of the findings, which begin with an experiment's id, with its title before it."""
    for name, experiment in recipe.experiments.items():
        if line.startswith(f"- {name}: "):
            rest = line.removeprefix(f"- {name}: ")
            return f"- {escape.plain(experiment.title)} ({name}): {rest}"
    return line
