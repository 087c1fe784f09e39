"""Running notebooks: parameters are checked before any kernel starts, and a failure is kept."""

import time

import nbformat
import pytest

from r2d import cli, paths
from r2d.errors import R2DError
from r2d.experiments import notebook


@pytest.fixture
def no_kernel(monkeypatch):
    """Fails the test as soon as papermill is asked to execute anything."""

    def stop(*arguments, **options):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("papermill.execute_notebook", stop)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"datset": "triage"},
            "03_stage2.ipynb declares no parameter 'datset'; did you mean 'dataset'",
        ),
        (
            {"colour": "red"},
            "no parameter 'colour'; it has profile, dataset, method, seed, overrides",
        ),
        ({"seed": "one"}, "parameter 'seed' is 'one'; give a int like 1"),
        ({"seed": 1.5}, "parameter 'seed' is 1.5; give a int"),
        ({"seed": True}, "parameter 'seed' is True; give a int"),
        ({"seed": None}, "parameter 'seed' is None; give a int"),
        ({"profile": 3}, "parameter 'profile' is 3; give a str"),
        ({"overrides": "lr=1"}, "parameter 'overrides' is 'lr=1'; give a dict"),
    ],
)
def test_a_bad_parameter_is_an_error_before_a_kernel_starts(given, sentence, tmp_path, no_kernel):
    began = time.process_time()
    with pytest.raises(R2DError, match=sentence):
        notebook.execute("03_stage2", tmp_path / "deep" / "out.ipynb", given)
    assert time.process_time() - began < 5 and not (tmp_path / "deep").exists()


def test_an_unknown_notebook_lists_the_known_ones(tmp_path, no_kernel):
    with pytest.raises(
        R2DError, match="no notebook '03_stage3'; choose one of 00_overview, 01_data"
    ):
        notebook.execute("03_stage3", tmp_path / "out.ipynb", {})


def test_the_command_line_reads_values_as_they_are_meant(monkeypatch, tmp_path):
    executed = []
    monkeypatch.setattr(
        "papermill.execute_notebook",
        lambda source, out, parameters, **options: executed.append((parameters, options)),
    )
    values = {
        "profile": "smoke",
        "seed": "2",
        "overrides": '{"train.common.lr": 5e-05, "lora.r": 4}',
        "method": '"no"',
    }
    options = [f"-p{name}={value}" for name, value in values.items()]
    assert cli.main(["notebook", "03_stage2", str(tmp_path / "o.ipynb"), *options]) == 0
    ((parameters, options),) = executed
    assert parameters == {
        "profile": "smoke",
        "seed": 2,
        "overrides": {"train.common.lr": 5e-5, "lora.r": 4},
        "method": "no",
    }
    assert options["kernel_name"] == "r2d"


def test_the_command_line_ends_with_2_and_a_sentence_for_a_bad_parameter(
    tmp_path, capsys, no_kernel
):
    assert cli.main(["notebook", "01_data", str(tmp_path / "o.ipynb"), "-p", "exampels=2"]) == 2
    sentence = "01_data.ipynb declares no parameter 'exampels'; did you mean 'examples'?\n"
    assert capsys.readouterr() == ("", sentence)


def test_a_failing_cell_ends_with_1_names_its_error_and_keeps_the_notebook(
    monkeypatch, tmp_path, capfd
):
    broken = nbformat.read(paths.NOTEBOOKS / "00_overview.ipynb", as_version=4)
    broken.cells = [c for c in broken.cells if "parameters" in c.metadata.get("tags", [])]
    broken.cells.append(nbformat.v4.new_code_cell("raise ValueError('no luck')"))
    nbformat.write(broken, tmp_path / "broken.ipynb")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    out = tmp_path / "out" / "o.ipynb"
    assert cli.main(["notebook", "broken", str(out), "-p", "profile=smoke"]) == 1
    said = capfd.readouterr().err
    assert f"broken failed in cell 3: ValueError: {out} has its message.\n" in said
    assert "no luck" not in said
    cells = nbformat.read(out, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert [o.ename for o in outputs if o.output_type == "error"] == ["ValueError"]
