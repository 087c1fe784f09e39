"""Cases that bring their own candidates, trained on, decoded among them, measured and shared."""

import csv
import json

import pytest
from notes import riddles, sentence, write

import r2d
from r2d import __main__, data
from r2d.deploy import calibrate, demo
from r2d.deploy.model_card import model_card
from r2d.deploy.predict import Predictor
from r2d.evaluation import metrics
from r2d.experiments import your_data
from r2d.experiments.run import Run
from r2d.method import objective, prompts, schedules
from r2d.method.loss import Batch, loss
from r2d.models.decode import Decoder, prediction
from r2d.models.load import load_model, load_tokenizer
from r2d.recipes.settings import LoraSettings, MetricSettings
from r2d.training.batches import TokenCache
from r2d.training.learner import Learner

TINY = {
    "train.common.steps": 4,
    "train.common.eval_every": 2,
    "train.common.batch": 4,
    "metrics.resamples": 100,
    "max_rationale_tokens": 12,
}


@pytest.fixture
def table(home, tmp_path):
    return your_data.read_table(str(write(tmp_path / "riddles.json", riddles())))


@pytest.fixture
def dataset(table):
    return data.load("x", your_data.recipe(table, "smoke", "full").datasets[your_data.NAME])


@pytest.fixture
def decoder(dataset):
    model = load_model("mini-base", "full", LoraSettings(), 0.0).eval()
    return Decoder(model, load_tokenizer("mini-base"), dataset.labels, (64, 12))


@pytest.fixture
def run(table):
    """A finished tiny run over them."""
    recipe = your_data.recipe(table, "smoke", "full", TINY)
    runs = [Run(recipe, your_data.NAME, name, 1) for name in your_data.methods(table, "full")]
    for run in runs:
        run.execute()
    return runs[-1]


def test_a_table_with_candidates_is_read_the_same_from_a_list_and_from_bars(table, tmp_path):
    rows = riddles()
    bars = [row | {"candidates": " | ".join(row["candidates"])} for row in rows]
    again = your_data.read_table(str(write(tmp_path / "riddles.csv", bars)))
    assert again.train == table.train
    assert table.train[0]["candidates"] == tuple(rows[0]["candidates"])


def test_labels_of_which_nothing_can_be_learned_are_refused(tmp_path):
    first = [row | {"label": row["candidates"][0]} for row in riddles()]
    message = sentence(your_data.read_table, str(write(tmp_path / "first.json", first)))
    assert "every row's label is its option 1, so only that would be learned: shuffle" in message
    letters = [row | {"label": "A"} for row in riddles()]
    message = sentence(your_data.read_table, str(write(tmp_path / "letters.json", letters)))
    assert "no row's label (column 'label') is among its own candidates: write the" in message


def test_a_label_is_valid_among_its_own_candidates_only():
    record = data.Record("1", "where?", "the shed", "", candidates=("the attic", "the shed"))
    inside = prediction(record, " The ATTIC", ["the cellar"])
    assert inside["label"] == "the attic" and inside["valid"]
    assert inside["candidates"] == ["the attic", "the shed"]
    assert not prediction(record, "the cellar", ["the cellar"])["valid"]


def test_measures_are_over_positions():
    answers = [("a", "b"), ("a", "a"), ("b", "c"), ("b", "b")]  # gold, predicted
    predictions = [
        prediction(data.Record(str(i), "q", gold, "", candidates=("a", "b")), predicted, ())
        for i, (gold, predicted) in enumerate(answers)
    ]
    measured = metrics.evaluate(predictions, (), MetricSettings(bertscore="minilm", resamples=100))
    assert measured["labels"] == ["option 1", "option 2"]
    assert measured["confusion"] == [[1, 1, 0], [0, 1, 1]]
    values = {name: measure["value"] for name, measure in measured["metrics"].items()}
    assert values == pytest.approx(
        {"accuracy": 0.5, "macro_f1": (2 / 3 + 1 / 2) / 2, "invalid_rate": 0.25}
    )


def test_decoding_by_score_chooses_among_each_case_s_own(dataset, decoder):
    records = dataset.train
    rows = decoder.encode(prompts.predict(record.text) for record in records)
    together = decoder.label_texts(rows, "score", decoder.choices(records))
    alone = [
        decoder.label_texts([ids], "score", [record.candidates])[0]
        for ids, record in zip(rows, records, strict=True)
    ]
    assert together == alone
    pairs = zip(alone, records, strict=True)
    assert all(label in record.candidates for label, record in pairs)


def test_sampled_labels_are_those_of_the_case_s_candidates_and_shown_in_the_prompt(
    dataset, decoder, monkeypatch
):
    offered, encoded, encode = [], [], decoder.encode

    def last_of_each(self, rows, cases, choices):
        offered.append(choices)
        return [candidates[-1].upper() for candidates in choices]

    def recorded(texts):
        texts = list(texts)
        encoded.extend(texts)
        return encode(texts)

    monkeypatch.setattr(Learner, "_verified", last_of_each)
    monkeypatch.setattr(decoder, "encode", recorded)
    always = objective.named("r2d-always", {"cap": 1.0, "warmup": 0.0, "ramp": 0.0})
    learner, cases = Learner(decoder, TokenCache(decoder)), dataset.train[:4]
    batch = Batch(cases, schedules.coins(1, 0, 4), learner.tokens.counts(cases))
    computed = loss(learner, batch, always, 0, 1)
    values = [term.value.item() for term in computed.terms]
    assert all(value > 0 for value in values)
    assert offered == [[record.candidates for record in cases]]
    assert computed.prompted == [record.candidates[-1] for record in cases]
    wanted = {f"given label: {r.candidates[-1]}, explain: {r.text}" for r in cases}
    assert wanted <= set(encoded)


def test_a_run_over_candidates_is_selected_and_measured(run):
    loaded = data.load(your_data.NAME, run.recipe.datasets[your_data.NAME])
    scores = [entry["validation"] for entry in run.read()["log"] if "validation" in entry]
    assert len(scores) == 2 and all(0 <= value <= 1 for value in scores)
    assert run.read()["metrics"]["labels"] == list(loaded.categories)


def test_a_run_over_candidates_is_used_calibrated_and_shared(run, tmp_path, capsys):
    loaded = data.load(your_data.NAME, run.recipe.datasets[your_data.NAME])
    texts = [record.question for record in loaded.test]
    choices = [record.candidates for record in loaded.test]
    predictor = r2d.load(run.folder)
    answers = predictor.predict(texts, candidates=choices)
    assert [tuple(each.probabilities) for each in answers] == choices
    assert all(sum(each.probabilities.values()) == pytest.approx(1) for each in answers)
    assert all(isinstance(each.rationale, str) for each in answers)
    under = predictor.explain_under(texts[0], choices[0])
    assert under[answers[0].label] == answers[0].rationale
    right = sum(a.label == r.label for a, r in zip(answers, loaded.test, strict=True))
    accuracy = calibrate.calibrate(run.folder)["test"]["accuracy"]
    assert accuracy == pytest.approx(right / len(texts))
    card = model_card(run.folder)
    assert "each case brings its own candidates" in card and prompts.CHOICE in card
    page = demo.page(predictor, "where is the rake?", candidates="the shed | the attic")
    assert "the shed" in page
    message = sentence(predictor.predict, texts)
    assert "Case 1 needs 2 to 50 different candidates" in message
    cases = [
        {"question": text, "candidates": candidates}
        for text, candidates in zip(texts, choices, strict=True)
    ]
    path, out = write(tmp_path / "cases.json", cases), tmp_path / "out.csv"
    predict = ["predict", str(run.folder), "--no-rationale"]
    assert __main__.main([*predict, "--file", str(path), "--out", str(out)]) == 0
    with out.open() as file:
        probabilities = [json.loads(each["probabilities"]) for each in csv.DictReader(file)]
    assert [list(each) for each in probabilities] == [list(each.probabilities) for each in answers]
    capsys.readouterr()
    one = ["--text", "where is the jam?", "--candidates", "the cellar|the moon", "--json"]
    assert __main__.main([*predict, *one]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)["probabilities"]) == {"the cellar", "the moon"}


def test_options_in_the_text_of_a_case_are_its_candidates(decoder):
    predictor = Predictor(decoder, objective.OBJECTIVES["sft"], "SFT", options_from="Options:")
    (read_out,) = predictor.predict(["where? options: A. the shed B. the attic"])
    (given,) = predictor.predict(["where?"], candidates=[["the shed", "the attic"]])
    assert read_out == given and set(given.probabilities) == {"the shed", "the attic"}
    assert sentence(predictor.predict, ["where?"]) == (
        "Case 1 needs 2 to 50 different candidates of its own after 'Options:' in its text."
    )


def test_a_run_with_a_label_set_takes_no_candidates(records, fresh, monkeypatch, capsys):
    predictor = Predictor(fresh(records), objective.OBJECTIVES["sft"], "SFT")
    message = sentence(predictor.predict, ["cp"], candidates=[["a", "b"]])
    assert message.startswith("SFT has a label set of its own, 'Call 911'")
    assert message.endswith(": leave the candidates out.")
    message = sentence(predictor.predict, ["cp", "sob"], candidates=[["a", "b"]])
    assert "There are 2 texts and candidates for 1" in message
    monkeypatch.setattr(r2d, "load", lambda *_: predictor)
    assert __main__.main(["predict", "RUN", "--text", "cp", "--candidates", "a|b"]) == 2
    assert "leave the candidates out" in capsys.readouterr().err
