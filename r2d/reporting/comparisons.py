"""Do methods differ? The reference against every other, by labels and rationales, and in words."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from statistics import fmean

import numpy as np
import pandas as pd

from r2d.errors import R2DError
from r2d.evaluation import comparison
from r2d.evaluation.comparison import LEVEL, Parts, Scores
from r2d.experiments.run import Run
from r2d.method.objective import OBJECTIVES
from r2d.recipes import Recipe
from r2d.reporting.tables import IN_WORDS, INFLATED, MEASURES, unlearned

RATIONALES = ("agreement", "follows_label", "names_reason")  # compared beside macro-F1
TOLD_APART = "Told apart"  # the heading under which every experiment's clear differences stand
TITLE_LETTERS = 200  # that a figure's title may have before methods are counted, not named
WANTED = 0.03  # the difference, 3 points, whose power is told
MORE_RUNS = (5, 10)


def compare(
    runs: Sequence[Run], dataset: str, against: Sequence[str], reference: str
) -> pd.DataFrame:
    """Tests of `reference` minus each other method; seeds and examples are random in them.

    A row a measure and method, as `comparison.compare` and `corrected` give it: p and interval are
    corrected by Holm's method for the methods compared on one measure. `runs` is the smaller number
    of runs: with one the row is about two models and says nothing about the methods. `degenerate`
    is the share of such rationales, the larger of the two. Raises `R2DError` for a method without a
    run.
    """
    read = {method: _read(runs, dataset, method) for method in (reference, *against)}
    tables = []
    for measure in measures(read[reference]):
        others = [
            name
            for name in against
            if measure in measures(read[name])
            and len(_shared([*read[reference], *read[name]], measure)[0]) > 1
        ]
        if others:
            tests = [test(read[reference], read[name], measure) for name in others]
            tables.append(_table(dataset, reference, others, measure, tests))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    shares = {method: degenerate(metrics) for method, metrics in read.items()}
    if len(table):
        pairs = zip(table["method"], table["against"], strict=True)
        table["degenerate"] = [max(shares[a], shares[b]) for a, b in pairs]
    return table


def measures(metrics: Sequence[dict]) -> list[str]:
    """The measures that methods are compared on, of those that all these metrics have."""
    label = "macro_f1" if metrics[0]["labels"] else "correct"
    return [name for name in (label, *RATIONALES) if has(metrics, name)]


def test(ours: Sequence[dict], theirs: Sequence[dict], measure: str) -> dict:
    """The comparison of two methods' metrics on a measure, over the cases that all runs have."""
    runs = _shared([*ours, *theirs], measure)
    drawn = _drawn(len(runs[0]))
    parts = (runs[: len(ours)], runs[len(ours) :])
    scores = [_scores(part, ours[0]["labels"], measure, drawn) for part in parts]
    return comparison.compare(*scores, len(runs[0]))


def _shared(metrics: Sequence[dict], measure: str) -> list[pd.DataFrame]:
    """Every run's values of the cases that all have.

    Cases of which no run has the measure are left out: only some are told every label.
    """
    runs = [pd.DataFrame(each["per_example"]).set_index("id") for each in metrics]
    shared = runs[0].index
    for each in runs[1:]:
        shared = shared.intersection(each.index, sort=False)
    if measure != "macro_f1":
        known = [each.loc[shared, measure].notna() for each in runs]
        shared = shared[np.any(known, axis=0)]
    return [each.loc[shared] for each in runs]


@lru_cache(maxsize=4)
def _drawn(cases: int) -> np.ndarray:
    """`comparison.resample`, which is the same for every comparison of as many cases."""
    return comparison.resample(cases)


def _scores(
    runs: Sequence[pd.DataFrame], labels: Sequence[str], measure: str, drawn: np.ndarray
) -> Scores:
    """One method's scores on a measure, by run and over resamples."""
    if measure == "macro_f1":
        predicted = [each["predicted"] for each in runs]
        return comparison.macro_f1_scores(runs[0]["gold"], predicted, labels, drawn)
    return comparison.mean_scores([each[measure] for each in runs], drawn)


