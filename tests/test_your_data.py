"""A table of one's own: its report and advice, the mistakes of a first try, hub datasets, and from CSV to prediction."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest

import r2d
from r2d import __main__, data, paths
from r2d.data import describe, tables
from r2d.errors import R2DError
from r2d.evaluation import metrics
from r2d.experiments import your_data
from r2d.models import decode, load
from r2d.recipes.settings import DataSettings, MetricSettings

LABELS = ("Billing", "Delivery", "Repair", "How to use")


@pytest.fixture
def tickets() -> pd.DataFrame:
    """The invented example, as a frame to spoil."""
    return pd.read_csv(your_data.EXAMPLE)


@pytest.fixture
def write(tmp_path):
    def save(frame: pd.DataFrame, name: str = "tickets.csv", **options):
        frame.to_csv(tmp_path / name, index=False, **options)
        return str(tmp_path / name)

    return save


def report(table: your_data.Table, limits=(64, 80)) -> tuple[dict, str]:
    found = describe.report(table.train, table.test, load.load_tokenizer("mini-base"), limits)
    return found, "\n".join(describe.advice(found))


def complaint(*given) -> str:
    with pytest.raises(R2DError) as caught:
        your_data.look(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_invented_example_has_every_label_and_a_rationale_in_each_row():
    table = your_data.look(str(your_data.EXAMPLE))
    assert len(table.train) == table.explained == 160
    assert {row["label"] for row in table.train} == set(LABELS)


def test_every_kind_of_file_gives_the_same_table(tickets, write, tmp_path):
    wanted = your_data.look(write(tickets)).train
    tickets.to_json(tmp_path / "t.json", orient="records")
    tickets.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    tickets.to_parquet(tmp_path / "t.parquet")
    write(tickets, "semicolons.csv", sep=";")
    for name in ("t.json", "t.jsonl", "t.parquet", "semicolons.csv"):
        assert your_data.look(str(tmp_path / name)).train == wanted


def test_a_sound_table_gets_a_report_that_counts_it():
    found, said = report(your_data.look(str(your_data.EXAMPLE)))
    assert (
        found["rows"] == {"train": 160, "test": 0}
        and sum(found["labels"].values()) == found["explained"] == 160
    )
    assert not any(found["missing"].values()) and found["leaks"] == found["contradictions"] == 0
    assert (
        said
        == "160 training rows are few: expect wide intervals, and look at them before any mean."
    )


def test_the_report_finds_what_was_spoilt(tickets, write):
    test = tickets.iloc[:5]
    train = pd.concat(
        [tickets, tickets.iloc[[7]], tickets.iloc[[8]].assign(label="Other desk")],
        ignore_index=True,
    )
    train.loc[0, "question"] = "  " + train.loc[0, "question"].upper()  # still a leak
    train.loc[10:12, "rationale"] = None
    train.loc[13, "question"] = ""
    train.loc[20, "label"] = str(train.loc[20, "label"]).upper()
    train["rationale"] = (
        "It is " + train["label"] + ": " + train["rationale"]
    )  # a missing one stays missing
    found, said = report(your_data.look(write(train), write(test, "test.csv")), (16, 80))
    assert found["rows"] == {"train": 162, "test": 5} and found["missing"] == {
        "question": 1,
        "label": 0,
        "rationale": 3,
    }
    assert (found["leaks"], found["duplicates"], found["contradictions"]) == (5, 2, 1)
    assert found["labels"]["Other desk"] == 1 and len(found["merged"]) == 1
    assert found["label in rationale"] == 1 and found["label in question"] == 0
    for part in (
        "1 row(s) have no question",
        "5 test question(s) are also in",
        "2 training row(s) repeat",
        "1 question(s) have different labels",
        "3 row(s) have no rationale",
        "differ in case only",
        "Fewer than 10 training rows have label",
        "100% of the rationales state",
        "100% of the inputs are longer than 16 tokens",
    ):
        assert part in said
    assert not any(question in said for question in tickets["question"])


def test_lengths_and_the_advised_limit_are_the_tokenizers(tickets, write):
    table = your_data.look(write(tickets))
    found, said = report(table, (16, 80))
    tokenizer = load.load_tokenizer("mini-base")
    ids = tokenizer(
        [f"given label: {row['label']}, explain: {row['question']}" for row in table.train]
    )["input_ids"]
    lengths = pd.Series([len(each) for each in ids])
    row = found["lengths"].set_index("text").loc["input"]
    assert row["longest"] == lengths.max() and row["share cut"] == (lengths > 16).mean()
    advised = int(said.split('"max_input_tokens": ')[1].split("}")[0])
    assert (lengths <= advised).mean() >= 0.95 and advised % 16 == 0


def test_labels_that_look_alike_rule_or_hide_in_the_question_are_pointed_out(tickets, write):
    tickets.loc[0, "label"] = "How  to use"
    tickets.loc[1:140, "label"] = "Delivery"
    tickets["question"] = tickets["question"] + " delivery"
    found, said = report(your_data.look(write(tickets)))
    assert found["alike"] == [("How  to use", "How to use")] and "look alike" in said
    assert "read macro-F1, not accuracy" in said and "contain the words of their own label" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("tickts.csv",), "is not there: did you mean 'tickets.csv'?"),
        (
            ("{file}", "", "qestion"),
            "no column 'qestion' for the question, only 'question', 'label', 'rationale'; did you",
        ),
        (("{file}", "", "question", "Label"), "no column 'Label' for the label"),
        (("{file}", "", "question", "Label"), "did you mean 'label'?"),
        (
            ("{file}", "", "question", "label", "why"),
            "If there are no rationales, give an empty name",
        ),
        (
            ("{file}", "", "question", "question"),
            "Column 'question' is named both as question and as label",
        ),
        (("{file}", "", "question", "rationale", ""), None),
        (("{file}", "", "", "label"), "Both a question column and a label column are needed"),
        (("{file}", "{file}"), "Training and test file are the same file"),
        (("empty.csv",), "empty.csv is empty"),
        (("header.csv",), "header.csv has a header but no records"),
        (("one.csv",), "column 'label' has one label only, so there is nothing to decide"),
        (("blank.csv",), "column 'label' is empty in every row"),
        (
            ("many.csv",),
            "column 'label' has 160 different labels in 160 rows, too few to learn any",
        ),
        (("unknown.xlsx",), "unknown.xlsx has an unknown ending"),
    ],
)
def test_a_first_try_s_mistakes_are_one_sentence_each(
    tickets, write, tmp_path, monkeypatch, given, said
):
    monkeypatch.chdir(tmp_path)
    file = write(tickets)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("question,label,rationale\n")
    (tmp_path / "unknown.xlsx").write_text("x")
    write(tickets.assign(label=" billing "), "one.csv")
    write(tickets.assign(label=""), "blank.csv")
    write(tickets.assign(label=tickets["question"]), "many.csv")
    given = [part.replace("{file}", file) for part in given]
    if said is None:  # another column of few values is a label as good as any
        assert your_data.look(*given).explained == 0
    else:
        found = complaint(*given)
        assert said in found and not any(question in found for question in tickets["question"])


def test_labels_that_differ_in_case_are_one_label_of_the_dataset(tickets, write):
    tickets.loc[::9, "label"] = tickets.loc[::9, "label"].str.upper() + " "
    table = your_data.look(write(tickets))
    recipe = your_data.recipe(table, "smoke", "full")
    assert set(data.load(your_data.NAME, recipe.datasets[your_data.NAME]).labels) == set(LABELS)
    assert len(report(table)[0]["merged"]) == 4


def test_the_recipe_trains_the_table_and_its_name_follows_the_files_content(tickets, write):
    made = your_data.recipe(
        your_data.look(write(tickets)), "smoke", "lora", {"train.common.steps": 20}
    )
    assert your_data.methods(your_data.look(write(tickets)), "lora") == [
        "stage1-lora",
        "sft-lora",
        "r2d-lora",
    ]
    assert (
        made.methods["r2d-lora"].init == "stage1-lora" and made.methods["sft-lora"].tuning == "lora"
    )
    assert made.training("r2d-lora", your_data.NAME).steps == 20 and "mean nothing" in made.note
    loaded = data.load(your_data.NAME, made.datasets[your_data.NAME])
    assert {split: len(rows) for split, rows in loaded.splits.items()} == {
        "train": 112,
        "validation": 16,
        "test": 32,
    }
    again = your_data.recipe(
        your_data.look(write(tickets)), "smoke", "lora", {"train.common.steps": 20}
    )
    changed = your_data.recipe(
        your_data.look(write(tickets.iloc[::-1])), "smoke", "lora", {"train.common.steps": 20}
    )
    assert again.profile == made.profile != changed.profile and made.profile.startswith("smoke+")
    with pytest.raises(R2DError, match="choose full, lora or qlora"):
        your_data.recipe(your_data.look(write(tickets)), "smoke", "half")


def test_without_rationales_only_sft_is_trained(tickets, write):
    table = your_data.look(write(tickets.drop(columns="rationale")), "", "question", "label", "")
    made = your_data.recipe(table, "smoke", "qlora")
    assert your_data.methods(table, "qlora") == ["sft-qlora"] and "sft-qlora" in made.methods
    assert len(data.load(your_data.NAME, made.datasets[your_data.NAME]).train) == 112
    assert "only SFT can be trained; `python -m r2d write-rationales`" in report(table)[1]


def test_rows_without_a_rationale_teach_the_label_only(tickets, write):
    tickets.loc[::2, "rationale"] = None
    table = your_data.look(write(tickets))
    made = your_data.recipe(table, "smoke", "full")
    assert table.explained == 80 and your_data.methods(table, "full") == [
        "stage1-full",
        "sft-full",
        "r2d-full",
    ]
    loaded = data.load(your_data.NAME, made.datasets[your_data.NAME])
    assert sum(map(len, loaded.splits.values())) == 160 and any(
        not record.rationale for record in loaded.train
    )


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for a hub dataset: a folder of Parquet with class numbers and booleans, as hub datasets have."""
    from datasets import ClassLabel, Dataset, Features, Value

    kinds = {
        "premise": Value("string"),
        "hypothesis": Value("string"),
        "explanation_1": Value("string"),
        "answer": Value("bool"),
    }
    features = Features(
        kinds | {"label": ClassLabel(names=["entailment", "neutral", "contradiction"])}
    )
    for split, count in (("train", 60), ("test", 12)):
        texts = [
            [f"{split} premise {i}", f"guess {i}", f"since {i}", i % 2 == 0, i % 3]
            for i in range(count)
        ]
        rows = [dict(zip(features, text, strict=True)) for text in texts]
        (tmp_path / "pairs").mkdir(exist_ok=True)
        Dataset.from_list(rows, features=features).to_parquet(
            str(tmp_path / "pairs" / f"{split}-00000-of-00001.parquet")
        )
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return f"hub:{tmp_path / 'pairs'}"


