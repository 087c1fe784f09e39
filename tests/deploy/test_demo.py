"""The form of a notebook answers what is typed into it; its page is the answer to one case."""

import math
import re

import pytest
import torch
from torch import nn

import r2d
from r2d import __main__
from r2d.deploy import demo, occlusion
from r2d.deploy.predict import Predictor
from r2d.errors import R2DError
from r2d.method.objective import OBJECTIVES

NOTE = "72 yo F fall. has crushing chest pain. denies fever"
LIKELY = {"Call 911": "crushing", "Home care": "denies"}


class Reader:
    """A decoder without a network: a label is likelier where its own word is in the prompt."""

    model, labels = nn.Linear(1, 1), ("Home care", "Call 911")

    def encode(self, prompts):
        return list(prompts)

    def score(self, rows, choices):
        return torch.tensor([[self.one(row, label) for label in choices[0]] for row in rows])

    def one(self, row, label):
        return -0.25 if LIKELY[label] in row else -2.25 if label == "Call 911" else -3.25

    def rationales(self, prompts):
        return [f"<i>said of {prompt.partition(',')[0]}</i>" for prompt in prompts]


@pytest.fixture
def reader():
    return Predictor(Reader(), OBJECTIVES["r2d"], "R2D")


def test_the_form_answers_with_every_label_and_escapes_what_is_typed(model):
    page = demo.page(model, "<script>chest pain</script>", abstain_below=1.0)
    assert all(label in page for label in model.labels)
    assert "<script>" not in page and "leave this case to a person" in page
    text, button, answer = demo.form(model).children
    button.click()
    assert "is empty" in answer.value
    text.value = "sore throat"
    button.click()
    assert model.predict(["sore throat"], explain=False)[0].label in answer.value


def test_the_word_that_decides_has_the_largest_weight(reader):
    reader.decoder.one = lambda row, label: -0.25 if LIKELY[label] in row else -2.25
    weights = {part.text.strip(): part.weight for part in reader.explain_words(NOTE)}
    assert reader.predict([NOTE], explain=False)[0].label == "Home care"  # the first of two equals
    assert weights.pop("denies") == 2.0 and set(weights.values()) == {0.0}
    for label in ("Call 911", " call 911"):  # labels are compared as everywhere
        heaviest = max(reader.explain_words(NOTE, label=label), key=lambda part: part.weight)
        assert heaviest == occlusion.Part("crushing ", 2.0)
    with pytest.raises(R2DError, match=r"'Go home' is no label of this case: choose one of"):
        reader.explain_words(NOTE, label="Go home")


def test_a_word_s_weight_is_what_the_label_s_log_probability_loses_without_it(model, finished):
    text = " chest pain  since\nthis morning "
    for one in (model, r2d.load(finished("r2d-full"), "torch")):
        parts = one.explain_words(text)
        label = one.predict([text], explain=False)[0].label
        place = one.labels.index(label)
        assert "".join(part.text for part in parts) == text.strip()
        whole, without = one.scores([text, "chest since\nthis morning"])[:, place].tolist()
        assert parts[1].text == "pain  "
        assert parts[1].weight == pytest.approx(whole - without, abs=1e-4)


def test_a_long_case_is_weighed_by_its_clauses_and_all_of_it():
    words = " ".join(["she slept well, then woke up"] * 30)
    pieces = occlusion.parts(words)
    assert "".join(pieces) == words and len(pieces) < occlusion.MOST_PARTS
    assert pieces[0] == "she slept well, "
    for endless in (" ".join(["word"] * 5000), "a, " * 5000):
        pieces = occlusion.parts(endless)
        assert "".join(pieces) == endless.strip() and len(pieces) <= occlusion.MOST_PARTS
    assert occlusion.without_each(["a ", "b ", "c"]) == ["b c", "a c", "a b "]


def test_the_page_marks_the_deciding_word_and_says_what_it_rests_on(reader):
    reader.temperature = 2.0
    page = demo.page(reader, f"{NOTE} & <b>bold</b>", candidates="")
    marked = re.findall(r"<mark [^>]*>([^<]*)</mark>", page)
    label = reader.predict([NOTE], explain=False)[0].label
    assert marked == [LIKELY[label]]
    assert label == "Home care" and f"{math.exp(3):.1f} without <b>denies</b>" in page
    assert "&amp; &lt;b&gt;bold&lt;/b&gt;" in page and "<b>bold" not in page and "<i>" not in page
    assert "calibrated (temperature 2.00)" in page
    (other,) = {*reader.labels} - {label}
    opened = re.search(r"<details>.*?</details>", page)[0]
    assert f"Were it {other}: &lt;i&gt;said of given label: {other}&lt;/i&gt;" in opened
    assert "not calibrated" in demo.page(Predictor(Reader(), OBJECTIVES["r2d"], "R2D"), NOTE)


def test_a_model_whose_rationale_names_no_label_offers_no_other(finished):
    page = demo.page(r2d.load(finished("sft-full")), NOTE)
    assert "<details>" not in page and "Because" not in page


def test_no_word_is_named_where_none_decides(reader):
    page = demo.page(reader, "nothing that it knows")
    assert "No word decides alone." in page and "<mark" not in page


def test_the_command_line_writes_a_page_only_its_owner_can_read(finished, tmp_path, capsys):
    out = tmp_path / "case.html"
    folder = str(finished("r2d-full"))
    assert __main__.main(["predict", folder, "--text", NOTE, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "crushing" in out.read_text() and "<details>" in out.read_text()
    assert out.stat().st_mode & 0o077 == 0 and "only you can read it" in said.out
    assert "crushing" not in said.out + said.err
    (tmp_path / "cases.csv").write_text("question\nsore throat\n")
    several = ["predict", folder, "--file", str(tmp_path / "cases.csv"), "--out", str(out)]
    assert __main__.main(several) == 2 and "name it .csv or .jsonl" in capsys.readouterr().err
