"""BERTScore agrees with its package, whose faults under transformers 5 are mended."""

import tracemalloc
from importlib.metadata import version

import bert_score
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, RobertaConfig, RobertaModel, RobertaTokenizer

from r2d import paths
from r2d.errors import R2DError
from r2d.evaluation import bertscore
from r2d.models import assets

REFERENCES = [
    "Chest pain radiating to the left arm suggests a cardiac cause.",
    "Fever and a cough for two days.",
    "A mild headache, without warning signs, can be cared for at home.",
]
CANDIDATES = [
    "Chest pain radiating to the arm suggests a heart problem.",
    "The ankle is swollen after a fall.",
    "Headache.",
]


def score(references, candidates, model="minilm", layer=None):
    return bertscore.bert_score(references, candidates, model, layer)["f1"]


@pytest.fixture
def forgetful():
    """Scores are computed again, not remembered."""
    bertscore.scorer.cache_clear()


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """A tiny random RoBERTa on disk, whose tokenizer states no length limit."""
    folder = tmp_path_factory.mktemp("hub") / "roberta"
    folder.mkdir()
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        REFERENCES, 400, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    bpe.save_model(str(folder))
    RobertaTokenizer.from_pretrained(folder).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=400,
        max_position_embeddings=514,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    RobertaModel(config).save_pretrained(folder)
    return str(folder)


def test_scores_are_bert_scores_own():
    folder = str(assets.fetch("minilm"))
    direct = bert_score.score(
        CANDIDATES, REFERENCES, model_type=folder, num_layers=5, device="cpu"
    )[2]
    assert score(REFERENCES, CANDIDATES) == pytest.approx(direct.tolist(), abs=1e-5)


def test_layer_follows_the_packages_choice_for_six_layer_berts():
    layers = {
        layer
        for name, layer in bert_score.utils.model2layers.items()
        if "bert_uncased_L-6_H-" in name and "H-128" not in name
    }
    assert layers == {bertscore.MINILM_LAYER}
    usual, sixth = score(REFERENCES, CANDIDATES), score(REFERENCES, CANDIDATES, layer=6)
    assert usual == score(REFERENCES, CANDIDATES, layer=5)
    assert usual != pytest.approx(sixth, abs=1e-3)


def test_batch_equals_one_by_one(forgetful, monkeypatch):
    monkeypatch.setattr(bertscore, "CHUNK", 2)
    together = score(REFERENCES, CANDIDATES)
    bertscore.scorer.cache_clear()
    alone = [score([r], [c])[0] for r, c in zip(REFERENCES, CANDIDATES, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_identical_text_scores_one_and_never_more():
    texts = [*REFERENCES, *CANDIDATES, "Fever and cough for two days."]
    texts += [f"Pain {k} of 10." for k in range(10)]
    scores = score(texts, texts)
    assert scores == pytest.approx([1] * len(texts), abs=1e-5) and max(scores) <= 1


def test_blank_text_scores_zero_without_moving_the_others():
    scores = score(["", *REFERENCES, REFERENCES[0]], [CANDIDATES[0], *CANDIDATES, " \n"])
    assert scores == [0.0, *score(REFERENCES, CANDIDATES), 0.0]


def test_pair_seen_before_is_not_embedded_again(monkeypatch):
    first = score(REFERENCES, CANDIDATES)
    monkeypatch.setattr(bertscore.scorer("minilm", None).model, "score", None)
    assert score(REFERENCES[::-1], CANDIDATES[::-1]) == first[::-1]


def test_a_hundred_thousand_pairs_stream(forgetful, monkeypatch):
    together = []

    def stand_in(candidates, references, batch_size):
        together.append(len(candidates))
        return None, None, torch.tensor([1 / int(text[:6]) for text in candidates])

    scorer, rest = bertscore.scorer("minilm", None), "pain " * 50
    monkeypatch.setattr(scorer.model, "score", stand_in)
    monkeypatch.setattr(bertscore, "REMEMBERED", 10_000)
    numbers = range(100_000, 200_000)
    pairs = ((f"{k} {rest}", f"{k} {rest}") for k in numbers)  # 60 MB of text
    tracemalloc.start()
    scores = scorer.f1(pairs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert torch.allclose(torch.tensor(scores), 1 / torch.tensor(numbers))
    assert sum(together) == len(numbers) and max(together) == bertscore.CHUNK
    assert peak < 12 * 2**20  # the scores, a chunk's texts, and what is remembered


def test_text_beyond_the_models_length_is_cut():
    long = "chest pain " * 400
    assert score([long], [long + "fever"]) == [pytest.approx(1.0, abs=1e-5)]


def test_hash_names_model_layer_and_the_true_version():
    versions = f"{version('bert-score')}(hug_trans={version('transformers')})"
    signature = bertscore.bert_score(REFERENCES, CANDIDATES, "minilm")["hash"]
    assert signature == f"all-MiniLM-L6-v2_L5_no-idf_version={versions}"


def test_hash_has_the_packages_form(roberta):
    scorer = bertscore.scorer(roberta, 2)
    signature = scorer.hash.replace(version("bert-score"), bert_score.__version__)
    assert signature == scorer.model.hash


def test_roberta_reads_the_first_word_like_any_other_and_knows_its_length(roberta):
    tokenizer = bertscore.scorer(roberta, 2).model._tokenizer
    assert tokenizer.tokenize("pain pain") == tokenizer.tokenize("pain") * 2
    plain = AutoTokenizer.from_pretrained(roberta)
    fault = plain.tokenize("pain pain") != plain.tokenize("pain") * 2
    assert fault, "the fault this mends is gone: simplify"
    assert score(["pain " * 600], ["pain " * 600], roberta, 2) == [pytest.approx(1.0, abs=1e-5)]


def test_folder_with_t5_in_its_path_is_still_a_bert(forgetful, tmp_path, monkeypatch):
    home = tmp_path / "t5-home"
    home.mkdir()
    (home / "minilm").symlink_to(assets.fetch("minilm"))
    monkeypatch.setenv("R2D_ASSETS", str(home))
    assert 0.5 < score(REFERENCES, CANDIDATES)[0] < 1


def test_unknown_layer_and_unloadable_model_are_sentences(tmp_path):
    with pytest.raises(R2DError, match="set metrics.bertscore_layer"):
        score(REFERENCES, CANDIDATES, model=str(tmp_path))
    with pytest.raises(R2DError, match="can't be loaded: name another"):
        score(REFERENCES, CANDIDATES, model=str(tmp_path), layer=2)
    with pytest.raises(R2DError, match="at layer 9 can't be loaded"):
        score(REFERENCES, CANDIDATES, layer=9)


def test_working_directory_is_unchanged_after_loading(forgetful, monkeypatch):
    monkeypatch.chdir(paths.ROOT)
    score(REFERENCES, CANDIDATES)
    assert paths.Path.cwd() == paths.ROOT
