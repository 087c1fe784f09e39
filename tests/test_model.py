"""Models: what each tuning trains and freezes, what is saved, and where stage 2 starts."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from r2d import paths
from r2d.errors import R2DError
from r2d.experiments import run
from r2d.method import objective
from r2d.models import load
from r2d.models.decode import Decoder, pad
from r2d.recipes.settings import LoraSettings, TrainSettings
from r2d.training import checkpoint, loop

SMALL = LoraSettings(r=4, alpha=8)
STEPS = TrainSettings(steps=2, lr=1e-2, batch=4, dropout=0.0, eval_every=2, patience=5)


def fit(decoder, records, folder, goal="dss", steps=STEPS):
    goal = objective.named(goal)
    return loop.Trainer(decoder.model, decoder, goal, steps, 1, folder, "f").fit(
        records.train, records.validation
    )


def packed(net) -> dict[str, torch.Tensor]:
    """The 4-bit weights, as bytes."""
    return {
        name: p.detach().clone() for name, p in net.named_parameters() if p.dtype == torch.uint8
    }


def logits(net, tokenizer):
    ids = pad(tokenizer(["predict: 40 yo F cp, sob", "predict: fever x2d"])["input_ids"], 0, "cpu")
    labels = pad(tokenizer(["Call 911", "Home care"])["input_ids"], -100, "cpu")
    with torch.no_grad():
        return net.eval()(input_ids=ids, attention_mask=ids.ne(0).long(), labels=labels).logits


def test_qlora_holds_the_linear_layers_in_four_bits_with_double_quantisation(records, fresh):
    from bitsandbytes.nn import Linear4bit

    net, plain = fresh(records, "qlora").model, fresh(records).model
    layers = {name: m for name, m in net.named_modules() if isinstance(m, Linear4bit)}
    linear = [n for n, m in plain.named_modules() if isinstance(m, torch.nn.Linear)]
    linear = [
        n for n in linear if n != "lm_head" and not n.endswith(".wo")
    ]  # transformers keeps T5's `wo` in fp32
    assert len(layers) == len(linear) == len(packed(net)) > 10
    for layer in layers.values():
        state = layer.weight.quant_state
        assert layer.weight.dtype == torch.uint8 and state.quant_type == "nf4"
        assert state.nested and state.absmax.dtype == torch.uint8  # the scales are quantised too
        assert layer.weight.numel() == math.prod(state.shape) / 2


def test_an_evaluation_leaves_the_gradients_of_4_bit_training_as_they_were(records, fresh):
    decoder = fresh(records, "qlora")
    net = decoder.model.train()
    batch = decoder.tokenizer(["predict: chest pain"], return_tensors="pt")
    labels = decoder.tokenizer(["Call 911"], return_tensors="pt")["input_ids"]

    def gradients():
        net.zero_grad()
        net(**batch, labels=labels).loss.backward()
        return {
            name: weight.grad.clone()
            for name, weight in net.named_parameters()
            if weight.requires_grad
        }

    before = gradients()
    net.eval()
    decoder.label_texts([[5, 6, 1]])
    net.train()
    after = gradients()
    assert all(torch.equal(before[name], after[name]) for name in before) and any(
        g.abs().max() > 0.01 for g in before.values()
    )


@pytest.mark.parametrize("tuning", ["lora", "qlora"])
def test_an_adapter_alone_is_trained_and_the_base_stays_frozen(tuning, records, fresh, tmp_path):
    decoder = fresh(records, tuning)
    net = decoder.model
    frozen = {n: p.detach().clone() for n, p in net.named_parameters() if "lora_" not in n}
    adapter = checkpoint.trainable(net)
    assert adapter and all("lora_" in name for name in adapter) and not set(frozen) & set(adapter)
    trainer = loop.Trainer(net, decoder, objective.named("dss"), STEPS, 1, tmp_path / "run", "f")
    held = {id(p) for group in trainer.optimiser.param_groups for p in group["params"]}
    assert held == {id(p) for n, p in net.named_parameters() if "lora_" in n}
    trainer.fit(records.train, records.validation)
    now = dict(net.named_parameters())
    assert all(
        torch.equal(now[name], value) and now[name].dtype == value.dtype
        for name, value in frozen.items()
    )
    assert (
        sum(not torch.equal(now[name], value) for name, value in adapter.items()) > len(adapter) / 2
    )
    assert bool(packed(net)) == (tuning == "qlora")


def test_full_tuning_trains_every_weight(records, fresh, tmp_path):
    decoder = fresh(records)
    before = checkpoint.trainable(decoder.model)
    assert set(before) == {name for name, _ in decoder.model.named_parameters()}
    fit(decoder, records, tmp_path / "run")
    assert all(
        not torch.equal(value, before[name])
        for name, value in checkpoint.trainable(decoder.model).items()
    )


def test_counts_do_not_depend_on_how_weights_are_packed(records, fresh):
    full, lora, qlora = (
        load.count(fresh(records, tuning).model) for tuning in ("full", "lora", "qlora")
    )
    assert (
        full["parameters"]
        == full["trainable"]
        == sum(v.numel() for v in load_file(paths.BASE / "model.safetensors").values())
    )
    assert (
        lora == qlora
        and lora["parameters"] == full["parameters"] + lora["trainable"]
        and lora["trainable"] > 0
    )


@pytest.mark.filterwarnings("error:.*mini-base")  # no hub is asked for the shipped base
@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_a_saved_model_loads_to_the_same_logits(tuning, records, fresh, tmp_path):
    decoder = fresh(records, tuning)
    fit(decoder, records, tmp_path / "run")
    trained, folder = logits(decoder.model, decoder.tokenizer), tmp_path / "model"
    load.save(decoder.model, decoder.tokenizer, "mini-base", folder)
    weights = {p.name for p in folder.iterdir() if p.suffix not in (".json", ".md", ".jinja")}
    assert weights == {"model.safetensors" if tuning == "full" else "adapter_model.safetensors"}
    again = load.load("mini-base", tuning, SMALL, 0.0, folder)
    tokenizer = load.load_tokenizer(str(folder))
    assert torch.equal(logits(again, tokenizer), trained)
    assert not torch.allclose(logits(fresh(records, tuning).model, tokenizer), trained, atol=1e-3)
    if tuning != "full":
        settings = json.loads((folder / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == "mini-base"
    assert not any(
        str(paths.ROOT) in p.read_text() for p in folder.iterdir() if p.suffix in (".json", ".md")
    )


@pytest.mark.parametrize("tuning", ["full", "qlora"])
def test_stage_2_starts_from_the_weights_that_stage_1_saved(tuning, tiny, home, monkeypatch):
    recipe, starts, original = tiny({"train.common.lr": 1e-2}), {}, loop.Trainer.fit

    def spy(self, *given):
        starts[len(starts)] = checkpoint.trainable(self.model)
        return original(self, *given)

    monkeypatch.setattr(loop.Trainer, "fit", spy)
    first = run.execute(recipe, "triage", f"stage1-{tuning}", 1)
    run.execute(recipe, "triage", f"r2d-{tuning}", 1)
    file = "model.safetensors" if tuning == "full" else "adapter_model.safetensors"
    saved = load_file(first / "model" / file)
    begun = {name.replace(".default", ""): value for name, value in starts[1].items()}
    assert set(begun) == set(saved) and all(torch.equal(begun[name], saved[name]) for name in saved)
    fresh_weights = {name.replace(".default", ""): value for name, value in starts[0].items()}
    assert not any(
        torch.equal(fresh_weights[name], saved[name]) for name in saved if "lora_A" not in name
    )


def test_stage_2_without_its_stage_1_says_what_to_run_first(tiny, home):
    with pytest.raises(R2DError, match=r"There is no .*stage1-full.*; run .* first"):
        run.execute(tiny(), "triage", "r2d-full", 1)


def test_stage_2_refuses_a_stage_1_made_under_other_settings(tiny, home):
    recipe = tiny()
    run.execute(recipe, "triage", "stage1-full", 1)
    other = recipe.model_copy(update={"max_input_tokens": 48})
    with pytest.raises(R2DError, match="stage1-full"):
        run.execute(other, "triage", "r2d-full", 1)


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no/such/folder"])
def test_an_unknown_model_is_one_sentence(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for load in (load.load_tokenizer, lambda n: load.load(n, "full", SMALL, 0.0)):
        with pytest.raises(
            R2DError, match=f"'{name}' could not be loaded: .* set the recipe's `backbone`"
        ):
            load(name)


def test_a_folder_without_weights_is_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text((paths.BASE / "config.json").read_text())
    with pytest.raises(R2DError, match="could not be loaded"):
        load.load(str(tmp_path), "full", SMALL, 0.0)


def test_an_encoder_is_one_sentence(tmp_path):
    from transformers import BertConfig, BertModel

    BertModel(
        BertConfig(vocab_size=64, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(tmp_path)
    with pytest.raises(R2DError, match="is an encoder and can't write"):
        load.load(str(tmp_path), "full", SMALL, 0.0)


@pytest.fixture(params=["bart", "mt5"])
def other(request, tmp_path):
    """A tiny untrained encoder-decoder of another family, with the base's tokenizer."""
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        MT5Config,
        MT5ForConditionalGeneration,
    )

    tokenizer = load.load_tokenizer("mini-base")
    pad_id, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    sizes = {
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
    }
    special = {
        "pad_token_id": pad_id,
        "eos_token_id": end,
        "bos_token_id": end,
        "decoder_start_token_id": end,
    }
    torch.manual_seed(0)
    if request.param == "bart":
        shape = BartConfig(
            vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, max_position_embeddings=128,
            forced_eos_token_id=None, **sizes, **special,
        )  # fmt: skip
        net = BartForConditionalGeneration(shape)
    else:
        net = MT5ForConditionalGeneration(MT5Config(
            vocab_size=len(tokenizer), d_model=16, d_kv=8, num_heads=2, d_ff=16, num_layers=1, decoder_start_token_id=0,
        ))  # fmt: skip
    net.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    return str(tmp_path / "other")


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_another_encoder_decoder_trains_and_decodes(tuning, other, records, tmp_path):
    net = load.load(other, tuning, SMALL, 0.1)
    decoder = Decoder(net, load.load_tokenizer(other), records.labels, (64, 8))
    outcome = fit(decoder, records, tmp_path / "run", "r2d-always")
    rows = decoder.predict(records.test, objective.named("r2d-always"), "score")
    assert outcome["steps"] == 2 and len(rows) == 8 and all(row["valid"] for row in rows)
    load.save(net, decoder.tokenizer, other, tmp_path / "saved")
    again = load.load(other, tuning, SMALL, 0.0, tmp_path / "saved")
    assert torch.allclose(
        logits(again, decoder.tokenizer), logits(net, decoder.tokenizer), atol=1e-5
    )
