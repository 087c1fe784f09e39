"""Labels that may be any text: learned, written, measured by accuracy alone, used and shared."""

import json

import pandas as pd
import pytest
from conftest import new_home
from notes import sentence, write

import r2d
from r2d import __main__, data, recipes
from r2d.data import describe
from r2d.deploy import calibrate, demo
from r2d.deploy.model_card import model_card
from r2d.evaluation import metrics
from r2d.experiments import your_data
from r2d.experiments.run import Run
from r2d.llms import zero_shot
from r2d.models.decode import Decoder, prediction
from r2d.models.load import load_model, load_tokenizer
from r2d.models.sanity import SANITY
from r2d.recipes.settings import LoraSettings, MetricSettings
from r2d.reporting import cases, collect, figures, tables

TINY = {
    "train.common.steps": 4,
    "train.common.eval_every": 2,
    "train.common.batch": 4,
    "metrics.resamples": 100,
    "max_rationale_tokens": 12,
    "max_input_tokens": 48,
}
MEASURES = MetricSettings(bertscore="minilm", resamples=100)


def questions(count: int = 60) -> list[dict]:
    """As many labels as rows, each an option that stands in its question."""
    return [
        {
            "question": f"Case {i}: where? Answer Choices: A. room {i} B. hall {i}",
            "label": f"{('room', 'hall')[i % 2]} {i}",
            "rationale": f"It is kept there since {i}.",
        }
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("open") / "cases.json", questions())
    return your_data.read_table(str(path), open_labels=True)


@pytest.fixture(scope="module")
def recipe(table):
    return your_data.recipe(table, "smoke", "full", TINY)


