"""A run in which every text is hostile, from its table to the report: no page runs any of it."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import hostile
import nbformat
import pytest
from conftest import TINY, new_home

from r2d import paths, recipes
from r2d.experiments import grid, your_data
from r2d.models.decode import Decoder
from r2d.reporting import site

# Of the theme's own code, and of figures whose titles are too long for them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:constrained_layout not applied"),
]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
browser = pytest.mark.skipif(
    not CHROMIUM, reason="Chromium is not installed (Debian: apt-get install chromium)"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
    "--virtual-time-budget=8000",
    "--dump-dom",
)
METHODS = ("stage1-full", "majority", "r2d-full")  # in the order in which they are run
# What each frame's page became: whether a script of others ran, and what would run on a click.
LOOK = """<script>onload = () => {
  const seen = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument;
    const all = [...page.querySelectorAll("*")];
    const handlers = all.flatMap(e => [...e.attributes].map(a => a.name + "=" + a.value))
      .filter(text => text.startsWith("on") && text.includes("attacked"));
    const links = all.flatMap(e => [e.getAttribute("href"), e.getAttribute("src")])
      .filter(url => url && url.trim().toLowerCase().startsWith("javascript"));
    const scripts = [...page.scripts].filter(s => s.textContent.includes("attacked"));
    return {
      page: frame.src.split("/").pop(),
      attacked: page.documentElement.dataset.attacked || "",
      dangers: [...handlers, ...links, ...scripts.map(s => "script")],
      text: page.body.innerText,
    };
  });
  document.body.textContent = "<<" + JSON.stringify(seen) + ">>";
}</script>"""


def settings(table: your_data.Table) -> dict:
    """Changes to `smoke`: this table, few steps, and hostile titles."""
    tiny = {key: value for key, value in TINY.items() if "triage" not in key}
    titles = {f"methods.{method}.title": f"{method} {hostile.TITLE}" for method in METHODS}
    columns = {"question": hostile.QUESTION, "label": hostile.LABEL, "rationale": hostile.RATIONALE}
    entry = {"card": "table", "path": table.train_file, "test_path": None, "columns": columns}
    experiment = {
        "experiments.E1.title": hostile.EVERYTHING,
        "experiments.E1.datasets": ["yours"],
        "experiments.E1.methods": list(METHODS[1:]),
        "experiments.E1.seeds": [1],
    }
    note = {"note": hostile.EVERYTHING, "datasets.yours": entry}
    return tiny | titles | experiment | note


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report of that run; its model writes hostile rationales, and its texts are shown."""
    folder = tmp_path_factory.mktemp("hostile")
    home = new_home(folder / "home")
    cards = Path(shutil.copytree(paths.CARDS, folder / "cards"))
    shown = (cards / "table.yaml").read_text().replace("synthetic: false", "synthetic: true")
    (cards / "table.yaml").write_text(shown)
    file = str(hostile.table(folder / "table.csv"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(home))
        patch.setattr(paths, "CARDS", cards)
        patch.setattr(paths, "figures", lambda profile: home / "figures" / profile)
        written = [hostile.EVERYTHING]
        patch.setattr(Decoder, "rationales", lambda self, prompts: written * len(list(prompts)))
        columns = hostile.QUESTION, hostile.LABEL, hostile.RATIONALE
        table = your_data.read_table(file, "", *columns)
        changes = settings(table)
        recipe = your_data.recipe(table, "smoke", "full", changes)
        assert recipe == recipes.load("smoke", changes)
        execute_all(recipe, table, changes)
        return site.build(recipe).parent


def execute_all(recipe: recipes.Recipe, table: your_data.Table, changes: dict) -> None:
    """Every notebook but those of the chat models."""
    folder = paths.runs(recipe.profile) / "notebooks"
    given = {"profile": "smoke", "overrides": changes}

    def execute(name: str, about: str = "", **parameters) -> None:
        hostile.executed(name, folder / f"{about or name}.ipynb", given | parameters)

    execute("01_data", "01_data-yours", dataset="yours")
    for method in METHODS:
        names = {"dataset": "yours", "method": method, "seed": 1}
        execute(grid.notebook(recipe, method), f"yours-{method}-seed1", **names)
    execute("06_automatic_metrics", only="E1")
    execute("08_figures", only="E1")
    execute("00_overview")
    execute("09_your_dataset", **your_data.parameters(table, "smoke", "full", 1, changes))


def look(pages: list[str], folder: Path) -> list[dict]:
    """What the pages became in headless Chromium, each in a frame."""
    frames = "".join(f'<iframe src="{html.escape(page)}"></iframe>' for page in pages)
    (folder / "frames.html").write_text(frames + LOOK, encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'browser'}"]
    command.append((folder / "frames.html").as_uri())
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return json.loads(re.search("<<(.*)>>", html.unescape(done.stdout), re.DOTALL)[1])


def pages(report: Path) -> list[str]:
    files = [file for file in sorted(report.rglob("*.html")) if "_static" not in file.parts]
    return [file.as_uri() for file in files]


@browser
def test_no_page_of_the_report_runs_what_a_table_a_title_or_a_model_says(report, tmp_path):
    search = f"{(report / 'search.html').as_uri()}?q=html"  # whose results are made by a script
    seen = look([*pages(report), search], tmp_path)
    assert len(seen) == len(pages(report)) + 1 > 10
    assert not [page for page in seen if page["attacked"] or page["dangers"]]
    texts = {page["page"]: page["text"] for page in seen}
    for name in ("yours-r2d-full-seed1.html", "yours-majority-seed1.html", "09_your_dataset.html"):
        for text in (hostile.SVG, hostile.SCRIPT, hostile.LINK, "{eval-rst}`x`", "```{raw} html"):
            assert text in texts[name], (name, text)
    assert hostile.SVG in texts["index.html"] and hostile.LINK in texts["index.html"]
    assert hostile.SVG in texts["search.html?q=html"]


@browser
def test_a_page_that_did_run_them_would_be_noticed(tmp_path):
    for k, text in enumerate((hostile.SVG, hostile.IMAGE, hostile.SCRIPT)):
        (tmp_path / f"{k}.html").write_text(f"<html><body>{text}</body></html>")
    (tmp_path / "3.html").write_text(f'<a href="javascript:{hostile.ATTACK}">x</a>')
    files = [(tmp_path / f"{k}.html").as_uri() for k in range(4)]
    seen = look(files, tmp_path)
    assert [page["attacked"] for page in seen] == ["1", "1", "1", ""]
    assert all(page["dangers"] for page in seen)


def test_nothing_of_this_machine_was_included_in_a_page(report):
    text = "".join(file.read_text("utf-8") for file in report.rglob("*.html"))
    assert "root:" not in text


def test_the_csvs_and_the_markdown_beside_the_figures_hold_texts_only(report):
    from markdown_it import MarkdownIt

    figures = report.parents[2] / "figures" / report.parent.name
    for name in ("table_1.md", "findings.md"):
        text = (figures / name).read_text(encoding="utf-8")
        page = MarkdownIt("commonmark").enable("table").render(text)
        assert "<svg" not in page and "<script" not in page and "<a" not in page, name
        assert html.escape(hostile.SVG) in page, name


def test_what_the_notebooks_hold_is_safe_where_they_are_opened(report):
    """HTML outputs as a trusted notebook would show them."""
    for file in (report.parent / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(file, as_version=4).cells:
            for output in cell.get("outputs", []):
                shown = output.get("data", {}).get("text/html", "")
                assert hostile.SVG not in shown and "<script" not in shown, file.name