def test_a_hub_dataset_is_read_with_class_names_and_composed_questions(hub):
    loaded = data.load(
        "nli", DataSettings(card="esnli", path=hub, test_path=f"{hub}#test", validation=6)
    )
    assert (
        loaded.labels == ("entailment", "neutral", "contradiction")
        and len(loaded.test) == 12
        and len(loaded.train) == 54
    )
    record = next(r for r in loaded.test if r.id == "5")
    assert record.question == "premise: test premise 4 hypothesis: guess 4"
    assert (record.label, record.rationale) == ("neutral", "since 4")


def pretend(card: str, split: str, count: int):
    """What `datasets.load_dataset` gives for a card's hub dataset, as far as that is documented: names, kinds, a few rows."""
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    text, numbers = Value("string"), range(count)
    if card == "strategyqa":
        kinds = {
            "qid": text,
            "term": text,
            "question": text,
            "answer": Value("bool"),
            "facts": Sequence(text),
        }
        columns = [
            [f"q{i}" for i in numbers],
            ["t"] * count,
            [f"{split}: is it {i}?" for i in numbers],
        ]
        columns += [[i % 2 == 0 for i in numbers], [["It is.", f"As {i}."] for i in numbers]]
    else:
        kinds = dict.fromkeys(
            ("premise", "hypothesis", "explanation_1", "explanation_2", "explanation_3"), text
        )
        kinds |= {"label": ClassLabel(names=["entailment", "neutral", "contradiction"])}
        columns = [
            [f"{split} premise {i}" for i in numbers],
            [f"guess {i}" for i in numbers],
            [f"since {i}" for i in numbers],
        ]
        columns += [[""] * count, [""] * count, [i % 3 for i in numbers]]
    return Dataset.from_dict(dict(zip(kinds, columns, strict=True)), features=Features(kinds))


