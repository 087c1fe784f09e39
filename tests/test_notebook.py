"""The notebooks' shape, and parameters that are checked before any kernel starts."""

import ast
import re
import sys
import time

import nbformat
import pytest

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.experiments import notebook

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def cells(path, kind=None):
    found = nbformat.read(path, as_version=4).cells
    return [cell for cell in found if kind in (None, cell.cell_type)]


def parameters(path):
    (cell,) = [c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", [])]
    return cell.source


@pytest.fixture
def no_kernel(monkeypatch):
    """Fails the test as soon as papermill is asked to execute anything."""

    def stop(*given, **named):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("papermill.execute_notebook", stop)


def test_the_main_notebooks_are_there():
    assert {"00", "01", "02", "03", "04", "06", "08"} <= {p.stem[:2] for p in NOTEBOOKS}


@every_notebook
def test_it_is_valid_and_stored_without_outputs(path):
    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    assert found.metadata.kernelspec.name == "python3" and "papermill" not in found.metadata
    for cell in cells(path, "code"):
        assert cell.outputs == [] and cell.execution_count is None
        assert not {"papermill", "execution"} & set(cell.metadata)


@every_notebook
def test_it_is_short_and_a_quarter_of_it_explains(path):
    code, text = cells(path, "code"), cells(path, "markdown")
    assert len(cells(path)) <= 25 and max(len(c.source.splitlines()) for c in code) <= 15
    lengths = [sum(len(c.source) for c in part) for part in (text, code)]
    assert lengths[0] > 0.25 * sum(lengths)


@every_notebook
def test_its_code_only_calls_the_package(path):
    for cell in cells(path, "code"):
        tree = ast.walk(ast.parse(cell.source))  # a magic or a shell command would not parse
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert not [n for n in tree if isinstance(n, kinds)]
        assert not re.search(
            r"""['"](/|~|[A-Z]:\\|\.\./)|chdir|pip install|get_ipython|login\(""", cell.source
        ), cell.source


@every_notebook
def test_it_has_one_cell_of_few_typed_literal_parameters_with_comments(path):
    statements = ast.parse(parameters(path)).body
    most = 9 if path.stem.startswith("09") else 8  # three columns and two files of one's own
    assert 1 <= len(statements) <= most and all(isinstance(s, ast.AnnAssign) for s in statements)
    for statement, line in zip(statements, parameters(path).splitlines(), strict=True):
        value, kind = ast.literal_eval(statement.value), ast.unparse(statement.annotation)
        assert type(value).__name__ == kind and len(line.partition("  # ")[2]) > 10, line
    names = {s.target.id for s in statements}
    assert {"profile", "overrides"} <= names
    assert (list(notebook.declared(path))) == [s.target.id for s in statements]
    assert notebook.declared(path) == {s.target.id: ast.literal_eval(s.value) for s in statements}


@every_notebook
def test_its_defaults_name_things_that_the_default_recipe_has(path):
    given = notebook.declared(path)
    recipe = recipes.load(given["profile"], given["overrides"])
    assert (
        given.get("dataset", "triage") in recipe.datasets
        and given.get("method", "majority") in recipe.methods
    )


@every_notebook
def test_it_says_what_it_reads_writes_and_what_is_next(path):
    first, *_, last = cells(path)
    assert first.cell_type == "markdown" and re.match(r"# .+\?\n", first.source)
    assert all(f"- **{word}** " in first.source for word in ("Reads", "Writes", "Time"))
    following = re.search(r"\*\*Next:\*\* (\d\d_\w+)", last.source)
    assert following and (paths.NOTEBOOKS / f"{following[1]}.ipynb").is_file()
    if path.stem.startswith("00"):
        assert "## Limitations" in last.source


@every_notebook
def test_it_asserts_what_it_claims(path):
    checks = [
        n
        for c in cells(path, "code")
        for n in ast.walk(ast.parse(c.source))
        if isinstance(n, ast.Assert)
    ]
    assert checks or path.stem.startswith("00")


def test_the_overview_maps_every_other_notebook():
    overview = "".join(c.source for c in cells(NOTEBOOKS[0], "markdown"))
    assert all(p.stem in overview for p in NOTEBOOKS[1:])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"datset": "triage"},
            r"03_stage2.ipynb declares no parameter 'datset'; did you mean 'dataset'",
        ),
        (
            {"colour": "red"},
            r"no parameter 'colour'; it has profile, dataset, method, seed, overrides",
        ),
        ({"seed": "one"}, r"parameter 'seed' is 'one'; give a int like 1"),
        ({"seed": 1.5}, r"parameter 'seed' is 1.5; give a int"),
        ({"seed": True}, r"parameter 'seed' is True; give a int"),
        ({"seed": None}, r"parameter 'seed' is None; give a int"),
        ({"profile": 3}, r"parameter 'profile' is 3; give a str"),
        ({"overrides": "lr=1"}, r"parameter 'overrides' is 'lr=1'; give a dict"),
    ],
)
def test_a_bad_parameter_is_an_error_before_a_kernel_starts(given, said, tmp_path, no_kernel):
    began = time.process_time()
    with pytest.raises(R2DError, match=said):
        notebook.execute("03_stage2", tmp_path / "deep" / "out.ipynb", given)
    assert time.process_time() - began < 5 and not (tmp_path / "deep").exists()


