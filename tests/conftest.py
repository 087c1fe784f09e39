"""What the tests share: a run-time home of their own, one thread, and recipes for any machine."""

import os
import shutil
import signal
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for every child process
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # the tests' own servers
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a background job, whose children would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

from r2d import paths, recipes  # noqa: E402

TINY = {
    "datasets.triage.train": 24,
    "datasets.triage.validation": 8,
    "datasets.triage.test": 8,
    "train.common.steps": 4,
    "train.common.batch": 4,
    "train.common.eval_every": 2,
    "max_rationale_tokens": 24,
    "metrics.resamples": 100,
}


def pytest_collection_modifyitems(items):
    """The file that takes longest goes first, so that no worker ends with it alone."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Equal numbers on every machine need an equal number of threads."""
    import torch

    torch.set_num_threads(1)


def new_home(folder: Path) -> Path:
    """An empty home whose downloads are those of the project, so that nothing is fetched twice."""
    store = paths.cache() / "assets"
    store.mkdir(parents=True, exist_ok=True)
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "assets").symlink_to(store)
    return folder


def project_copy(folder: Path) -> Path:
    """A copy of the project under `folder`, so that neither figures nor lock are touched."""
    target = folder / "project"
    target.mkdir()
    for name in (
        "r2d",
        "notebooks",
        "run_all.sh",
        "pyproject.toml",
        "constraints.txt",
        "environment.yml",
    ):
        source = paths.ROOT / name
        if source.is_dir():
            shutil.copytree(
                source,
                target / name,
                ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
            )
        else:
            shutil.copy2(source, target / name)
    return target


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """`R2D_HOME` of this test; its figures go there too."""
    folder = new_home(tmp_path / "home")
    monkeypatch.setenv("R2D_HOME", str(folder))
    monkeypatch.setattr(paths, "figures", lambda profile: folder / "figures" / profile)
    return folder


@pytest.fixture
def project_data(monkeypatch) -> Path | None:
    """`R2D_DATA`, or the data sets kept beside the project where they are; None without either."""
    folder = (
        Path(os.environ.get("R2D_DATA") or paths.ROOT.parent / "shared" / "data")
        .expanduser()
        .resolve()
    )
    if not folder.is_dir():
        return None
    monkeypatch.setenv("R2D_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny():
    """The smoke recipe in seconds, with more overrides if wanted: `tiny({"lora.r": 2})`."""
    return lambda more=None: recipes.load("smoke", TINY | (more or {}))


@pytest.fixture(scope="session")
def records(tiny):
    """A tiny synthetic triage dataset."""
    from r2d import data

    return data.load("triage", tiny().datasets["triage"])


@pytest.fixture(scope="session")
def fresh():
    """A decoder around a fresh `mini-base`: `fresh(records, tuning="full", dropout=0.0)`."""
    from r2d.models.decode import Decoder
    from r2d.models.load import load_model, load_tokenizer
    from r2d.recipes.settings import LoraSettings

    def make(records, tuning="full", dropout=0.0, limits=(64, 24)):
        model = load_model("mini-base", tuning, LoraSettings(r=4, alpha=8), dropout)
        return Decoder(model, load_tokenizer("mini-base"), records.labels, limits)

    return make


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> str:
    """A tiny untrained Llama with the base's byte-level tokenizer, and weights of some size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from r2d.models.load import load_tokenizer

    folder, tokenizer = tmp_path_factory.mktemp("llama"), load_tokenizer("mini-base")
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,  # so that it has opinions
        eos_token_id=[7, 9],
        pad_token_id=None,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def server(monkeypatch):
    """A server that fails as it is told to, to which the environment points; waits are short."""
    import servers

    from r2d.llms import server

    monkeypatch.setattr(server, "BASE_DELAY", 0.001)
    with servers.running() as running:
        monkeypatch.setenv("R2D_LLM_BASE_URL", running.url)
        yield running