@pytest.mark.parametrize(
    ("card", "where", "labels", "rationale"),
    [
        (
            "esnli",
            ("esnli/esnli", None, "refs/convert/parquet"),
            ("entailment", "neutral", "contradiction"),
            "since 0",
        ),
        ("strategyqa", ("ChilleD/StrategyQA", None, None), ("True", "False"), "It is. As 0."),
    ],
)
def test_a_card_over_the_hub_needs_no_path_in_the_recipe(
    card, where, labels, rationale, monkeypatch
):
    asked = []

    def stand_in(repo, config, split, revision):
        asked.append((repo, config, revision, split))
        return pretend(card, split, 60 if split == "train" else 30)

    monkeypatch.setattr("datasets.load_dataset", stand_in)
    loaded = data.load("facts", DataSettings(card=card, validation=6))
    assert set(asked) == {(*where, "train"), (*where, "test")}
    assert loaded.labels == labels and (len(loaded.train), len(loaded.test)) == (54, 30)
    first = min(loaded.test, key=lambda record: int(record.id.strip("q")))
    assert (
        first.label
        == labels[0]
        == {r.label for r in loaded.test if r.question == first.question}.pop()
    )
    assert first.rationale == rationale and "test" in first.question


def test_a_name_with_a_slash_that_is_no_file_is_a_hub_dataset(hub, tmp_path):
    assert your_data.located("someone/tickets") == "hub:someone/tickets"
    assert tables.find("hub:someone/tickets:small#dev").parts == (
        "someone/tickets",
        "small",
        None,
        "dev",
    )
    assert "is not there" in complaint(f"{tmp_path}/tickets")
    table = your_data.look(hub, f"{hub}#test", "{premise} / {hypothesis}", "label", "explanation_1")
    wanted = {"question": "train premise 1 / guess 1", "label": "neutral", "rationale": "since 1"}
    assert len(table.test) == 12 and table.train[1] == wanted


