"""The notebooks' shape: parameters, prose, checks, and no code that belongs into the package."""

import ast
import json
import re

import nbformat
import pytest

from r2d import paths, recipes
from r2d.experiments import durations, notebook

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
# Notebooks that take a training step apart, and say in a function how they look at it.
TAKING_APART = ("02_stage1", "03_stage2")
LONG = (*TAKING_APART, "06_automatic_metrics")  # a section an experiment
SPECIFICATION = json.loads((notebook.SPECIFICATION / "kernel.json").read_text())
KERNEL = {name: SPECIFICATION[name] for name in ("display_name", "language")}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def cells(path, kind=None):
    all_cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in all_cells if kind in (None, cell.cell_type)]


def parameters(path):
    (cell,) = [c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", [])]
    return cell.source


def statements(source):
    """How many statements there are, imports aside."""
    imports = (ast.Import, ast.ImportFrom)
    nodes = list(ast.walk(ast.parse(source)))
    return sum(isinstance(n, ast.stmt) and not isinstance(n, imports) for n in nodes)


def test_the_main_notebooks_are_there():
    assert {"00", "01", "02", "03", "04", "06", "08"} <= {path.stem[:2] for path in NOTEBOOKS}


@every_notebook
def test_it_is_valid_and_stored_without_outputs(path):
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert "papermill" not in stored.metadata
    assert stored.metadata.kernelspec == {**KERNEL, "name": notebook.KERNEL}
    for cell in cells(path, "code"):
        assert cell.outputs == [] and cell.execution_count is None
        assert not {"papermill", "execution"} & set(cell.metadata)


@every_notebook
def test_it_is_short_and_a_quarter_of_it_explains(path):
    code, text = cells(path, "code"), cells(path, "markdown")
    assert len(cells(path)) <= (40 if path.stem in LONG else 25)
    assert max(statements(cell.source) for cell in code) <= 15
    in_text, in_code = (sum(len(cell.source) for cell in part) for part in (text, code))
    assert in_text > 0.25 * (in_text + in_code)


@every_notebook
def test_its_code_only_calls_the_package(path):
    forbidden = r"""['"](/|~|[A-Z]:\\|\.\./)|chdir|pip install|get_ipython|login\("""
    for cell in cells(path, "code"):
        tree = ast.walk(ast.parse(cell.source))  # a magic or a shell command would not parse
        definitions = [node for node in tree if isinstance(node, DEFINITIONS)]
        assert not definitions or path.stem in TAKING_APART
        assert not re.search(forbidden, cell.source), cell.source


@every_notebook
def test_it_has_one_cell_of_few_typed_literal_parameters_with_comments(path):
    statements = ast.parse(parameters(path)).body
    most = 9 if path.stem.startswith("09") else 8  # three columns and two files of one's own
    assert 1 <= len(statements) <= most and all(isinstance(s, ast.AnnAssign) for s in statements)
    for statement, line in zip(statements, parameters(path).splitlines(), strict=True):
        value, annotation = ast.literal_eval(statement.value), ast.unparse(statement.annotation)
        assert type(value).__name__ == annotation and len(line.partition("  # ")[2]) > 10, line
    literals = {s.target.id: ast.literal_eval(s.value) for s in statements}
    assert {"profile", "overrides"} <= set(literals)
    assert list(notebook.declared(path)) == list(literals)
    assert notebook.declared(path) == literals


@every_notebook
def test_its_defaults_name_things_that_the_default_recipe_has(path):
    defaults = notebook.declared(path)
    recipe = recipes.load(defaults["profile"], defaults["overrides"])
    assert defaults.get("dataset", next(iter(recipe.datasets))) in recipe.datasets
    assert defaults.get("method", recipe.reference) in recipe.methods


@every_notebook
def test_it_says_what_it_reads_writes_and_what_is_next(path):
    first, *_, last = cells(path)
    assert first.cell_type == "markdown" and re.match(r"# .+\?\n", first.source)
    assert all(f"- **{word}** " in first.source for word in ("Reads", "Writes", "Time"))
    following = re.search(r"\*\*Next:\*\* \[?(\d\d_\w+)", last.source)
    assert following and (paths.NOTEBOOKS / f"{following[1]}.ipynb").is_file()
    if path.stem.startswith("00"):
        assert any("## Limitations" in cell.source for cell in cells(path, "markdown"))


@every_notebook
def test_it_asserts_what_it_claims(path):
    trees = [ast.parse(cell.source) for cell in cells(path, "code")]
    checks = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert checks or path.stem.startswith("00")


def test_the_study_takes_longer_than_mini_as_notebook_10_says():
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith("10")]
    assert "longer than all of `mini`" in cells(path)[0].source
    seconds = {name: sum(durations.shipped(name).seconds.values()) for name in ("mini", "study")}
    assert seconds["study"] > 1.2 * seconds["mini"]


def test_the_overview_maps_every_other_notebook():
    overview = "".join(cell.source for cell in cells(NOTEBOOKS[0], "markdown"))
    assert all(path.stem in overview for path in NOTEBOOKS[1:])
