"""Models: what each tuning trains and freezes, what is saved, and what can't be loaded."""

import json
import math
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM
from transformers.activations import NewGELUActivation

from r2d import paths
from r2d.errors import R2DError
from r2d.method import objective
from r2d.models.backbone import pad
from r2d.models.decode import Decoder
from r2d.models.load import count_parameters, load_model, load_tokenizer, locate, save_model
from r2d.recipes.settings import LoraSettings, TrainSettings
from r2d.training.checkpoint import trainable
from r2d.training.loop import Trainer

SMALL = LoraSettings(r=4, alpha=8)
STEPS = TrainSettings(steps=2, lr=1e-2, batch=4, dropout=0.0, eval_every=2, patience=5)


def trainer(decoder, folder, name="dss"):
    return Trainer(decoder.model, decoder, objective.named(name), STEPS, 1, folder, "f")


def fit(decoder, records, folder, name="dss"):
    return trainer(decoder, folder, name).fit(records.train, records.validation)


def packed(model) -> dict[str, torch.Tensor]:
    """The 4-bit weights, as bytes."""
    return {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if weight.dtype == torch.uint8
    }


def logits(model, tokenizer):
    texts = tokenizer(["predict: 40 yo F cp, sob", "predict: fever x2d"])["input_ids"]
    answers = tokenizer(["Call 911", "Home care"])["input_ids"]
    ids, labels = pad(texts, 0, model.device), pad(answers, -100, model.device)
    with torch.no_grad():
        output = model.eval()(input_ids=ids, attention_mask=ids.ne(0).long(), labels=labels)
    return output.logits


# --- what is trained


def test_qlora_holds_the_linear_layers_in_four_bits_with_double_quantisation(records, fresh):
    from bitsandbytes.nn import Linear4bit

    model, plain = fresh(records, "qlora").model, fresh(records).model
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    linear = [name for name, m in plain.named_modules() if isinstance(m, torch.nn.Linear)]
    # transformers keeps the output layer and T5's `wo` in fp32.
    linear = [name for name in linear if name != "lm_head" and not name.endswith(".wo")]
    assert len(layers) == len(linear) == len(packed(model)) > 10
    for layer in layers:
        state = layer.weight.quant_state
        assert layer.weight.dtype == torch.uint8
        assert state.quant_type == "nf4"
        assert state.nested and state.absmax.dtype == torch.uint8  # the scales are quantised too
        assert layer.weight.numel() == math.prod(state.shape) / 2


def test_an_evaluation_leaves_the_gradients_of_4_bit_training_as_they_were(records, fresh):
    decoder = fresh(records, "qlora")
    model = decoder.model.train()
    batch = decoder.tokenizer(["predict: chest pain"], return_tensors="pt").to(model.device)
    labels = decoder.tokenizer(["Call 911"], return_tensors="pt")["input_ids"].to(model.device)

    def gradients():
        model.zero_grad()
        model(**batch, labels=labels).loss.backward()
        return {name: w.grad.clone() for name, w in model.named_parameters() if w.requires_grad}

    before = gradients()
    model.eval()
    decoder.label_texts([[5, 6, 1]])
    model.train()
    after = gradients()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(gradient.abs().max() > 0.01 for gradient in before.values())


@pytest.mark.parametrize("tuning", ["lora", "qlora"])
def test_an_adapter_alone_is_trained_and_the_base_stays_frozen(tuning, records, fresh, tmp_path):
    decoder = fresh(records, tuning)
    model = decoder.model
    frozen = {n: w.detach().clone() for n, w in model.named_parameters() if "lora_" not in n}
    adapter = trainable(model)
    assert adapter
    assert all("lora_" in name for name in adapter)
    assert not set(frozen) & set(adapter)
    training = trainer(decoder, tmp_path / "run")
    held = {id(w) for group in training.optimiser.param_groups for w in group["params"]}
    assert held == {id(w) for name, w in model.named_parameters() if "lora_" in name}
    training.fit(records.train, records.validation)
    now = dict(model.named_parameters())
    assert all(now[name].dtype == value.dtype for name, value in frozen.items())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    after = trainable(model)
    moved = [name for name, value in adapter.items() if not torch.equal(after[name], value)]
    assert len(moved) > len(adapter) / 2
    assert bool(packed(model)) == (tuning == "qlora")


def test_full_tuning_trains_every_weight(records, fresh, tmp_path):
    decoder = fresh(records)
    before = trainable(decoder.model)
    assert set(before) == {name for name, _ in decoder.model.named_parameters()}
    fit(decoder, records, tmp_path / "run")
    after = trainable(decoder.model)
    assert not any(torch.equal(after[name], value) for name, value in before.items())


def test_dropout_of_the_recipe_reaches_every_layer(records, fresh):
    model = fresh(records, dropout=0.3).model
    shares = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    # T5's attention keeps its share as a number.
    others = [getattr(m, "dropout", None) for m in model.modules()]
    shares += [share for share in others if isinstance(share, float)]
    assert len(shares) > 10
    assert set(shares) == {0.3}


def test_counts_do_not_depend_on_how_weights_are_packed(records, fresh):
    full, lora, qlora = (
        count_parameters(fresh(records, tuning).model) for tuning in ("full", "lora", "qlora")
    )
    saved = load_file(paths.BASE / "model.safetensors").values()
    assert full["parameters"] == full["trainable"] == sum(weight.numel() for weight in saved)
    assert lora == qlora
    assert lora["trainable"] > 0
    assert lora["parameters"] == full["parameters"] + lora["trainable"]


# --- what is saved


@pytest.mark.filterwarnings("error:.*mini-base")  # no hub is asked for the shipped base
@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_a_saved_model_loads_to_the_same_logits(tuning, records, fresh, tmp_path):
    decoder = fresh(records, tuning)
    fit(decoder, records, tmp_path / "run")
    trained, folder = logits(decoder.model, decoder.tokenizer), tmp_path / "model"
    save_model(decoder.model, decoder.tokenizer, "mini-base", folder)
    weights = {p.name for p in folder.iterdir() if p.suffix not in (".json", ".md", ".jinja")}
    assert weights == {"model.safetensors" if tuning == "full" else "adapter_model.safetensors"}
    again = load_model("mini-base", tuning, SMALL, 0.0, folder)
    tokenizer = load_tokenizer(str(folder))
    assert torch.equal(logits(again, tokenizer), trained)
    assert not torch.allclose(logits(fresh(records, tuning).model, tokenizer), trained, atol=1e-3)
    if tuning != "full":
        adapter = json.loads((folder / "adapter_config.json").read_text())
        assert adapter["base_model_name_or_path"] == "mini-base"
    texts = [p.read_text() for p in folder.iterdir() if p.suffix in (".json", ".md")]
    assert not any(str(paths.ROOT) in text for text in texts)


# --- how it is read


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_no_file_of_a_model_stays_mapped_into_memory(tuning, tmp_path):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("Linux alone lists what is mapped")
    for file in paths.BASE.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = load_model(str(tmp_path), tuning, SMALL, 0.0)
    assert str(tmp_path) not in maps.read_text()
    assert count_parameters(model)["parameters"] > 900_000


def test_a_t5_tokenizer_is_read_from_sentencepiece_alone(tmp_path):
    """As hub checkpoints of T5 v1.1 have it: `spiece.model`, and no `tokenizer.json`."""
    notes = ["chest pain and short of breath", "call 911 now", "fever for two days, rest"] * 20
    with (tmp_path / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(notes),
            model_writer=file,
            vocab_size=60,
            hard_vocab_limit=False,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    tokenizer = load_tokenizer(str(tmp_path))
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    for note in notes[:3]:
        assert tokenizer(note)["input_ids"] == [*reference.encode(note), tokenizer.eos_token_id]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)


# --- what can't be loaded


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no/such/folder"])
@pytest.mark.parametrize("part", ["tokenizer", "model"])
def test_an_unknown_model_is_one_sentence(part, name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    sentence = f"'{name}' could not be loaded: .* set the recipe's `backbone`"
    with pytest.raises(R2DError, match=sentence):
        if part == "tokenizer":
            load_tokenizer(name)
        else:
            load_model(name, "full", SMALL, 0.0)


def test_a_folder_without_weights_is_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text((paths.BASE / "config.json").read_text())
    with pytest.raises(R2DError, match="could not be loaded"):
        load_model(str(tmp_path), "full", SMALL, 0.0)


def test_a_start_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(R2DError, match="There is no checkpoint at .*; run the method it belongs"):
        load_model("mini-base", "full", SMALL, 0.0, tmp_path / "model")


ALIEN = {  # what is done to a run's tensors, and what is said of it
    "missing": (lambda tensors: tensors.pop(min(tensors)), "no {least}"),
    "too many": (lambda tensors: tensors.update(more=torch.ones(2)), "more is none of its tensors"),
    "another shape": (
        lambda tensors: tensors.update({min(tensors): torch.ones(2, 3)}),
        "RuntimeError",
    ),
}


@pytest.mark.parametrize(("change", "fault"), ALIEN.values(), ids=ALIEN)
@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_a_run_whose_tensors_are_not_the_model_s_is_one_sentence(
    tuning, change, fault, records, fresh, tmp_path
):
    decoder = fresh(records, tuning)
    save_model(decoder.model, decoder.tokenizer, "mini-base", tmp_path)
    load_model("mini-base", tuning, SMALL, 0.0, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    tensors = load_file(file)
    least = min(tensors)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(R2DError) as caught:
        load_model("mini-base", tuning, SMALL, 0.0, tmp_path)
    owner = f"The files of the model '{tmp_path}' are damaged"
    if tuning != "full":
        owner = f"The adapter in {tmp_path} is damaged"
    assert str(caught.value).startswith(f"{owner} ({fault.format(least=least)}): ")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 64])
@pytest.mark.parametrize("tuning", ["full", "qlora"])
def test_a_run_whose_weights_are_cut_is_one_sentence(tuning, content, records, fresh, tmp_path):
    decoder = fresh(records, tuning)
    save_model(decoder.model, decoder.tokenizer, "mini-base", tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(content)
    with pytest.raises(R2DError, match=r"damaged \(SafetensorError\): "):
        load_model("mini-base", tuning, SMALL, 0.0, tmp_path)


def test_a_backbone_may_have_more_tensors_than_its_model_but_not_fewer(tmp_path):
    for file in paths.BASE.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"head": torch.ones(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    load_model(str(tmp_path), "lora", SMALL, 0.0)
    del tensors["decoder.final_layer_norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(R2DError, match=r"\(no decoder.final_layer_norm.weight\)"):
        load_model(str(tmp_path), "lora", SMALL, 0.0)


def test_code_that_comes_with_a_model_is_never_run(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "alien.py").write_text(f"open({str(marker)!r}, 'w')\n")
    classes = {"AutoConfig": "alien.C", "AutoModelForSeq2SeqLM": "alien.M"}
    config = {"model_type": "alien", "auto_map": classes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = {"auto_map": {"AutoTokenizer": ["alien.T", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    for load in (
        lambda: load_model(str(tmp_path), "full", SMALL, 0.0),
        lambda: load_tokenizer(str(tmp_path)),
    ):
        with pytest.raises(R2DError, match="could not be loaded"):
            load()
    assert not marker.exists()


def test_an_encoder_is_one_sentence(tmp_path):
    from transformers import BertConfig, BertModel

    shape = BertConfig(vocab_size=64, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    BertModel(shape).save_pretrained(tmp_path)
    with pytest.raises(R2DError, match="is an encoder and can't write"):
        load_model(str(tmp_path), "full", SMALL, 0.0)


# --- other families


@pytest.fixture(params=["bart", "mt5"])
def other(request, tmp_path):
    """A tiny untrained encoder-decoder of another family, with the base's tokenizer."""
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        MT5Config,
        MT5ForConditionalGeneration,
    )

    tokenizer = load_tokenizer("mini-base")
    end = tokenizer.eos_token_id
    torch.manual_seed(0)
    if request.param == "bart":
        shape = BartConfig(
            vocab_size=len(tokenizer),
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=128,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=end,
            bos_token_id=end,
            decoder_start_token_id=end,
            forced_eos_token_id=None,
        )
        model = BartForConditionalGeneration(shape)
    else:
        shape = MT5Config(
            vocab_size=len(tokenizer),
            d_model=16,
            d_kv=8,
            num_heads=2,
            d_ff=16,
            num_layers=1,
            decoder_start_token_id=0,
        )
        model = MT5ForConditionalGeneration(shape)
    model.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    return str(tmp_path / "other")


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_another_encoder_decoder_trains_and_decodes(tuning, other, records, tmp_path):
    model = load_model(other, tuning, SMALL, 0.1)
    decoder = Decoder(model, load_tokenizer(other), records.labels, (64, 8))
    outcome = fit(decoder, records, tmp_path / "run", "r2d-always")
    assert outcome["steps"] == 2
    predictions = decoder.predict(records.test, objective.named("r2d-always"), "score")
    assert len(predictions) == 8
    assert all(prediction["valid"] for prediction in predictions)
    save_model(model, decoder.tokenizer, other, tmp_path / "saved")
    again = load_model(other, tuning, SMALL, 0.0, tmp_path / "saved")
    pair = [logits(each, decoder.tokenizer) for each in (again, model)]
    assert torch.allclose(*pair, atol=1e-5)


def test_the_fused_activation_is_the_checkpoints_own():
    ours = load_model("mini-base", "full", LoraSettings(), 0.0).eval()
    theirs = AutoModelForSeq2SeqLM.from_pretrained(locate("mini-base")).eval()
    ids = torch.arange(5, 45).view(2, 20)
    with torch.no_grad():
        logits, expected = (model(input_ids=ids, labels=ids).logits for model in (ours, theirs))
    assert not any(isinstance(module, NewGELUActivation) for module in ours.modules())
    assert torch.allclose(logits, expected, atol=1e-5)
