"""The benchmarks' harness on a tiny model: what is equal, what is counted, what is written."""

import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5ForConditionalGeneration

from benchmarks import __main__ as command
from benchmarks import figure, measure, naive, report, sizes, work
from benchmarks.naive import Naive
from benchmarks.sizes import Size
from r2d.models.load import load_tokenizer

TINY = Size("tiny", sizes.t5(32, 2, 2, 64, d_kv=16), 4, cases=2, singles=3, rounds=2, rationale=8)


@pytest.fixture(autouse=True)
def small_vocabulary(monkeypatch):
    monkeypatch.setattr(sizes, "VOCABULARY", 0)  # the tokenizer's then
    yield
    AcceleratorState._reset_state(True)  # of bf16


@pytest.fixture(scope="module")
def dataset():
    return sizes.notes(6)


@pytest.fixture
def decoder(dataset):
    return sizes.decoder(TINY, dataset.labels)


@pytest.fixture
def model():
    """The tiny network, with attention as plain products, all of which torch counts."""
    network = sizes.network(TINY, len(load_tokenizer("mini-base"))).eval()
    network.set_attn_implementation("eager")
    return network


def rows_of(length: int) -> dict[str, torch.Tensor]:
    """Three rows of so many tokens each, without padding."""
    ids = torch.randint(3, 900, (3, length), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def counted(call) -> float:
    """Multiply-adds as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def test_a_size_is_timed_and_all_of_it_is_written(dataset, tmp_path, monkeypatch):
    rows = command.measured(TINY, dataset)
    engines = ["torch", "CTranslate2 float32", "CTranslate2 int8"]
    steps = [f"r2d, {precision}" for precision in command.precisions()]
    assert [row.engine for row in rows] == 2 * steps + 2 * engines
    for row in rows:
        middle, low, high = row.ratio
        assert 0 < low <= middle <= high and row.limit > 0
    for name in ("README.md", report.PAGE):
        folder = report.HERE if name == "README.md" else report.PAGES
        (tmp_path / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(report, "HERE", tmp_path)
    monkeypatch.setattr(report, "PAGES", tmp_path)
    report.write(rows, "a machine; its versions", 0.1)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.count("| tiny, 0 M") == len(rows) and "On a machine; its versions; commit " in text
    assert "![Latency of label" in (tmp_path / report.PAGE).read_text(encoding="utf-8")
    source = pd.read_csv(tmp_path / "latency.csv")
    assert source["engine"].tolist() == [figure.GENERATE, *engines]
    assert (tmp_path / "latency.png").stat().st_size > 5000


def test_another_loss_stops_it(decoder, dataset, monkeypatch):
    right, wrong = Naive.loss, 1 + 3 * measure.TOLERANCE["fp32"]
    monkeypatch.setattr(Naive, "loss", lambda *given: right(*given) * wrong)
    with pytest.raises(AssertionError, match=r"Step 0: loss \d"):
        measure.training(TINY, decoder, dataset.train, "SFT step", "fp32")


def test_other_coins_stop_it(decoder, dataset, monkeypatch):
    monkeypatch.setattr(naive.schedules, "coins", lambda seed, step, size: torch.ones(size))
    step = naive.NaiveTraining(
        measure.straightforward(decoder.model, decoder), dataset.train, 4, 0, 9
    )
    assert not any(step.step(0, sizes.SEED, 0.7, 0.9)["sampled"])
    monkeypatch.undo()
    ours = {"sampled": 4, "loss": 1.0}
    with pytest.raises(AssertionError, match="4 sampled labels, naive 3"):
        measure.expect_equal_losses(0, {"sampled": [True] * 3, "loss": 1.0}, ours, 1e-5)


def test_another_text_stops_it(decoder, dataset, monkeypatch):
    right = Naive.predict
    wrong = {"rationale": "something else"}
    monkeypatch.setattr(Naive, "predict", lambda *given: [row | wrong for row in right(*given)])
    with pytest.raises(AssertionError, match="50.0% of the texts of torch are naive's"):
        measure.decoding(TINY, {"torch": decoder}, dataset.test[:2], singly=False)


def test_multiply_adds_of_a_step_are_those_that_torch_counts(model):
    sources, targets = rows_of(17), rows_of(5)["input_ids"]
    whole = counted(lambda: model(**sources, labels=targets).loss.backward())
    assert work.training(model.config, [17] * 3, [5] * 3) == whole


def test_multiply_adds_of_decoding_are_those_that_torch_counts(model):
    written = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6}
    whole = counted(lambda: model.generate(**rows_of(17), **written))
    reading = work.reading(model.config, [17] * 3)
    assert reading + work.writing(model.config, [17] * 3, [6] * 3) == whole


def test_a_step_of_the_decoder_reads_its_weights_and_the_output_layers(model):
    read = sum(
        weight.numel()
        for name, weight in model.decoder.block.named_parameters()
        if weight.dim() == 2 and "relative" not in name and not name.endswith(CROSS)
    )
    assert work.step_weights(model.config) == read + model.lm_head.weight.numel()


CROSS = ("EncDecAttention.k.weight", "EncDecAttention.v.weight")  # of the prompt, read once


@pytest.mark.parametrize(("place", "parameters"), [(1, 60_506_624), (2, 222_903_552)])
def test_sizes_are_those_of_t5s_checkpoints(place, parameters, monkeypatch):
    monkeypatch.undo()
    shape = sizes.SIZES[place].shape
    config = sizes.T5Config(vocab_size=sizes.VOCABULARY, **shape)
    with torch.device("meta"):
        made = T5ForConditionalGeneration(config)
    assert sum(weight.numel() for weight in made.parameters()) == parameters


def test_notes_have_60_to_120_tokens(dataset):
    tokenizer = load_tokenizer("mini-base")
    for split in (dataset.train, dataset.test):
        lengths = [
            len(ids) for ids in tokenizer([record.question for record in split])["input_ids"]
        ]
        assert len(lengths) == 6 and 55 <= min(lengths) and max(lengths) <= 121
