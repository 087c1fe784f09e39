"""When do rationales, and when does scheduled sampling, help? The runs of E9, their tests, caps.

The entries of a recipe's `datasets` that E9 names are sizes and noise levels of a card's notes, all
with the same test. In the tables here `dataset` is that card and `entry` the recipe's name of it;
`notes` and `noise` are what was learned from. The training notes are one draw: seeds vary in all
else, so that a spread over seeds says nothing about another draw of the same size.
"""

from collections.abc import Sequence

import pandas as pd

from r2d.errors import R2DError
from r2d.evaluation import comparison
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.method.objective import OBJECTIVES, named
from r2d.recipes import Recipe
from r2d.reporting import comparisons, exposure, exposure_gaps

# What is compared: question, method and the other by their roles, on which measures. The gap is the
# exposure gap of naming the true reason.
MEASURES = ("macro_f1", "agreement", "follows_label", "gap")
PAIRS = (
    ("rationales", "reference", "sft", ("macro_f1",)),
    ("rationales", "dss", "sft", ("macro_f1",)),
    ("sampling", "reference", "r2d-no-sampling", MEASURES),
    ("stage 1", "reference", "no stage 1", MEASURES),
    ("gate and cycle", "r2dc", "reference", MEASURES),
    ("words alone", "reference", "tfidf", ("macro_f1",)),
    ("words alone", "sft", "tfidf", ("macro_f1",)),
)
GAP = "names_reason"  # of which the exposure gap over caps is taken
MARGIN = 0.05  # a loss of 5 points and less counts as none
TESTS = ("dataset", "question", "method", "against", "measure", "entry", "notes", "noise", "runs")
TESTS += ("cases", "difference", "se", "df", "p", "p_holm", "low", "high")
ENDS = ("low", "high")  # of an interval
STUDY = "study"  # the profile that has the experiment


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
    for card, entries in by_card(recipe, runs).items():
        for question, ours, theirs, measures in PAIRS:
            if ours in known and theirs in known:
                pair = known[ours], known[theirs]
                for measure in measures:
                    names = {"dataset": card, "question": question}
                    rows += _family(recipe, metrics, entries, pair, measure, names)
    return pd.DataFrame(rows, columns=None if rows else list(TESTS))


def by_card(recipe: Recipe, runs: Sequence[Run]) -> dict[str, list[str]]:
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
        if ours and theirs and _is_known([*ours, *theirs], measure):
            found[entry] = _test(ours, theirs, measure)
    rows = []
    for entry, test in zip(found, comparison.corrected(list(found.values())), strict=True):
        parts, settings = test.pop("parts"), recipe.datasets[entry]
        place = {"entry": entry, "notes": settings.train, "noise": settings.noise}
        of = {"method": pair[0], "against": pair[1], "measure": measure}
        counts = {"runs": min(parts.runs), "cases": parts.cases}
        rows.append(names | of | place | counts | test)
    return rows


def _is_known(metrics: Sequence[dict], measure: str) -> bool:
    if measure == "gap":
        return exposure_gaps.is_known(metrics, GAP)
    return comparisons.has(metrics, measure)


def _test(ours: Sequence[dict], theirs: Sequence[dict], measure: str) -> dict:
    if measure == "gap":
        return exposure_gaps.side_test(ours, theirs, GAP, "gap")
    return comparisons.test(ours, theirs, measure)


def families(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of `tests` by pair and measure, each corrected together."""
    keys = ["dataset", "method", "against", "measure"]
    return [part for _, part in rows.groupby(keys, sort=False)] if len(rows) else []


def family(found: pd.DataFrame, dataset: str, question: str) -> pd.DataFrame:
    """The rows of `tests` of a question's first pair on macro-F1; none where it has none."""
    if found.empty:
        return found
    asked = (found["dataset"] == dataset) & (found["question"] == question)
    rows = found[asked & (found["measure"] == "macro_f1")]
    return next(iter(families(rows)), rows)


def told_apart(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tests that tell the first method above the second, and those that tell it below."""
    clear = comparisons.are_clear(rows)
    return rows[clear & (rows["difference"] > 0)], rows[clear & (rows["difference"] < 0)]


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
    `agreement_wrong_method_low` and `_high` are the `own_method_low` and `_high` of
    `exposure.scores`.
    """
    if not runs:
        return pd.DataFrame()
    keys = ["entry", "method", "seed"]
    ends = {f"own_method_{end}": f"agreement_wrong_method_{end}" for end in ENDS}
    scores = exposure.scores(runs).rename(columns={"dataset": "entry"} | ends)
    wrong = scores[scores["decision"] == "wrong"]
    gap = wrong[wrong["measure"] == GAP].reindex(columns=[*keys, "gap"])
    agreement = wrong[wrong["measure"] == "agreement"].reindex(columns=[*keys, *ends.values()])
    rows = frame.merge(gap, on=keys, how="inner", validate="1:1")
    rows = rows.merge(agreement, on=keys, how="left", validate="1:1")
    rows["cap"] = rows["method"].map(caps(recipe, [run.method for run in runs]))
    return rows.sort_values(["cap", "seed"]).reset_index(drop=True)


def cap_tests(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """Over the runs of `of_caps`, is the gap closed, and does the rationale follow its label?

    A row a cap and measure: `gap` is tested against zero, `follows_label` against that of the
    smallest cap; each corrected by Holm's method for the caps. `loses` is "no" where the interval
    leaves less than `MARGIN` to lose, "yes" where all of it loses more, else "unclear".
    """
    if not runs:
        return pd.DataFrame()
    known = caps(recipe, list(dict.fromkeys(run.method for run in runs)))
    entry = runs[0].dataset
    metrics = exposure.metrics_of(runs)
    by_method = {method: metrics[entry, method] for method in known}
    table = pd.DataFrame(_gaps(runs) + _follows(by_method))
    if table.empty:
        return table
    settings = recipe.datasets[entry]
    place = {"dataset": settings.card, "entry": entry, "notes": settings.train}
    return table.assign(
        **place,
        title=[recipe.methods[method].title for method in table["method"]],
        cap=table["method"].map(known),
        loses=[_loses(row) for _, row in table.iterrows()],
    )


def _gaps(runs: Sequence[Run]) -> list[dict]:
    """The rows of `cap_tests` on the gap."""
    gaps = exposure_gaps.gaps(runs)
    gaps = gaps[gaps["measure"] == GAP] if len(gaps) else gaps
    return gaps.assign(measure="gap").to_dict("records")


def _follows(metrics: dict[str, list[dict]]) -> list[dict]:
    """The rows of `cap_tests` on following the label, of metrics by method, smallest cap first."""
    if not comparisons.has(
        [each for measured in metrics.values() for each in measured], "follows_label"
    ):
        return []
    smallest, *others = metrics
    against = metrics[smallest]
    found = [comparisons.test(metrics[method], against, "follows_label") for method in others]
    rows = []
    for method, test in zip(others, comparison.corrected(found), strict=True):
        counts = {"runs": min(test.pop("parts").runs)}
        rows.append({"method": method, "measure": "follows_label"} | counts | test)
    return rows


def _loses(row: pd.Series) -> str:
    """The cell `loses` of a test; of single runs nothing is known."""
    if row["runs"] < 2:
        return "unclear"
    if row["low"] > -MARGIN:
        return "no"
    return "yes" if row["high"] < -MARGIN else "unclear"
