"""The loss of a step, for every objective: what is asked of the model, in which order, and the sum.

The model is a stand-in, so that every sum can be written out by hand.
"""

import pytest
import torch
from stand_ins import NOTES, STEPS, TOKENS, StandIn, cost

from r2d.method.loss import IGNORE, Batch, loss, summed_loss, token_losses
from r2d.method.objective import OBJECTIVES, named

# Reason2Decide-C has a gate and a loss of its own: test_reason2decide_c.py.
THE_PAPERS = [name for name in OBJECTIVES if name != "r2dc"]
PROBES = (0, 2, 5, 20, 35, 65, 99)
COINS = [0.02, 0.95, 0.1, 0.4, 0.7]


def step_loss(objective, step, model=None, notes=NOTES, coins=COINS):
    """The loss with its terms taken, and the model that was asked."""
    model = model or StandIn()
    result = loss(model, Batch(notes, torch.tensor(coins), TOKENS), objective, step, STEPS)
    return result, list(result.terms), model


def label_weight_by_hand(name, step):
    fixed = {"stage1": 0.0, "sft": 1.0, "dss": 0.5}
    return fixed[name] if name in fixed else 0.7 * min(1.0, step / 5)


def sampling_probability_by_hand(name, step):
    if name == "r2d-always":
        return 0.9
    if name == "r2d" and step >= 5:
        return min(0.9, (step - 5) / 60)
    return 0.0


def prompted_by_hand(name, step):
    """The label in each rationale prompt."""
    p = sampling_probability_by_hand(name, step)
    return [
        note.own if coin < p and note.rationale else note.label
        for note, coin in zip(NOTES, COINS, strict=True)
    ]


def explain_by_hand(name, note, label):
    if name.startswith("r2d"):
        return f"given label: {label}, explain: {note.text}"
    return f"explain: {note.text}"


@pytest.mark.parametrize("step", PROBES)
@pytest.mark.parametrize("name", THE_PAPERS)
def test_the_terms_sum_to_both_weighted_means(name, step):
    result, terms, _ = step_loss(OBJECTIVES[name], step)
    label_loss = sum(cost("label", f"predict: {n.text}", n.label) for n in NOTES) / 7
    rationale_loss = 0.0
    for note, label in zip(NOTES, prompted_by_hand(name, step), strict=True):
        if note.rationale:
            prompt = explain_by_hand(name, note, label)
            rationale_loss += cost("rationale", prompt, note.rationale) / 31
    a = label_weight_by_hand(name, step)
    by_hand = a * label_loss + (1 - a) * rationale_loss
    assert sum(term.value.item() for term in terms) == pytest.approx(by_hand, rel=1e-12)
    assert result.label_weight == pytest.approx(a)
    assert result.sampling_probability == pytest.approx(sampling_probability_by_hand(name, step))


@pytest.mark.parametrize("step", PROBES)
@pytest.mark.parametrize("name", THE_PAPERS)
def test_coins_below_p_alone_put_the_models_own_label_into_the_prompt(name, step):
    result, _, model = step_loss(OBJECTIVES[name], step)
    p = sampling_probability_by_hand(name, step)
    sampled = [c < p and bool(n.rationale) for n, c in zip(NOTES, COINS, strict=True)]
    assert result.sampled == sampled
    assert result.prompted == prompted_by_hand(name, step)
    asked = [note.text for note, own in zip(NOTES, sampled, strict=True) if own]
    decided = [call for call in model.asked if call[0] == "decide"]
    assert decided == ([("decide", asked, False)] if asked else [])  # nobody else's label is made


@pytest.mark.parametrize("step", PROBES)
@pytest.mark.parametrize("name", THE_PAPERS)
def test_targets_stay_gold_whatever_the_prompt_says(name, step):
    objective = OBJECTIVES[name]
    _, _, model = step_loss(objective, step)
    predict = [(f"predict: {note.text}", note.label) for note in NOTES]
    explain = [
        (explain_by_hand(name, note, label), note.rationale)
        for note, label in zip(NOTES, prompted_by_hand(name, step), strict=True)
        if note.rationale
    ]
    assert sorted(model.questions("label")) == (sorted(predict) if objective.predicts else [])
    assert sorted(model.questions("rationale")) == (sorted(explain) if objective.explains else [])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", THE_PAPERS)
def test_micro_batches_do_not_change_the_sum(name, size):
    _, whole, _ = step_loss(OBJECTIVES[name], 50)
    _, parts, model = step_loss(OBJECTIVES[name], 50, StandIn(size))
    assert len(parts) > len(whole)
    assert all(len(texts) <= size for call, texts, _ in model.asked if call != "decide")
    for task in TOKENS:
        summed = [sum(t.value.item() for t in terms if t.task == task) for terms in (whole, parts)]
        assert summed[0] == pytest.approx(summed[1], rel=1e-12)


