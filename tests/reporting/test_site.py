"""The report site, from the project's notebooks with invented outputs: shown, loaded, refused."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_output

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.reporting import site_pages
from r2d.reporting.site import build

RUNS = [
    ("triage", "majority", 1),
    ("triage", "r2d-full", 1),
    ("triage", "r2d-full", 2),
    ("pubmedqa", "r2d-qlora", 1),
]
SOURCES = {"majority": "04_baselines", "r2d-full": "03_stage2", "r2d-qlora": "03_stage2"}
SECRET = "a case that no notebook printed"
WIDE = "<table>" + "<tr>" + "<td>unbreakably_wide_cell</td>" * 20 + "</tr></table>"
FOUND = "**E3: What each part of the method is worth**\n\n- R2D beats nothing."
ENVIRONMENT = {
    "python": "3.99",
    "packages": {"torch": "9.8.7"},
    "device": "abacus",
    "kind": "cpu",
    "threads": 1,
    "commit": "c0ffee",
    "training": {"seconds": 12.5},
}
# Of the theme's own code.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@cache
def wide_picture() -> str:
    """A PNG of 1500 pixels' width, in base 64."""
    figure, kept = plt.figure(figsize=(15, 2)), io.BytesIO()
    figure.savefig(kept, dpi=100)
    plt.close(figure)
    return base64.b64encode(kept.getvalue()).decode()


def outputs() -> list:
    """A wide output of every kind that the notebooks have."""
    picture = wide_picture()
    figure = f'<figure><img src="data:image/png;base64,{picture}" alt="A caption." width="820">'
    return [
        new_output("stream", name="stdout", text="one_long_word_" * 20),
        new_output("stream", name="stderr", text=f"warning from {paths.ROOT}"),
        new_output("display_data", {"text/html": WIDE}),
        new_output("display_data", {"image/png": picture}),
        new_output("display_data", {"text/html": f"{figure}<figcaption>A caption.</figcaption>"}),
        new_output("display_data", {"text/markdown": FOUND}),
    ]


def executed(name: str, out: Path, parameters: dict, seconds: float) -> None:
    """The project's notebook as papermill would have left it, with invented outputs."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook.metadata["papermill"] = {"parameters": parameters, "duration": seconds}
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.execution_count = 1
        cell.outputs = outputs()
    nbformat.write(notebook, out)


def fill(home: Path) -> None:
    """Everything of the profile `smoke` that the site reads."""
    base = home / "runs" / "smoke"
    notebooks, results = base / "notebooks", base / "results"
    notebooks.mkdir(parents=True)
    results.mkdir()
    for name in ("00_overview", "06_automatic_metrics", "08_figures"):
        executed(name, notebooks / f"{name}.ipynb", {}, 30)
    rows = []
    for dataset, method, seed in RUNS:
        given = {"dataset": dataset, "method": method, "seed": seed}
        carried = notebooks / f"{SOURCES[method]}-{dataset}-{method}-seed{seed}.ipynb"
        executed(SOURCES[method], carried, given, 60)
        executed("01_data", notebooks / f"01_data-{dataset}.ipynb", {"dataset": dataset}, 30)
        folder = base / dataset / method / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "env.json").write_text(json.dumps(ENVIRONMENT))
        (folder / "predictions.jsonl").write_text(json.dumps({"rationale": SECRET}))
        note = {"title": dataset, "synthetic": dataset == "triage", "source": "", "counts": {}}
        (base / dataset / "data.json").write_text(json.dumps(note))
        rows.append(given)
    pd.DataFrame(rows).to_csv(results / "runs.csv", index=False)


@pytest.fixture
def filled(home):
    """A home of this test's own with everything in it."""
    fill(home)
    return home / "runs" / "smoke"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site's folder."""
    home = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(home))
        fill(home)
        index = build(recipes.load("smoke"))
    assert index == home / "runs" / "smoke" / "report" / "index.html"
    assert not (home / "runs" / "smoke" / ".report.part").exists()
    return index.parent


class Page(HTMLParser):
    """What a page loads, where it links to, the ids in it, its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.loads, self.links, self.ids, self.words = path, [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id"))
        if tag == "a":
            self.links.append(given.get("href", "#"))
        elif given.get("rel") not in ("next", "prev", "search"):
            names = ("src", "srcset", "href", "data", "poster")
            self.loads += [value for name, value in attributes if name in names]

    def handle_data(self, data):
        self.words.append(data)


def pages(site: Path) -> list[Page]:
    """Every page of the site; templates among the theme's files are none."""
    files = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    texts = list((paths.PACKAGE / "reporting" / "pages").glob("*.md"))
    # the overview, search, how it was run, two more of the story, the data, the runs
    assert len(files) == 1 + 1 + 1 + 2 + 2 + len(RUNS) + len(texts)
    return [Page(path) for path in files]


