"""When do rationales, and when does scheduled sampling, help? Learning curves (E9, figure 8).

The entries of a recipe's `datasets` that E9 names are sizes and noise levels of a card's notes, all
with the same test. In the tables here `dataset` is that card and `entry` the recipe's name of it;
`notes` and `noise` are what was learned from. The training notes are one draw: seeds vary in all
else, so that a spread over seeds says nothing about another draw of the same size.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from r2d import paths
from r2d.errors import R2DError
from r2d.evaluation import comparison
from r2d.evaluation.comparison import LEVEL
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.method.objective import OBJECTIVES, named
from r2d.recipes import Recipe
from r2d.reporting import comparisons, exposure, tables

# What is compared: question, method and the other by their roles, on which measures.
PAIRS = (
    ("rationales", "reference", "sft", ("macro_f1",)),
    ("rationales", "dss", "sft", ("macro_f1",)),
    ("sampling", "reference", "r2d-no-sampling", ("macro_f1", "agreement")),
    ("stage 1", "reference", "no stage 1", ("macro_f1", "agreement")),
    ("gate and cycle", "r2dc", "reference", ("macro_f1", "agreement")),
    ("words alone", "reference", "tfidf", ("macro_f1",)),
    ("words alone", "sft", "tfidf", ("macro_f1",)),
)
GAP = "names_reason"  # of which the exposure gap over caps is taken
MARGIN = 0.05  # a loss of 5 points and less counts as none
RESAMPLES = 2000
TESTS = ("dataset", "question", "method", "against", "measure", "entry", "notes", "noise", "runs")
TESTS += ("cases", "difference", "se", "df", "p", "p_holm", "low", "high")
MEASURES = {"macro_f1": "macro-F1", "agreement": "agreement of label and rationale"}
ADVICE = {  # question -> the two methods in words, and what to do where they are not told apart
    "rationales": ("Reason2Decide", "SFT", "SFT will do unless you want to read rationales"),
    "sampling": ("sampling", "no sampling", "for the labels either will do"),
}
STUDY = "study"  # the profile whose committed tables advise
SOURCE = "fig8b_gains"  # the figure whose source is the table of tests


def chosen(recipe: Recipe, experiments: Sequence[str]) -> list[Run]:
    """The runs of E9; `R2DError` where it is not among the experiments."""
    if not grid.with_curves(experiments):
        raise R2DError(
            f"Experiment {grid.CURVES} is not among those chosen of profile {recipe.profile}; it "
            f"is in profile {STUDY}."
        )
    return grid.runs(recipe, grid.with_curves(experiments))


def with_sizes(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """A row a run of `collect.runs`, with its card as `dataset`, its `entry`, `notes`, `noise`."""
    entries = [recipe.datasets[name] for name in frame["dataset"]]
    return frame.assign(
        entry=frame["dataset"],
        dataset=[entry.card for entry in entries],
        notes=[entry.train for entry in entries],
        noise=[entry.noise for entry in entries],
    )


def roles(recipe: Recipe, methods: Sequence[str]) -> dict[str, str]:
    """The methods by what they are in `PAIRS`, the first of each: by their objective mostly.

    `reference` is the recipe's, `no stage 1` the same objective without a start.
    """
    found: dict[str, str] = {}
    for method in methods:
        chosen = recipe.methods[method]
        role = chosen.objective
        if method == recipe.reference:
            role = "reference"
        elif role == recipe.methods[recipe.reference].objective:
            role = "no stage 1" if chosen.init is None else "variant"
        found.setdefault(role, method)
    return found


def tests(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """`PAIRS` at every size and noise: a row a question, measure and entry.

    `difference` is of `method` minus `against`, with seeds and examples random; p and interval are
    corrected by Holm's method for the sizes and noise levels of a pair's measure. `runs` is the
    smaller number of runs: one row of single runs is about two models.
    """
    metrics = _metrics(runs)
    known = roles(recipe, list(dict.fromkeys(run.method for run in runs)))
    rows = []
    for card, entries in _cards(recipe, runs).items():
        for question, ours, theirs, measures in PAIRS:
            if ours in known and theirs in known:
                pair = known[ours], known[theirs]
                for measure in measures:
                    names = {"dataset": card, "question": question}
                    rows += _family(recipe, metrics, entries, pair, measure, names)
    return pd.DataFrame(rows, columns=None if rows else list(TESTS))


def _metrics(runs: Sequence[Run]) -> dict[tuple[str, str], list[dict]]:
    """What each method's runs on each entry measured."""
    metrics: dict[tuple[str, str], list[dict]] = {}
    for run in runs:
        metrics.setdefault((run.dataset, run.method), []).append(run.read()["metrics"])
    return metrics


