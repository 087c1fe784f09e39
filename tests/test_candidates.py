"""Cases that bring their own candidates: read, shown in prompts, decoded among them, measured by position, used and shared."""

import csv
import json
import random

import pytest

import r2d
from r2d import __main__, data
from r2d.data import describe
from r2d.data.record import Gate, Record, options
from r2d.deploy import demo, share
from r2d.errors import R2DError
from r2d.evaluation import calibration, metrics
from r2d.experiments import run, your_data
from r2d.method import prompts
from r2d.models import load
from r2d.models.decode import Decoder, row
from r2d.recipes.settings import LoraSettings, MetricSettings
from r2d.training import loop

LONG = " ".join(["a long answer"] * 10)  # 30 words
WHERE = ("the shed", "the cellar", "the attic", "the old garage behind the house")
THINGS = ("rake", "jam", "trunk", "bicycle")
TINY = {
    "train.common.steps": 4,
    "train.common.eval_every": 2,
    "train.common.batch": 4,
    "metrics.resamples": 100,
}


def riddles(count: int = 40) -> list[dict]:
    """Invented multiple choice: two to four places each, in another order every time."""
    rng, rows = random.Random(0), []
    for i in range(count):
        label = rng.choice(WHERE)
        others = rng.sample([place for place in WHERE if place != label], rng.randint(1, 3))
        own = rng.sample([label, *others], len(others) + 1)
        thing = THINGS[WHERE.index(label)]
        rows.append(
            {
                "question": f"{i}: where is the {thing}?",
                "label": label,
                "rationale": f"A {thing} is kept there.",
            }
        )
        rows[-1]["candidates"] = own
    return rows


@pytest.fixture
def table(home, tmp_path):
    (tmp_path / "riddles.json").write_text(json.dumps(riddles()))
    return your_data.look(str(tmp_path / "riddles.json"))


@pytest.fixture
def made(table):
    """A finished tiny run over them."""
    recipe = your_data.recipe(table, "smoke", "full", TINY | {"max_rationale_tokens": 12})
    for method in your_data.methods(table, "full"):
        folder = run.execute(recipe, your_data.NAME, method, 1)
    return data.load(your_data.NAME, recipe.datasets[your_data.NAME]), folder


def test_a_list_and_a_text_with_bars_are_the_same_candidates(table, tmp_path):
    rows = riddles()
    with (tmp_path / "riddles.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"candidates": " | ".join(row["candidates"])} for row in rows)
    text = your_data.look(str(tmp_path / "riddles.csv"))
    assert text.train == table.train and table.train[0]["candidates"] == tuple(
        rows[0]["candidates"]
    )
    loaded, again = (
        data.load("x", your_data.recipe(t, "smoke", "full").datasets[your_data.NAME])
        for t in (table, text)
    )
    assert (
        loaded.splits == again.splits and loaded.labels == () and loaded.categories[0] == "option 1"
    )
    record = loaded.train[0]
    assert (
        record.label in record.candidates
        and record.category == f"option {record.candidates.index(record.label) + 1}"
    )
    assert record.text == f"options: {' | '.join(record.candidates)}; case: {record.question}"


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (["a", " b "], ("a", "b")), ("a| b |c", ("a", "b", "c")), ([1, 2.5], ("1", "2.5")), (f"{LONG}|no", (LONG, "no")),
        ("a", None), ("a|A", None), ("a||b", None), (["a", None], None), (None, None), (3, None), (list("ab") * 26, None),
    ],
)  # fmt: skip
def test_candidates_are_two_or_more_different_texts(cell, found):
    assert options(cell) == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"candidates": ["one"]},
            "its candidates (column 'candidates') are not 2 to 50 different texts",
        ),
        ({"label": "the moon"}, "its label is not one of its own candidates"),
    ],
)
def test_a_row_whose_candidates_are_wrong_stops_with_a_sentence_or_is_dropped(change, said):
    rows = [(i, {"id": str(i), **each}) for i, each in enumerate(riddles(3), 1)]
    rows[1][1].update(change)
    with pytest.raises(R2DError) as caught:
        list(Gate((), choice=True).records("riddles.json", rows))
    assert "riddles.json, row 2: " + said in str(caught.value) and "moon" not in str(caught.value)
    gate = Gate((), choice=True, drop=True)
    assert len(list(gate.records("riddles.json", rows))) == 2 and gate.dropped == 1


