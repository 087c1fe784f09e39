"""When do rationales, and when does scheduled sampling, help? Learning curves (E9, figure 8).

The entries of a recipe's `datasets` that E9 names are sizes and noise levels of a card's notes, all
with the same test. In the tables here `dataset` is that card and `entry` the recipe's name of it;
`notes` and `noise` are what was learned from. The training notes are one draw: seeds vary in all
else, so that a spread over seeds says nothing about another draw of the same size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

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
STEPS = 1000  # between two sizes of a curve, where its interval is looked for
TESTS = ("dataset", "question", "method", "against", "measure", "entry", "notes", "noise", "runs")
TESTS += ("cases", "difference", "se", "df", "p", "p_holm", "low", "high")
ENDS = ("low", "high")  # of an interval
MEASURES = {"macro_f1": "macro-F1", "agreement": "agreement of label and rationale"}
HEADLINES = {"rationales": "Do rationales help?", "sampling": "Does scheduled sampling help?"}
OF_CAPS = "Does a cap of p(t) close the exposure gap?"  # the third of them
WORDS = "words alone"  # the question whose answer is expected, and told in a line
ADVICE = {  # question -> the two methods in words, and what to do where they are about equal
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
    metrics = exposure.metrics_of(runs)
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


@dataclass(frozen=True)
class Point:
    """A method's macro-F1 at one size: a point of its curve.

    `seeds` is the variance of `mean` over seeds, of `runs` runs, and `examples` what examples add;
    `resampled` are means over the same resamples of examples for all points.
    """

    mean: float
    runs: int
    seeds: float
    examples: float
    resampled: np.ndarray


def savings(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """How many notes each method needs to reach SFT's macro-F1 with so many.

    A row a noise level, method and size of SFT's but the smallest, `sft_notes`. `needed` is where
    the mean curve, straight between sizes on a logarithmic axis, first reaches SFT's mean there
    (`target`); empty where it does not, and the smallest size where that is enough. The interval
    inverts the tests, seeds and cases random: up to `low` they tell the curve below SFT's score,
    from `high` on above it. Each is at 5 % over the sizes and noise levels that both methods have,
    so that of a rising curve holds SFT's own size wherever `tests` do not tell the two apart there.
    An end is empty where it is not reached, both where one has a single run; `seeds` is the
    smallest number.
    """
    metrics = exposure.metrics_of(runs)
    methods = list(dict.fromkeys(run.method for run in runs))
    sft = roles(recipe, methods).get("sft")
    rows = []
    for card, entries in _cards(recipe, runs).items():
        for noise, at in _by_noise(recipe, entries).items():
            points, cases = _points(recipe, metrics, at)
            goals = list(points.get(sft, {}).items())[1:]
            for method, curve in points.items():
                if method == sft or len(curve) < 2:
                    continue
                both = [(entry, method) in metrics and (entry, sft) in metrics for entry in entries]
                names = {"dataset": card, "noise": noise, "method": method}
                names["title"] = recipe.methods[method].title
                for size, goal in goals:
                    needs = _needed(curve, goal, cases, LEVEL / max(1, sum(both)))
                    rows.append(names | {"sft_notes": size} | needs)
    return pd.DataFrame(rows)


def _by_noise(recipe: Recipe, entries: Sequence[str]) -> dict[float, list[str]]:
    """The entries of each noise level, by size."""
    found: dict[float, list[str]] = {}
    for entry in sorted(entries, key=lambda name: recipe.datasets[name].train):
        found.setdefault(recipe.datasets[entry].noise, []).append(entry)
    return found


def _points(
    recipe: Recipe, metrics: dict[tuple[str, str], list[dict]], entries: Sequence[str]
) -> tuple[dict[str, dict[int, Point]], int]:
    """Every method's curve over these entries, by size, and the cases that all of it is of."""
    chosen = {
        (entry, method): measured
        for (entry, method), measured in metrics.items()
        if entry in entries and _all_have(measured, "macro_f1")
    }
    if not chosen:
        return {}, 0
    examples = _of_shared_cases(chosen)
    cases = len(next(iter(examples.values()))[0])
    drawn = comparison.resample(cases)
    curves: dict[str, dict[int, Point]] = {}
    for entry, method in sorted(examples, key=lambda key: entries.index(key[0])):
        labels = chosen[entry, method][0]["labels"]
        point = _point(examples[entry, method], labels, drawn)
        curves.setdefault(method, {})[recipe.datasets[entry].train] = point
    return curves, cases


