"""What a profile's results come to, in a few sentences made from its tables and tests.

All are Markdown.
"""

import re
from pathlib import Path

import pandas as pd

from r2d.data import load_card
from r2d.method.objective import OBJECTIVES
from r2d.recipes import Recipe
from r2d.reporting import comparisons, escape, gallery, tables

REACHED = {"macro_f1": "a macro-F1 of", "accuracy": "an accuracy of"}
WITHOUT_SAMPLING = "r2d-no-sampling"
SIDES = {"told_own": "told its own label", "told_gold": "told gold"}  # of the exposure gap


def sentences(recipe: Recipe) -> list[str]:
    """Labels, their tests, rationales, what wrong decisions say, and what sampling is worth.

    They are about the recipe's reference method on the first dataset of table 1 that has it. A
    profile without table 1 has the answers to its own questions instead; where nothing was run or
    committed, one sentence says that.
    """
    folder = gallery.folder(recipe)
    if not folder.is_dir():
        return [
            f"Nothing was run on this machine, and nothing is committed, of profile "
            f"{recipe.profile}: there is nothing to take away before `./run_all.sh` has run it."
        ]
    if not (folder / "table_1.csv").is_file():
        return _without_table_1(recipe, folder)
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
    said = [
        _level(recipe, row, rows),
        _labels(recipe, row, against),
        _rationales(recipe, row, against),
        _wrong_decisions(row, rows),
        _sampling(recipe, folder, row["dataset"]),
    ]
    return [escape.plain(each) for each in said]


def _without_table_1(recipe: Recipe, folder: Path) -> list[str]:
    """The questions that a profile without table 1 (E9) answers, as its findings answer them."""
    said = f"Profile {escape.plain(recipe.profile)} has no table 1"
    file = folder / gallery.FINDINGS
    findings = tables.read_text(file) if file.is_file() else ""
    answers = re.findall(r"^- ([^.?]+\? .+)$", findings, re.MULTILINE)
    if not answers:
        return [f"{said}; what it found stands below."]
    return [f"{said}; these are its questions, and what it found.", *answers]


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


def _sampling(recipe: Recipe, folder: Path, dataset: str) -> str:
    """What the tests of the reference against itself without scheduled sampling found."""
    found = _of_sampling(recipe, folder, dataset)
    if found.empty:
        return "What scheduled sampling is worth was not tested."
    tests = found[found["runs"] > 1]
    if tests.empty:
        return "What scheduled sampling is worth, one run each can't say."
    clear = comparisons.are_clear(tests)
    parts = []
    for opening, rows in (("", tests[clear]), ("not told apart in ", tests[~clear])):
        each = [f"{_measure(row)} {_points(row)}" for _, row in rows.iterrows()]
        parts += [f"{opening}{', '.join(each)}"] if each else []
    first = tests.iloc[0]
    ours, theirs = (recipe.methods[first[name]].title for name in ("method", "against"))
    runs = " to ".join(f"{n:.0f}" for n in sorted({tests["runs"].min(), tests["runs"].max()}))
    return (
        f"Is scheduled sampling worth it? {ours} minus {theirs}, in points, {runs} runs each: "
        f"{'; '.join(parts)}."
    )


def _of_sampling(recipe: Recipe, folder: Path, dataset: str) -> pd.DataFrame:
    """Those tests, a row a measure, E3's before E6's; none of degenerate rationales' scores."""
    files = [folder / name for name in gallery.DIFFERENCES if (folder / name).is_file()]
    known = [table for table in map(tables.read, files) if len(table)]
    if not known:
        return pd.DataFrame()
    found = pd.concat(known, ignore_index=True)
    without = [n for n, method in recipe.methods.items() if method.objective == WITHOUT_SAMPLING]
    chosen = (found["dataset"] == dataset) & found["against"].isin(without)
    of_labels = found["measure"].isin(["macro_f1", "correct"])
    chosen &= of_labels | (found["degenerate"] < tables.INFLATED)
    return found[chosen].drop_duplicates("measure")


def _measure(row: pd.Series) -> str:
    """The measure of a test in words."""
    if row["measure"] in SIDES:
        return f"{tables.IN_WORDS[row['quality']]} where it is wrong and {SIDES[row['measure']]}"
    return tables.IN_WORDS[row["measure"]]


def _points(row: pd.Series) -> str:
    """A difference with its interval, of the gap and its sides with what both methods have."""
    text = comparisons.in_points(row)
    if pd.isna(row.get("ours")):
        return text
    return f"{text} ({100 * row['ours']:.1f} against {100 * row['theirs']:.1f})"


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
