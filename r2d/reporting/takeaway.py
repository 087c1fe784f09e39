"""What a profile's results come to, in five sentences made from its tables and tests.

All are Markdown.
"""

import re

import pandas as pd

from r2d.data import load_card
from r2d.method.objective import OBJECTIVES
from r2d.recipes import Recipe
from r2d.reporting import comparisons, escape, gallery, tables

REACHED = {"macro_f1": "a macro-F1 of", "accuracy": "an accuracy of"}
WITHOUT_SAMPLING = "r2d-no-sampling"
FROM = (("Told apart", "E6: "), ("E6", ""), ("Told apart", "E3: "), ("E3", ""))


def sentences(recipe: Recipe) -> list[str]:
    """Labels, their tests, rationales, what wrong decisions say, and what sampling is worth.

    They are about the recipe's reference method on the first dataset of table 1 that has it. Where
    nothing was run or committed, one sentence says that.
    """
    folder = gallery.folder(recipe)
    if not folder.is_dir():
        return [
            f"Nothing was run on this machine, and nothing is committed, of profile "
            f"{recipe.profile}: there is nothing to take away before `./run_all.sh` has run it."
        ]
    if not (folder / "table_1.csv").is_file():
        return ["This profile has no table 1; what it found stands below."]
    table_1 = tables.read(folder / "table_1.csv")
    own = table_1[table_1["method"] == recipe.reference]
    if own.empty:
        title = escape.plain(recipe.methods[recipe.reference].title)
        return [f"{title} was not run, so nothing can be said about it."]
    row = own.iloc[0]
    rows = table_1[table_1["dataset"] == row["dataset"]]
    tests = tables.read(folder / "comparisons.csv")
    tests = tests[tests["dataset"] == row["dataset"]]
    trained = [name for name in rows["method"] if recipe.methods[name].objective in OBJECTIVES]
    against = tests[tests["against"].isin(trained)] if len(tests) else tests
    findings = tables.read_text(folder / gallery.FINDINGS)
    said = [
        _level(recipe, row, rows),
        _labels(recipe, row, against),
        _rationales(recipe, row, against),
        _wrong_decisions(row, rows),
    ]
    return [*map(escape.plain, said), _sampling(recipe, findings, row["dataset"])]


def _level(recipe: Recipe, row: pd.Series, rows: pd.DataFrame) -> str:
    """What the reference reaches, beside what needs no language model."""
    measure = "macro_f1" if pd.notna(row["macro_f1"]) else "accuracy"
    card = load_card(recipe.datasets[row["dataset"]].card)
    cases = "synthetic cases" if card.synthetic else "cases"
    sanity = [
        f"{each['title']} {100 * each[measure]:.1f}"
        for _, each in rows.iterrows()
        if recipe.methods[each["method"]].objective in ("majority", "tfidf")
    ]
    beside = f" (beside it: {', '.join(sanity)})" if sanity else ""
    return (
        f"On {row['test_cases']:.0f} {cases} of {row['dataset']} {row['title']} reaches "
        f"{REACHED[measure]} {100 * row[measure]:.1f}{beside}."
    )


def _labels(recipe: Recipe, row: pd.Series, tests: pd.DataFrame) -> str:
    label_tests = tests[tests["measure"].isin(["macro_f1", "correct"])] if len(tests) else tests
    if label_tests.empty:
        return "Its labels were compared with no other trained method's."
    return f"By its labels {_verdict(recipe, row, label_tests)}."


def _rationales(recipe: Recipe, row: pd.Series, tests: pd.DataFrame) -> str:
    if pd.isna(row["agreement"]):
        return "Whether its rationales support its labels can't be read here."
    said = f"Its rationales support the label beside them in {row['agreement']:.1%} of cases"
    agreement = tests[tests["measure"] == "agreement"] if len(tests) else tests
    if agreement.empty:
        return f"{said}, which was compared with no other method's."
    return f"{said}, and by that share {_verdict(recipe, row, agreement)}."


def _wrong_decisions(row: pd.Series, rows: pd.DataFrame) -> str:
    share = row["agreement_wrong"]
    if pd.isna(share):
        return "What its rationales say where it decides wrong can't be read here."
    others = rows[rows["agreement_wrong"].notna() & (rows["method"] != row["method"])]
    named = [f"{each['title']} {each['agreement_wrong']:.0%}" for _, each in others.iterrows()]
    beside = f" ({', '.join(named)})" if named else ""
    if share >= 0.5:
        meaning = "that a text convinces does not show that the label is right"
    else:
        meaning = "a text that contradicts its label is a sign of an error"
    return (
        f"Where it decides wrong, the rationale supports the wrong label in {share:.0%} of "
        f"cases{beside}: {meaning}."
    )


def _sampling(recipe: Recipe, findings: str, dataset: str) -> str:
    """What was found of the reference without scheduled sampling, by the study with most runs."""
    titles = [
        escape.plain(m.title) for m in recipe.methods.values() if m.objective == WITHOUT_SAMPLING
    ]
    blocks = dict(re.findall(r"\*\*(.+?)\*\*\n\n(.+?)(?=\n\n\*\*|\Z)", findings, re.DOTALL))
    for heading, start in FROM:
        for line in re.findall(rf"^- {start}(.*)$", blocks.get(heading, ""), re.MULTILINE):
            compared = re.search("One run each|beats|beaten|told apart", line)
            if compared and f"on {dataset}" in line and any(title in line for title in titles):
                if compared[0] == "One run each":
                    return "What scheduled sampling is worth, one run each can't say."
                return f"Is scheduled sampling worth it? {_about(line, titles)}"
    return "What scheduled sampling is worth was not tested."


def _about(line: str, titles: list[str]) -> str:
    """Of a line that lists what can't be told apart, what it says of these methods alone."""
    opening, listed, others = line.partition(") from ")
    if not listed:
        return line
    parts = re.split(r"; (?=[^;()]+ \()", others.removesuffix("."))
    kept = [part for part in parts if any(part.startswith(title) for title in titles)]
    return f"{opening}{listed}{'; '.join(kept)}."


def _verdict(recipe: Recipe, row: pd.Series, tests: pd.DataFrame) -> str:
    """What the tests of one measure found, each difference with its corrected interval."""
    title = row["title"]
    if (tests["runs"] < 2).any():
        listed = ", ".join(_difference(recipe, each) for _, each in tests.iterrows())
        return (
            f"{title} differs from {listed}; of one run each, that says nothing about the methods"
        )
    clear = comparisons.are_clear(tests)
    parts = []
    for words, chosen in (
        ("beats", clear & (tests["difference"] > 0)),
        ("is beaten by", clear & (tests["difference"] < 0)),
        ("can't be told apart from", ~clear),
    ):
        listed = ", ".join(_difference(recipe, each) for _, each in tests[chosen].iterrows())
        if listed:
            parts.append(f"{words} {listed}")
    return f"{title} {' and '.join(parts)}"


def _difference(recipe: Recipe, test: pd.Series) -> str:
    return f"{recipe.methods[test['against']].title} ({comparisons.in_points(test)})"
