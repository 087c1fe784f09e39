"""The report site, built from the project's notebooks with invented outputs: what it shows, what it loads, what it refuses."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
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
from r2d.reporting import gallery, results, site, site_index

RUNS = [
    ("triage", "majority", 1),
    ("triage", "r2d-full", 1),
    ("triage", "r2d-full", 2),
    ("pubmedqa", "r2d-qlora", 1),
]
SOURCES = {"majority": "04_baselines", "r2d-full": "03_stage2", "r2d-qlora": "03_stage2"}
FIGURES = ("fig1a_main_triage", "fig1a_main_pubmedqa", "fig7_training_triage")
SECRET = "a case that no notebook printed"
WIDE = "<table>" + "<tr>" + "<td>unbreakably_wide_cell</td>" * 20 + "</tr></table>"
ENVIRONMENT = {
    "python": "3.99",
    "packages": {"torch": "9.8.7"},
    "device": "abacus",
    "kind": "cpu",
    "threads": 1,
    "commit": "c0ffee",
    "training": {"seconds": 12.5},
}
pytestmark = pytest.mark.filterwarnings(
    "ignore::PendingDeprecationWarning"
)  # of the theme's own code


@cache
def wide_picture() -> bytes:
    """A PNG of 1500 pixels' width."""
    figure, kept = plt.figure(figsize=(15, 2)), io.BytesIO()
    figure.savefig(kept, dpi=100)
    plt.close(figure)
    return kept.getvalue()


def executed(name: str, out: Path, parameters: dict, seconds: float) -> None:
    """The project's notebook as papermill would have left it: wide outputs below each cell, and its metadata."""
    notebook, picture = (
        nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4),
        base64.b64encode(wide_picture()).decode(),
    )
    notebook.metadata["papermill"] = {"parameters": parameters, "duration": seconds}
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.execution_count = 1
        cell.outputs = [
            new_output("stream", name="stdout", text="one_long_word_" * 20),
            new_output("stream", name="stderr", text=f"warning from {paths.ROOT}"),
            new_output("display_data", {"text/html": WIDE}),
            new_output("display_data", {"image/png": picture}),
        ]
    nbformat.write(notebook, out)


def fill(home: Path) -> None:
    """Everything of the profile `smoke` that the report reads, with invented numbers."""
    base, figures = home / "runs" / "smoke", home / "figures" / "smoke"
    for folder in (base / "notebooks", base / "results", figures):
        folder.mkdir(parents=True)
    for name in ("00_overview", "06_automatic_metrics", "08_figures"):
        executed(name, base / "notebooks" / f"{name}.ipynb", {}, 30)
    titles, rows = recipes.load("smoke").methods, []
    for dataset, method, seed in RUNS:
        given = {"dataset": dataset, "method": method, "seed": seed}
        executed(
            SOURCES[method], base / "notebooks" / f"{dataset}-{method}-seed{seed}.ipynb", given, 60
        )
        executed(
            "01_data", base / "notebooks" / f"01_data-{dataset}.ipynb", {"dataset": dataset}, 30
        )
        folder = base / dataset / method / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "env.json").write_text(json.dumps(ENVIRONMENT))
        (folder / "predictions.jsonl").write_text(json.dumps({"rationale": SECRET}))
        card = {
            "title": f"The {dataset}",
            "synthetic": dataset == "triage",
            "source": "here",
            "counts": {"test": 4321},
        }
        (base / dataset / "data.json").write_text(json.dumps(card))
        rows.append(
            given
            | {
                "profile": "smoke",
                "title": titles[method].title,
                "test_cases": 9,
                "macro_f1": 0.4567,
                "accuracy": 0.5,
            }
        )
    frame = pd.DataFrame(rows).assign(macro_f1_low=0.4, macro_f1_high=0.5)
    table = results.summarise(frame)
    frame.to_csv(base / "results" / "runs.csv", index=False)
    table.to_csv(base / "results" / "table_1.csv", index=False)
    readable = results.readable(table, recipes.load("smoke")).to_markdown(index=False)
    (base / "results" / "table_1.md").write_text(f"Profile: invented\n\n{readable}\n")
    (figures / "findings.md").write_text(
        "**Table 1**\n\n- R2D beats nothing.\n\n**E3**\n\n- No part is worth it.\n"
    )
    costs = dict.fromkeys(site_index.COSTS, 2.0) | {
        "dataset": "triage",
        "title": "R2D",
        "steps": 77,
    }
    pd.DataFrame([costs]).to_csv(base / "results" / "table_2.csv", index=False)
    for name in FIGURES:
        (figures / f"{name}.png").write_bytes(wide_picture())
    captions = {
        name: {"caption": gallery.GALLERY[name.rpartition("_")[0]].caption} for name in FIGURES
    }
    (figures / "manifest.json").write_text(json.dumps(captions | {"table_1.csv": {}}))


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
        patch.setattr(paths, "figures", lambda profile: home / "figures" / profile)
        fill(home)
        index = site.build(recipes.load("smoke"))
    assert (
        index == home / "runs" / "smoke" / "report" / "index.html"
        and not (index.parent.parent / ".report.part").exists()
    )
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
            self.loads += [
                value
                for name, value in attributes
                if name in ("src", "srcset", "href", "data", "poster")
            ]

    def handle_data(self, data):
        self.words.append(data)


