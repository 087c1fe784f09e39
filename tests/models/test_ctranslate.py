"""CTranslate2: the same texts and log-probabilities as the network's, or the network itself."""

import json
import random

import pytest
import torch
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from r2d import paths
from r2d.data import triage
from r2d.data.record import Record
from r2d.errors import R2DError
from r2d.method import objective
from r2d.models import ctranslate
from r2d.models.ctranslate import CTranslate2
from r2d.models.decode import Decoder, generate, score
from r2d.models.load import load_model, load_tokenizer, save_model
from r2d.recipes.settings import LoraSettings

LABELS = ("Call 911", "Home care", "See within a day")
NOTES = [note["question"] for note in triage.generate(12, seed=5)]
KINDS = {
    "tied, ReLU": {"feed_forward_proj": "relu"},
    "tied, gated": {"feed_forward_proj": "gated-gelu"},
    "untied, ReLU": {"feed_forward_proj": "relu", "tie_word_embeddings": False},
    "untied, gated": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}
UNTIED = "untied, gated"


def decoder_of(name: str, tuning: str = "full", by: float = 0.0) -> Decoder:
    """A decoder of a model on disk, its float weights moved so that it has opinions."""
    model = load_model(name, tuning, LoraSettings(r=4, alpha=8), 0.0).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if by and weight.is_floating_point():
                weight += by * torch.randn_like(weight)
    return Decoder(model, load_tokenizer(name), LABELS, (64, 24))


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """The folder of a tiny T5 of one of the `KINDS`."""

    def saved(kind: str) -> str:
        folder, tokenizer = tmp_path_factory.mktemp("t5"), load_tokenizer("mini-base")
        shape = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
        # More tokens than the tokenizer knows, as the hub's T5 have.
        more = {"vocab_size": len(tokenizer) + 28, "decoder_start_token_id": 0}
        torch.manual_seed(1)
        model = T5ForConditionalGeneration(T5Config(**shape, **more, **KINDS[kind]))
        if "untied" in kind:
            own = torch.randn_like(model.lm_head.weight)
            model.lm_head.weight = torch.nn.Parameter(own)
        save_model(model, tokenizer, kind, folder)
        return str(folder)

    return saved


@pytest.fixture
def alike(tmp_path):
    """Expect a converted model to write and score as its network does; the engine is returned."""

    def check(decoder: Decoder) -> CTranslate2:
        network = decoder.network
        ctranslate.convert(network, tmp_path)
        engine = CTranslate2(network, tmp_path)
        rng = random.Random(0)
        noise = [[rng.randrange(5, 1400) for _ in range(rng.randint(1, 40))] for _ in range(6)]
        rows = decoder.encode(f"predict: {note}" for note in NOTES) + noise
        for longest in (1, 2, 16):
            expected = generate(network, rows, longest, 5)
            assert generate(network, rows, longest, 5, engine) == expected
        assert len(set(expected)) > 3
        choices = [LABELS[: 1 + i % 3] for i in range(len(rows))]
        expected = score(network, rows, choices, 5)
        found = engine.score(rows, choices, 5)
        assert torch.equal(found.isinf(), expected.isinf()) and expected.isinf().any()
        real = ~expected.isinf()
        torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-4)
        return engine

    return check


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_t5_writes_and_scores_as_its_network(t5, alike, kind):
    decoder = decoder_of(t5(kind), by=0.2)
    heads = decoder.model.lm_head.weight, decoder.model.get_input_embeddings().weight
    assert (heads[0] is heads[1]) is ("untied" not in kind)
    alike(decoder)


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_adapters_are_merged_and_four_bits_unpacked(alike, tuning):
    decoder = decoder_of("mini-base", tuning, by=0.1)
    before = {name: weight.clone() for name, weight in decoder.model.state_dict().items()}
    alike(decoder)
    after = decoder.model.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_decoder_only_model_writes_and_scores_as_its_network(llama, alike, tuning):
    alike(decoder_of(llama, tuning, by=0.05))


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_threads_share_a_batch_and_leave_torch_its_own(kind, t5, llama, alike):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        engine = alike(decoder_of(t5("tied, gated") if kind == "t5" else llama, by=0.1))
        assert torch.get_num_threads() == 3
        model = engine.model
        assert (model.num_translators if kind == "t5" else model.num_generators) == 3
        assert [engine._share(range(size)) for size in (1, 3, 7)] == [1, 1, 3]
    finally:
        torch.set_num_threads(before)


