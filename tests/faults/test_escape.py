"""Hostile texts in tables, lists, captions and forms are shown as texts, in HTML and Markdown."""

import html
import json
import random
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import hostile
import nbformat
import pandas as pd
import pytest
from docutils.core import publish_doctree
from markdown_it import MarkdownIt
from myst_nb.docutils_ import MystParser

from r2d import paths
from r2d.deploy import answers, demo
from r2d.deploy.occlusion import Part
from r2d.deploy.predict import Prediction
from r2d.reporting import cases, escape, gallery, manifest

PIECES = list("`*_[]()<>|#&~!$\\{}\"'-+=:%.^@/ \n\t\r") + [
    "javascript:",
    "```",
    "~~~",
    ":::",
    "{raw} html",
    "{eval-rst}",
    "<script>",
    "<svg onload=x>",
    "](",
    "]: ",
    "[^1]",
    "$$",
    r"\(",
    r"\[",
    "&lt;",
    "&#60;",
    "http://a.b",
    "- ",
    "1. ",
    "(a)=",
    "| --- |",
    "a",
    "7",
]


def jumbled(count: int) -> list[str]:
    """Seeded texts of pieces that mean something to some reader of Markdown."""
    chosen = random.Random(7)
    return ["a" + "".join(chosen.choices(PIECES, k=chosen.randint(1, 12))) for _ in range(count)]