def _cards(recipe: Recipe, runs: Sequence[Run]) -> dict[str, list[str]]:
    """The entries of each card."""
    cards: dict[str, list[str]] = {}
    for entry in dict.fromkeys(run.dataset for run in runs):
        cards.setdefault(recipe.datasets[entry].card, []).append(entry)
    return cards


def _family(
    recipe: Recipe,
    metrics: dict[tuple[str, str], list[dict]],
    entries: Sequence[str],
    pair: tuple[str, str],
    measure: str,
    names: dict,
) -> list[dict]:
    """One pair on one measure at the entries that have both, corrected together."""
    found = {}
    for entry in entries:
        ours, theirs = (metrics.get((entry, method), []) for method in pair)
        if ours and theirs and _all_have([*ours, *theirs], measure):
            found[entry] = comparisons.test(ours, theirs, measure)
    rows = []
    for entry, test in zip(found, comparison.corrected(list(found.values())), strict=True):
        parts, settings = test.pop("parts"), recipe.datasets[entry]
        place = {"entry": entry, "notes": settings.train, "noise": settings.noise}
        of = {"method": pair[0], "against": pair[1], "measure": measure}
        counts = {"runs": min(parts.runs), "cases": parts.cases}
        rows.append(names | of | place | counts | test)
    return rows


def _all_have(metrics: Sequence[dict], measure: str) -> bool:
    """Whether a measure is known of single cases in all of these runs."""
    column = "predicted" if measure == "macro_f1" else measure
    return all(column in each["per_example"] for each in metrics)