def pages(site: Path) -> list[Page]:
    """Every page of the site; templates among the theme's files are none."""
    found = [Page(p) for p in sorted(site.rglob("*.html")) if "_static" not in p.parts]
    assert len(found) == 1 + 1 + 3 + 2 + len(RUNS)  # index, search, the story, the data, the runs
    return found


def test_no_page_loads_anything_from_a_network(site):
    for page in pages(site):
        assert len(page.loads) > 5 and not [
            url for url in page.loads if re.match(r"(\w+:)?//", url)
        ]
        for url in page.loads:
            assert (page.path.parent / unquote(url.partition("?")[0])).is_file(), (
                page.path.name,
                url,
            )
    for sheet in site.rglob("*.css"):
        assert not re.findall(
            r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")
        ), sheet


def test_every_page_names_its_profile_and_what_is_synthetic(site):
    for page in pages(site):
        assert (
            "Profile smoke: a handful of steps; these numbers mean nothing. Synthetic data: triage."
            in page.text
        )


def test_every_link_inside_the_site_leads_somewhere(site):
    known = {page.path: page for page in pages(site)}
    for page in known.values():
        for link in (link for link in page.links if not re.match(r"https?:", link)):
            file, _, anchor = unquote(link).partition("#")
            target = (page.path.parent / file).resolve() if file else page.path
            assert target.is_file() and (not anchor or anchor in known[target].ids), (
                page.path.name,
                link,
            )


def test_formulas_are_drawn_without_a_script(site):
    source = (site / "notebooks" / "triage-r2d-full-seed1.html").read_text(encoding="utf-8")
    drawn = re.findall(r"<math.*?</math>", source, re.DOTALL)
    assert len(drawn) >= 8 and 'display="block"' in "".join(drawn) and "<msub>" in "".join(drawn)
    assert "$" not in Page(site / "notebooks" / "triage-r2d-full-seed1.html").text


def test_the_first_page_says_what_was_asked_and_found(site):
    text, recipe = Page(site / "index.html").text, recipes.load("smoke")
    assert all(experiment.title in text for experiment in recipe.experiments.values())
    assert "R2D beats nothing." in text and f"E3: {recipe.experiments['E3'].title}" in text
    known = (
        "45.7",
        "[40, 50]",
        "77",
        "3.99",
        "9.8.7",
        "abacus (cpu)",
        "c0ffee",
        "4,321 test",
        "synthetic",
        "6.5 minutes",
        "12.5",
    )
    assert not [shown for shown in known if shown not in text.replace("\u00a0", " ")]


def test_published_numbers_stand_beside_ours_with_mark_and_reason(site):
    text = Page(site / "index.html").text.replace("\u00a0", " ")
    assert (
        "60.58 ± 0.46 (R2D, T5-Large) [2nd] R2D 45.7 ± 0.0 [40, 50] no: on private nurse notes; ours are synthetic"
        in text
    )
    assert "96.05 (R2D, size not stated) [2nd] R2D (QLoRA) 50.0 only with profile paper" in text


def test_every_figure_has_its_caption_from_the_gallery(site):
    text, source = Page(site / "index.html").text, (site / "index.html").read_text(encoding="utf-8")
    for name in FIGURES:
        assert (
            gallery.GALLERY[name.rpartition("_")[0]].caption in text
            and f"_images/{name}.png" in source
        )
    assert text.count(gallery.GALLERY["fig1a_main"].caption) >= 2


def test_runs_are_listed_by_dataset_method_and_seed_under_short_names(site):
    menu = re.search(
        r'<nav class="bd-links.*?</nav>',
        (site / "index.html").read_text(encoding="utf-8"),
        re.DOTALL,
    )[0]
    listed = [html.unescape(text.strip()) for text in re.findall(r">([^<>]*\w[^<>]*)<", menu)]
    story = [
        "00 Overview",
        "01 Data: pubmedqa",
        "01 Data: triage",
        "06 Automatic metrics",
        "08 Figures",
    ]
    runs = ["Majority class, seed 1", "R2D, seed 1", "R2D, seed 2"]
    assert listed == [
        "Notebooks",
        *story,
        "Runs on triage",
        *runs,
        "Runs on pubmedqa",
        "R2D (QLoRA), seed 1",
    ]
    page = Page(site / "notebooks" / "triage-r2d-full-seed2.html").text
    assert (
        "R2D on triage, seed 2 Stage 2: what does joint training with scheduled sampling add?"
        in page
    )


