"""Measures agree with scikit-learn, NLTK and sacreBLEU, and treat odd answers as promised."""

import json

import nltk
import pytest
from nltk.translate.bleu_score import SmoothingFunction
from sacrebleu.metrics import BLEU
from sklearn.metrics import accuracy_score, f1_score

from r2d import data
from r2d.data import triage
from r2d.data.record import Record
from r2d.errors import R2DError
from r2d.evaluation import bertscore, metrics
from r2d.evaluation.support import JUDGE, Background
from r2d.experiments.run import Run
from r2d.recipes.settings import MetricSettings

LABELS = ("yes", "no", "maybe")
GOLD = ["yes", "yes", "no", "no", "yes", "no", "yes"]
PREDICTED = ["yes", "no", "no", "no", "Yes, I think", "maybe", "yes"]
REFERENCES = [
    "Chest pain radiating to the left arm suggests a cardiac cause.",
    "Fever of 39.5 and a cough for two days. Dr. Smith isn't worried.",
    "A mild headache, without warning signs, can be cared for at home.",
]
CANDIDATES = [
    "Chest pain radiating to the arm suggests a heart problem.",
    "Fever and a cough for 2 days. Dr. Smith is not worried.",
    "The ankle is swollen after a fall.",
]
MINILM = MetricSettings(bertscore="minilm", resamples=100)