def test_a_hub_that_is_not_reached_is_one_sentence(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("https://hub/secret?token=1")

    monkeypatch.setattr("datasets.load_dataset", fail)
    said = complaint("someone/tickets")
    assert (
        "'someone/tickets' (configuration default, split train) could not be loaded (ConnectionError)"
        in said
    )
    assert "secret" not in said


def test_an_empty_cell_leaves_a_composed_text_empty():
    given = [(1, {"a": "x ", "b": None}), (2, {"a": "{b}", "b": 3}), (3, None)]
    columns, rows = tables.composed(["a", "b"], given, ["{a}-{b}", "{c}"])
    assert columns == ["a", "b", "{a}-{b}"]
    assert [values and values["{a}-{b}"] for _, values in rows] == ["", "{b}-3", None]


def test_two_thousand_long_labels_in_any_script_are_read_reported_and_measured(write):
    words = "痛み жар fièvre حمى 🤒 {x} | ok".split()
    labels = [
        f"{i} " + " ".join(words[(i + k) % len(words)] for k in range(29)) for i in range(2000)
    ]
    rows = [
        {"question": f"{words[i % 8]} {i}", "label": labels[i % 2000], "rationale": f"なぜなら {i}"}
        for i in range(6000)
    ]
    table = your_data.look(write(pd.DataFrame(rows)))
    found, said = report(table)
    assert (
        len(found["labels"]) == 2000
        and "lose their end" in said
        and not any(label in said for label in labels)
    )
    loaded = data.load(
        your_data.NAME, your_data.recipe(table, "smoke", "full").datasets[your_data.NAME]
    )
    assert set(loaded.labels) == set(labels) and len(describe.balance(loaded)) == 6000
    wrong = [
        decode.row(r, "nothing" if i % 2 else r.label.upper(), loaded.labels)
        for i, r in enumerate(loaded.test)
    ]
    measured = metrics.evaluate(
        wrong, loaded.labels, MetricSettings(bertscore="minilm", resamples=100)
    )
    assert (
        measured["metrics"]["accuracy"]["value"]
        == measured["metrics"]["invalid_rate"]["value"]
        == 0.5
    )


def test_from_a_csv_to_predictions_headless(tickets, write, home, capfd):
    tickets.loc[::5, "rationale"] = None  # these teach the label only
    file = write(
        tickets.rename(columns={"question": "ticket", "label": "queue", "rationale": "why"}),
        "desk.csv",
    )
    named = ["--question-column", "ticket", "--label-column", "queue", "--rationale-column", "why"]
    settings = (
        "train.common.steps=4",
        "train.common.eval_every=2",
        "metrics.resamples=100",
        "max_rationale_tokens=16",
    )
    asked = [
        "your-data",
        "--train",
        file,
        *named,
        "--profile",
        "smoke",
        *(part for pair in settings for part in ("--set", pair)),
    ]
    assert __main__.main(asked) == 0
    captured = capfd.readouterr()
    assert not any(ticket in captured.out + captured.err for ticket in tickets["question"])
    (out,) = home.glob("runs/smoke+*/notebooks/09_your_dataset.ipynb")
    assert f"Read {out}" in captured.out and "smoke on your own data" in captured.out
    cells = nbformat.read(out, as_version=4).cells
    printed = "".join(o.get("text", "") for c in cells if c.cell_type == "code" for o in c.outputs)
    assert (
        "R2D and SFT" in printed or "R2D beats SFT" in printed or "R2D is beaten by SFT" in printed
    )
    pictures = [
        c.id
        for c in cells
        if c.cell_type == "code"
        for o in c.outputs
        if "image/png" in o.get("data", {})
    ]
    assert set(pictures) == {"09-07", "09-17"}
    folder = paths.run(out.parent.parent.name, your_data.NAME, "r2d-full", 1)
    Path(file).unlink()  # the run folder is enough from here on
    (found,) = r2d.load(folder).predict(["Hello, about the kettle: I was charged twice."])
    assert set(found.probabilities) == set(LABELS) and isinstance(found.rationale, str)
    assert __main__.main(["predict", str(folder), "--text", "the parcel never came", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["label"] in LABELS


def test_mistakes_are_said_before_a_kernel_starts(tickets, write, monkeypatch, capsys):
    monkeypatch.setattr(
        "papermill.execute_notebook", lambda *_, **__: pytest.fail("a kernel was started")
    )
    assert __main__.main(["your-data", "--train", write(tickets), "--label-column", "lable"]) == 2
    assert "did you mean 'label'?" in capsys.readouterr().err
    assert (
        __main__.main(["your-data", "--train", write(tickets), "--set", "train.comon.steps=3"]) == 2
    )
    assert "the recipe has no 'comon'; did you mean 'common'?" in capsys.readouterr().err


def test_the_command_line_hands_the_notebook_every_parameter(
    tickets, write, home, monkeypatch, capsys
):
    seen = []
    monkeypatch.setattr(
        "r2d.notebook.execute", lambda name, out, given: seen.append((name, out, given))
    )
    test = write(tickets.iloc[:20].assign(question="other " + tickets["question"]), "test.csv")
    asked = [
        "your-data",
        "--train",
        write(tickets),
        "--test",
        test,
        "--profile",
        "smoke",
        "--tuning",
        "lora",
        "--seed",
        "7",
    ]
    assert __main__.main([*asked, "--set", "train.common.lr=1e-3"]) == 0
    ((name, out, given),) = seen
    from r2d.experiments import notebook

    assert set(given) == set(notebook.declared(paths.NOTEBOOKS / f"{name}.ipynb"))
    notebook.check(paths.NOTEBOOKS / f"{name}.ipynb", given)
    assert given["overrides"] == {"train.common.lr": 0.001} and (
        given["seed"],
        given["tuning"],
    ) == (7, "lora")
    table = your_data.look(given["train_file"], given["test_file"])
    assert (
        out.parent.parent.name
        == your_data.recipe(table, "smoke", "lora", given["overrides"]).profile
    )
    assert f"{out.parent.parent.name}/yours/r2d-lora/seed7" in capsys.readouterr().out