def test_the_report_counts_positions_and_labels_outside_the_candidates(table, tmp_path):
    rows = riddles()
    rows[0]["label"] = "the moon"
    (tmp_path / "spoilt.json").write_text(json.dumps(rows))
    spoilt = your_data.look(str(tmp_path / "spoilt.json"))
    found = describe.report(spoilt.train, spoilt.test, load.load_tokenizer("mini-base"), (64, 80))
    assert (
        set(found["labels"]) == {"option 1", "option 2", "option 3", "option 4"}
        and sum(found["labels"].values()) == 39
    )
    assert "1 row(s) have a label that is not among their candidates" in "\n".join(
        describe.advice(found)
    )
    for each in rows:
        each |= {"label": each["candidates"][0]}
    (tmp_path / "first.json").write_text(json.dumps(rows))
    with pytest.raises(
        R2DError, match="every row's label is its option 1, so only that would be learned: shuffle"
    ):
        your_data.look(str(tmp_path / "first.json"))
    (tmp_path / "letters.json").write_text(json.dumps([each | {"label": "A"} for each in rows]))
    with pytest.raises(
        R2DError,
        match="no row's label .* is among its own candidates: write the option's text as the label",
    ):
        your_data.look(str(tmp_path / "letters.json"))


def test_a_label_is_valid_among_its_own_candidates_only():
    record = Record("1", "where?", "the shed", "", candidates=("the attic", "the shed"))
    found = row(record, " The ATTIC", ["the cellar"])
    assert (found["label"], found["valid"], found["candidates"]) == (
        "the attic",
        True,
        ["the attic", "the shed"],
    )
    assert not row(record, "the cellar", ["the cellar"])["valid"]


def test_measures_are_over_positions():
    answers = [("a", "b"), ("a", "a"), ("b", "c"), ("b", "b")]  # gold, predicted
    rows = [
        row(Record(str(i), "q", gold, "", candidates=("a", "b")), said, ())
        for i, (gold, said) in enumerate(answers)
    ]
    found = metrics.evaluate(rows, (), MetricSettings(bertscore="minilm", resamples=100))
    assert found["labels"] == ["option 1", "option 2"] and found["confusion"] == [
        [1, 1, 0],
        [0, 1, 1],
    ]
    values = {name: measure["value"] for name, measure in found["metrics"].items()}
    assert values == pytest.approx(
        {"accuracy": 0.5, "macro_f1": (2 / 3 + 1 / 2) / 2, "invalid_rate": 0.25}
    )


def test_decoding_by_score_chooses_among_each_case_s_own(table):
    loaded = data.load("x", your_data.recipe(table, "smoke", "full").datasets[your_data.NAME])
    net = load.load("mini-base", "full", LoraSettings(), 0.0)
    decoder = Decoder(net.eval(), load.load_tokenizer("mini-base"), loaded.labels, (64, 12))
    rows = decoder.encode(prompts.predict(r.text) for r in loaded.train)
    together = decoder.label_texts(rows, "score", decoder.choices(loaded.train))
    alone = [
        decoder.label_texts([ids], "score", [r.candidates])[0]
        for ids, r in zip(rows, loaded.train, strict=True)
    ]
    assert together == alone and all(
        label in r.candidates for label, r in zip(alone, loaded.train, strict=True)
    )


