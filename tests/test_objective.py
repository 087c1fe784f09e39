"""The schedules against the paper's formulas, the coins, and the losses against torch."""

import itertools
from fractions import Fraction

import pytest
import torch

from r2d.errors import R2DError
from r2d.method.objective import (
    IGNORE,
    OBJECTIVES,
    coins,
    combine,
    label_weight,
    named,
    sampling_probability,
    token_loss,
)

TOTALS = (20, 97, 1000, 30_000)  # 30,000 is the paper's


def steps_of(total):
    return range(0, total + 1, max(1, total // 997))


@pytest.mark.parametrize("total", TOTALS)
def test_label_weight_rises_to_0_7_over_the_first_twentieth_of_the_steps(total):
    for step in steps_of(total):
        exact = Fraction(7, 10) * min(1, Fraction(20 * step, total))
        assert label_weight(step, total) == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize("total", TOTALS)
def test_sampling_starts_after_warm_up_and_climbs_to_its_cap(total):
    for step in steps_of(total):
        exact = (
            0
            if 20 * step < total
            else min(Fraction(9, 10), Fraction(20 * step - total, 12 * total))
        )
        assert sampling_probability(step, total) == pytest.approx(float(exact), abs=1e-12)


def test_schedules_at_their_corners():
    total, warm, full = 30_000, 1_500, 19_500  # W and W + M of the paper
    assert (label_weight(0, total), label_weight(warm // 2, total)) == (0, pytest.approx(0.35))
    assert label_weight(warm, total) == label_weight(total, total) == 0.7
    assert [sampling_probability(s, total) for s in (0, warm - 1, warm)] == [0, 0, 0]
    assert 0 < sampling_probability(warm + 1, total) < 1e-4
    assert sampling_probability(full, total) == sampling_probability(total, total) == 0.9
    assert sampling_probability(full, total, cap=1.0) == 1.0


def test_schedules_without_warm_up_or_ramp():
    assert label_weight(0, 100, warmup=0.0) == 0.7
    assert sampling_probability(0, 100, warmup=0.0) == 0.0
    assert sampling_probability(30, 100, warmup=0.0) == pytest.approx(0.5)
    assert [sampling_probability(s, 100, ramp=0.0) for s in (4, 5)] == [0.0, 0.9]
    assert sampling_probability(0, 100, warmup=0.0, ramp=0.0) == 0.9


def test_schedules_never_fall():
    for schedule in (label_weight, sampling_probability):
        values = [schedule(step, 500) for step in range(501)]
        assert all(a <= b for a, b in itertools.pairwise(values)) and values[-1] > values[0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_coins_come_up_in_their_share_and_vary_with_seed_and_step(share):
    tosses = torch.stack([coins(seed, step, 64, share) for seed in range(5) for step in range(40)])
    assert tosses.float().mean().item() == pytest.approx(
        share, abs=4 * (share * (1 - share) / tosses.numel()) ** 0.5
    )
    assert len({tuple(row.tolist()) for row in tosses}) > 190


def test_coins_depend_on_seed_and_step_alone():
    torch.manual_seed(1)
    first = coins(3, 7, 32, 0.5)
    before = torch.get_rng_state()
    torch.manual_seed(2)
    torch.rand(100)
    state = torch.get_rng_state()
    assert torch.equal(coins(3, 7, 32, 0.5), first)
    assert torch.equal(torch.get_rng_state(), state) and not torch.equal(before, state)


def test_certain_coins():
    assert not coins(1, 1, 1000, 0.0).any() and coins(1, 1, 1000, 1.0).all()


def test_each_method_trains_its_own_tasks():
    tasks = {name: (o.decides, o.explains, o.rationale_prompt) for name, o in OBJECTIVES.items()}
    assert tasks == {
        "stage1": (False, True, "explain"),
        "sft": (True, False, "explain"),
        "dss": (True, True, "explain"),
        "r2d": (True, True, "given label"),
        "r2d-no-sampling": (True, True, "given label"),
        "r2d-always": (True, True, "given label"),
    }


def test_each_method_follows_its_own_schedule():
    at = {
        name: [(o.weight(s, 1000), o.probability(s, 1000)) for s in (0, 50, 1000)]
        for name, o in OBJECTIVES.items()
    }
    assert at == {
        "stage1": [(0, 0)] * 3,
        "sft": [(1, 0)] * 3,
        "dss": [(0.5, 0)] * 3,
        "r2d": [(0, 0), (0.7, 0), (0.7, 0.9)],
        "r2d-no-sampling": [(0, 0), (0.7, 0), (0.7, 0)],
        "r2d-always": [(0, 0.9), (0.7, 0.9), (0.7, 0.9)],
    }


def test_only_stage_2_delays_the_choice_of_its_checkpoint():
    starts = {name: objective.selection_start(1000) for name, objective in OBJECTIVES.items()}
    assert starts == {
        name: pytest.approx(650 if name.startswith("r2d") else 0) for name in OBJECTIVES
    }
    assert named("r2d", {"select_after_ramp": False}).selection_start(1000) == 0


def test_token_loss_is_torchs_mean_cross_entropy_times_the_counted_tokens():
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 7, 11), torch.randint(0, 11, (4, 7))
    targets[0, 3:] = targets[2, 5:] = IGNORE
    mean = torch.nn.CrossEntropyLoss(ignore_index=-100)(logits.reshape(-1, 11), targets.reshape(-1))
    assert token_loss(logits, targets).item() == pytest.approx(mean.item() * (28 - 4 - 2), rel=1e-6)


def test_token_loss_is_computed_in_full_precision():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 50, 300), torch.randint(0, 300, (2, 50))
    assert token_loss(logits.bfloat16(), targets).dtype == torch.float32


def test_the_two_means_are_weighed_into_one_loss():
    assert combine(0.7, 2.0, 10.0) == pytest.approx(4.4)


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("dss", {"sampling": "scheduled"}, "sampling needs rationale_prompt 'given label'"),
        ("sft", {"label_weight": 1.5}, "label_weight is 1.5; give a share from 0 to 1"),
        ("r2d", {"cap": -0.1}, "cap is -0.1; give a share"),
        ("r2d", {"cap": "high"}, "cap is 'high'; give a share"),
        ("r2d", {"sampling": "sometimes"}, "sampling is 'sometimes'; .*never, scheduled"),
        ("r2d", {"weighting": "rising"}, "weighting is 'rising'; .*fixed, ramped"),
        ("r2d", {"capp": 0.5}, "'capp', which no objective knows; choose from .*cap"),
    ],
)
def test_contradictory_objective_is_one_sentence(name, overrides, said):
    with pytest.raises(R2DError, match=said):
        named(name, overrides)