def test_no_page_loads_anything_from_a_network(site):
    for page in pages(site):
        loads = [url for url in page.loads if not url.startswith("data:image/png;base64,")]
        assert len(loads) > 5 and not [url for url in loads if re.match(r"(\w+:)?//", url)]
        for url in loads:
            file = page.path.parent / unquote(url.partition("?")[0])
            assert file.is_file(), (page.path.name, url)
    outside = r"(?:url\(|@import)\s*[\"']?(?:https?:)?//"
    for sheet in site.rglob("*.css"):
        assert not re.findall(outside, sheet.read_text(encoding="utf-8")), sheet


def test_every_page_names_its_profile_and_what_is_synthetic(site):
    note = "Profile smoke: a handful of steps; these numbers mean nothing. Synthetic data: triage."
    assert all(note in page.text for page in pages(site))


def test_every_link_inside_the_site_leads_somewhere(site):
    known = {page.path: page for page in pages(site)}
    for page in known.values():
        for link in (link for link in page.links if not re.match(r"https?:", link)):
            file, _, anchor = unquote(link).partition("#")
            target = (page.path.parent / file).resolve() if file else page.path
            assert target.is_file(), (page.path.name, link)
            assert not anchor or anchor in known[target].ids, (page.path.name, link)


def test_formulas_are_drawn_without_a_script(site):
    page = site / "notebooks" / "03_stage2-triage-r2d-full-seed1.html"
    drawn = re.findall(r"<math.*?</math>", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(drawn) >= 8 and 'display="block"' in "".join(drawn) and "<msub>" in "".join(drawn)
    assert "$" not in Page(page).text


def test_the_first_page_is_the_overview_with_its_outputs_and_its_code_folded_away(site):
    text, source = Page(site / "index.html").text, (site / "index.html").read_text("utf-8")
    assert "Overview: does Reason2Decide decide and explain better" in text
    assert "R2D beats nothing." in text and "E3: What each part" in text and "Limitations" in text
    assert source.count("<details") >= 7 and "Show the code" in text
    assert not (site / "notebooks" / "00_overview.html").exists()  # told once


def test_a_picture_has_its_caption_below_and_instead_of_it(site):
    source = (site / "index.html").read_text(encoding="utf-8")
    assert 'alt="A caption."' in source and "<figcaption>A caption.</figcaption>" in source


def test_a_page_says_how_the_runs_were_made_and_how_long_they_took(site):
    page = Page(site / "how_it_was_run.html")
    known = ("3.99", "9.8.7", "abacus (cpu)", "c0ffee", "4 runs", "6.5 minutes", "12.5")
    assert not [shown for shown in known if shown not in page.text]
    assert {"index.html", "notebooks/03_stage2-triage-r2d-full-seed2.html"} <= set(page.links)


def test_runs_that_no_table_has_are_counted_apart(filled):
    pd.DataFrame([dict(zip(("dataset", "method", "seed"), RUNS[0], strict=True))]).to_csv(
        filled / "results" / "runs.csv", index=False
    )
    recipe = recipes.load("smoke")
    text = site_pages.how_it_was_run(recipe, site_pages.find(recipe))
    assert "from the files of 1 runs; 3 more of this profile were not chosen for them." in text


def test_a_link_to_a_notebook_leads_to_the_nearest_page_made_of_it(site):
    stage_2 = Page(site / "notebooks" / "03_stage2-triage-r2d-full-seed1.html")
    nearest = "04_baselines-triage-majority-seed1.html"
    assert stage_2.links.count(nearest) > 1  # in the text, and the menu
    assert "Next: 04_baselines" in stage_2.text


def test_executed_notebooks_link_to_their_executed_neighbours_and_keep_their_times(filled):
    folder, recipe = filled / "notebooks", recipes.load("smoke")
    stage_2 = folder / "03_stage2-triage-r2d-full-seed2.ipynb"
    times = stage_2.stat().st_mtime_ns
    for _ in range(2):  # a second time there is nothing to change
        site_pages.link_executed(recipe, site_pages.find(recipe))
        assert "(04_baselines-triage-majority-seed1.ipynb)" in stage_2.read_text("utf-8")
        assert stage_2.stat().st_mtime_ns == times
    overview = nbformat.read(folder / "00_overview.ipynb", as_version=4)
    assert "(01_data-triage.ipynb)" in overview.cells[-1].source
    tables = nbformat.read(folder / "06_automatic_metrics.ipynb", as_version=4)
    judge = re.search(r"\[07_llm_judge\]\((.+?)\)", tables.cells[-1].source)[1]
    assert (folder / judge).resolve() == paths.NOTEBOOKS / "07_llm_judge.ipynb"  # not executed


def test_runs_are_listed_by_dataset_method_and_seed_under_short_names(site):
    source = (site / "index.html").read_text(encoding="utf-8")
    menu = re.search(r'<nav class="bd-links.*?</nav>', source, re.DOTALL)[0]
    listed = [html.unescape(text.strip()) for text in re.findall(r">([^<>]*\w[^<>]*)<", menu)]
    texts = sorted((paths.PACKAGE / "reporting" / "pages").glob("*.md"))
    titles = [text.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for text in texts]
    assert listed == [
        "Notebooks",
        "00 Overview",
        "01 Data: triage",
        "01 Data: pubmedqa",
        "06 Automatic metrics",
        "08 Figures",
        "More",
        "How it was run",
        *titles,
        "Runs on triage",
        "Majority class, seed 1",
        "R2D, seed 1",
        "R2D, seed 2",
        "Runs on pubmedqa",
        "R2D (QLoRA), seed 1",
    ]
    page = Page(site / "notebooks" / "03_stage2-triage-r2d-full-seed2.html").text
    question = "Stage 2: what does joint training with scheduled sampling add?"
    assert f"R2D on triage, seed 2 {question}" in page


def test_the_site_holds_nothing_but_what_notebooks_show(site):
    read = (".html", ".js", ".json", ".txt")
    text = "".join(p.read_text("utf-8") for p in site.rglob("*") if p.suffix in read)
    assert "one_long_word_" in text and SECRET not in text and str(paths.ROOT) not in text
    kinds = {"", ".html", ".js", ".css", ".png", ".svg", ".woff2", ".ttf", ".txt", ".po", ".mo"}
    assert {p.suffix for p in site.rglob("*")} <= kinds


@pytest.mark.parametrize(
    "missing", ["notebooks/00_overview.ipynb", "triage/r2d-full/seed2/env.json", "triage/data.json"]
)
def test_a_missing_file_is_named(filled, missing):
    (filled / missing).unlink()
    with pytest.raises(R2DError, match=rf"{missing} is not there; run `./run_all.sh`"):
        build(recipes.load("smoke"))


def test_a_run_in_the_tables_without_its_notebook_is_named(filled):
    (filled / "notebooks" / "03_stage2-triage-r2d-full-seed2.ipynb").unlink()
    with pytest.raises(R2DError, match="03_stage2-triage-r2d-full-seed2.ipynb is not there"):
        build(recipes.load("smoke"))


def test_without_executed_notebooks_a_sentence_says_what_to_run(home):
    with pytest.raises(R2DError, match="There are no executed notebooks in .*; run `./run_all.sh`"):
        build(recipes.load("smoke"))


@pytest.mark.parametrize(
    "faulty", ["See [the other](nowhere.md).", "A formula: $\\nosuchcommand{x}$."]
)
def test_a_fault_in_a_notebook_is_named_and_the_site_before_it_stays(filled, faulty):
    before = filled / "report" / "index.html"
    before.parent.mkdir()
    before.write_text("the site before")
    path = filled / "notebooks" / "00_overview.ipynb"
    notebook = nbformat.read(path, as_version=4)
    text = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    text[1].source = faulty
    nbformat.write(notebook, path)
    named = r"not built: notebooks/00_overview.ipynb.*(nowhere.md|nosuchcommand).*\(1 warnings\)"
    with pytest.raises(R2DError, match=named):
        build(recipes.load("smoke"))
    assert before.read_text() == "the site before" and not (filled / ".report.part").exists()


# --- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
browser = pytest.mark.skipif(
    not CHROMIUM, reason="Chromium is not installed (Debian: apt-get install chromium)"
)
MEASURE = """<script>onload = () => {
  const boxes = frame => [frame.contentDocument.documentElement,
    ...frame.contentDocument.querySelectorAll(".bd-article-container")];
  const wide = [...document.querySelectorAll("iframe")].flatMap(frame => boxes(frame)
    .map(box => [frame.src.split("/").pop(), box.clientWidth, box.scrollWidth]));
  document.body.textContent = "<<" + JSON.stringify(wide) + ">>";
}</script>"""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
    "--virtual-time-budget=5000",
    "--dump-dom",
)


def browse(page: str, profile: Path) -> str:
    """A page from the file system after its scripts have run, in headless Chromium, as text."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return html.unescape(done.stdout)


@browser
def test_on_a_phone_what_is_wide_scrolls_inside_its_own_box(site, tmp_path):
    size = 'width="390" height="800" style="border: 0"'
    frames = [f'<iframe src="{page.path.as_uri()}" {size}></iframe>' for page in pages(site)]
    (tmp_path / "phone.html").write_text("".join(frames) + MEASURE)
    shown = browse((tmp_path / "phone.html").as_uri(), tmp_path / "browser")
    boxes = json.loads(re.search("<<(.*)>>", shown)[1])
    assert len(boxes) == 2 * len(frames) and all(300 < width <= 390 for _, width, _ in boxes)
    assert not [box for box in boxes if box[2] > box[1]]


@browser
def test_searching_needs_no_server(site, tmp_path):
    shown = browse(f"{(site / 'search.html').as_uri()}?q=scheduled", tmp_path / "browser")
    assert "R2D on triage, seed 2</a>" in shown and "R2D (QLoRA) on pubmedqa, seed 1</a>" in shown