def test_an_unknown_notebook_lists_the_known_ones(tmp_path, no_kernel):
    with pytest.raises(
        R2DError, match="no notebook '03_stage3'; choose one of 00_overview, 01_data"
    ):
        notebook.execute("03_stage3", tmp_path / "out.ipynb", {})


def test_the_command_line_reads_values_as_they_are_meant(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "papermill.execute_notebook",
        lambda source, out, given, **options: asked.append((given, options)),
    )
    values = [
        "profile=smoke",
        "seed=2",
        'overrides={"train.common.lr": 5e-05, "lora.r": 4}',
        "method=r2d-full",
    ]
    monkeypatch.setattr(
        sys,
        "argv",
        ["r2d.notebook", "03_stage2", str(tmp_path / "o.ipynb"), *(f"-p{v}" for v in values)],
    )
    assert notebook.main() == 0
    ((given, options),) = asked
    assert given == {
        "profile": "smoke",
        "seed": 2,
        "overrides": {"train.common.lr": 5e-5, "lora.r": 4},
        "method": "r2d-full",
    }
    assert options["kernel_name"] == "python3"


def test_the_command_line_ends_with_2_and_a_sentence_for_a_bad_parameter(
    monkeypatch, tmp_path, capsys, no_kernel
):
    monkeypatch.setattr(
        sys, "argv", ["r2d.notebook", "01_data", str(tmp_path / "o.ipynb"), "-p", "exampels=2"]
    )
    assert notebook.main() == 2
    captured = capsys.readouterr()
    assert (
        captured.err == "01_data.ipynb declares no parameter 'exampels'; did you mean 'examples'?\n"
        and captured.out == ""
    )


def test_a_failing_cell_ends_with_1_names_its_error_and_keeps_the_notebook(
    monkeypatch, tmp_path, capfd
):
    broken = nbformat.read(paths.NOTEBOOKS / "00_overview.ipynb", as_version=4)
    broken.cells = [c for c in broken.cells if "parameters" in c.metadata.get("tags", [])]
    broken.cells.append(nbformat.v4.new_code_cell("raise ValueError('no luck')"))
    nbformat.write(broken, tmp_path / "broken.ipynb")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    out = tmp_path / "out" / "o.ipynb"
    monkeypatch.setattr(sys, "argv", ["r2d.notebook", "broken", str(out), "-p", "profile=smoke"])
    assert notebook.main() == 1
    assert "broken failed in cell" in capfd.readouterr().err
    outputs = [o for c in cells(out, "code") for o in c.outputs]
    assert [o.ename for o in outputs if o.output_type == "error"] == ["ValueError"]