def _of_shared_cases(
    metrics: dict[tuple[str, str], list[dict]],
) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """Every run's values of the cases that all of these runs have, by case."""
    examples = {
        key: [pd.DataFrame(each["per_example"]).set_index("id") for each in measured]
        for key, measured in metrics.items()
    }
    first, *others = [each for parts in examples.values() for each in parts]
    shared = first.index
    for each in others:
        shared = shared.intersection(each.index, sort=False)
    return {key: [each.loc[shared] for each in parts] for key, parts in examples.items()}


def _point(runs: Sequence[pd.DataFrame], labels: Sequence[str], drawn: np.ndarray) -> Point:
    """The point of a method's runs on one entry, its variance split as in `comparison`."""
    predicted = [each["predicted"] for each in runs]
    scores = comparison.macro_f1_scores(runs[0]["gold"], predicted, labels, drawn)
    nothing = comparison.Scores(np.zeros_like(scores.by_run), np.zeros_like(scores.resampled))
    parts = comparison.compare(scores, nothing, len(runs[0]))["parts"]
    means = scores.resampled.mean(axis=1)
    return Point(scores.by_run.mean(), len(runs), parts.seeds[0], parts.examples, means)


def _needed(curve: dict[int, Point], goal: Point, cases: int, level: float) -> dict:
    """The cells of `savings` of one curve, its points by size."""
    sizes, points = list(curve), list(curve.values())
    needed = crossing(sizes, [point.mean for point in points], goal.mean)
    seeds = min(point.runs for point in [*points, goal])
    low = high = np.inf
    if seeds > 1:
        for (size, point), (more, after) in pairwise(curve.items()):
            shares = np.linspace(0, 1, STEPS + 1)
            notes = size * (more / size) ** shares
            below, above = _told(point, after, goal, shares, cases, level)
            low = min([low, *notes[~below][:1]])
            high = min([high, *notes[above][:1]])
        low = min(low, needed)  # which lies between two steps
    ends = {"needed": needed, "low": low, "high": high}
    finite = {name: float(end) if np.isfinite(end) else None for name, end in ends.items()}
    shared = {"target": goal.mean, "smallest": sizes[0], "largest": sizes[-1], "seeds": seeds}
    return shared | finite


