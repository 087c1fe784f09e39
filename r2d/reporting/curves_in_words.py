"""What the tables of E9 say, in words: its findings, the titles of figure 8, advice.

The tables are `learning_curves.tests` and `cap_tests`, and `savings.notes_needed`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from r2d import paths
from r2d.recipes import Recipe
from r2d.reporting import comparisons, savings, tables
from r2d.reporting.learning_curves import ENDS, MARGIN, STUDY, families, family, told_apart
from r2d.reporting.tables import IN_WORDS

HEADLINES = {"rationales": "Do rationales help?", "sampling": "Does scheduled sampling help?"}
OF_CAPS = "Does a cap of p(t) close the exposure gap?"  # the third of them
WORDS = "words alone"  # the question whose answer is expected, and told in a line
SFT = "SFT of the same compute"
ADVICE = {  # question -> the two methods in words, and what to do where they are about equal
    "rationales": ("Reason2Decide", SFT, f"{SFT} will do unless you want to read rationales"),
    "sampling": ("sampling", "no sampling", "for the labels either will do"),
}
SOURCE = "fig8b_gains"  # the figure whose source is the table of tests


def sentences(
    recipe: Recipe, found: pd.DataFrame, saved: pd.DataFrame, closed: pd.DataFrame
) -> list[str]:
    """The findings of E9 from `tests`, `notes_needed` and `cap_tests`, as they came out.

    First the three questions: do rationales help, does scheduled sampling, does a cap close the
    exposure gap? Then what was told apart, largest first, what was not, notes saved, and the caps.
    """
    asked = {question: families(_asked(found, question)) for question in _questions(found)}
    others = [question for question in asked if question not in (*HEADLINES, WORDS)]
    lines = []
    for question, opening in HEADLINES.items():
        answers = [_answer(recipe, rows) for rows in asked.get(question, [])]
        lines += [" ".join([opening, *answers])] if answers else []
    lines += [_closed(closed)] if len(closed) else []
    lines += _told_apart(recipe, {name: asked.get(name, []) for name in (*HEADLINES, *others)})
    for question in others:
        lines += _not_told_apart(recipe, question, asked[question])
    lines += _words_alone(recipe, asked.get(WORDS, []))
    return lines + _saved(recipe, saved) + _by_cap(closed)


def _questions(found: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(found["question"])) if len(found) else []


def _asked(found: pd.DataFrame, question: str) -> pd.DataFrame:
    return found[found["question"] == question]


def _untold(rows: pd.DataFrame) -> pd.DataFrame:
    """The tests of several runs each that tell nothing apart."""
    return rows[(rows["runs"] > 1) & ~comparisons.are_clear(rows)]


def _answer(recipe: Recipe, rows: pd.DataFrame) -> str:
    """One pair on one measure in a sentence: how often told apart, and what is not excluded."""
    ours, theirs = compared(recipe, rows)
    opening = f"In {IN_WORDS[rows['measure'].iloc[0]]}"
    several = rows[rows["runs"] > 1]
    if several.empty:
        return f"{opening} {ours} minus {theirs} is {_of_single_runs(rows)}."
    up, down = told_apart(several)
    rest = _untold(several)
    where = f"{places(several)} ({_runs(several)})"
    if len(rest) == len(several):
        return (
            f"{opening} {ours} is not told apart from {theirs} at any of {where}: by {_span(rest)}."
        )
    text = f"{opening} {ours} is {directions(up, down, theirs)} of {where}"
    return f"{text}, and elsewhere not told apart: by {_span(rest)}." if len(rest) else f"{text}."


def directions(up: pd.DataFrame, down: pd.DataFrame, theirs: str) -> str:
    """How often the tests of `told_apart` are above and below a method: `above SFT at 2`."""
    if down.empty:
        return f"above {theirs} at {len(up)}"
    if up.empty:
        return f"below {theirs} at {len(down)}"
    return f"above {theirs} at {len(up)} and below it at {len(down)}"


def _not_told_apart(
    recipe: Recipe, question: str, of_question: Sequence[pd.DataFrame]
) -> list[str]:
    """What a question's tests do not tell apart, a line a pair."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for rows in of_question:
        name = IN_WORDS[rows["measure"].iloc[0]]
        several = rows[rows["runs"] > 1]
        rest = _untold(rows)
        told = pairs.setdefault(compared(recipe, rows), [])
        if several.empty:
            told.append(f"in {name}, {_of_single_runs(rows)}")
        elif len(rest):
            told.append(f"in {name} at {len(rest)} of {places(several)} ({_span(rest)})")
    return [
        f"Not told apart, {question}: {ours} from {theirs} {'; '.join(told)}."
        for (ours, theirs), told in pairs.items()
        if told
    ]