def predictions(**changes) -> list[dict]:
    """Three predictions as a run stores them; `changes` replaces whole columns."""
    columns = {
        "id": ["a", "b", "c"],
        "gold": ["yes", "no", "no"],
        "label": ["yes", "perhaps", "no"],
        "valid": [True, False, True],
        "rationale_gold": REFERENCES,
        "rationale": CANDIDATES,
        "reason": ["", "", ""],
        **changes,
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.fixture
def no_model(monkeypatch):
    """BERTScore has tests of its own; where it is beside the point every pair scores 0.5."""

    def half(references, candidates, model, layer):
        return {"f1": [0.5] * len(references), "hash": f"{model}_L{layer}"}

    monkeypatch.setattr(metrics, "bert_score", half)


def test_label_scores_are_scikit_learns():
    scores = metrics.classification(GOLD, PREDICTED, LABELS)
    macro_f1 = f1_score(GOLD, PREDICTED, labels=LABELS, average="macro", zero_division=0)
    assert scores["accuracy"] == pytest.approx(accuracy_score(GOLD, PREDICTED))
    assert scores["macro_f1"] == pytest.approx(macro_f1)
    assert list(scores["per_class"]) == list(LABELS)
    assert scores["confusion"] == [[2, 1, 0, 1], [0, 2, 1, 0], [0, 0, 0, 0]]


def test_unseen_label_is_wrong_and_not_another_class():
    scores = metrics.classification(["yes", "no"], ["yes", "none of these"], ["yes", "no"])
    assert scores["macro_f1"] == pytest.approx(0.5), "an extra class would make it 1/3"
    assert (scores["invalid_rate"], scores["confusion"]) == (0.5, [[1, 0, 0], [0, 0, 1]])


def test_label_nobody_uses_still_counts_in_macro_f1():
    scores = metrics.classification(["yes", "no"], ["yes", "no"], LABELS)
    assert scores["macro_f1"] == pytest.approx(2 / 3)


def test_gold_label_outside_the_set_and_unequal_lengths_are_refused():
    with pytest.raises(R2DError, match="not in the label set"):
        metrics.classification(["Yes"], ["yes"], LABELS)
    with pytest.raises(R2DError, match="but got 2 and 1"):
        metrics.classification(["yes", "no"], ["yes"], LABELS)
    with pytest.raises(R2DError, match="at least one"):
        metrics.evaluate([], LABELS, MINILM)


def test_sentence_bleu_is_nltks_method4_on_lower_cased_words():
    words = nltk.tokenize.NLTKWordTokenizer().tokenize
    reference = words("fever of 39.5 and a cough for two days.") + words("dr. smith isn't worried.")
    candidate = words("fever and a cough for 2 days.") + words("dr. smith is not worried.")
    direct = nltk.translate.bleu_score.sentence_bleu(
        [reference], candidate, smoothing_function=SmoothingFunction().method4
    )
    assert metrics.sentence_bleu([REFERENCES[1]], [CANDIDATES[1]]) == [pytest.approx(direct)]
    assert 0.1 < direct < 0.6


def test_full_stop_before_a_next_sentence_is_a_word_of_its_own():
    assert metrics.sentence_bleu(["It is mild . Stay home ."], ["It is mild. Stay home."]) == [1.0]


@pytest.mark.parametrize("text", ["A mild fever for two days.", "fever", "Go to ED now"])
def test_identical_text_scores_one_whatever_its_case(text):
    assert metrics.sentence_bleu([text], [text.upper()]) == [pytest.approx(1.0)]


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_blank_text_scores_zero(blank):
    assert metrics.sentence_bleu([REFERENCES[0], blank], [blank, REFERENCES[0]]) == [0.0, 0.0]
    assert metrics.corpus_bleu([REFERENCES[0]] * 2, [blank] * 2)["score"] == 0.0


def test_sentence_bleu_of_a_batch_equals_one_by_one():
    pairs = zip(REFERENCES, CANDIDATES, strict=True)
    alone = [metrics.sentence_bleu([r], [c])[0] for r, c in pairs]
    assert metrics.sentence_bleu(REFERENCES, CANDIDATES) == alone


def test_corpus_bleu_is_sacrebleus_with_its_signature():
    bleu = BLEU()
    direct = bleu.corpus_score(CANDIDATES, [REFERENCES])
    corpus = metrics.corpus_bleu(REFERENCES, CANDIDATES)
    assert corpus["score"] == pytest.approx(direct.score)
    assert corpus["signature"] == str(bleu.get_signature())
    assert "tok:13a" in corpus["signature"] and "smooth:exp" in corpus["signature"]


def test_corpus_bleu_interval_agrees_with_sacrebleus_half_width():
    references, candidates = REFERENCES * 20, CANDIDATES * 20
    direct = BLEU().corpus_score(candidates, [references], n_bootstrap=1000)
    low, high = metrics.corpus_bleu(references, candidates)["interval"]
    assert (high - low) / 2 == pytest.approx(direct._ci, rel=0.15)
    assert 0 <= low < direct.score < high <= 100


def test_corpus_bleu_interval_smooths_as_the_score_does():
    references, candidates = (
        ["Fever and a dry cough since noon."],
        ["A dry cough and fever since noon."],
    )
    assert BLEU().corpus_score(candidates, [references]).counts[3] == 0
    corpus = metrics.corpus_bleu(references * 5, candidates * 5)
    assert corpus["interval"] == pytest.approx([corpus["score"]] * 2) and corpus["score"] > 0


@pytest.mark.parametrize(
    ("reason", "rationale", "names"),
    [
        ("Chest  pain", "Sudden CHEST\npain since noon", 1),
        ("chest pain", "No chest pain", 1),
        ("chest pain", "Pain in the chest", 0),
        ("", "Anything", None),
        ("chest pain", " ", 0),
    ],
)
def test_reason_is_named_when_its_words_stand_there_whatever_case_and_spacing(
    reason, rationale, names
):
    assert metrics.names_reason([reason], [rationale]) == [names]


def test_any_spelling_of_the_reason_counts_as_naming_it():
    reasons = ["blue lips|cyanosis", "blue lips|cyanosis", "blue lips|cyanosis"]
    rationales = ["The deciding finding is Blue  lips.", "cyanosis -> 911", "wheeze"]
    assert metrics.names_reason(reasons, rationales) == [1, 1, 0]


def test_evaluation_holds_every_measure_with_interval_and_is_plain_json(no_model):
    rows = predictions(
        rationale_given_gold=REFERENCES,
        label_from_rationale=["yes", "no", "yes"],
        reason=["chest pain", "x", ""],
    )
    result = metrics.evaluate(rows, LABELS, MINILM)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    of_labels = {"accuracy", "macro_f1", "invalid_rate", "consistency", "sufficiency"}
    of_rationales = {"sentence_bleu", "corpus_bleu", "bertscore_f1", "names_reason"}
    given_gold = {f"{name}_given_gold" for name in of_rationales}
    assert set(result["metrics"]) == of_labels | of_rationales | given_gold | {"degenerate"}
    for measure in result["metrics"].values():
        low, high = measure["interval"]
        assert low - 1e-9 <= measure["value"] <= high + 1e-9
    values = {name: measure["value"] for name, measure in result["metrics"].items()}
    assert values["consistency"] == pytest.approx(1 / 3)
    assert values["sufficiency"] == pytest.approx(2 / 3)
    assert values["names_reason"] == 0.5 and result["metrics"]["names_reason"]["n"] == 2
    assert values["corpus_bleu_given_gold"] == pytest.approx(100)
    assert result["per_example"]["predicted"] == ["yes", None, "no"]
    assert result["per_example"]["sentence_bleu"] == metrics.sentence_bleu(REFERENCES, CANDIDATES)


def background(**texts):
    """Training records whose labels and rationales are given as label=[rationales]."""
    pairs = [(label, text) for label, part in texts.items() for text in part]
    records = [Record(str(i), "q", label, text) for i, (label, text) in enumerate(pairs)]
    return Background(records, LABELS, synthetic_triage=False)


def test_agreement_is_with_the_label_that_the_prompt_named(no_model):
    known = background(yes=["fever and cough"], no=["mild headache"], maybe=["swollen ankle"])
    rows = predictions(
        label=["yes", "yes", "no"],  # right, wrong, right
        rationale_gold=["fever and a cough", "a mild headache", "a headache"],
        rationale=["fever and cough", "the headache is mild", "swollen"],
        rationale_given_gold=["fever and cough", "cough", "swollen"],
        rationale_under=[{}, {"yes": "cough", "no": "cough", "maybe": "ankle"}, {}],
    )
    result = metrics.evaluate(rows, LABELS, MINILM, known)
    values = {name: measure["value"] for name, measure in result["metrics"].items()}
    assert result["per_example"]["agreement"] == [1, 0, 0]
    assert (values["agreement_right"], values["agreement_wrong"]) == (0.5, 0.0)
    assert result["metrics"]["agreement_wrong"]["n"] == 1
    assert result["per_example"]["agreement_given_gold"] == [1, 0, 0]
    assert result["per_example"]["follows_label"] == [None, pytest.approx(2 / 3), None]
    assert result["metrics"]["follows_label"]["chance"] == pytest.approx(1 / 3)
    assert result["metrics"]["agreement"]["chance"] == pytest.approx((2 * 1 + 1 * 1) / 9)
    by_chance = pytest.approx(result["reader"]["chance"])
    assert result["reader"] == {"name": JUDGE, "gold": 1.0, "chance": by_chance, "n": 3}
    assert "100.0% of 3 gold rationales (by chance" in result["signatures"]["agreement"]
    assert values["copied"] == pytest.approx(1 / 3) and values["degenerate"] == pytest.approx(1 / 3)


def test_where_gold_rationales_advise_nothing_silence_is_no_disagreement(no_model):
    said, unsaid = "wheeze -> ED", "chest pain x 1h: wheeze"
    rows = predictions(
        gold=["Go to ED now"] * 3,
        label=["Go to ED now", "Home care", "Home care"],
        rationale=[f"chest pain x 1h: {said}", unsaid, f"chest pain x 1h: {said}"],
        rationale_gold=[f"chest pain x 1h: {said}", f"chest pain x 1h: {said}", unsaid],
    )
    known = Background([], triage.LABELS, synthetic_triage=True)
    result = metrics.evaluate(rows, triage.LABELS, MINILM, known)
    assert result["per_example"]["agreement"] == [1, None, 0]
    assert result["metrics"]["agreement_wrong"]["n"] == 1
    assert result["reader"]["gold"] == 1.0 and result["reader"]["n"] == 2
    loud = predictions(
        **{key: [row[key] for row in rows] for key in ("gold", "label", "rationale")}
    )
    loud = [row | {"rationale_gold": rows[0]["rationale_gold"]} for row in loud]
    assert metrics.evaluate(loud, triage.LABELS, MINILM, known)["per_example"]["agreement"] == [
        1,
        0,
        0,
    ]


def test_a_rationale_that_does_not_listen_follows_one_of_a_cases_labels_at_most(no_model):
    known = background(yes=["fever and cough"], no=["mild headache"], maybe=["swollen ankle"])
    under = dict.fromkeys(LABELS, "a fever")
    result = metrics.evaluate(predictions(rationale_under=[under] * 3), LABELS, MINILM, known)
    followed = result["metrics"]["follows_label"]
    assert followed["value"] == pytest.approx(followed["chance"]) == pytest.approx(1 / 3)


def test_consistency_and_sufficiency_carry_their_chance_and_their_labels(no_model):
    rows = predictions(label_from_rationale=["yes", "yes", "no"])
    result = metrics.evaluate(rows, LABELS, MINILM)
    assert result["label_from_rationale"] == {"yes": 2, "no": 1}
    sufficiency, consistency = (result["metrics"][x] for x in ("sufficiency", "consistency"))
    assert sufficiency["chance"] == pytest.approx((1 * 2 + 2 * 1) / 9)
    assert consistency["chance"] == pytest.approx((1 * 2 + 1 * 1) / 9)


def test_synthetic_triage_names_its_reason_by_the_grammar(no_model):
    template = triage.wordings()["rationale_llm"]["clauses"]["denied"][0]
    texts = [template.format(denied="blue lips"), "Blue lips and more.", "none"]
    rows = predictions(rationale=texts, reason=["blue lips"] * 3, facts=["present: blue lips"] * 3)
    known = Background([], triage.LABELS, synthetic_triage=True)
    result = metrics.evaluate(rows, LABELS, MINILM, known)
    assert result["per_example"]["names_reason"] == [0, 0, 0]
    assert result["per_example"]["denies_present"] == [1, 0, 0]
    assert metrics.evaluate(rows, LABELS, MINILM)["metrics"]["names_reason"]["value"] > 0


def test_signatures_carry_the_versions_that_move_scores(no_model):
    settings = MetricSettings(bertscore="m", bertscore_layer=3)
    signatures = metrics.evaluate(predictions(), LABELS, settings)["signatures"]
    assert f"NLTK {nltk.__version__}" in signatures["sentence_bleu"]
    assert "method4" in signatures["sentence_bleu"]
    assert "scikit-learn" in signatures["labels"] and "1000 resamples" in signatures["intervals"]
    assert signatures["bertscore_f1"] == "m_L3"


def test_method_that_writes_no_rationale_has_no_rationale_measures():
    result = metrics.evaluate(predictions(rationale=["", "", ""]), LABELS, MINILM)
    assert set(result["metrics"]) == {"accuracy", "macro_f1", "invalid_rate"}
    assert set(result["per_example"]) == {"id", "gold", "predicted", "correct"}
    assert "bertscore_f1" not in result["signatures"]


def test_one_blank_rationale_among_others_scores_zero():
    rows = predictions(
        rationale=[REFERENCES[0], "", REFERENCES[2]], reason=["chest", "fever", "headache"]
    )
    scores = metrics.evaluate(rows, LABELS, MINILM)["per_example"]
    for name in ("sentence_bleu", "bertscore_f1", "names_reason"):
        assert scores[name] == pytest.approx([1, 0, 1], abs=1e-5)


def test_rationales_are_compared_where_there_is_a_gold_one(no_model):
    similarity = ("sentence_bleu", "bertscore_f1", "corpus_bleu")
    whole = predictions()
    partly = predictions(rationale_gold=[REFERENCES[0], "", REFERENCES[2]])
    result = metrics.evaluate(partly, LABELS, MINILM)
    alone = metrics.evaluate(whole[::2], LABELS, MINILM)
    for name in similarity:
        assert result["metrics"][name]["n"] == 2 < result["n"]
        assert result["metrics"][name]["value"] == pytest.approx(alone["metrics"][name]["value"])
    bleu = result["per_example"]["sentence_bleu"]
    assert [value is None for value in bleu] == [False, True, False]
    bare = metrics.evaluate(predictions(rationale_gold=["", "", ""]), LABELS, MINILM)
    assert not set(similarity) & set(bare["metrics"]) and "accuracy" in bare["metrics"]


def test_metrics_of_a_finished_run_come_out_identical_when_computed_again(tiny, home):
    run = Run(tiny(), "triage", "dss-full", 1)
    bertscore.scorer.cache_clear()
    run.execute()
    finished = run.read()
    bertscore.scorer.cache_clear()
    loaded = data.load("triage", tiny().datasets["triage"])
    known = Background(loaded.train, loaded.labels, synthetic_triage=True)
    labels = finished["env"]["labels"]
    again = metrics.evaluate(finished["predictions"], labels, tiny().metrics, known)
    written = dict(finished["metrics"])
    assert written.pop("key") == run.key and "bertscore_f1" in written["metrics"]
    # As they are written: to the digits that the computation can promise, in the same order.
    assert json.dumps(metrics.rounded(again)) == json.dumps(written)