def _told(
    first: Point, second: Point, goal: Point, shares: np.ndarray, cases: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where on the line from the first point to the second it is told below `goal`, and above.

    `shares` are how far along; the test is that of `comparison.compare`, of three means.
    """
    points = (first, second, goal)
    weights = np.array([1 - shares, shares, -np.ones_like(shares)])
    covariance = np.cov([point.resampled for point in points])
    np.fill_diagonal(covariance, [point.examples for point in points])
    over_examples = np.einsum("iw,ij,jw->w", weights, covariance, weights).clip(0)
    over_seeds = weights**2 * np.array([[point.seeds] for point in points])
    parts = np.vstack([over_seeds, over_examples])
    freedom = np.array([[point.runs - 1] for point in points] + [[cases - 1]])
    variance, below = parts.sum(axis=0), (parts**2 / freedom).sum(axis=0)
    degrees = np.divide(variance**2, below, out=np.full_like(below, np.inf), where=below > 0)
    half = stats.t.isf(level / 2, degrees) * np.sqrt(variance)
    difference = np.array([point.mean for point in points]) @ weights
    return difference + half < 0, difference - half > 0


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
    `agreement_wrong_method_low` and `_high` are as those of other measures in `collect.runs`.
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
    rows = rows.merge(_agreement_intervals(runs), on=["entry", "method"], how="left")
    return rows.sort_values(["cap", "seed"]).reset_index(drop=True)


def _agreement_intervals(runs: Sequence[Run]) -> pd.DataFrame:
    """The interval of each method's mean agreement in wrong decisions; empty where unknown."""
    rows = []
    for (entry, method), measured in exposure.metrics_of(runs).items():
        wrong = [_of_wrong(each) for each in measured]
        low, high = comparisons.interval(wrong, "agreement_wrong") or (np.nan, np.nan)
        ends = {"agreement_wrong_method_low": low, "agreement_wrong_method_high": high}
        rows.append({"entry": entry, "method": method} | ends)
    return pd.DataFrame(rows)


def _of_wrong(metrics: dict) -> dict:
    """One run's agreement in wrongly decided cases alone, in the shape of its metrics."""
    examples = metrics["per_example"]
    kept = {"id": examples["id"]}
    pairs = zip(examples.get("agreement", []), examples["correct"], strict=False)
    wrong = [None if correct else value for value, correct in pairs]
    if any(value is not None for value in wrong):
        kept["agreement_wrong"] = wrong
    return {"labels": metrics["labels"], "per_example": kept}


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
    metrics = exposure.metrics_of(runs)
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
    """The findings of E9 from `tests`, `savings` and `cap_tests`, as they came out.

    First the three questions: do rationales help, does scheduled sampling, does a cap close the
    exposure gap? Then what was told apart, largest first, what was not, notes saved, and the caps.
    """
    families = {question: _families(_asked(found, question)) for question in _questions(found)}
    others = [question for question in families if question not in (*HEADLINES, WORDS)]
    lines = []
    for question, opening in HEADLINES.items():
        answers = [_answer(recipe, rows) for rows in families.get(question, [])]
        lines += [" ".join([opening, *answers])] if answers else []
    lines += [_closed(closed)] if len(closed) else []
    asked = [*HEADLINES, *others]
    lines += _told_apart(recipe, {name: families.get(name, []) for name in asked})
    for question in others:
        lines += _not_told_apart(recipe, question, families[question])
    lines += _words_alone(recipe, families.get(WORDS, []))
    return lines + _saved(saved) + _by_cap(closed)


def _questions(found: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(found["question"])) if len(found) else []


def _asked(found: pd.DataFrame, question: str) -> pd.DataFrame:
    return found[found["question"] == question]


def _families(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows by pair and measure, each corrected together."""
    keys = ["dataset", "method", "against", "measure"]
    return [part for _, part in rows.groupby(keys, sort=False)] if len(rows) else []


def _untold(rows: pd.DataFrame) -> pd.DataFrame:
    """The tests of several runs each that tell nothing apart."""
    return rows[(rows["runs"] > 1) & ~comparisons.are_clear(rows)]


def _answer(recipe: Recipe, rows: pd.DataFrame) -> str:
    """One pair on one measure in a sentence: how often told apart, and what is not excluded."""
    ours, theirs = compared(recipe, rows)
    opening = f"In {MEASURES[rows['measure'].iloc[0]]}"
    several = rows[rows["runs"] > 1]
    if several.empty:
        return f"{opening} {ours} minus {theirs} is {_of_single_runs(rows)}."
    up, down, rest = *told_apart(several), _untold(several)
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


def _not_told_apart(recipe: Recipe, question: str, families: Sequence[pd.DataFrame]) -> list[str]:
    """What a question's tests do not tell apart, a line a pair."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for rows in families:
        name, rest, several = (
            MEASURES[rows["measure"].iloc[0]],
            _untold(rows),
            rows[rows["runs"] > 1],
        )
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
    return f"{_range(rows)} points; {excluded(rows)}"


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


def excluded(rows: pd.DataFrame) -> str:
    """How large a difference the intervals of these tests leave possible, in words."""
    reach = max(rows["low"].abs().max(), rows["high"].abs().max())
    if reach <= comparisons.WANTED:
        return f"any difference is below {100 * comparisons.WANTED:.0f} points"
    return f"a difference of up to {100 * reach:.1f} points is not excluded"


def _runs(rows: pd.DataFrame) -> str:
    ends = dict.fromkeys(f"{end:.0f}" for end in (rows["runs"].min(), rows["runs"].max()))
    return f"{' to '.join(ends)} runs each"


def _told_apart(recipe: Recipe, families: dict[str, list[pd.DataFrame]]) -> list[str]:
    """A sentence for each pair, measure and direction told apart: macro-F1 first, then by size."""
    parts = []
    for question, of_question in families.items():
        for rows in of_question:
            for way, part in zip(("above", "below"), told_apart(rows), strict=True):
                if len(part):
                    parts.append((question, way, part))
    measures = list(MEASURES)
    parts.sort(key=lambda x: (measures.index(x[2]["measure"].iloc[0]), -_largest(x[2])))
    return [_in_words(recipe, *part) for part in parts]


def _largest(rows: pd.DataFrame) -> float:
    return float(rows["difference"].abs().max())


def _in_words(recipe: Recipe, question: str, way: str, rows: pd.DataFrame) -> str:
    """Where a pair was told apart in one direction, with every difference and its interval."""
    ours, theirs = compared(recipe, rows)
    each = []
    for noise, at in rows.groupby("noise"):
        sizes = [
            f"{row['notes']:,.0f} notes ({comparisons.in_points(row)})" for _, row in at.iterrows()
        ]
        each.append(f"at {listed(sizes)} {labels(noise)}")
    p = comparisons.p_value({"p_holm": rows["p_holm"].max()})
    p = p if len(rows) == 1 else p.replace("p = ", "p at most ")
    return (
        f"Told apart, {question}: {ours} is {way} {theirs} in {MEASURES[rows['measure'].iloc[0]]}, "
        f"in points, {'; '.join(each)}. Corrected {p}."
    )


def listed(parts: Sequence[str]) -> str:
    """The parts as one enumeration: `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _words_alone(recipe: Recipe, families: Sequence[pd.DataFrame]) -> list[str]:
    """What a method has over the words of a note alone, in one line."""
    counts = []
    for rows in families:
        several = rows[rows["runs"] > 1]
        if len(several):
            ours, theirs = compared(recipe, rows)
            counts.append(
                f"{ours} is {directions(*told_apart(several), theirs)} of {places(several)}"
            )
    return [f"{WORDS.capitalize()}, in macro-F1: {'; '.join(counts)}."] if counts else []


def labels(noise: float) -> str:
    """A noise level in words."""
    return f"with {noise:.0%} of labels wrong" if noise else "with no label wrong"


def family(found: pd.DataFrame, dataset: str, question: str) -> pd.DataFrame:
    """The rows of `tests` of a question's first pair on macro-F1; none where it has none."""
    if found.empty:
        return found
    asked = (found["dataset"] == dataset) & (found["question"] == question)
    rows = found[asked & (found["measure"] == "macro_f1")]
    return next(iter(_families(rows)), rows)


def told_apart(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tests that tell the first method above the second, and those that tell it below."""
    clear = comparisons.are_clear(rows)
    return rows[clear & (rows["difference"] > 0)], rows[clear & (rows["difference"] < 0)]


def _range(rows: pd.DataFrame) -> str:
    ends = [f"{100 * end:+.1f}" for end in (rows["difference"].min(), rows["difference"].max())]
    return " to ".join(dict.fromkeys(ends))


def told_notes(saved: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of `savings` that are told to need fewer notes than SFT had, and more."""
    ends = saved[["low", "high"]].astype(float)
    fewer = ends["high"] < saved["sft_notes"]
    nowhere = ends["low"].isna() & (saved["largest"] >= saved["sft_notes"])
    more = (ends["low"] > saved["sft_notes"]) | nowhere
    several = saved["seeds"] > 1
    return saved[several & fewer], saved[several & more]


def _saved(saved: pd.DataFrame) -> list[str]:
    """`savings` in words, by noise level: what is told, then SFT's largest size that is reached."""
    lines = []
    for noise, rows in saved.groupby("noise", sort=False) if len(saved) else ():
        lines.append(f"Notes needed for SFT's macro-F1, {labels(noise)}: {on_notes(rows)}.")
        reached = rows.dropna(subset=["needed"])
        if reached.empty:
            continue
        chosen = rows[rows["sft_notes"] == reached["sft_notes"].max()]
        first = chosen.iloc[0]
        each = "; ".join(f"{row['title']} {needs(row)}" for _, row in chosen.iterrows())
        lines.append(
            f"Where mean curves reach SFT's macro-F1 of {first['sft_notes']:,.0f} notes "
            f"({100 * first['target']:.1f}), {labels(noise)}: {each}."
        )
    return lines


def on_notes(saved: pd.DataFrame) -> str:
    """Which methods `savings` tells to need fewer notes than SFT, which more, and at what sizes."""
    if (saved["seeds"] < 2).all():
        return "one run each, which says nothing of the methods"
    fewer, more = (_with_sizes(part) for part in told_notes(saved))
    text = f"{listed(fewer) if fewer else 'no method'} told to need fewer than SFT"
    return f"{text}; {listed(more)} more" if more else text


def _with_sizes(saved: pd.DataFrame) -> list[str]:
    """The methods of these rows with SFT's sizes: `DSS (2,000 and 4,000)`."""
    return [
        f"{title} ({listed([f'{size:,.0f}' for size in sorted(set(rows['sft_notes']))])})"
        for title, rows in saved.groupby("title", sort=False)
    ]


def needs(row: pd.Series) -> str:
    """A row of `savings` in words: `1,200 notes [800, 2,900]`, or that it is not reached."""
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
    of_gap = "the gap in naming the true reason, own wrong label told minus gold one"
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
        told = f"{size}, not told apart by this study: {excluded(row.to_frame().T)}"
        equal = max(-row["low"], row["high"]) <= comparisons.WANTED
        return f"{told}, {else_}" if equal else told
    return f"{size}: take {ours if row['difference'] > 0 else theirs}"
