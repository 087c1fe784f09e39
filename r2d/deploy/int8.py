"""Whether a run's labels are the same in int8, which is faster: checked on its validation set."""

import json
import sys
from contextlib import suppress
from pathlib import Path

from r2d import hashes, paths, provenance
from r2d.errors import R2DError
from r2d.experiments import directory, run
from r2d.method import prompts
from r2d.models.ctranslate import CTranslate2
from r2d.models.decode import Decoder

ALIKE = 0.99  # share of labels that have to be float32's
CHECK = {"cases": int, "same": int}


def use_if_alike(decoder: Decoder, run_folder: Path, how: str) -> None:
    """Let a decoder with CTranslate2 in float32 decode in int8 if few labels change; says which.

    Labels are compared, as `how` they are decided, not rationales. A run is checked once: the
    outcome stays beside the converted model.
    """
    float32, int8 = decoder.engine, CTranslate2(decoder.network, decoder.engine.folder, "int8")
    fingerprint = directory.read(run_folder)["env"]["dataset_fingerprint"]
    known_by = provenance.digest(fingerprint, decoder.max_input, decoder.labels, how)
    file = float32.folder.with_name(f"{float32.folder.name}-{known_by}.json")
    check = _known(file)
    if check is None:
        try:
            check = _compare(decoder, int8, run_folder, how)
        except R2DError as error:
            _say(f"int8 could not be checked on the run's validation set. {error} float32 is used.")
            return
        with suppress(OSError):  # a cache that can't be written costs time only
            paths.write(file, json.dumps(hashes.sealed(check)))
    alike = check["same"] >= ALIKE * check["cases"]
    decoder.engine = int8 if alike else float32
    _say(
        f"In int8 {check['same']} of {check['cases']} validation labels are those of float32: "
        f"{'int8' if alike else 'float32'} is used."
    )


def _compare(decoder: Decoder, int8: CTranslate2, run_folder: Path, how: str) -> dict[str, int]:
    records = run.load_dataset(run_folder).validation
    rows = decoder.encode(prompts.predict(record.text) for record in records)
    choices, labels, float32 = decoder.choices(records), [], decoder.engine
    for engine in (float32, int8):
        decoder.engine = engine
        labels.append(decoder.label_texts(rows, how, choices))
    decoder.engine = float32
    return {"cases": len(records), "same": sum(a == b for a, b in zip(*labels, strict=True))}


def _known(file: Path) -> dict[str, int] | None:
    """The outcome of an earlier check, if it is there and whole."""
    if file.is_file():
        with suppress(R2DError):
            return hashes.read_sealed(file, CHECK, "delete it")
    return None


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
