"""Which files may hold notes, and a search of every other for them."""

import fnmatch
import json
from collections.abc import Iterable
from pathlib import Path

# Files of a home that hold notes -> how the site's page on privacy calls them.
NAMED = {
    "runs/*/*/*/seed*/predictions.jsonl": "`predictions.jsonl`",
    "runs/*/*/zero-shot/*/predictions.jsonl": "`predictions.jsonl`",
    "runs/*/*/judge/*.jsonl": "`judge/<llm>.jsonl`",
    "runs/*/results/written_rationales.jsonl": "`results/written_rationales.jsonl`",
    "runs/*/notebooks/*.ipynb": "executed notebooks",
    "runs/*/logs/*.ipynb": "executed notebooks",
    ".cache/answers.sqlite": "`.cache/answers.sqlite`",
}


def holding(folder: Path, canaries: Iterable[str]) -> set[str]:
    """The files below a folder, assets aside, that have one of these in them or in their name."""
    spellings = {*canaries}
    spellings |= {json.dumps(text)[1:-1] for text in spellings}
    files = set()
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink() or "assets" in path.parts:
            continue
        content = path.read_bytes() if path.is_file() else b""
        if any(text.encode() in content or text in name for text in spellings):
            files.add(name)
    return files


def expect_only_named(home: Path, notes: Iterable[str], keys: Iterable[str]) -> set[str]:
    """Keys are in no file, notes in files that are named for it and that only their owner reads."""
    assert not holding(home, keys)
    files = holding(home, notes)
    unnamed = {name for name in files if not any(fnmatch.fnmatch(name, each) for each in NAMED)}
    assert not unnamed, sorted(unnamed)
    open_to_others = {name for name in files if (home / name).stat().st_mode & 0o077}
    assert not open_to_others
    return files