def test_a_run_over_candidates_is_selected_measured_used_calibrated_and_shared(
    made, tmp_path, capsys, monkeypatch
):
    loaded, folder = made
    found = run.read(folder)
    scores = [entry["validation"] for entry in found["log"] if "validation" in entry]
    assert len(scores) == 2 and all(0 <= value <= 1 for value in scores)
    assert found["metrics"]["labels"] == list(loaded.categories)
    texts, choices = [r.question for r in loaded.test], [r.candidates for r in loaded.test]
    predictor = r2d.load(folder)
    answers = predictor.predict(texts, candidates=choices)
    assert [tuple(each.probabilities) for each in answers] == choices
    assert all(
        sum(each.probabilities.values()) == pytest.approx(1) and isinstance(each.rationale, str)
        for each in answers
    )
    assert predictor.explain_under(texts[0], choices[0])[answers[0].label] == answers[0].rationale
    right = sum(
        each.label == record.label for each, record in zip(answers, loaded.test, strict=True)
    )
    assert calibration.calibrate(folder)["test"]["accuracy"] == pytest.approx(right / len(texts))
    assert "each case brings its own candidates" in share.model_card(
        folder
    ) and prompts.CHOICE in share.model_card(folder)
    assert "the shed" in demo.page(
        predictor, "where is the rake?", candidates="the shed | the attic"
    )
    with pytest.raises(R2DError, match="Case 1 needs 2 to 50 different candidates"):
        predictor.predict(texts)
    cases = [
        {"question": text, "candidates": own} for text, own in zip(texts, choices, strict=True)
    ]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    ask = ["predict", str(folder), "--no-rationale"]
    assert (
        __main__.main(
            [*ask, "--file", str(tmp_path / "cases.json"), "--out", str(tmp_path / "out.csv")]
        )
        == 0
    )
    with (tmp_path / "out.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [json.loads(each["probabilities"]).keys() for each in written] == [
        answer.probabilities.keys() for answer in answers
    ]
    assert (
        __main__.main(
            [*ask, "--text", "where is the jam?", "--candidates", "the cellar|the moon", "--json"]
        )
        == 0
    )
    assert set(json.loads(capsys.readouterr().out.splitlines()[-1])["probabilities"]) == {
        "the cellar",
        "the moon",
    }


def test_a_run_with_a_label_set_takes_no_candidates(records, fresh, monkeypatch, capsys):
    from r2d.deploy.predict import Predictor
    from r2d.method.objective import OBJECTIVES

    predictor = Predictor(fresh(records), OBJECTIVES["sft"], "SFT")
    with pytest.raises(
        R2DError, match="SFT has a label set of its own, 'Call 911'.*: leave the candidates out"
    ):
        predictor.predict(["cp"], candidates=[["a", "b"]])
    with pytest.raises(R2DError, match="There are 2 texts and candidates for 1"):
        predictor.predict(["cp", "sob"], candidates=[["a", "b"]])
    monkeypatch.setattr(r2d, "load", lambda _: predictor)
    assert __main__.main(["predict", "RUN", "--text", "cp", "--candidates", "a|b"]) == 2
    assert "leave the candidates out" in capsys.readouterr().err


def test_sampled_labels_are_those_of_the_case_s_candidates_and_shown_in_the_prompt(
    table, tmp_path, monkeypatch
):
    from r2d.method import objective
    from r2d.recipes.settings import TrainSettings

    loaded = data.load("x", your_data.recipe(table, "smoke", "full").datasets[your_data.NAME])
    decoder = Decoder(
        load.load("mini-base", "full", LoraSettings(), 0.0),
        load.load_tokenizer("mini-base"),
        (),
        (64, 12),
    )
    said, asked, encode = [], [], decoder.encode
    monkeypatch.setattr(
        decoder, "encode", lambda texts: encode(asked.append(list(texts)) or asked[-1])
    )
    monkeypatch.setattr(decoder, "label_texts", lambda rows, how="generate", choices=None: said.append(choices) or [
        own[-1].upper() for own in choices
    ])  # fmt: skip
    goal = objective.named("r2d-always", {"cap": 1.0, "warmup": 0.0, "ramp": 0.0})
    steps = TrainSettings(steps=1, lr=1e-3, batch=4, dropout=0.0, eval_every=1, patience=5)
    loop.Trainer(decoder.model, decoder, goal, steps, 1, tmp_path, "f").fit(
        loaded.train, loaded.validation
    )
    chosen = [loaded.train[i] for i in loop.batch_order(1, len(loaded.train), 0, 4)]
    assert said[0] == [r.candidates for r in chosen]
    assert asked[4] == [f"given label: {r.candidates[-1]}, explain: {r.text}" for r in chosen]
