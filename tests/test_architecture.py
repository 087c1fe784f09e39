"""The rooms: imports go one way, and what a module keeps to itself stays there."""

import ast
import json

from importlinter.cli import lint_imports

from r2d import paths

# bert-score has no public way to give its scorer another tokenizer.
ALLOWED = {
    "evaluation/bertscore.py": {"_tokenizer"},
    "training/cpu.py": {"_attn_implementation"},  # transformers gives no other way to read it
}
PUBLIC = {"_asdict", "_exit", "_fields", "_replace"}  # for all their names


def modules():
    """(name, syntax tree) of every module of the package."""
    for file in sorted(paths.PACKAGE.rglob("*.py")):
        yield str(file.relative_to(paths.PACKAGE)), ast.parse(file.read_text(encoding="utf-8"))


def notebooks():
    """(name, syntax tree) of every notebook's code."""
    for file in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        lines = [line for line in "\n".join(code).split("\n") if not line.startswith("%")]
        yield file.name, ast.parse("\n".join(lines))


def borrowed(tree: ast.Module) -> set[str]:
    """Private names that are imported, or taken from what is not `self` or `cls`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names.update(alias.name for alias in node.names)
            names.update((node.module or "").split("."))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            names.add(node.attr)
    private = {name for name in names if name.startswith("_") and not name.endswith("__")}
    return private - PUBLIC


def test_imports_go_one_way_and_never_in_circles(monkeypatch, capsys):
    monkeypatch.chdir(paths.ROOT)
    failed = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert not failed, capsys.readouterr().out


def test_no_module_uses_what_another_keeps_to_itself():
    used = {name: borrowed(tree) for name, tree in modules()}
    assert {name: names for name, names in used.items() if names} == ALLOWED


def test_no_notebook_uses_what_a_module_keeps_to_itself():
    used = {name: borrowed(tree) for name, tree in notebooks()}
    assert len(used) > 8
    assert not {name: names for name, names in used.items() if names}


def test_imports_are_absolute_as_provenance_reads_them():
    relative = [
        f"{name}:{node.lineno}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative
