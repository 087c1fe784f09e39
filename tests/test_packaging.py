"""The places that say what the project needs agree with one another and with its imports."""

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import r2d
from r2d import paths
from r2d.experiments import notebook

PROMISED = (
    "jupyterlab",
    "papermill",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "datasets",
    "seaborn",
    "bert-score",
    "sacrebleu",
)
PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LISTED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
DIRECT = {canonicalize_name(r.name): r for r in map(Requirement, LISTED)}


def environment() -> tuple[list[str], list[str]]:
    """What conda installs and what pip installs by environment.yml."""
    content = yaml.safe_load((paths.ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = content["dependencies"]
    return conda, pip["pip"]


def pinned() -> dict[str, Version]:
    lines = (paths.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def imported(source: str) -> set[str]:
    """Top-level names that Python source imports; notebook magics are left out."""
    tree = ast.parse("\n".join(line for line in source.splitlines() if not line.startswith("%")))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    return {module.partition(".")[0] for module in modules}


def sources():
    for folder in ("r2d", "tests", "notebooks"):
        for path in sorted((paths.ROOT / folder).rglob("*.py")):
            yield path, path.read_text(encoding="utf-8")
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path, "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def test_conda_users_get_the_same_direct_dependencies_at_the_same_versions():
    conda, pip = environment()
    assert pip[:2] == ["-c constraints.txt", "-e .[test]"]
    assert {canonicalize_name(name) for name in pip[2:]} == set(DIRECT)
    assert {re.split("[=<>]", entry)[0] for entry in conda} == {"python", "pip"}


@pytest.mark.parametrize("name", PROMISED)
def test_what_the_companion_promises_is_listed_by_name(name):
    assert name in DIRECT
    assert name in environment()[1]


def test_every_direct_dependency_is_pinned_within_its_bounds():
    pins = pinned()
    assert not set(DIRECT) - set(pins)
    assert not [str(r) for name, r in DIRECT.items() if pins[name] not in r.specifier]


def test_pins_fit_cpu_and_cuda_builds_alike():
    assert not [name for name, version in pinned().items() if version.local]
    assert not [name for name in pinned() if name.startswith(("nvidia-", "triton", "cuda-"))]


def test_every_place_asks_for_the_same_python():
    lowest = re.fullmatch(r">=(3\.\d+)", PROJECT["requires-python"])[1]
    assert f"python={lowest}" in environment()[0]
    script = (paths.ROOT / "run_all.sh").read_text(encoding="utf-8")
    assert f"sys.version_info < ({lowest.replace('.', ', ')})" in script


def test_every_import_belongs_to_a_declared_dependency():
    owners = packages_distributions()
    helpers = {path.stem for path in Path(__file__).parent.glob("*.py")}
    known = {*sys.stdlib_module_names, "r2d", "benchmarks", *helpers}
    undeclared = {}
    for path, source in sources():
        for name in imported(source) - known:
            if not {canonicalize_name(owner) for owner in owners.get(name, ())} & set(DIRECT):
                undeclared.setdefault(name, path.name)
    assert undeclared == {}


def test_one_version_everywhere():
    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (paths.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[([^]]+)]", changes, re.MULTILINE)[1]
    assert str(citation["version"]) == newest == r2d.__version__


def test_the_wheel_brings_everything_that_the_code_reads():
    config = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert config["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["r2d"]
    for place in (paths.RECIPES, paths.CARDS, paths.BASE, paths.PROMPTS, paths.PUBLISHED):
        assert place.exists()
        assert place.is_relative_to(paths.PACKAGE)


def test_an_installation_brings_the_notebooks_kernel_into_the_environment():
    build = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    folder = str(notebook.SPECIFICATION.relative_to(paths.ROOT))
    shared = build["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {folder: f"share/jupyter/kernels/{notebook.KERNEL}"}
    specification = json.loads((notebook.SPECIFICATION / "kernel.json").read_text("utf-8"))
    assert specification["argv"][:3] == ["python", "-m", "ipykernel_launcher"]