def test_a_saved_model_says_whether_its_outputs_are_scaled(t5, tmp_path):
    for kind, settings in KINDS.items():
        model = load_model(t5(kind), "full", LoraSettings(), 0.0)
        save_model(model, load_tokenizer("mini-base"), kind, tmp_path / kind)
        written = json.loads((tmp_path / kind / "config.json").read_text())
        assert written["tie_word_embeddings"] is settings.get("tie_word_embeddings", True)


def test_heads_taken_for_others_are_noticed(t5, home, capsys):
    decoder = decoder_of(t5(UNTIED))
    decoder.model.config.tie_word_embeddings = True  # as transformers 5 itself has it
    assert ctranslate.engine(decoder.network) is None
    assert "CTranslate2 gives this t5 model other probabilities. Torch" in capsys.readouterr().err
    assert not list((paths.cache() / "ctranslate2").iterdir())


def test_a_model_that_ctranslate2_lacks_is_left_to_torch(home, tmp_path, capsys):
    tokenizer = load_tokenizer("mini-base")
    shape = {
        "hidden_size": 32,
        "num_layers": 1,
        "num_heads": 4,
        "attention_types": [[["local"], 1]],
    }
    GPTNeoForCausalLM(GPTNeoConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert ctranslate.engine(decoder_of(str(tmp_path)).network) is None
    assert "can't convert this gpt_neo model" in capsys.readouterr().err


def test_predictions_are_the_same_by_either_engine(home, records):
    decoder = decoder_of("mini-base", by=0.15)
    cases = [*records.test, Record("own", "cp", "b", "why", candidates=("a", "b", "rather long"))]
    engine = ctranslate.engine(decoder.network)
    for labels in (LABELS, ()):  # a label set, and open labels or candidates
        decoder.labels = labels
        for how in ("generate", "score"):
            chosen = cases if labels or how == "generate" else cases[-1:]
            by_engine = []
            for decoder.engine in (None, engine):
                predictions = decoder.predict(chosen, objective.named("r2d"), how)
                decoder.probe(chosen, predictions, objective.named("r2d"), how)
                by_engine.append(predictions)
            assert by_engine[0] == by_engine[1]


def test_a_model_is_converted_once_and_another_again(home):
    decoder, store = decoder_of("mini-base"), paths.cache() / "ctranslate2"
    ctranslate.engine(decoder.network)
    (folder,) = store.iterdir()
    made = (folder / "model.bin").stat().st_mtime_ns
    ctranslate.engine(decoder.network, "int8")
    assert list(store.iterdir()) == [folder]
    assert (folder / "model.bin").stat().st_mtime_ns == made
    with torch.no_grad():
        decoder.model.lm_head.weight[7, 7] += 1
    ctranslate.engine(decoder.network)
    assert len(list(store.iterdir())) == 2


def test_a_passing_conversion_leaves_nothing(home):
    with ctranslate.converted(decoder_of("mini-base").network, keep=False) as folder:
        assert (folder / "model.bin").is_file()
    assert not list((paths.cache() / "ctranslate2").iterdir())


def test_a_damaged_conversion_is_noticed(home):
    decoder = decoder_of("mini-base")
    file = ctranslate.engine(decoder.network).folder / "model.bin"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(R2DError, match="model.bin is not as it was written .*; delete .* makes it"):
        ctranslate.engine(decoder.network)


def test_a_disk_that_takes_nothing_more_leaves_a_model_to_torch(home, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ctranslate, "convert", full)
    assert ctranslate.engine(decoder_of("mini-base").network) is None
    assert "written to" in (said := capsys.readouterr().err)
    assert "(No space left on device). Torch decodes instead" in said
    assert not list((paths.cache() / "ctranslate2").iterdir())
