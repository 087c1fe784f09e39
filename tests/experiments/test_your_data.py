"""A table of one's own: the mistakes of a first try, its recipe, and from CSV to prediction."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from notes import TICKETS, hub_pairs, sentence

import r2d
from r2d import __main__, data, paths
from r2d.data import describe, review, triage
from r2d.evaluation import metrics
from r2d.experiments import notebook, your_data
from r2d.models import sanity
from r2d.models.decode import prediction
from r2d.models.load import load_tokenizer
from r2d.recipes.settings import MetricSettings

LABELS = ("Billing", "Delivery", "Repair", "How to use")


@pytest.fixture
def tickets() -> pd.DataFrame:
    """An invented table, as a frame to spoil."""
    return pd.read_csv(TICKETS)


@pytest.fixture
def write(tmp_path):
    def save(frame: pd.DataFrame, name: str = "tickets.csv", **options) -> str:
        frame.to_csv(tmp_path / name, index=False, **options)
        return str(tmp_path / name)

    return save


def load(table: your_data.Table, profile="smoke", tuning="full") -> data.Dataset:
    """The table as the dataset of its recipe."""
    recipe = your_data.recipe(table, profile, tuning)
    return data.load(your_data.NAME, recipe.datasets[your_data.NAME])


def test_the_invented_example_is_what_its_generator_writes_and_counting_words_is_not_enough():
    table = your_data.read_table(str(your_data.EXAMPLE))
    notes = triage.generate(300, 9, difficulty=0.6, topics=6)
    assert table.train == [{field: note[field] for field in your_data.FIELDS} for note in notes]
    loaded = load(table)
    hits = [
        label == record.label
        for label, record in zip(sanity.tfidf(loaded.train, loaded.test), loaded.test, strict=True)
    ]
    assert 0.2 < sum(hits) / len(hits) < 0.8


def test_every_kind_of_file_gives_the_same_table(tickets, write, tmp_path):
    wanted = your_data.read_table(write(tickets)).train
    tickets.to_json(tmp_path / "t.json", orient="records")
    tickets.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    tickets.to_parquet(tmp_path / "t.parquet")
    write(tickets, "semicolons.csv", sep=";")
    for name in ("t.json", "t.jsonl", "t.parquet", "semicolons.csv"):
        assert your_data.read_table(str(tmp_path / name)).train == wanted


MISTAKES = [
    (("tickts.csv",), "is not there: did you mean 'tickets.csv'?"),
    (
        ("{file}", "", "qestion"),
        "no column 'qestion' for the question, only 'question', 'label', 'rationale'; did you",
    ),
    (("{file}", "", "question", "Label"), "no column 'Label' for the label"),
    (("{file}", "", "question", "Label"), "did you mean 'label'?"),
    (("{file}", "", "question", "label", "why"), "If there are no rationales, give an empty name"),
    (
        ("{file}", "", "question", "question"),
        "Column 'question' is named both as question and as label",
    ),
    (("{file}", "", "", "label"), "Both a question column and a label column are needed"),
    (("{file}", "{file}"), "Training and test file are the same file"),
    (("empty.csv",), "empty.csv is empty"),
    (("header.csv",), "header.csv has a header but no records"),
    (("headless.csv",), "names too long to be columns: add a header row"),
    (("one.csv",), "column 'label' has one label only, so there is nothing to decide"),
    (("blank.csv",), "column 'label' is empty in every row"),
    (("many.csv",), "column 'label' has 160 different labels in 160 rows, too few to learn any"),
    (("unknown.xlsx",), "unknown.xlsx has an unknown ending"),
]


@pytest.mark.parametrize(("given", "said"), MISTAKES)
def test_a_first_try_s_mistakes_are_one_sentence_each(
    tickets, write, tmp_path, monkeypatch, given, said
):
    monkeypatch.chdir(tmp_path)
    file = write(tickets)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("question,label,rationale\n")
    (tmp_path / "unknown.xlsx").write_text("x")
    write(tickets, "headless.csv", header=False)
    write(tickets.assign(label=" billing "), "one.csv")
    write(tickets.assign(label=""), "blank.csv")
    write(tickets.assign(label=tickets["question"]), "many.csv")
    message = sentence(your_data.read_table, *(part.replace("{file}", file) for part in given))
    assert said in message
    assert not any(question in message for question in tickets["question"])


def test_another_column_of_few_values_is_a_label_as_good_as_any(tickets, write):
    table = your_data.read_table(write(tickets), "", "question", "rationale", "")
    assert table.explained == 0


def test_labels_that_differ_in_case_are_one_label_of_the_dataset(tickets, write):
    tickets.loc[::9, "label"] = tickets.loc[::9, "label"].str.upper() + " "
    assert set(load(your_data.read_table(write(tickets))).labels) == set(LABELS)


def test_the_recipe_trains_the_table(tickets, write):
    table = your_data.read_table(write(tickets))
    recipe = your_data.recipe(table, "smoke", "lora", {"train.common.steps": 20})
    assert your_data.methods(table, "lora") == ["stage1-lora", "sft-lora", "r2d-lora"]
    assert recipe.methods["r2d-lora"].init == "stage1-lora"
    assert recipe.methods["sft-lora"].tuning == "lora"
    assert recipe.training("r2d-lora", your_data.NAME).steps == 20
    assert "mean nothing" in recipe.note
    sizes = {split: len(records) for split, records in load(table, tuning="lora").splits.items()}
    assert sizes == {"train": 112, "validation": 16, "test": 32}
    assert "choose full, lora or qlora" in sentence(your_data.recipe, table, "smoke", "half")


def test_the_profile_s_name_follows_the_files_content(tickets, write):
    def profile(frame):
        table = your_data.read_table(write(frame))
        return your_data.recipe(table, "smoke", "lora", {"train.common.steps": 20}).profile

    first, again = profile(tickets), profile(tickets)
    assert first == again and first.startswith("smoke+")
    assert profile(tickets.iloc[::-1]) != first


def test_without_rationales_only_sft_is_trained(tickets, write):
    bare = write(tickets.drop(columns="rationale"))
    table = your_data.read_table(bare, "", "question", "label", "")
    assert your_data.methods(table, "qlora") == ["sft-qlora"]
    assert "sft-qlora" in your_data.recipe(table, "smoke", "qlora").methods
    assert len(load(table, tuning="qlora").train) == 112


def test_rows_without_a_rationale_teach_the_label_only(tickets, write):
    tickets.loc[::2, "rationale"] = None
    table = your_data.read_table(write(tickets))
    assert table.explained == 80
    assert your_data.methods(table, "full") == ["stage1-full", "sft-full", "r2d-full"]
    loaded = load(table)
    assert sum(map(len, loaded.splits.values())) == 160
    assert any(not record.rationale for record in loaded.train)


def test_a_hub_dataset_is_a_table_too(tmp_path, monkeypatch):
    hub = hub_pairs(tmp_path, monkeypatch)
    table = your_data.read_table(
        hub, f"{hub}#test", "{premise} / {hypothesis}", "label", "explanation_1"
    )
    wanted = {"question": "train premise 1 / guess 1", "label": "neutral", "rationale": "since 1"}
    assert len(table.test) == 12 and table.train[1] == wanted


def test_a_hub_that_is_not_reached_is_one_sentence(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError

    monkeypatch.setattr("datasets.load_dataset", fail)
    said = sentence(your_data.read_table, "someone/tickets")
    assert "'someone/tickets' (configuration default, split train) could not be loaded" in said


def test_two_thousand_long_labels_in_any_script_are_read_reported_and_measured(write):
    words = "痛み жар fièvre حمى 🤒 {x} | ok".split()
    labels = [
        f"{i} " + " ".join(words[(i + k) % len(words)] for k in range(29)) for i in range(2000)
    ]
    rows = [
        {"question": f"{words[i % 8]} {i}", "label": labels[i % 2000], "rationale": f"なぜなら {i}"}
        for i in range(6000)
    ]
    table = your_data.read_table(write(pd.DataFrame(rows)))
    report = review.report(table.train, table.test, load_tokenizer("mini-base"), (64, 80))
    advice = "\n".join(review.advice(report))
    assert len(report["labels"]) == 2000 and "lose their end" in advice
    assert not any(label in advice for label in labels)
    loaded = load(table)
    assert set(loaded.labels) == set(labels) and len(describe.balance(loaded)) == 6000
    half_wrong = [
        prediction(record, "nothing" if i % 2 else record.label.upper(), loaded.labels)
        for i, record in enumerate(loaded.test)
    ]
    settings = MetricSettings(bertscore="minilm", resamples=100)
    measured = metrics.evaluate(half_wrong, loaded.labels, settings)["metrics"]
    assert measured["accuracy"]["value"] == measured["invalid_rate"]["value"] == 0.5


QUICK = (
    "train.common.steps=4",
    "train.common.eval_every=2",
    "metrics.resamples=100",
    "max_rationale_tokens=16",
)


def outputs(cell) -> list:
    return cell.outputs if cell.cell_type == "code" else []


def test_from_a_csv_to_predictions_headless(tickets, write, home, capfd):
    tickets.loc[::5, "rationale"] = None  # these teach the label only
    names = {"question": "ticket", "label": "queue", "rationale": "why"}
    file = write(tickets.rename(columns=names), "desk.csv")
    asked = ["your-data", "--train", file, "--profile", "smoke"]
    for field, column in names.items():
        asked += [f"--{field}-column", column]
    for setting in QUICK:
        asked += ["--set", setting]
    assert __main__.main(asked) == 0
    captured = capfd.readouterr()
    assert not any(ticket in captured.out + captured.err for ticket in tickets["question"])
    (out,) = home.glob("runs/smoke+*/notebooks/09_your_dataset.ipynb")
    assert f"Read {out}" in captured.out and "smoke on your own data" in captured.out
    cells = nbformat.read(out, as_version=4).cells
    printed = "".join(output.get("text", "") for cell in cells for output in outputs(cell))
    assert "One run each on" in printed and "R2D minus each other model" in printed
    pictures = {
        cell.id
        for cell in cells
        for output in outputs(cell)
        if "image/png" in output.get("data", {})
    }
    assert pictures == {"09-07", "09-17"}
    folder = paths.run(out.parent.parent.name, your_data.NAME, "r2d-full", 1)
    Path(file).unlink()  # the run folder is enough from here on
    (answer,) = r2d.load(folder).predict(["Hello, about the kettle: I was charged twice."])
    assert set(answer.probabilities) == set(LABELS) and isinstance(answer.rationale, str)
    assert __main__.main(["predict", str(folder), "--text", "the parcel never came", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["label"] in LABELS


def test_mistakes_are_said_before_a_kernel_starts(tickets, write, monkeypatch, capsys):
    monkeypatch.setattr(
        "papermill.execute_notebook", lambda *_, **__: pytest.fail("a kernel was started")
    )
    asked = ["your-data", "--train", write(tickets)]
    assert __main__.main([*asked, "--label-column", "lable"]) == 2
    assert "did you mean 'label'?" in capsys.readouterr().err
    assert __main__.main([*asked, "--set", "train.comon.steps=3"]) == 2
    said = capsys.readouterr().err
    assert "train names 'comon', which is not there; did you mean 'common'?" in said


def test_the_command_line_hands_the_notebook_every_parameter(
    tickets, write, home, monkeypatch, capsys
):
    executed = []
    monkeypatch.setattr(
        notebook, "execute", lambda name, out, given: executed.append((name, out, given))
    )
    test = write(tickets.iloc[:20].assign(question="other " + tickets["question"]), "test.csv")
    asked = ["your-data", "--train", write(tickets), "--test", test, "--profile", "smoke"]
    asked += ["--tuning", "lora", "--seed", "7", "--set", "train.common.lr=1e-3"]
    assert __main__.main(asked) == 0
    ((name, out, given),) = executed
    file = paths.NOTEBOOKS / f"{name}.ipynb"
    assert set(given) == set(notebook.declared(file))
    notebook.check(file, given)
    assert given["overrides"] == {"train.common.lr": 0.001}
    assert (given["seed"], given["tuning"]) == (7, "lora")
    table = your_data.read_table(given["train_file"], given["test_file"])
    profile = your_data.recipe(table, "smoke", "lora", given["overrides"]).profile
    assert out.parent.parent.name == profile
    assert f"{profile}/yours/r2d-lora/seed7" in capsys.readouterr().out
