"""Objectives: which tasks each method trains, under which schedule, and what it refuses."""

import pytest

from r2d.errors import R2DError
from r2d.method import prompts
from r2d.method.objective import OBJECTIVES, named


def test_each_method_trains_its_own_tasks():
    tasks = {name: (o.predicts, o.explains, o.names_label) for name, o in OBJECTIVES.items()}
    assert tasks == {
        "stage1": (False, True, False),
        "sft": (True, False, False),
        "dss": (True, True, False),
        "r2d": (True, True, True),
        "r2d-no-sampling": (True, True, True),
        "r2d-always": (True, True, True),
        "r2dc": (True, True, True),
    }


def test_a_rationale_prompt_names_the_label_where_the_method_says_so():
    asked = {name: o.explain_prompt("fever", "Call 911") for name, o in OBJECTIVES.items()}
    assert {asked[name] for name in ("stage1", "sft", "dss")} == {"explain: fever"}
    named_label = {asked[name] for name in ("r2d", "r2d-no-sampling", "r2d-always", "r2dc")}
    assert named_label == {"given label: Call 911, explain: fever"}


def test_each_method_follows_its_own_schedule():
    at = {
        name: [
            (o.label_weight_at(step, 1000), o.sampling_probability_at(step, 1000))
            for step in (0, 50, 1000)
        ]
        for name, o in OBJECTIVES.items()
    }
    assert at == {
        "stage1": [(0, 0)] * 3,
        "sft": [(1, 0)] * 3,
        "dss": [(0.5, 0)] * 3,
        "r2d": [(0, 0), (0.7, 0), (0.7, 0.9)],
        "r2d-no-sampling": [(0, 0), (0.7, 0), (0.7, 0)],
        "r2d-always": [(0, 0.9), (0.7, 0.9), (0.7, 0.9)],
        "r2dc": [(0, 0), (0.7, 0), (0.7, 0.9)],
    }


def test_only_stage_2_delays_the_choice_of_its_checkpoint():
    starts = {name: objective.selection_start(1000) for name, objective in OBJECTIVES.items()}
    assert starts == {
        name: pytest.approx(650 if name.startswith("r2d") else 0) for name in OBJECTIVES
    }
    waits = {name: method.patience_start(1000) for name, method in OBJECTIVES.items()}
    assert waits == starts
    as_released = named("r2d", {"select_after_ramp": False})
    assert (as_released.selection_start(1000), as_released.patience_start(1000)) == (0, 650)


def test_single_values_of_an_objective_are_changed_by_name():
    changed = named("r2d", {"cap": 0.5})
    assert changed.sampling_probability_at(1000, 1000) == 0.5
    assert changed == OBJECTIVES["r2d"].model_copy(update={"cap": 0.5})
    assert named("r2d") == OBJECTIVES["r2d"]


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("dss", {"sampling": "scheduled"}, "sampling needs rationale_prompt 'given label'"),
        ("sft", {"label_weight": 1.5}, "`label_weight` is 1.5: .* less than or equal to 1"),
        ("r2d", {"cap": -0.1}, "`cap` is -0.1: .* greater than or equal to 0"),
        ("r2d", {"cap": "high"}, "`cap` is 'high': .* valid number"),
        ("r2d", {"cap": True}, "`cap` is True: .* valid number"),
        ("r2d", {"select_after_ramp": "no"}, "`select_after_ramp` is 'no': .* valid boolean"),
        ("r2d", {"sampling": "sometimes"}, "`sampling` is 'sometimes': .*'never', 'scheduled'"),
        ("dss", {"gated": True}, "gated needs sampling"),
        ("dss", {"cycle": 0.1}, "cycle needs rationale_prompt 'given label'"),
        ("r2d", {"weighting": "rising"}, "`weighting` is 'rising': .*'fixed' or 'ramped'"),
        ("r2d", {"capp": 0.5}, "key `capp` is not known; remove it or mend its spelling"),
    ],
)
def test_a_contradictory_objective_is_one_sentence(name, overrides, sentence):
    with pytest.raises(R2DError, match=f"^objective {name}: {sentence}") as caught:
        named(name, overrides)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert not text.endswith("..")


def test_braces_and_other_scripts_in_a_note_stand_as_typed():
    note = "BP {120}/80 {label} température 39° 発熱 🤒"
    assert prompts.predict(note) == f"predict: {note}"
    assert prompts.explain(note) == f"explain: {note}"
    assert prompts.explain(note, "Home care") == f"given label: Home care, explain: {note}"
    assert prompts.case(note, ["{a}", "b"]) == f"options: {{a}} | b; case: {note}"
