"""Options inside a question: read out however they are marked, never half."""

import pytest
from notes import load, sentence, write

from r2d.data import inline_options

MARKER = "Answer Choices:"
FORMS = {
    "A. B.": "A. a rake B. a jam, of plums C. none",
    "A: B:": "A: a rake B: a jam, of plums C: none",
    "A) B)": "A) a rake, B) a jam, of plums; C) none",
    "(A) (B)": "(A) a rake | (B) a jam, of plums | (C) none",
    "a. b.": "a. a rake b. a jam, of plums c. none",
    "lines": "\nA. a rake\nB. a jam, of plums\nC. none\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_options_are_read_out_however_they_are_marked(form):
    question = f"Where is it? answer choices: {FORMS[form]}"
    stem, options = inline_options.split(question, MARKER)
    assert stem == "Where is it?" and options == ("a rake", "a jam, of plums", "none")


def test_letters_inside_an_option_are_its_own_where_only_one_reading_is_left():
    text = "A. E. coli B. C. difficile C. S. aureus D. none"
    _, options = inline_options.split(f"{MARKER} {text}", MARKER)
    assert options == ("E. coli", "C. difficile", "S. aureus", "none")
    lines = "A. Vitamin B. complex\nB. Zinc\nC. B. and A."
    _, options = inline_options.split(f"{MARKER} {lines}", MARKER)
    assert options == ("Vitamin B. complex", "Zinc", "B. and A.")


@pytest.mark.parametrize(
    "text",
    [
        "no marker: A. x B. y",
        f"{MARKER}",
        f"{MARKER} A. only",
        f"{MARKER} B. x C. y",
        f"{MARKER} A. Vitamin B. complex B. Zinc",
        f"{MARKER} x or A. y B. z",
        f"{MARKER} {'A. x B. y ' * 200}",
    ],
)
def test_a_question_whose_options_cannot_be_told_apart_stays_whole(text):
    assert inline_options.split(text, MARKER) == (text, ())


@pytest.mark.parametrize("label", ["B", "b", "(B)", "B.", "B) that", "b: That", " THAT "])
def test_a_label_is_an_option_s_letter_or_text(label):
    options = ("this", "that", "B. other")
    chosen = inline_options.option_of(label, options)
    assert chosen.strip().casefold() == "that"


def test_a_label_that_is_no_option_is_left_for_the_check():
    options = ("this", "that")
    for label in ("C", "A. that", "other", ""):
        assert inline_options.option_of(label, options) == label
    assert inline_options.option_of("A", ("B", "A")) == "A"  # the text counts before the letter


def questions(count: int) -> list[dict]:
    """As the follow-up's second dataset has them: each row with options of its own."""
    return [
        {
            "question": f"Case {i}: which? {MARKER} A. room {i} B. hall {i} C. yard {i}",
            "label": ("A", f"hall {i}", "(C)")[i % 3],
            "rationale": f"since {i}",
        }
        for i in range(count)
    ]


def test_a_table_of_such_questions_is_multiple_choice(tmp_path):
    path = write(tmp_path / "choices.json", questions(60))
    loaded = load(path, options_from=MARKER)
    assert loaded.labels == () and loaded.categories == ("option 1", "option 2", "option 3")
    record = next(record for record in loaded.train if record.id == "5")
    assert record.candidates == ("room 4", "hall 4", "yard 4") and record.label == "hall 4"
    assert record.text == "options: room 4 | hall 4 | yard 4; case: Case 4: which?"
    others = [row | {"question": f"Other {row['question']}"} for row in questions(6)]
    test = write(tmp_path / "test.json", others)
    assert len(load(path, test_path=str(test), options_from=MARKER).test) == 6


def test_a_row_whose_options_are_missing_stops_or_is_dropped(tmp_path):
    rows = questions(60)
    rows[4]["question"] = "Case 4: which?"
    rows[5]["label"] = "D"
    path = write(tmp_path / "choices.json", rows)
    message = sentence(load, path, options_from=MARKER)
    assert message.startswith("choices.json, row 5: its question has no 2 to 50 different options")
    assert load(path, options_from=MARKER, on_bad_rows="drop").dropped == 2