class Shown(HTMLParser):
    """The tags of a page, and the text of its cells, list items and headings."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not [name for name, _ in attributes if name.startswith("on") or name == "href"]
        if tag in ("td", "th", "li", "h1", "caption"):
            self.texts.append("")

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data


def as_line(text: str) -> str:
    return " ".join(text.split())


def markdown(text: str) -> Shown:
    return Shown(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


@pytest.mark.parametrize("texts", [hostile.TEXTS, jumbled(300)], ids=["attacks", "jumbled"])
def test_markdown_shows_a_text_as_it_is_in_cells_lists_and_headings(texts):
    frame = pd.DataFrame({"text": texts, hostile.COLUMN: range(len(texts))})
    page = markdown(escape.table(frame))
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert [as_line(text) for text in page.texts[2::2]] == [as_line(text) for text in texts]
    assert as_line(page.texts[1]) == as_line(hostile.COLUMN)
    page = markdown("\n".join(f"- {escape.plain(text)}" for text in texts))
    assert page.tags == {"ul", "li"}
    assert [as_line(text) for text in page.texts] == [as_line(text) for text in texts]
    for text in texts:
        page = markdown(f"# {escape.plain(text)}")
        assert page.tags == {"h1"} and as_line(page.texts[0]) == as_line(text)


def test_myst_finds_no_directive_role_formula_or_target_in_them():
    settings = {"report_level": 5, "myst_enable_extensions": ["dollarmath"]}
    texts = [*hostile.TEXTS, *jumbled(100)]
    listed = "\n".join(f"- {escape.plain(text)}" for text in texts)
    for source in (listed, escape.table(pd.DataFrame({"text": texts}))):
        document = publish_doctree(source, parser=MystParser(), settings_overrides=settings)
        names = {node.tagname for node in document.findall()}
        strange = {"raw", "math", "literal", "literal_block", "comment", "target", "problematic"}
        assert not names & (strange | {"system_message", "emphasis", "strong", "image"}), names


def test_jupyterlab_sees_no_formula_in_what_markdown_becomes():
    """Its formulas begin and end in one text; each mark is alone in an element."""
    shown = escape.shown(escape.table(pd.DataFrame({"text": [hostile.FORMULA]}))).data
    page = MarkdownIt("commonmark").enable("table").render(shown)
    inside = re.findall(r">([^<]*)<", page)
    assert not [text for text in inside if re.search(r"\$.*\$|\\[(\[]", html.unescape(text))]
    assert as_line("".join(html.unescape(text) for text in inside)).endswith(
        as_line(hostile.FORMULA)
    )


def test_a_styled_table_escapes_cells_labels_and_names_and_keeps_its_numbers():
    rows = pd.MultiIndex.from_product([hostile.TEXTS[:3], ["b"]], names=[hostile.SVG, None])
    frame = pd.DataFrame(
        {hostile.SVG: hostile.TEXTS[:3], "list": [[hostile.SVG]] * 3, "n": [1.25, None, 3]}, rows
    )
    frame.columns.name = hostile.SCRIPT
    styled = escape.styled(frame).format(precision=1, na_rep="–").set_caption("c")
    page = Shown(styled.to_html())
    assert not page.tags & {"svg", "img", "script", "a"}
    texts = [text.strip() for text in page.texts]
    for text in (*hostile.TEXTS[:3], hostile.SCRIPT, str([hostile.SVG]), "1.2", "–", "3.0"):
        assert text in texts


@pytest.mark.parametrize(
    "table",
    [
        lambda frame: frame,  # as pandas shows it by itself
        lambda frame: frame.T,
        lambda frame: frame.set_index(hostile.SVG),
        cases.wrapped,
        lambda frame: cases.token_strip([(hostile.SVG, 0.5)], hostile.SCRIPT),
        lambda frame: cases.greyed(frame.assign(method="m", qualified=False)),
    ],
)
def test_tables_of_notebooks_are_escaped(table):
    frame = pd.DataFrame({hostile.SVG: [hostile.SCRIPT], "x": [hostile.IMAGE]})
    page = Shown(table(frame)._repr_html_())
    assert not page.tags & {"svg", "img", "script", "a"}
    assert hostile.SVG in [text.strip() for text in page.texts]


def test_no_notebook_goes_around_the_escapes():
    """What displays a table or Markdown of its own would have to escape it by itself."""
    around = r"\.style\b|\bMarkdown\b|\bHTML\b|to_html|to_markdown|to_csv"
    for file in paths.NOTEBOOKS.glob("*.ipynb"):
        code = [c.source for c in nbformat.read(file, as_version=4).cells if c.cell_type == "code"]
        assert not re.search(around, "\n".join(code)), file.name


def test_nothing_in_the_package_goes_around_them():
    """Each way out has one module, which escapes."""
    around = r"(?<!formats)\.style\b|\bMarkdown\(|\bHTML\(|\.to_html\(|\.to_markdown\(|"
    around += r"\.to_csv\(|csv\.writer"
    used = {
        file.name: set(re.findall(around, file.read_text(encoding="utf-8")))
        for file in paths.PACKAGE.rglob("*.py")
    }
    assert {name: ways for name, ways in used.items() if ways} == {
        "escape.py": {".style", "Markdown("},
        "spreadsheet.py": {".to_csv(", "csv.writer"},
        "cases.py": {"HTML("},
        "gallery.py": {"HTML("},
        "demo.py": {"HTML("},
    }


def test_a_figures_caption_and_alternative_text_are_escaped(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setattr(manifest, "read", lambda folder: {"fig": {"caption": hostile.EVERYTHING}})
    (tmp_path / "fig.png").write_bytes(b"PNG")
    gallery.show([tmp_path / "fig.png"])
    page = Shown(shown[0].data)
    assert page.tags == {"figure", "img", "figcaption"}


def test_the_form_escapes_labels_and_rationales():
    shares = dict.fromkeys(hostile.TEXTS, 1 / len(hostile.TEXTS))
    answer = Prediction(hostile.SVG, shares, hostile.SCRIPT, 0.5, True)
    model = SimpleNamespace(
        explains_labels=True,
        open_labels=False,
        temperature=1,
        explain_words=lambda *given: [Part(hostile.SCRIPT, 2.0), Part(hostile.EVERYTHING, -1.0)],
        predict=lambda *given: [answer],
        explain_under=lambda *given: dict.fromkeys(hostile.TEXTS, hostile.EVERYTHING),
    )
    page = Shown(demo.page(model, "a case", 0.9))
    marks = {"p", "b", "mark", "code"}
    assert page.tags == marks | {"div", "span", "details", "summary"}


def test_a_terminal_obeys_nothing_that_a_model_says():
    obeyed = "\x1b]0;title\x07\x9b31m\rhidden\nsecond line\x00"
    row = {"case": 1, "label": "a" + obeyed, "abstained": False, "confidence": 0.5}
    shown = answers.line(row | {"rationale": obeyed, "text": obeyed})
    assert shown.isprintable() and shown.count("second line") == 3
    assert json.loads(answers.as_json(row))["label"] == row["label"]  # verbatim
