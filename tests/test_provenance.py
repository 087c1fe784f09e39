"""What makes a result out of date: any module that can change its numbers, and no comment."""

import ast
import shutil

import pytest

from r2d import hashes, paths, provenance
from r2d.experiments import grid, run

TRAINING = "r2d.experiments.job"
METRICS = "r2d.evaluation.metrics"


def modules_below(*rooms: str) -> list[str]:
    """The modules of these rooms of the package, or of all of it."""
    files = [path.relative_to(paths.PACKAGE) for path in paths.PACKAGE.rglob("*.py")]
    names = {".".join(("r2d", *file.with_suffix("").parts)) for file in files}
    names = {name.removesuffix(".__init__") for name in names}
    return sorted(n for n in names if not rooms or n.startswith(tuple(f"r2d.{r}" for r in rooms)))


def without_recipes(modules: list[str]) -> list[str]:
    return [module for module in modules if not module.startswith("r2d.recipes")]


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package."""
    unwanted = shutil.ignore_patterns("__pycache__")
    target = tmp_path_factory.mktemp("copy") / "r2d"
    return shutil.copytree(paths.PACKAGE, target, ignore=unwanted)


def use(copied, patch):
    """Have the copy's code looked at."""
    patch.setattr(paths, "PACKAGE", copied)
    patch.setattr(paths, "CARDS", copied / "data" / "cards")
    patch.setattr(paths, "BASE", copied / "models" / "base")
    provenance.code.cache_clear()


@pytest.fixture(scope="module")
def unchanged(copied):
    """The keys of training and of metrics before any change."""
    with pytest.MonkeyPatch.context() as patch:
        use(copied, patch)
        return run.training_code(), run.metrics_code()


@pytest.fixture
def change(copied, unchanged, monkeypatch):
    """Edit modules of the package's copy: `change(module, edit)`; undone after the test."""
    use(copied, monkeypatch)
    originals = {}

    def edit(module, new_text):
        source = provenance.source_of(module)
        originals.setdefault(source, source.read_text(encoding="utf-8"))
        source.write_text(new_text(source.read_text(encoding="utf-8")), encoding="utf-8")
        provenance.code.cache_clear()

    yield edit
    for source, text in originals.items():
        source.write_text(text, encoding="utf-8")
    provenance.code.cache_clear()


def with_statement(text: str) -> str:
    return f"{text}\nADDED = 1\n"


def with_other_words(text: str) -> str:
    """The source with other docstrings, comments and blank lines."""
    lines = text.splitlines()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in reversed([n for n in ast.walk(ast.parse(text)) if isinstance(n, documented)]):
        if ast.get_docstring(node) is not None:
            first = node.body[0]
            for number in range(first.lineno - 1, first.end_lineno):
                lines[number] = ""
            lines[first.lineno - 1] = " " * first.col_offset + '"""Other words."""'
    return "\n".join(["# A comment.", *lines, "", "", "# Another."])


# --- what is reached


def test_training_reaches_every_module_that_makes_a_model_or_a_prediction():
    rooms = {
        "data": ("corpora", "loader", "record", "splits", "tables", "triage"),
        "method": ("loss", "objective", "prompts", "schedules"),
        "models": ("backbone", "decode", "load", "sanity"),
        "training": ("batches", "checkpoint", "learner", "loop", "stopping"),
    }
    needed = {f"r2d.{room}.{module}" for room, modules in rooms.items() for module in modules}
    needed |= {"r2d.env", "r2d.experiments.job", "r2d.recipes.settings"}
    assert not needed - set(provenance.reach(TRAINING))


def test_training_reaches_nothing_that_only_measures_shows_asks_or_shares():
    beyond = ("cli", "deploy", "evaluation", "llms", "reporting", "models.pretrain")
    reached = set(provenance.reach(TRAINING))
    assert not reached & set(modules_below(*beyond))
    assert reached <= set(modules_below())


def test_measures_reach_their_statistics_and_bertscore():
    assert {"r2d.evaluation.stats", "r2d.evaluation.bertscore"} <= set(provenance.reach(METRICS))


def test_chat_models_answers_reach_every_way_of_asking_them():
    ways = {"r2d.llms.ask", "r2d.llms.chat", "r2d.llms.local", "r2d.llms.server"}
    for entry in ("zero_shot", "judge"):
        assert ways <= set(provenance.reach(f"r2d.llms.{entry}"))


def test_every_way_to_write_an_import_is_seen(change):
    path = provenance.source_of("r2d.env")
    change(
        "r2d.env",
        lambda text: (
            "import os\n"
            "import r2d.method.prompts\n"
            "from r2d import provenance\n"
            "from r2d.method import schedules\n"
            "from r2d.errors import R2DError\n"
            "def later():\n"
            "    from r2d.evaluation.stats import holm\n"
            "class Late:\n"
            "    from r2d.models import (\n        sanity as simple,\n    )\n"
        ),
    )
    assert set(provenance.imported(path)) == {
        "r2d.method.prompts",
        "r2d.provenance",
        "r2d.method.schedules",
        "r2d.errors",
        "r2d.evaluation.stats",
        "r2d.models.sanity",
    }