@pytest.mark.parametrize("step", PROBES)
def test_stage_1_has_no_label_term_and_sft_no_rationale_term(step):
    tasks = {}
    for name in ("stage1", "sft", "dss", "r2d"):
        _, terms, _ = step_loss(OBJECTIVES[name], step, StandIn(2))
        tasks[name] = {term.task for term in terms}
    both = {"label", "rationale"}
    assert tasks == {"stage1": {"rationale"}, "sft": {"label"}, "dss": both, "r2d": both}


def test_terms_carry_their_tasks_weight_and_the_global_token_count():
    _, terms, _ = step_loss(OBJECTIVES["r2d"], 50, StandIn(2))
    for term in terms:
        assert term.weight == pytest.approx({"label": 0.7, "rationale": 0.3}[term.task])
        assert term.tokens == TOKENS[term.task]
        expected = term.weight * term.nll.item() / term.tokens
        assert term.value.item() == pytest.approx(expected, rel=1e-12)


def test_labels_are_sampled_before_any_likelihood_and_terms_are_computed_as_they_are_taken():
    model = StandIn(2)
    result = loss(model, Batch(NOTES, torch.tensor(COINS), TOKENS), OBJECTIVES["r2d"], 50, STEPS)
    assert [call[0] for call in model.asked] == ["decide"]
    first = next(result.terms)
    assert first.task == "label"
    assert [call[0] for call in model.asked] == ["decide", "label"]
    next(result.terms)
    assert [call[0] for call in model.asked] == ["decide", "label", "rationale"]


@pytest.mark.parametrize("in_train_mode", [False, True])
def test_labels_are_sampled_in_the_mode_that_the_objective_says(in_train_mode):
    objective = named("r2d-always", {"sample_in_train_mode": in_train_mode})
    _, _, model = step_loss(objective, 0)
    ((_, _, train_mode),) = [call for call in model.asked if call[0] == "decide"]
    assert train_mode is in_train_mode


def test_a_cap_of_0_samples_nothing_and_a_cap_of_1_everything_that_has_a_rationale():
    coins = [0.0, 0.25, 0.5, 0.75, 0.999]
    none, _, model = step_loss(named("r2d", {"cap": 0.0}), 99, coins=coins)
    assert none.sampled == [False] * 5
    assert not [call for call in model.asked if call[0] == "decide"]
    every, _, _ = step_loss(named("r2d-always", {"cap": 1.0}), 0, coins=coins)
    assert every.sampled == [True, True, False, True, True]
    assert every.prompted == [n.own if n.rationale else n.label for n in NOTES]


def test_a_micro_batch_without_any_rationale_teaches_the_label_only():
    silent = [note for note in NOTES if not note.rationale]
    _, terms, model = step_loss(OBJECTIVES["r2d-always"], 99, notes=silent, coins=[0.0])
    assert [term.task for term in terms] == ["label"]
    assert [call[0] for call in model.asked] == ["label"]


def test_gradients_flow_through_every_term():
    scale = torch.tensor(2.0, dtype=torch.double, requires_grad=True)

    class Scaled(StandIn):
        def nll(self, task, sources, targets):
            return scale * super().nll(task, sources, targets)

    _, terms, _ = step_loss(OBJECTIVES["r2d"], 50, Scaled(2))
    total = sum(term.value for term in terms)
    total.backward()
    assert scale.grad.item() == pytest.approx(total.item() / 2.0, rel=1e-12)


# --- token losses against torch


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(4, 7, 11)


@pytest.fixture
def targets():
    torch.manual_seed(1)
    ids = torch.randint(0, 11, (4, 7))
    ids[0, 3:] = IGNORE
    ids[2, 5:] = IGNORE
    return ids


def test_summed_loss_is_torchs_mean_cross_entropy_times_the_counted_tokens(logits, targets):
    criterion = torch.nn.CrossEntropyLoss(ignore_index=-100)
    mean = criterion(logits.reshape(-1, 11), targets.reshape(-1)).item()
    assert summed_loss(logits, targets).item() == pytest.approx(mean * (28 - 4 - 2), rel=1e-6)


def test_token_losses_are_the_log_probabilities_of_the_targets(logits, targets):
    losses = token_losses(logits, targets)
    assert losses.shape == targets.shape
    for row in range(4):
        for column in range(7):
            target = targets[row, column].item()
            if target == IGNORE:
                assert losses[row, column] == 0
            else:
                wanted = -torch.log_softmax(logits[row, column], -1)[target].item()
                assert losses[row, column].item() == pytest.approx(wanted, rel=1e-5)
    assert losses.sum().item() == pytest.approx(summed_loss(logits, targets).item(), rel=1e-6)


def test_losses_are_computed_in_full_precision(logits, targets):
    assert summed_loss(logits.bfloat16(), targets).dtype == torch.float32
    assert token_losses(logits.bfloat16(), targets).dtype == torch.float32