def _of_single_runs(rows: pd.DataFrame) -> str:
    return f"{_range(rows)} points of one run each, which says nothing of the methods"


def _span(rows: pd.DataFrame) -> str:
    """The differences of tests that told nothing apart, and what they leave possible."""
    return f"{_range(rows)} points; {_excluded(rows)}"


def compared(recipe: Recipe, rows: pd.DataFrame) -> tuple[str, str]:
    """The titles of the two methods that these tests compare."""
    first = rows.iloc[0]
    return recipe.methods[first["method"]].title, recipe.methods[first["against"]].title


def places(rows: pd.DataFrame) -> str:
    """How many sizes, or sizes and noise levels, these tests are of: `4 sizes`."""
    if len(rows) == 1:
        return "1 size"
    noises = rows["noise"].nunique() > 1
    return f"{len(rows)} sizes and noise levels" if noises else f"{len(rows)} sizes"


def _excluded(rows: pd.DataFrame) -> str:
    """Which differences the intervals of these tests leave possible, in words."""
    if _are_about_equal(rows):
        return f"any difference is below {100 * comparisons.WANTED:.0f} points"
    low, high = rows["low"].min(), rows["high"].max()
    return f"{100 * low:+.1f} to {100 * high:+.1f} are not excluded"


def _are_about_equal(rows: pd.DataFrame) -> bool:
    reach = max(rows["low"].abs().max(), rows["high"].abs().max())
    return reach <= comparisons.WANTED


def _runs(rows: pd.DataFrame) -> str:
    ends = dict.fromkeys(f"{end:.0f}" for end in (rows["runs"].min(), rows["runs"].max()))
    return f"{' to '.join(ends)} runs each"


def _told_apart(recipe: Recipe, asked: dict[str, list[pd.DataFrame]]) -> list[str]:
    """A sentence for each pair, measure and direction told apart: macro-F1 first, then by size."""
    measures = list(IN_WORDS)
    found = []
    for question, of_question in asked.items():
        for rows in of_question:
            for way, part in zip(("above", "below"), told_apart(rows), strict=True):
                if len(part):
                    largest = part["difference"].abs().max()
                    rank = measures.index(part["measure"].iloc[0]), -largest
                    found.append((rank, _in_words(recipe, question, way, part)))
    return [sentence for _, sentence in sorted(found, key=lambda pair: pair[0])]


def _in_words(recipe: Recipe, question: str, way: str, rows: pd.DataFrame) -> str:
    """Where a pair was told apart in one direction, with every difference and its interval."""
    ours, theirs = compared(recipe, rows)
    each = []
    for noise, at in rows.groupby("noise"):
        sizes = [
            f"{row['notes']:,.0f} notes ({comparisons.in_points(row)})" for _, row in at.iterrows()
        ]
        each.append(f"at {listed(sizes)} {_labels(noise)}")
    p = comparisons.p_value({"p_holm": rows["p_holm"].max()})
    p = p if len(rows) == 1 else p.replace("p = ", "p at most ")
    return (
        f"Told apart, {question}: {ours} is {way} {theirs} in {IN_WORDS[rows['measure'].iloc[0]]}, "
        f"in points, {'; '.join(each)}. Corrected {p}."
    )


