"""The two schedules against the paper's formulas, and the coins."""

import itertools
from fractions import Fraction

import pytest
import torch

from r2d.method.schedules import coins, label_weight, sampling_probability

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
        climbing = min(Fraction(9, 10), Fraction(20 * step - total, 12 * total))
        exact = 0 if 20 * step < total else climbing
        assert sampling_probability(step, total) == pytest.approx(float(exact), abs=1e-12)


def test_schedules_at_their_corners():
    total, warm, full = 30_000, 1_500, 19_500  # W and W + M of the paper
    assert label_weight(0, total) == 0
    assert label_weight(warm // 2, total) == pytest.approx(0.35)
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


@pytest.mark.parametrize("schedule", [label_weight, sampling_probability])
def test_schedules_never_fall(schedule):
    values = [schedule(step, 500) for step in range(501)]
    assert all(a <= b for a, b in itertools.pairwise(values))
    assert values[-1] > values[0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_coins_come_up_in_their_share_and_vary_with_seed_and_step(share):
    tosses = torch.stack([coins(seed, step, 64) for seed in range(5) for step in range(40)])
    deviation = (share * (1 - share) / tosses.numel()) ** 0.5
    asked = (tosses < share).float().mean().item()
    assert asked == pytest.approx(share, abs=4 * deviation)
    assert len({tuple(row.tolist()) for row in tosses}) == 200


def test_coins_depend_on_seed_and_step_alone():
    torch.manual_seed(1)
    first = coins(3, 7, 32)
    torch.manual_seed(2)
    torch.rand(100)
    state = torch.get_rng_state()
    assert torch.equal(coins(3, 7, 32), first)
    assert torch.equal(torch.get_rng_state(), state)  # and no other random number depends on them


def test_no_coin_is_below_0_and_all_are_below_1():
    tosses = coins(1, 1, 1000)
    assert not (tosses < 0.0).any()
    assert (tosses < 1.0).all()