def test_a_module_that_is_imported_inside_a_function_only_is_seen(change, unchanged):
    def reach_further(text):
        return f"{text}\n\ndef later():\n    from r2d.reporting import theme\n"

    assert "r2d.reporting.theme" not in provenance.reach(TRAINING)
    change("r2d.training.stopping", reach_further)
    assert "r2d.reporting.theme" in provenance.reach(TRAINING)
    further = run.training_code()
    change("r2d.reporting.theme", with_statement)
    assert len({unchanged[0], further, run.training_code()}) == 3


# --- what changes a key


@pytest.mark.parametrize("module", without_recipes(provenance.reach(TRAINING)))
def test_a_statement_in_any_module_that_training_runs_makes_runs_out_of_date(
    module, change, unchanged
):
    change(module, with_statement)
    assert run.training_code() != unchanged[0]


@pytest.mark.parametrize("module", without_recipes(provenance.reach(METRICS)))
def test_a_statement_in_any_module_that_measures_makes_metrics_out_of_date(
    module, change, unchanged
):
    change(module, with_statement)
    assert run.metrics_code() != unchanged[1]


def test_comments_and_docstrings_anywhere_make_nothing_out_of_date(change, unchanged):
    for module in modules_below():
        change(module, with_other_words)
    assert (run.training_code(), run.metrics_code()) == unchanged


def test_code_that_training_does_not_run_makes_no_run_out_of_date(change, unchanged):
    for module in modules_below("cli", "deploy", "evaluation", "llms", "reporting"):
        change(module, with_statement)
    assert run.training_code() == unchanged[0]


def test_a_run_knows_recipes_by_its_settings_and_not_by_their_code(change, unchanged):
    for module in modules_below("recipes"):
        change(module, with_statement)
    assert (run.training_code(), run.metrics_code()) == unchanged


@pytest.mark.parametrize("file", ["data/cards/triage.yaml", "models/base/tokenizer.json"])
def test_cards_and_the_base_that_is_shipped_count_too(file, change, unchanged, copied):
    path = copied / file
    content = path.read_bytes()

    def write(new):
        path.write_bytes(new)
        hashes.record_again(path.parent, path.name)  # as one that is made again has it

    write(content + b"\n")
    assert run.training_code() != unchanged[0]
    write(content)
    assert run.training_code() == unchanged[0]


def test_what_people_read_beside_the_base_does_not_count(change, unchanged, copied):
    (copied / "models" / "base" / "README.md").write_text("Other words.")
    assert run.training_code() == unchanged[0]


@pytest.mark.parametrize(
    ("key", "module", "other"),
    [
        (lambda r: grid.data_key(r, "triage"), "data.describe", "llms.judge"),
        (lambda r: grid.zero_shot_key(r, ["E4"]), "llms.zero_shot", "llms.judge"),
        (lambda r: grid.zero_shot_key(r, ["E4"]), "llms.rationales", "llms.qualification"),
        (lambda r: grid.judge_key(r, ["E5"]), "llms.qualification", "llms.rationales"),
        (lambda r: grid.reporting_key(r, "figures"), "reporting.theme", "reporting.site"),
    ],
)
def test_every_key_of_the_workflow_has_the_code_of_its_own_notebook(
    key, module, other, change, tiny
):
    before = key(tiny())
    change(f"r2d.{other}", with_statement)
    assert key(tiny()) == before
    change(f"r2d.{module}", with_statement)
    assert key(tiny()) != before


# --- hashes


def test_a_digest_is_of_values_and_not_of_their_order_in_a_mapping():
    assert provenance.digest({"a": 1, "b": 2}) == provenance.digest({"b": 2, "a": 1})
    assert provenance.digest({"a": 1}) != provenance.digest({"a": 2})
    assert provenance.digest(1, 2) != provenance.digest([1, 2])


def test_a_checkpoint_is_known_by_its_weights_wherever_they_differ(tmp_path):
    weights = bytearray(3 << 20)
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "notes.md").write_text("not part of it")
    keys = {provenance.checkpoint(tmp_path)}
    for place in (0, len(weights) // 2, -1):
        changed = bytearray(weights)
        changed[place] = 1
        (tmp_path / "model.safetensors").write_bytes(changed)
        keys.add(provenance.checkpoint(tmp_path))
    assert len(keys) == 4
    (tmp_path / "notes.md").write_text("changed")
    assert provenance.checkpoint(tmp_path) in keys