def listed(parts: Sequence[str]) -> str:
    """The parts as one enumeration: `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _words_alone(recipe: Recipe, of_question: Sequence[pd.DataFrame]) -> list[str]:
    """What a method has over the words of a note alone, in one line."""
    counts = []
    for rows in of_question:
        several = rows[rows["runs"] > 1]
        if len(several):
            ours, theirs = compared(recipe, rows)
            counts.append(
                f"{ours} is {directions(*told_apart(several), theirs)} of {places(several)}"
            )
    return [f"{WORDS.capitalize()}, in macro-F1: {'; '.join(counts)}."] if counts else []


def _labels(noise: float) -> str:
    """A noise level in words."""
    return f"with {noise:.0%} of labels wrong" if noise else "with no label wrong"


def _range(rows: pd.DataFrame) -> str:
    ends = [f"{100 * end:+.1f}" for end in (rows["difference"].min(), rows["difference"].max())]
    return " to ".join(dict.fromkeys(ends))


def _saved(recipe: Recipe, saved: pd.DataFrame) -> list[str]:
    """`notes_needed` by noise level: what is told, then SFT's largest size that is reached."""
    lines = []
    for noise, rows in saved.groupby("noise", sort=False) if len(saved) else ():
        goal, labels = score_to_reach(recipe, rows), _labels(noise)
        lines.append(f"Notes needed for {goal}, {labels}: {on_notes(rows, _sizes_of_sft)}.")
        reached = rows.dropna(subset=["needed"])
        if reached.empty:
            continue
        chosen = rows[rows["sft_notes"] == reached["sft_notes"].max()]
        first = chosen.iloc[0]
        each = "; ".join(f"{row['title']} {needs(row)}" for _, row in chosen.iterrows())
        lines.append(
            f"Where mean curves reach {goal} at {first['sft_notes']:,.0f} notes "
            f"({100 * first['target']:.1f}), {labels}: {each}."
        )
    return lines


def score_to_reach(recipe: Recipe, saved: pd.DataFrame) -> str:
    """What the notes of `notes_needed` are needed for, with the title of the method that is SFT."""
    return f"the macro-F1 of {recipe.methods[saved['against'].iloc[0]].title}"


def on_notes(saved: pd.DataFrame, where: Callable[[pd.DataFrame], str]) -> str:
    """Which methods are told to need fewer notes than SFT, and which more.

    `where` puts into words, for the brackets after a method, its rows that are told so; methods
    with the same words share them.
    """
    if (saved["seeds"] < 2).all():
        return "one run each, which says nothing of the methods"
    fewer, more = (_with_places(told, where) for told in savings.told_notes(saved))
    text = f"told fewer than its own: {fewer or 'no method'}"
    return f"{text}; told more: {more}" if more else text


def _with_places(told: pd.DataFrame, where: Callable[[pd.DataFrame], str]) -> str:
    """The methods of these rows, those with the same words of `where` together."""
    places: dict[str, list[str]] = {}
    for title, rows in told.groupby("title", sort=False):
        places.setdefault(where(rows), []).append(title)
    return ", ".join(f"{listed(titles)} ({place})" for place, titles in places.items())


def _sizes_of_sft(saved: pd.DataFrame) -> str:
    """SFT's sizes in these rows: `2,000 and 4,000`."""
    return listed([f"{size:,.0f}" for size in sorted(set(saved["sft_notes"]))])


def needs(row: pd.Series) -> str:
    """A row of `notes_needed` in words: `1,200 notes [800, 2,900]`, or that it is not reached."""
    reached = pd.notna(row["needed"])
    at_most = "at most " if reached and row["needed"] <= row["smallest"] else ""
    text = f"{at_most}{row['needed']:,.0f} notes" if reached else "more than were given"
    if row["seeds"] < 2:
        return f"{text} (one run)"
    if pd.isna(row["low"]):
        return text
    low, high = ("not reached" if pd.isna(row[end]) else f"{row[end]:,.0f}" for end in ENDS)
    return f"{text} [{low}, {high}]"


def _closed(table: pd.DataFrame) -> str:
    """Whether a cap closes the gap and leaves the rationale listening."""
    answer = verdict(table)
    return (
        f"{OF_CAPS} {answer[0].upper()}{answer[1:]} ({table['notes'].iloc[0]:,.0f} notes, caps "
        f"{table['cap'].min():g} to {table['cap'].max():g}, {_runs(table)})."
    )


def _by_cap(table: pd.DataFrame) -> list[str]:
    """The tests behind that answer, a line a measure."""
    if table.empty:
        return []
    of_gap = "the exposure gap (names the true reason told its own wrong label, minus told gold)"
    following = f"labels followed, minus those at cap {table['cap'].min():g}"
    lines = []
    for measure, name in (("gap", of_gap), ("follows_label", following)):
        rows = table[table["measure"] == measure]
        each = [f"{row['cap']:g}: {comparisons.in_points(row)}" for _, row in rows.iterrows()]
        lines += [f"By cap, {name}, in points: {'; '.join(each)}."] if each else []
    return lines