def test_the_site_holds_nothing_but_what_notebooks_show(site):
    text = "".join(
        p.read_text(encoding="utf-8")
        for p in site.rglob("*")
        if p.suffix in (".html", ".js", ".json", ".txt")
    )
    assert "one_long_word_" in text and SECRET not in text and str(paths.ROOT) not in text
    assert {p.suffix for p in site.rglob("*")} <= {
        "",
        ".html",
        ".js",
        ".css",
        ".png",
        ".svg",
        ".woff2",
        ".ttf",
        ".txt",
        ".po",
        ".mo",
    }


@pytest.mark.parametrize(
    "missing", ["results/table_1.md", "triage/r2d-full/seed2/env.json", "triage/data.json"]
)
def test_a_missing_file_is_named(filled, missing):
    (filled / missing).unlink()
    with pytest.raises(R2DError, match=rf"{missing} is not there; run `./run_all.sh`"):
        site.build(recipes.load("smoke"))


def test_a_run_in_the_tables_without_its_notebook_is_named(filled):
    (filled / "notebooks" / "triage-r2d-full-seed2.ipynb").unlink()
    with pytest.raises(R2DError, match="triage-r2d-full-seed2.ipynb is not there"):
        site.build(recipes.load("smoke"))


@pytest.mark.parametrize(
    "written", ["See [the other](nowhere.md).", "A formula: $\\nosuchcommand{x}$."]
)
def test_a_fault_in_a_notebook_is_named_and_the_site_before_it_stays(filled, written):
    before = filled / "report" / "index.html"
    before.parent.mkdir()
    before.write_text("the site before")
    path = filled / "notebooks" / "00_overview.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = written
    nbformat.write(notebook, path)
    with pytest.raises(
        R2DError,
        match=r"not built: notebooks/00_overview.ipynb.*(nowhere.md|nosuchcommand).*\(1 warnings\)",
    ):
        site.build(recipes.load("smoke"))
    assert before.read_text() == "the site before" and not (filled / ".report.part").exists()


def test_the_command_says_what_is_missing(home, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", "smoke"])
    assert site.main() == 2 and "There are no executed notebooks in" in capsys.readouterr().err


def test_the_command_prints_the_path_and_opens_it_when_asked(home, monkeypatch, capsys):
    opened, index = [], home / "index.html"
    monkeypatch.setattr(
        site, "build", lambda recipe: index if recipe.train["common"]["batch"] == 3 else None
    )
    monkeypatch.setattr(site.webbrowser, "open", opened.append)
    for more in ([], ["--open"]):
        monkeypatch.setattr(
            sys, "argv", ["report", "smoke", "--overrides", '{"train.common.batch": 3}', *more]
        )
        assert site.main() == 0 and capsys.readouterr().out == f"{index}\n"
    assert opened == [index.as_uri()]


# --- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MEASURE = """<script>onload = () => {
  const wide = [...document.querySelectorAll("iframe")].flatMap(frame =>
    [frame.contentDocument.documentElement, ...frame.contentDocument.querySelectorAll(".bd-article-container")]
      .map(box => [frame.src.split("/").pop(), box.clientWidth, box.scrollWidth]));
  document.body.textContent = "<<" + JSON.stringify(wide) + ">>";
}</script>"""


def browse(page: str, profile: Path) -> str:
    """A page from the file system after its scripts have run, in headless Chromium, as text."""
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    flags += " --disable-sync --allow-file-access-from-files --virtual-time-budget=5000 --dump-dom"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return html.unescape(done.stdout)


@pytest.mark.skipif(
    not CHROMIUM, reason="Chromium is not installed (Debian: apt-get install chromium)"
)
def test_on_a_phone_what_is_wide_scrolls_inside_its_own_box(site, tmp_path):
    frames = [
        f'<iframe src="{page.path.as_uri()}" width="390" height="800" style="border: 0"></iframe>'
        for page in pages(site)
    ]
    (tmp_path / "phone.html").write_text("".join(frames) + MEASURE)
    shown = browse((tmp_path / "phone.html").as_uri(), tmp_path / "browser")
    boxes = json.loads(re.search("<<(.*)>>", shown)[1])
    assert len(boxes) == 2 * len(frames) and all(300 < width <= 390 for _, width, _ in boxes)
    assert not [box for box in boxes if box[2] > box[1]]


@pytest.mark.skipif(
    not CHROMIUM, reason="Chromium is not installed (Debian: apt-get install chromium)"
)
def test_searching_needs_no_server(site, tmp_path):
    shown = browse(f"{(site / 'search.html').as_uri()}?q=scheduled", tmp_path / "browser")
    assert "R2D on triage, seed 2</a>" in shown and "R2D (QLoRA) on pubmedqa, seed 1</a>" in shown
