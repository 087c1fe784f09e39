"""Figures of the chat models: models can be told apart; a failed judge is grey and says so."""

import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from r2d import recipes
from r2d.llms.judge import CRITERIA
from r2d.reporting import figures_llm, theme

RECIPE = recipes.load("smoke")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def model(kind, name, title, size, f1, how="generated"):
    return {
        "dataset": "triage",
        "kind": kind,
        "name": name,
        "title": title,
        "parameters": size,
        "how": how,
        "cases": 9,
        "macro_f1": f1,
        "macro_f1_low": max(0, f1 - 0.1),
        "macro_f1_high": f1 + 0.1,
    }


SIZES = pd.DataFrame(
    [
        model("zero-shot", "a", "Chat A", 4e9, 0.0, "answer"),
        model("zero-shot", "a", "Chat A", 4e9, 0.4, "scored"),
        model("zero-shot", "b", "Chat B", 3.2e10, 0.5, "answer"),
        model("majority", "majority", "Majority class", None, 0.1, None),
        model("fine-tuned", "sft-full", "SFT", 1e6, 0.5),
        model("fine-tuned", "r2d-full", "R2D", 1e6, 0.6),
    ]
)


def points(axis):
    """Label -> marker, fill, edge and position of every labelled point."""
    return {
        line.get_label(): (
            line.get_marker(),
            line.get_markerfacecolor(),
            line.get_color(),
            line.get_xydata()[0].tolist(),
        )
        for line in axis.lines
        if line.get_marker() not in ("None", None) and not line.get_label().startswith("_")
    }


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_size_is_logarithmic_and_no_two_models_look_alike():
    (axis,) = figures_llm.size_against_f1(SIZES, RECIPE, "triage").axes
    drawn = points(axis)
    assert axis.get_xscale() == "log" and axis.get_ylim() == (0, 1)
    names = ["SFT", "R2D", "Chat A", "Chat A, labels scored", "Chat B", "Majority class"]
    assert legend(axis) == names
    assert len({point[:3] for point in drawn.values()}) == len(drawn) == 5
    assert drawn["Chat B"][3] == [3.2e10, 0.5] and drawn["Chat A, labels scored"][1] == "white"
    low, high = axis.get_xlim()
    assert low < 1e6 and high > 3.2e10


def test_the_title_of_sizes_says_what_was_found():
    title = figures_llm.size_against_f1(SIZES, RECIPE, "triage").get_suptitle()
    words = title.replace("\n", " ")
    assert words.startswith("On triage SFT (generated, macro-F1 50.0) is 32000 times smaller than")
    tuned = SIZES[SIZES["kind"] != "zero-shot"]
    title = figures_llm.size_against_f1(tuned, RECIPE, "triage").get_suptitle()
    assert title.startswith("Model size and macro-F1 on triage, 9 cases")


def frames(passed, missing=0.0):
    tests = [
        {
            "dataset": "triage",
            "judge": "A judge",
            "corruption": name,
            "accuracy": 0.9,
            "low": 0.8,
            "high": 1.0,
            "pairs": 20,
            "kappa": 0.7,
            "threshold": 0.8,
            "kappa_threshold": 0.6,
            "passed": passed,
        }
        for name in ("another case", "label flipped")
    ]
    grade = None if missing == 1 else 3.0
    scores = [
        {
            "dataset": "triage",
            "method": method,
            "title": RECIPE.methods[method].title,
            "criterion": name,
            "missing_rate": missing,
            "qualified": passed,
            "mean": grade,
            "low": grade,
            "high": grade,
        }
        for method in ("dss-full", "r2d-full")
        for name in CRITERIA
    ]
    return pd.DataFrame(scores), pd.DataFrame(tests)


@pytest.mark.parametrize("passed", [True, False])
def test_grades_are_coloured_only_when_the_judge_passed(passed):
    figure = figures_llm.judged(*frames(passed, 0.25), RECIPE, "triage")
    left, right = figure.axes
    colours = {to_hex(line.get_color()) for line in right.lines}
    colours |= {to_hex(c) for lines in right.collections for c in lines.get_color()}
    methods = {theme.colour("dss-full").lower(), theme.colour("r2d-full").lower()}
    assert colours == (methods if passed else {figures_llm.FAILED.lower()})
    assert ("mean nothing" in right.get_title()) == ("FAILED" in left.get_title()) == (not passed)
    assert legend(right) == ["DSS", "R2D"]
    assert "75% of its answers could be read" in right.get_title()
    marks = [line.get_marker() for line in right.lines]
    assert marks == [theme.marker("dss-full"), theme.marker("r2d-full")]
    corruptions = [label.get_text() for label in left.get_yticklabels()]
    assert corruptions == ["another case", "label flipped"]


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        (
            {"passed": True},
            "qualified as judge on triage: it ranks gold above 'another case' in 90% of pairs "
            "(80% asked for), its weakest; it agrees with itself at kappa 0.70 (0.60 asked for)",
        ),
        (
            {"passed": False, "accuracy": [0.9, 0.05]},
            "failed as judge on triage: it ranks gold above 'label flipped' in 5% of pairs (80% "
            "asked for)",
        ),
        (
            {"passed": False, "kappa": -0.001},
            "failed as judge on triage: it agrees with itself at kappa 0.00 (0.60 asked for)",
        ),
    ],
)
def test_the_title_says_whether_the_judge_qualified_and_by_what(values, outcome):
    scores, tests = frames(True)
    figure = figures_llm.judged(scores, tests.assign(**values), RECIPE, "triage")
    assert " ".join(figure.get_suptitle().split()) == f"A judge {outcome}"


def test_models_of_one_family_have_marks_of_their_own():
    models = [model("fine-tuned", f"sft-full-{n}", f"SFT {n}", 1e6, 0.5) for n in range(15)]
    (axis,) = figures_llm.size_against_f1(pd.DataFrame(models[:5]), RECIPE, "triage").axes
    assert len({point[0] for point in points(axis).values()}) == 5
    (axis,) = figures_llm.size_against_f1(pd.DataFrame(models), RECIPE, "triage").axes
    assert len(legend(axis)) == 15  # there are fewer marks than that


def test_a_judge_that_never_answered_leaves_a_sentence_not_an_empty_panel():
    _, right = figures_llm.judged(*frames(False, 1.0), RECIPE, "triage").axes
    assert "none of its answers could be read" in [text.get_text() for text in right.texts]
    assert len(right.get_yticklabels()) == 4 and right.get_xlim() == (0.8, 5.2)