def verdict(table: pd.DataFrame) -> str:
    """Is there a cap that closes the gap without the rationale ignoring its label? In words."""
    loses = table.pivot(index="cap", columns="measure", values="loses")
    loses = loses.reindex(columns=["gap", "follows_label"])
    smallest = loses.index.min()
    points = f"{100 * MARGIN:.0f} points"
    if loses.loc[smallest, "gap"] == "no":
        return f"there is none of {points} to close, even at cap {smallest:g}"
    tried = loses.drop(index=smallest)
    closed = tried.index[(tried == "no").all(axis=1)]
    if len(closed):
        return f"closed to within {points} while the label is still followed at {_caps(closed)}"
    return _not_closed(tried)


def _not_closed(tried: pd.DataFrame) -> str:
    """Which caps are excluded, as they lose more than `MARGIN`, and which are not; in words.

    `tried` has what `cap_tests` says each loses, `gap` and `follows_label`, by cap.
    """
    left_open = tried["gap"] == "yes"
    ignored = ~left_open & (tried["follows_label"] == "yes")
    unknown = tried.index[~left_open & ~ignored]
    if unknown.empty:
        return "no cap closes it while the label is followed as before"
    parts = []
    if left_open.any():
        parts.append(f"{_caps(tried.index[left_open], 'leave')} it open")
    if ignored.any():
        parts.append(f"at {_caps(tried.index[ignored])} the label is followed less")
    closes = _caps(unknown, "close") if parts else "a cap closes"
    parts.append(f"these runs do not tell whether {closes} it while the label is followed")
    return "; ".join(parts)


def _caps(caps: Sequence[float], verb: str = "") -> str:
    """Caps by name, and what they do: `cap 1 closes`, `caps 0.3 and 0.5 leave`."""
    names = listed([f"{cap:g}" for cap in caps])
    if len(caps) == 1:
        return f"cap {names} {verb}s" if verb else f"cap {names}"
    return f"caps {names} {verb}".rstrip()


def advice(cases: int) -> list[str]:
    """What the committed study says for a table of so many cases, or that there is none yet."""
    file = next(iter(sorted(paths.committed(STUDY).glob(f"{SOURCE}_*.csv"))), None)
    if file is None:
        return [
            f"How much rationales help with {cases:,} cases is a question for `./run_all.sh "
            f"{STUDY}`, which has not been run."
        ]
    return advised(tables.read(file), cases)


def advised(found: pd.DataFrame, cases: int) -> list[str]:
    """What `tests` say for a table of so many cases, a sentence a noise level.

    The size that is nearest on a logarithmic axis answers.
    """
    sizes = np.sort(found["notes"].unique())
    size = sizes[np.abs(np.log(sizes / max(1, cases))).argmin()]
    opening = f"For {cases:,} cases, by {size:,.0f} synthetic notes of the study"
    if not sizes[0] <= cases <= sizes[-1]:
        opening += f" (which tried {sizes[0]:,.0f} to {sizes[-1]:,.0f})"
    lines = []
    for noise, rows in found[found["notes"] == size].groupby("noise"):
        dataset = rows["dataset"].iloc[0]
        parts = [family(rows, dataset, question) for question in ADVICE]
        told = [_advised(part) for part in parts if len(part)]
        told += _on_rationales(_asked(rows[rows["dataset"] == dataset], "sampling"))
        lines.append(f"{opening}, {_labels(noise)}: {'; '.join(told)}.")
    return lines


def _advised(test: pd.DataFrame) -> str:
    """A question's test, one row, as a piece of advice."""
    row = test.iloc[0]
    ours, theirs, if_equal = ADVICE[row["question"]]
    size = f"{ours} minus {theirs} ({comparisons.in_points(row)}) points of macro-F1"
    if row["runs"] < 2:
        return f"{size}, one run each, which says nothing about the methods"
    if comparisons.are_clear(test).all():
        return f"{size}: take {ours if row['difference'] > 0 else theirs}"
    told = f"{size}, not told apart by this study: {_excluded(test)}"
    return f"{told}, {if_equal}" if _are_about_equal(test) else told


def _on_rationales(tests: pd.DataFrame) -> list[str]:
    """What scheduled sampling is told to change in rationales, as pieces of advice."""
    ours, theirs, _ = ADVICE["sampling"]
    told = tests[(tests["measure"] != "macro_f1") & comparisons.are_clear(tests)]
    return [
        f"for {IN_WORDS[row['measure']]} take {ours if row['difference'] > 0 else theirs} "
        f"({comparisons.in_points(row)})"
        for _, row in told.iterrows()
    ]