def with_reference(recipe: Recipe, frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """`compare` of the recipe's reference with every other method of `frame`, dataset by dataset.

    The synthetic notes' rule is a bound and no method, so it is not compared. A dataset without the
    reference, and one on which no network learned to decide, is left out. `frame` has a row a run
    of `runs`.
    """
    tests = []
    left_out = unlearned(frame, recipe)
    for dataset, rows in frame.groupby("dataset", sort=False):
        methods = list(dict.fromkeys(rows["method"]))
        others = [m for m in methods if m != recipe.reference and not is_bound(recipe, m)]
        if recipe.reference in methods and others and dataset not in left_out:
            tests.append(compare(runs, dataset, others, recipe.reference))
    return pd.concat(tests, ignore_index=True) if tests else pd.DataFrame()


def is_bound(recipe: Recipe, method: str) -> bool:
    """Whether a method's row is the synthetic notes' own rule, whole or with a part left out."""
    return recipe.methods[method].objective.startswith("rule")


def interval(measured: Sequence[dict], measure: str) -> list[float] | None:
    """95 % interval of a method's mean score in [0, 1], seeds and examples random, as in `compare`.

    `measured` are the metrics of its runs; of one run it is that model's, over examples. None where
    a run has not the measure, or too few examples.
    """
    runs = _shared(measured, measure) if has(measured, measure) else [()]
    if len(runs[0]) < 2:
        return None
    found = _scores(runs, measured[0]["labels"], measure, _drawn(len(runs[0])))
    nothing = comparison.Scores(np.zeros_like(found.by_run), np.zeros_like(found.resampled))
    test = comparison.compare(found, nothing, len(runs[0]))
    (alone,) = comparison.corrected([test])
    return [max(0.0, alone["low"]), min(1.0, alone["high"])]


def verdict(recipe: Recipe, tests: pd.DataFrame, dataset: str, also: Collection[str] = ()) -> str:
    """What the tests found on a dataset, in a few words, for a figure's title.

    It is what they found on labels, and which methods they tell apart on those measures of
    `RATIONALES` that are in `also`. A title of more than about `TITLE_LETTERS` counts methods
    instead of naming them, those told apart by rationales first.
    """
    rows = tests[tests["dataset"] == dataset] if len(tests) else tests
    labels = rows[~rows["measure"].isin(RATIONALES)] if len(rows) else rows
    if labels.empty:
        return ""
    if (labels["runs"] < 2).all():
        name = _name(labels["measure"].iloc[0])
        return f"{name[0].upper()}{name[1:]} on {dataset}, one run each: models, not methods"
    rationales = rows[rows["measure"].isin(also)]
    for label_names, rationale_names in ((True, True), (True, False), (False, False)):
        sentences = [
            _by_labels(recipe, labels, label_names),
            *_by_rationales(recipe, rationales, set(labels["against"]), rationale_names),
        ]
        title = ". ".join(sentences)
        if len(title) <= TITLE_LETTERS:
            break
    return title


def _by_labels(recipe: Recipe, tests: pd.DataFrame, named: bool) -> str:
    """The tests on labels for `verdict`: the others are told by title where they are `named`."""
    dataset, method, measure = tests[["dataset", "method", "measure"]].iloc[0]
    clear = are_clear(tests)
    parts = []
    for words, chosen in (
        ("beats", clear & (tests["difference"] > 0)),
        ("is beaten by", clear & (tests["difference"] < 0)),
        ("can't be told apart from", ~clear),
    ):
        if chosen.any():
            whom = _whom(recipe, tests.loc[chosen, "against"], len(tests), named)
            parts.append(f"{words} {whom}")
    return f"By {_name(measure)} on {dataset} {recipe.methods[method].title} {'. It '.join(parts)}"


def _by_rationales(recipe: Recipe, tests: pd.DataFrame, others: set[str], named: bool) -> list[str]:
    """What is told apart by measures of rationales, those with the same outcome in one sentence.

    `others` are all methods that the figure compares. The scores of degenerate rationales say
    nothing, so nothing is said of them.
    """
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    clear = tests[are_clear(tests)]
    if "degenerate" in clear:
        clear = clear[clear["degenerate"] < INFLATED]
    for measure, rows in clear.groupby("measure", sort=False):
        for verb, chosen in (
            ("beats", rows["difference"] > 0),
            ("is beaten by", rows["difference"] < 0),
        ):
            against = tuple(rows.loc[chosen, "against"])
            if against:
                found.setdefault((verb, against), []).append(IN_WORDS[measure])
    sentences = []
    for (verb, against), (*first, last) in found.items():
        whom = _whom(recipe, against, len(others), named)
        if len(others) > 1 and set(against) == others:
            whom = "all the others"
        listed = f"{', '.join(first)} and {last}" if first else last
        sentences.append(f"By {listed} it {verb} {whom}")
    return sentences


def _whom(recipe: Recipe, methods: Sequence[str], others: int, named: bool) -> str:
    """Methods by their titles, or else how many of the `others` they are."""
    if named:
        return "; ".join(recipe.methods[method].title for method in methods)
    return f"{len(methods)} of {others} others"


def are_clear(tests: pd.DataFrame | Mapping) -> pd.Series | bool:
    """Which corrected tests, or whether a row of them, tell two methods apart.

    One of single runs never does.
    """
    return (tests["runs"] > 1) & (tests["p_holm"] < LEVEL)


def p_value(row: Mapping) -> str:
    """A test's corrected p in words; how far it is below 1 in 10,000 depends on the model alone."""
    return "p < 0.0001" if row["p_holm"] < 1e-4 else f"p = {row['p_holm']:.2g}"


def in_points(test: Mapping) -> str:
    """A test's difference in points of 100, with its interval where it has one."""
    text = f"{100 * test['difference']:+.1f}"
    if pd.notna(test["low"]):
        text += f" [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]"
    return text


def told_apart(recipe: Recipe, tests: pd.DataFrame) -> list[str]:
    """A sentence for each difference of methods, largest first, that corrected tests tell apart.

    Those from rows that no network was trained for come last: they are expected.
    """
    if tests.empty:
        return []
    found = tests[are_clear(tests)]
    untrained = [recipe.methods[name].objective not in OBJECTIVES for name in found["against"]]
    found = found.assign(untrained=untrained, size=-found["difference"].abs())
    found = found.sort_values(["untrained", "size"], kind="stable")
    return [_told_apart(recipe, row) for _, row in found.iterrows()]


def the_rest(recipe: Recipe, tests: pd.DataFrame) -> list[str]:
    """The other comparisons, a line a dataset; one of single runs says that it is."""
    if tests.empty:
        return []
    left = tests[~are_clear(tests)]
    lines = []
    for (dataset, single), rows in left.groupby(["dataset", left["runs"] < 2], sort=False):
        reference = recipe.methods[rows["method"].iloc[0]].title
        differences = []
        for against, measured in rows.groupby("against", sort=False):
            each = ", ".join(_difference(row) for _, row in measured.iterrows())
            differences.append(f"{recipe.methods[against].title} ({each})")
        listed = "; ".join(differences)
        cases = f"{rows['cases'].iloc[0]:.0f} cases"
        if single:
            lines.append(
                f"One run each on {dataset}, {cases}, says nothing about the methods. {reference} "
                f"minus each other model, with 95 % intervals over cases: {listed}."
            )
        else:
            lines.append(
                f"{reference} can't be told apart on {dataset} ({_runs(rows.iloc[0])}, {cases}; "
                f"corrected 95 % intervals) from {listed}."
            )
    return lines


def add_findings(
    findings: dict[str, list[str]], name: str, recipe: Recipe, tests: pd.DataFrame
) -> list[str]:
    """Add an experiment's comparisons to the findings, those told apart under that heading.

    Returns the sentences that were added.
    """
    found = [f"{name}: {sentence}" for sentence in told_apart(recipe, tests)]
    rest = the_rest(recipe, tests)
    findings.setdefault(TOLD_APART, []).extend(found)
    findings.setdefault(name, []).extend(rest)
    return found + rest


def power(tests: pd.DataFrame) -> list[str]:
    """How often a true difference of 3 points of macro-F1 would be told apart, by simulation.

    From the variances over seeds and examples that the comparisons found, each averaged over those
    of methods which vary over seeds. Nothing is said where there are none.
    """
    if tests.empty:
        return []
    known = tests[(tests["measure"] == "macro_f1") & (tests["runs"] > 1)]
    known = known[(known["seeds"] > 0) & (known["seeds_against"] > 0)]
    if known.empty:
        return []
    dataset = known["dataset"].iloc[0]
    rows = known[known["dataset"] == dataset]
    runs, cases = int(rows["runs"].iloc[0]), int(rows["cases"].iloc[0])
    seeds = (rows["seeds"].mean(), rows["seeds_against"].mean())
    parts = Parts(seeds, rows["examples"].mean(), (runs, runs), cases)
    family = sum((tests["dataset"] == dataset) & (tests["measure"] == "macro_f1"))
    shares = {n: comparison.power(parts, WANTED, n, family) for n in (runs, *MORE_RUNS)}
    more = ", ".join(f"{n} runs: {shares[n]:.0%}" for n in MORE_RUNS if n > runs)
    return [
        f"Power: with {runs} runs a method and {cases} cases of {dataset}, a true "
        f"difference of {100 * WANTED:.0f} points of macro-F1 would be told apart in "
        f"{shares[runs]:.0%} of such experiments ({more}), by simulation from the variances found "
        f"here, corrected for {family} comparisons."
    ]


def _told_apart(recipe: Recipe, row: pd.Series) -> str:
    ours, theirs = (recipe.methods[row[name]].title for name in ("method", "against"))
    verb = "beats" if row["difference"] > 0 else "is beaten by"
    return (
        f"{ours} {verb} {theirs} on {row['dataset']}: {_difference(row)}, corrected 95 % interval, "
        f"corrected {p_value(row)} ({_runs(row)}, {row['cases']:.0f} cases)."
    )


def _difference(row: pd.Series) -> str:
    """A difference in points with its interval, and what inflates a rationale's score."""
    size = f"{_name(row['measure'])} {in_points(row)}"
    return f"{size}{inflated(row)}" if row["measure"] in RATIONALES else size


def inflated(row: Mapping) -> str:
    """What a rationale's score is inflated by, for behind it; "" where few are degenerate."""
    if row["degenerate"] < INFLATED:
        return ""
    return f" ({row['degenerate']:.0%} degenerate rationales)"


def _runs(row: pd.Series) -> str:
    return f"{row['runs']:.0f} runs a method"


def _name(measure: str) -> str:
    """A measure's name inside a sentence."""
    title = MEASURES["accuracy" if measure == "correct" else measure]
    return title[0].lower() + title[1:]


def _table(
    dataset: str, reference: str, others: Sequence[str], measure: str, tests: Sequence[dict]
) -> pd.DataFrame:
    """The tests of one measure as rows, corrected together."""
    rows = []
    for name, test in zip(others, comparison.corrected(tests), strict=True):
        parts = test.pop("parts")
        seeds, seeds_against = parts.seeds
        rows.append(
            {"dataset": dataset, "method": reference, "against": name, "measure": measure}
            | {"runs": min(parts.runs), "cases": parts.cases}
            | test
            | {"seeds": seeds, "seeds_against": seeds_against, "examples": parts.examples}
        )
    return pd.DataFrame(rows)


def has(metrics: Sequence[dict], measure: str) -> bool:
    """Whether a measure is known of single cases in all of these runs."""
    column = "predicted" if measure == "macro_f1" else measure
    return all(column in each["per_example"] for each in metrics)


def degenerate(metrics: Sequence[dict]) -> float:
    """The mean share of degenerate rationales over a method's runs; 0 for one that writes none."""
    return fmean(each["metrics"].get("degenerate", {"value": 0.0})["value"] for each in metrics)


def _read(runs: Sequence[Run], dataset: str, method: str) -> list[dict]:
    """The metrics of a method's runs on a dataset."""
    chosen = [run for run in runs if (run.dataset, run.method) == (dataset, method)]
    if not chosen:
        raise R2DError(
            f"There is no run of {method} on {dataset} to compare; add it to the experiment."
        )
    return [run.read()["metrics"] for run in chosen]
