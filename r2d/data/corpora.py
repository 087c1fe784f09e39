"""Published data sets as raw rows: PubMedQA from its files or the hub, BioASQ from its file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from r2d import paths
from r2d.data.files import find, read_json
from r2d.data.formats import Row
from r2d.errors import R2DError

HUB_CONFIGS = {"pqal": "pqa_labeled", "pqaa": "pqa_artificial"}
HUB_SECONDS = 8
Corpus = tuple[str, Iterator[Row]]  # what is read, for the record, and its rows


def files(reader: str, path: str | None) -> list[Path]:
    """The files that a published data set may be read from."""
    if reader == "bioasq":
        file = _bioasq_file(path)
        return [file] if file else []
    folder = _pubmedqa_folder(path)
    names = ("ori_pqal.json", "ori_pqaa.json", "test_ground_truth.json")
    return [folder / name for name in names] if folder else []


def pubmedqa(subset: Literal["pqal", "pqaa"], path: str | None, hub: str, get: str) -> Corpus:
    """PQA-L or PQA-A: from the folder `path`, else `R2D_DATA`/pubmedqa, else the hub.

    Reads the official `ori_<subset>.json` (https://github.com/pubmedqa/pubmedqa), of which
    LONG_ANSWER is the rationale; `get` says how to get it, for messages.
    """
    folder = _pubmedqa_folder(path)
    file = folder / f"ori_{subset}.json" if folder else None
    if file and file.is_file():
        return file.name, _official(file)
    if path:
        raise R2DError(f"{file} is not there. {get}")
    return _hub(hub, HUB_CONFIGS[subset], get)


def official_test_ids(path: str | None) -> set[str]:
    """The 500 PubMed ids of the official PQA-L test split, from `test_ground_truth.json`."""
    folder = _pubmedqa_folder(path)
    file = folder / "test_ground_truth.json" if folder else None
    if not file or not file.is_file():
        raise R2DError(
            "test_ground_truth.json, which lists the official test ids, is not there: take it from "
            "`data/` of https://github.com/pubmedqa/pubmedqa and put it into "
            f"{folder or 'R2D_DATA/pubmedqa'}."
        )
    return set(read_json(file))


def bioasq(path: str | None, get: str) -> Corpus:
    """Yes/no rows of the official Task B training JSON; the first ideal answer is the rationale."""
    file = _bioasq_file(path)
    if not file or not (path or file.is_file()):
        raise R2DError(f"BioASQ is not there. {get}")
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("questions"), list):
        raise R2DError(
            f"{file.name} has no list `questions`, so it is not the official Task B training file. "
            f"{get}"
        )
    return file.name, _yes_no(content["questions"])


def _pubmedqa_folder(path: str | None) -> Path | None:
    if path:
        return find(path)
    return paths.data() / "pubmedqa" if paths.data() else None


def _bioasq_file(path: str | None) -> Path | None:
    if path:
        return find(path)
    return paths.data() / "bioasq" / "training.json" if paths.data() else None


def _official(file: Path) -> Iterator[Row]:
    entries = read_json(file)
    if not isinstance(entries, dict):
        raise R2DError(
            f"{file.name} is not the official file, which is one object with an entry a PubMed id."
        )
    for number, (pmid, entry) in enumerate(entries.items(), 1):
        if not isinstance(entry, dict):
            yield number, None
            continue
        yield (
            number,
            {
                "id": pmid,
                "question": _with_context(entry.get("QUESTION"), entry.get("CONTEXTS")),
                "label": entry.get("final_decision"),
                "rationale": entry.get("LONG_ANSWER"),
            },
        )


def _hub(repo: str, config: str, get: str) -> Corpus:
    """Rows of one configuration of a hub data set."""
    from datasets import load_dataset

    folder = _snapshot(repo, config)
    shards = sorted(str(file) for file in folder.glob(f"{config}/*.parquet")) if folder else []
    if not shards:
        raise R2DError(f"The hub's {repo} can't be reached and is not in the cache. {get}")
    stream = load_dataset("parquet", data_files=shards, split="train", streaming=True)
    rows = (
        {
            "id": row["pubid"],
            "question": _with_context(row["question"], row["context"]["contexts"]),
            "label": row["final_decision"],
            "rationale": row["long_answer"],
        }
        for row in stream
    )
    return f"{repo} ({config})", enumerate(rows, 1)


def _snapshot(repo: str, config: str) -> Path | None:
    """The downloaded folder, or its copy in the cache when the hub does not answer."""
    import huggingface_hub

    wanted = {"repo_id": repo, "repo_type": "dataset", "allow_patterns": f"{config}/*"}
    try:
        # `snapshot_download` alone asks without a time limit.
        commit = huggingface_hub.HfApi().dataset_info(repo, timeout=HUB_SECONDS).sha
        return Path(huggingface_hub.snapshot_download(**wanted, revision=commit))
    except Exception:  # whatever failed, a cached copy will do
        try:
            return Path(huggingface_hub.snapshot_download(**wanted, local_files_only=True))
        except OSError:
            return None


def _yes_no(questions: list) -> Iterator[Row]:
    for number, entry in enumerate(questions, 1):
        if not isinstance(entry, dict):
            yield number, None
        elif entry.get("type") == "yesno":
            parts = [part for part in entry.get("snippets") or () if isinstance(part, dict)]
            snippets = [part.get("text") for part in parts]
            yield (
                number,
                {
                    "id": entry.get("id"),
                    "question": _with_context(entry.get("body"), snippets),
                    "label": _first(entry.get("exact_answer")),
                    "rationale": _first(entry.get("ideal_answer")),
                },
            )


def _with_context(question: Any, passages: Any) -> str:
    """The input text of a question over passages; empty when the question is."""
    if not isinstance(question, str) or not question.strip():
        return ""
    context = " ".join(part.strip() for part in passages or () if isinstance(part, str))
    return f"question: {question.strip()} context: {context}"


def _first(value: Any) -> Any:
    return next(iter(value), None) if isinstance(value, list) else value