@pytest.fixture(scope="module")
def loaded(recipe):
    return data.load(your_data.NAME, recipe.datasets[your_data.NAME])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home that the module's tests share, without assets but the project's."""
    folder = new_home(tmp_path_factory.mktemp("open-labels") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def run(home, table, recipe):
    """A finished tiny run over them, and those that it starts from and is compared with."""
    runs = [Run(recipe, your_data.NAME, name, 1) for name in your_data.methods(table, "full")]
    for each in runs:
        each.execute()
    return runs[-1]


def test_labels_are_read_as_they_are_and_the_settings_say_so(table, recipe, loaded):
    assert table.open_labels and recipe.datasets[your_data.NAME].labels == "open"
    assert loaded.has_open_labels and loaded.labels == loaded.categories == ()
    assert {r.label for r in loaded.train} <= {row["label"] for row in questions()}
    assert not any(record.candidates for record in loaded.train)
    balance = describe.balance(loaded)
    assert balance["label"].unique().tolist() == [describe.OPEN]
    assert balance.set_index("split")["cases"].to_dict() == {
        split: len(records) for split, records in loaded.splits.items()
    }


def test_the_command_s_options_are_overrides_that_the_notebook_reads(table, recipe):
    overrides = your_data.label_overrides("open", "")
    assert your_data.label_options(overrides) == {"options_from": None, "open_labels": True}
    overrides = your_data.label_overrides("closed", "Answer Choices:")
    chosen = your_data.read_table(table.train_file, **your_data.label_options(overrides))
    settings = your_data.recipe(chosen, "smoke", "full", overrides).datasets[your_data.NAME]
    assert (settings.labels, settings.options_from) == ("closed", "Answer Choices:")
    assert chosen.train[1]["candidates"] == ("room 1", "hall 1")
    assert "leave one of the two out" in sentence(
        your_data.read_table, table.train_file, options_from="x", open_labels=True
    )


def test_a_prediction_is_the_text_as_it_was_written():
    record = data.Record("1", "where?", "The Hall", "")
    same = prediction(record, "the hall", ())
    assert same["label"] == "the hall" and same["valid"]
    assert not prediction(record, "", ())["valid"]


def test_accuracy_is_exact_match_but_for_case_blanks_and_composition():
    pairs = [("The Hall", " the hall"), ("caf\u00e9", "CAFE\u0301"), ("a", "b"), ("a", "")]
    predictions = []
    for i, (gold, text) in enumerate(pairs):
        made = prediction(data.Record(str(i), "q", gold, "so"), text, ())
        predictions.append(made | {"rationale": "so", "label_from_rationale": text.upper()})
    measured = metrics.evaluate(predictions, (), MEASURES)
    values = {name: measure["value"] for name, measure in measured["metrics"].items()}
    assert values["accuracy"] == values["sufficiency"] == 0.5 and values["consistency"] == 1
    assert not {"macro_f1", "invalid_rate"} & set(values)
    assert measured["labels"] == measured["confusion"] == [] and not measured["per_class_f1"]
    assert "café" not in json.dumps(measured, ensure_ascii=False)
    assert tables.headline(measured) == "accuracy 0.500"


def test_labels_are_written_up_to_the_limit(loaded):
    model = load_model("mini-base", "full", LoraSettings(), 0.0).eval()
    tokenizer = load_tokenizer("mini-base")
    lengths = []
    for limit in (1, 3):
        decoder = Decoder(model, tokenizer, (), (48, 12), open_limit=limit)
        rows = decoder.encode(record.text for record in loaded.test)
        texts = decoder.label_texts(rows, choices=decoder.choices(loaded.test))
        lengths.append(max(len(tokenizer(text)["input_ids"]) - 1 for text in texts))
    assert lengths[0] <= 1 < lengths[1] <= 3


@pytest.mark.parametrize("row", [row for row in SANITY if not row.startswith("rule")])
def test_sanity_rows_have_open_labels_too(loaded, row):
    answers = SANITY[row](loaded.train, loaded.test, 0)
    assert len(answers) == len(loaded.test) and set(answers) <= {r.label for r in loaded.train}


def test_a_run_is_selected_and_measured_by_accuracy(run):
    finished = run.read()
    assert finished["env"]["training"]["score"] == "accuracy"
    scores = [entry["validation"] for entry in finished["log"] if "validation" in entry]
    assert len(scores) == 2 and all(0 <= value <= 1 for value in scores)
    named = finished["metrics"]["metrics"]
    assert {"accuracy", "consistency", "bertscore_f1"} <= set(named) and "macro_f1" not in named
    assert all(row["valid"] == bool(row["label"]) for row in finished["predictions"])


def test_tables_figures_and_cards_show_what_there_is(run, recipe, loaded):
    frame = collect.runs([run])
    assert frame["macro_f1"].isna().all() and frame["accuracy"].notna().all()
    shown = tables.readable(tables.summarise(frame), recipe)
    assert "Accuracy" in shown and "Macro-F1" not in shown
    assert collect.per_class([run]).empty
    counts = collect.confusion(run)
    assert counts.to_numpy().sum() == len(loaded.test)
    figures.confusion(counts, recipe, "title")
    nothing = pd.DataFrame()
    figure = figures.main_result(frame, nothing, nothing, recipe, your_data.NAME)
    assert figure.axes[0].get_xlabel() == "Accuracy"
    curves = collect.curves([run])
    assert figures.training(curves, recipe, your_data.NAME).axes[2].get_title() == (
        "Validation accuracy"
    )
    assert "any text" in model_card(run.folder) and "candidates" not in model_card(run.folder)
    shown = cases.pick(loaded, run.title, run.read())
    assert 1 <= len(shown) <= 2 and cases.of_run(loaded, run.title, run.read()).data
    closed = {"dataset": "other", "macro_f1": 0.5, "macro_f1_low": 0.4, "macro_f1_high": 0.6}
    mixed = pd.concat([frame, frame.assign(**closed)])
    assert "nan" not in tables.readable(tables.summarise(mixed), recipe).to_string().casefold()


def test_a_run_is_used_with_the_probability_of_what_it_wrote(run, loaded, tmp_path, capsys):
    texts = [record.question for record in loaded.test]
    predictor = r2d.load(run.folder)
    assert predictor.open_labels and not predictor.takes_candidates
    answers = predictor.predict(texts, abstain_below=1.0)
    for answer, row in zip(answers, run.read()["predictions"], strict=True):
        assert answer.label == row["label"] and answer.rationale == row["rationale"]
        assert answer.probabilities == {answer.label: answer.confidence}
        assert 0 <= answer.confidence <= 1 and answer.abstained
    assert "has open labels: leave the candidates out" in sentence(
        predictor.predict, texts[:1], candidates=[["a", "b"]]
    )
    assert "so there is no set of them to score" in sentence(predictor.scores, texts)
    assert "ask predict for one" in sentence(predictor.explain_under, texts[0])
    assert "no probabilities over a set of them" in sentence(calibrate.calibrate, run.folder)
    assert answers[0].label in demo.page(predictor, texts[0])
    path = write(tmp_path / "cases.json", [{"question": text} for text in texts])
    out = tmp_path / "out.csv"
    asked = ["predict", str(run.folder), "--file", str(path), "--no-rationale"]
    assert __main__.main([*asked, "--out", str(out)]) == 0
    shown = pd.read_csv(out, keep_default_na=False)
    assert list(shown["label"]) == [answer.label for answer in answers]
    assert "probabilities" in shown


def test_chat_models_leave_them_out(recipe):
    said = sentence(zero_shot.ask, recipe, your_data.NAME, "smollm2", None)
    assert said == (
        "Chat models choose from one label set, but the labels of yours are open: leave it out."
    )


def test_a_recipe_s_dataset_may_have_open_labels(table):
    entry = {"card": "table", "path": table.train_file, "labels": "open", "max_label_tokens": 5}
    source = recipes.load("smoke", {"datasets.mine": entry}).datasets["mine"]
    assert data.load("mine", source).has_open_labels and source.max_label_tokens == 5