def savings(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """How many notes each method needs to reach SFT's macro-F1 with so many.

    A row a noise level, method of `with_sizes` and size of SFT's but the smallest, `sft_notes`.
    `needed` is where the mean curve, straight between sizes on a logarithmic axis, first reaches
    SFT's mean there (`target`); empty where it does not, and the smallest size where that is
    enough. `low` and `high` are the central 95 % of resampled seeds, both methods' (empty where
    that end is not reached, or of one seed).
    """
    rows = []
    for (card, noise), part in frame.groupby(["dataset", "noise"], sort=False):
        methods = list(dict.fromkeys(part["method"]))
        sft = roles(recipe, methods).get("sft")
        if sft is None:
            continue
        _, *goals = _by_size(part, sft).items()
        for method in methods:
            curve = _by_size(part, method)
            if method == sft or len(curve) < 2:
                continue
            names = {"dataset": card, "noise": noise, "method": method}
            names["title"] = recipe.methods[method].title
            rows += [names | {"sft_notes": size} | _needed(curve, goal) for size, goal in goals]
    return pd.DataFrame(rows)


def _by_size(frame: pd.DataFrame, method: str) -> dict[int, np.ndarray]:
    """The macro-F1 of a method's runs by the number of notes, smallest first."""
    rows = frame[frame["method"] == method].sort_values("notes")
    return {n: part["macro_f1"].to_numpy() for n, part in rows.groupby("notes")}


def _needed(curve: dict[int, np.ndarray], goal: np.ndarray) -> dict:
    """The cells of `savings` of one curve, the scores of runs by size."""
    sizes, scores = list(curve), list(curve.values())
    target = goal.mean()
    needed = crossing(sizes, [part.mean() for part in scores], target)
    low = high = np.inf
    if min(map(len, [*scores, goal])) > 1:
        rng = np.random.default_rng(0)

        def drawn(values: np.ndarray) -> np.ndarray:
            return rng.choice(values, (RESAMPLES, len(values))).mean(axis=1)

        means, targets = np.stack([drawn(part) for part in scores], axis=1), drawn(goal)
        found = [crossing(sizes, *pair) for pair in zip(means, targets, strict=True)]
        low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf")
    ends = {"needed": needed, "low": low, "high": high}
    finite = {name: value if np.isfinite(value) else None for name, value in ends.items()}
    return {"target": target, "smallest": sizes[0], "seeds": min(map(len, scores))} | finite


def crossing(sizes: Sequence[float], scores: Sequence[float], target: float) -> float:
    """The size at which a curve, straight over log size, first reaches `target`; inf if nowhere.

    The first size where that is enough.
    """
    if scores[0] >= target:
        return float(sizes[0])
    for (size, score), (more, better) in pairwise(zip(sizes, scores, strict=True)):
        if better >= target:
            share = (target - score) / (better - score)
            return float(size * (more / size) ** share)
    return np.inf


def caps(recipe: Recipe, methods: Sequence[str]) -> dict[str, float]:
    """The cap of p(t) of those methods that differ from the reference in nothing else.

    One that never samples has 0.
    """

    def without_cap(method: str) -> dict:
        chosen = recipe.methods[method]
        objective = named(chosen.objective, chosen.objective_overrides)
        same = objective.model_dump(exclude={"cap", "sampling"})
        return same | chosen.model_dump(exclude={"objective", "objective_overrides", "title"})

    found = {}
    for method in methods:
        chosen = recipe.methods[method]
        if chosen.objective in OBJECTIVES and without_cap(method) == without_cap(recipe.reference):
            objective = named(chosen.objective, chosen.objective_overrides)
            if objective.sampling != "always":
                found[method] = objective.cap if objective.sampling == "scheduled" else 0.0
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def of_caps(recipe: Recipe, runs: Sequence[Run]) -> list[Run]:
    """The runs of the entry with most caps of p(t), if it has three or more; in their order."""
    known = caps(recipe, list(dict.fromkeys(run.method for run in runs)))
    by_entry: dict[str, list[Run]] = {}
    for run in sorted((run for run in runs if run.method in known), key=lambda r: known[r.method]):
        by_entry.setdefault(run.dataset, []).append(run)
    found = max(by_entry.values(), key=lambda part: len({r.method for r in part}), default=[])
    return found if len({run.method for run in found}) > 2 else []


def cap_scores(recipe: Recipe, frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """A row a run of `of_caps`: its row of `with_sizes`, its `cap` and its exposure `gap`.

    The gap is `GAP` given the model's own label minus given the gold one, in wrong decisions.
    """
    if not runs:
        return pd.DataFrame()
    known = caps(recipe, [run.method for run in runs])
    scores = exposure.scores(runs)
    wrong = scores[(scores["measure"] == GAP) & (scores["decision"] == "wrong")]
    wrong = wrong.rename(columns={"dataset": "entry"}).reindex(
        columns=["entry", "method", "seed", "gap"]
    )
    rows = frame.merge(wrong, on=["entry", "method", "seed"], how="inner", validate="1:1")
    rows = rows.assign(cap=rows["method"].map(known))
    return rows.sort_values(["cap", "seed"]).reset_index(drop=True)


def cap_tests(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """Over the runs of `of_caps`, is the gap closed, and does the rationale follow its label?

    A row a cap and measure: `gap` is tested against zero, `follows_label` against that of the
    smallest cap; each corrected by Holm's method for the caps. `loses` is "no" where the interval
    leaves less than `MARGIN` to lose, "yes" where another loss is told apart, else "unclear".
    """
    if not runs:
        return pd.DataFrame()
    known = caps(recipe, list(dict.fromkeys(run.method for run in runs)))
    gaps = exposure.gaps(runs)
    rows = []
    for _, row in gaps[gaps["measure"] == GAP].iterrows() if len(gaps) else ():
        rows.append(row.to_dict() | {"measure": "gap"})
    metrics = _metrics(runs)
    entry = runs[0].dataset
    (first, *others) = known
    if _all_have([each for method in known for each in metrics[entry, method]], "follows_label"):
        ours = [metrics[entry, method] for method in others]
        found = [comparisons.test(o, metrics[entry, first], "follows_label") for o in ours]
        for method, test in zip(others, comparison.corrected(found), strict=True):
            counts = {"runs": min(test.pop("parts").runs)}
            rows.append({"method": method, "measure": "follows_label"} | counts | test)
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    settings = recipe.datasets[entry]
    place = {"dataset": settings.card, "entry": entry, "notes": settings.train}
    return table.assign(
        **place,
        title=[recipe.methods[method].title for method in table["method"]],
        cap=table["method"].map(known),
        loses=[_loses(row) for _, row in table.iterrows()],
    )


def _loses(row: pd.Series) -> str:
    """The cell `loses` of a test; of single runs nothing is known."""
    if row["runs"] < 2:
        return "unclear"
    if row["low"] > -MARGIN:
        return "no"
    return "yes" if row["p_holm"] < LEVEL and row["difference"] < 0 else "unclear"


def sentences(
    recipe: Recipe, found: pd.DataFrame, saved: pd.DataFrame, closed: pd.DataFrame
) -> list[str]:
    """The findings of E9 from `tests`, `savings` and `cap_tests`: one a question, as it came out.

    Do rationales help, does scheduled sampling, and does a cap close the exposure gap?
    """
    lines = []
    for question, opening in (("rationales", "Rationales"), ("sampling", "Scheduled sampling")):
        rows = found[found["question"] == question] if len(found) else found
        told = [_in_words(recipe, part) for _, part in _families(rows)]
        if told:
            lines.append(f"{opening}: {'; '.join(told)}.")
    lines += [f"Notes saved: {'; '.join(parts)}." for parts in [_saved(saved)] if parts]
    return lines + ([_closed(closed)] if len(closed) else [])


def _families(rows: pd.DataFrame) -> list[tuple]:
    """The rows by pair and measure, each corrected together."""
    keys = ["dataset", "method", "against", "measure"]
    return list(rows.groupby(keys, sort=False)) if len(rows) else []


def _in_words(recipe: Recipe, rows: pd.DataFrame) -> str:
    """One pair on one measure: where it was told apart, and what the rest ranges over."""
    first = rows.iloc[0]
    ours, theirs = (recipe.methods[first[name]].title for name in ("method", "against"))
    pair = f"{ours} minus {theirs}, {MEASURES[first['measure']]}"
    if rows["runs"].min() < 2:
        return f"{pair}: {_range(rows)} points of one run each, which says nothing of the methods"
    parts = []
    for noise, at in rows.groupby("noise"):
        up, down = told_apart(at)
        rest = at.drop([*up.index, *down.index])
        ways = (("higher", up), ("lower", down), ("not told apart", rest))
        told = [f"{way} at {_sizes(part)}" for way, part in ways if len(part)]
        parts.append(f"{', '.join(told)} notes {labels(noise)}")
    return f"{pair} in points ({first['runs']:.0f} runs each): {'; '.join(parts)}"


def labels(noise: float) -> str:
    """A noise level in words."""
    return f"with {noise:.0%} of labels wrong" if noise else "with no label wrong"


def _sizes(rows: pd.DataFrame) -> str:
    """The sizes of some tests and the range of their differences."""
    return f"{', '.join(f'{notes:,.0f}' for notes in rows['notes'])} ({_range(rows)})"


def family(found: pd.DataFrame, dataset: str, question: str) -> pd.DataFrame:
    """The rows of `tests` of a question's first pair on macro-F1; none where it has none."""
    if found.empty:
        return found
    asked = (found["dataset"] == dataset) & (found["question"] == question)
    rows = found[asked & (found["measure"] == "macro_f1")]
    return next((part for _, part in _families(rows)), rows)


def told_apart(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tests that tell the first method above the second, and those that tell it below."""
    clear = comparisons.are_clear(rows)
    return rows[clear & (rows["difference"] > 0)], rows[clear & (rows["difference"] < 0)]


def _range(rows: pd.DataFrame) -> str:
    ends = [f"{100 * end:+.1f}" for end in (rows["difference"].min(), rows["difference"].max())]
    return " to ".join(dict.fromkeys(ends))


def _saved(saved: pd.DataFrame) -> list[str]:
    """`savings` in words, a part a noise level: SFT's largest size that another method reaches."""
    parts = []
    for noise, rows in saved.groupby("noise", sort=False) if len(saved) else ():
        everything, reached = rows["sft_notes"].max(), rows.dropna(subset=["needed"])
        size = reached["sft_notes"].max() if len(reached) else everything
        chosen, last = (rows[rows["sft_notes"] == notes] for notes in (size, everything))
        each = ", ".join(f"{row['title']} {needs(row)}" for _, row in chosen.iterrows())
        text = f"{_sft(chosen)} takes {each}"
        if size < everything:
            text = f"none reaches {_sft(last)}; {text}"
        parts.append(f"{labels(noise)}, {text}")
    return parts


def _sft(rows: pd.DataFrame) -> str:
    """SFT's score at the size of these rows of `savings`."""
    first = rows.iloc[0]
    return f"SFT's macro-F1 of {first['sft_notes']:,.0f} notes ({100 * first['target']:.1f})"


def needs(row: pd.Series) -> str:
    """A row of `savings` in words: `1,200 notes [800, 2,900]`, or that it is not reached."""
    if pd.isna(row["needed"]):
        return "more than were given (not reached)"
    at_most = "at most " if row["needed"] <= row["smallest"] else ""
    text = f"{at_most}{row['needed']:,.0f} notes"
    if row["seeds"] < 2:
        return f"{text} (one run)"
    ends = [row["low"], row["high"]]
    low, high = ("not reached" if pd.isna(end) else f"{end:,.0f}" for end in ends)
    return f"{text} [{low}, {high}]"


def _closed(table: pd.DataFrame) -> str:
    """Whether a cap closes the gap and leaves the rationale listening, with what each was."""
    notes = f"{table['notes'].iloc[0]:,.0f} notes"
    answer = (
        f"Exposure gap at {notes}, caps of p(t) from {table['cap'].min():g} to "
        f"{table['cap'].max():g}: {verdict(table)}"
    )
    each = []
    for cap, rows in table.groupby("cap"):
        named_rows = rows.set_index("measure")
        shown = [
            f"{name} ({comparisons.in_points(named_rows.loc[measure])})"
            for measure, name in (("gap", "gap"), ("follows_label", "following"))
            if measure in named_rows.index
        ]
        each.append(f"{cap:g}: {', '.join(shown)}")
    return (
        f"{answer}. By cap, in points, the gap in naming the true reason where the model's own "
        "wrong label is told instead of the gold one, and the labels followed minus those at cap "
        f"{table['cap'].min():g}: {'; '.join(each)}."
    )


def verdict(table: pd.DataFrame) -> str:
    """Is there a cap that closes the gap without the rationale ignoring its label? In words."""
    loses = table.pivot(index="cap", columns="measure", values="loses")
    loses = loses.reindex(columns=["gap", "follows_label"])
    smallest = loses.index.min()
    points = f"{100 * MARGIN:.0f} points"
    if loses.loc[smallest, "gap"] == "no":
        return f"there is none of {points} to close, even at cap {smallest:g}"
    tried = loses.drop(index=smallest)
    both = tried[(tried == "no").all(axis=1)]
    if len(both):
        listed = ", ".join(f"{cap:g}" for cap in both.index)
        return f"closed to within {points} while the label is still followed at cap {listed}"
    if (tried == "yes").any(axis=1).all():
        return "no cap closes it while the label is followed as before"
    return "these runs do not tell whether a cap closes it while the label is followed"


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
        told = [_advised(part.iloc[0]) for part in parts if len(part)]
        lines.append(f"{opening}, {labels(noise)}: {'; '.join(told)}.")
    return lines


def _advised(row: pd.Series) -> str:
    """One test as a piece of advice."""
    ours, theirs, else_ = ADVICE[row["question"]]
    size = f"{ours} minus {theirs} ({comparisons.in_points(row)}) points of macro-F1"
    if row["runs"] < 2:
        return f"{size}, one run each, which says nothing about the methods"
    if row["p_holm"] >= LEVEL:
        return f"{size}, not told apart: {else_}"
    return f"{size}: take {ours if row['difference'] > 0 else theirs}"
