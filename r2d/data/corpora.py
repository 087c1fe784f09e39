"""Published data sets as raw rows: PubMedQA from its official files or the hub, BioASQ from its training file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from r2d import paths
from r2d.data import tables
from r2d.errors import R2DError

HUB_CONFIGS = {"pqal": "pqa_labeled", "pqaa": "pqa_artificial"}
HUB_SECONDS = 8
Source = tuple[str, Iterator[tables.Row]]  # what is read, for the record, and its rows


def with_context(question: Any, passages: Any) -> str:
    """The input text of a question over passages; empty when the question is."""
    passages = " ".join(part.strip() for part in passages or () if isinstance(part, str))
    return (
        f"question: {question.strip()} context: {passages}"
        if isinstance(question, str) and question.strip()
        else ""
    )


def pubmedqa(subset: Literal["pqal", "pqaa"], path: str | None, hub: str, get: str) -> Source:
    """Source and rows of PQA-L or PQA-A: from the folder `path`, else `R2D_DATA`/pubmedqa, else the hub.

    Reads the official `ori_<subset>.json` (https://github.com/pubmedqa/pubmedqa); LONG_ANSWER is the rationale.
    """
    folder = _pubmedqa_folder(path)
    file = folder / f"ori_{subset}.json" if folder else None
    if not file or not (path or file.is_file()):
        return _hub(hub, HUB_CONFIGS[subset], get)
    if not file.is_file():
        raise R2DError(f"{file} is not there. {get}")
    return file.name, _official(file)


def _pubmedqa_folder(path: str | None) -> Path | None:
    if path:
        return tables.find(path)
    return paths.data() / "pubmedqa" if paths.data() else None


def _official(file: Path) -> Iterator[tables.Row]:
    entries = tables.parse(file, tables.text(file))
    if not isinstance(entries, dict):
        raise R2DError(
            f"{file.name} is not the official file, which is one object with an entry a PubMed id."
        )
    for number, (pmid, entry) in enumerate(entries.items(), 1):
        if not isinstance(entry, dict):
            yield number, None
            continue
        question = with_context(entry.get("QUESTION"), entry.get("CONTEXTS"))
        label, rationale = entry.get("final_decision"), entry.get("LONG_ANSWER")
        yield number, {"id": pmid, "question": question, "label": label, "rationale": rationale}


def files(reader: str, path: str | None) -> list[Path]:
    """The files that a published data set may be read from."""
    if reader == "bioasq":
        return (
            [tables.find(path) if path else paths.data() / "bioasq" / "training.json"]
            if path or paths.data()
            else []
        )
    folder = _pubmedqa_folder(path)
    return (
        [folder / name for name in ("ori_pqal.json", "ori_pqaa.json", "test_ground_truth.json")]
        if folder
        else []
    )


def test_ids(path: str | None) -> set[str]:
    """The 500 PubMed ids of the official PQA-L test split, from `test_ground_truth.json`."""
    folder = _pubmedqa_folder(path)
    file = folder / "test_ground_truth.json" if folder else None
    if not file or not file.is_file():
        raise R2DError(
            "test_ground_truth.json, which lists the official test ids, is not there: take it from `data/` of "
            f"https://github.com/pubmedqa/pubmedqa and put it into {folder or 'R2D_DATA/pubmedqa'}."
        )
    return set(tables.parse(file, tables.text(file)))


def _hub(repo: str, config: str, get: str) -> Source:
    """Rows of one configuration of a hub data set, or of its copy in the cache when the hub does not answer."""
    import huggingface_hub
    from datasets import load_dataset

    where = {"repo_id": repo, "repo_type": "dataset", "allow_patterns": f"{config}/*"}
    try:
        # `snapshot_download` alone asks without a time limit.
        commit = huggingface_hub.HfApi().dataset_info(repo, timeout=HUB_SECONDS).sha
        folder = huggingface_hub.snapshot_download(**where, revision=commit)
    except Exception:  # whatever failed, a cached copy will do
        try:
            folder = huggingface_hub.snapshot_download(**where, local_files_only=True)
        except OSError:
            folder = ""
    files = sorted(str(file) for file in Path(folder).glob(f"{config}/*.parquet")) if folder else []
    if not files:
        raise R2DError(f"The hub's {repo} can't be reached and is not in the cache. {get}")
    stream = load_dataset("parquet", data_files=files, split="train", streaming=True)
    rows = (
        {
            "id": row["pubid"],
            "question": with_context(row["question"], row["context"]["contexts"]),
            "label": row["final_decision"],
            "rationale": row["long_answer"],
        }
        for row in stream
    )
    return f"{repo} ({config})", enumerate(rows, 1)


def bioasq(path: str | None, get: str) -> Source:
    """Source and yes/no rows of the official Task B training JSON; the first ideal answer is the rationale."""
    file = (
        tables.find(path)
        if path
        else paths.data() / "bioasq" / "training.json"
        if paths.data()
        else None
    )
    if not file or not (path or file.is_file()):
        raise R2DError(f"BioASQ is not there. {get}")
    content = tables.parse(file, tables.text(file))
    if not isinstance(content, dict) or not isinstance(content.get("questions"), list):
        raise R2DError(
            f"{file.name} has no list `questions`, so it is not the official Task B training file. {get}"
        )
    return file.name, _yes_no(content["questions"])


def _yes_no(questions: list) -> Iterator[tables.Row]:
    for number, entry in enumerate(questions, 1):
        if not isinstance(entry, dict):
            yield number, None
        elif entry.get("type") == "yesno":
            snippets = [
                part.get("text") for part in entry.get("snippets") or () if isinstance(part, dict)
            ]
            question = with_context(entry.get("body"), snippets)
            label, rationale = _first(entry.get("exact_answer")), _first(entry.get("ideal_answer"))
            yield (
                number,
                {
                    "id": entry.get("id"),
                    "question": question,
                    "label": label,
                    "rationale": rationale,
                },
            )


def _first(value: Any) -> Any:
    return next(iter(value), None) if isinstance(value, list) else value
