"""Synthetic telephone-triage notes: a stand-in for the private Health Link 811 data, invented and seeded.

The rule that decides every label (nothing else does):

1. Each finding has an urgency, 0 = Call 911 ... 5 = Home care (`datasets/triage_complaints.yaml`).
2. The most urgent finding that is *present* decides; one that the caller denies, or that a relative had, does not count.
3. Age under 1 year or from 80 years on, or immunosuppression, raises the urgency by one step, but never to Call 911.

The finding of step 2 is the record's `reason`: its plain name, then the nurse's other spellings, joined by `|`.
"""

import random
from collections.abc import Iterator
from functools import lru_cache

import yaml

from r2d import paths
from r2d.errors import R2DError

LABELS = (
    "Call 911",
    "Go to ED now",
    "Urgent care within 4 hours",
    "See a doctor within 24 hours",
    "Book a visit within 3 days",
    "Home care",
)
WEIGHTS = (0.14, 0.20, 0.18, 0.17, 0.15, 0.16)
SHORT = ("911", "ED", "UC 4h", "MD 24h", "appt 3d", "home care")
ADVICE = (
    "an ambulance is needed at once",
    "emergency care is needed now",
    "urgent care within 4 hours is needed",
    "a doctor should see this within 24 hours",
    "a booked visit within 3 days is soon enough",
    "care at home is enough",
)
RELATIVES = ("mom", "dad", "sister", "brother", "neighbour")


@lru_cache
def knowledge() -> dict:
    """The complaints, findings and fillers of the notes, checked once.

    Raises `R2DError` when a finding carries two urgencies.
    """
    raw = yaml.safe_load((paths.CARDS / "triage_complaints.yaml").read_text(encoding="utf-8"))
    urgency: dict[str, int] = {}
    for complaint, entry in raw["complaints"].items():
        for level, name, *_ in entry["findings"]:
            if urgency.setdefault(name, level) != level:
                raise R2DError(
                    f"triage_complaints.yaml: {name!r} under {complaint!r} has a second urgency; keep one."
                )
    return raw


def disposition(urgencies: list[int], raised: bool) -> int:
    """The rule: index into `LABELS` from the urgencies of the present findings and whether a modifier holds."""
    level = min(urgencies)
    return max(1, level - 1) if raised and level > 0 else level


def generate(n: int, seed: int, difficulty: float = 0.5) -> Iterator[dict[str, str]]:
    """Yield `n` notes as records, one at a time; the same arguments give the same notes.

    `difficulty` (0 to 1) sets how often red flags are denied or belong to a relative, how often a modifier decides,
    and how much is misspelt. Raises `R2DError` outside that range.
    """
    if not 0 <= difficulty <= 1:
        raise R2DError(f"difficulty is {difficulty}; give a number from 0 to 1.")
    rng = random.Random(f"triage {seed} {difficulty}")
    for index in range(n):
        yield {"id": f"triage-{seed}-{index}", **_case(rng, difficulty)}


def _case(rng: random.Random, difficulty: float) -> dict[str, str]:
    """One note: draw the label, then findings, patient and distractors that the rule turns into that label."""
    data = knowledge()
    target = rng.choices(range(6), WEIGHTS)[0]
    raised = target < 5 and rng.random() < 0.3 * difficulty
    level = (
        target + 1 if raised and 0 < target < 5 and (target > 1 or rng.random() < 0.5) else target
    )
    name, entry, finding = _pick(rng, level)
    lesser = [f for f in entry["findings"] if f[0] > level]
    present = [finding] + ([rng.choice(lesser)] if lesser and rng.random() < 0.3 else [])
    worse = [f for f in entry["findings"] if f[0] < level]
    absent = (
        rng.sample(worse, min(len(worse), rng.choice((1, 1, 2))))
        if rng.random() < 0.6 * difficulty
        else []
    )
    patient = _patient(rng, raised)
    label = disposition([f[0] for f in present], raised)
    question = _note(rng, data, entry, present, absent, patient, difficulty)
    return {
        "question": question,
        "label": LABELS[label],
        "reason": "|".join(finding[1:]),
        **_rationales(rng, name, finding, absent, patient, label),
    }


@lru_cache
def _with_level(level: int) -> list[tuple[str, dict, list]]:
    pairs = knowledge()["complaints"].items()
    return [(name, entry, f) for name, entry in pairs for f in entry["findings"] if f[0] == level]


def _pick(rng: random.Random, level: int) -> tuple[str, dict, list]:
    """A complaint that has a finding of this urgency, and that finding."""
    return rng.choice(_with_level(level))


def _patient(rng: random.Random, raised: bool) -> dict[str, str]:
    """Age, sex and, if `raised`, the one modifier that holds (`why` for the rationale, `immune` for the note)."""
    patient = {"sex": rng.choice("MF"), "age": f"{rng.randint(1, 79)} yo", "why": "", "immune": ""}
    kind = rng.choice(("old", "young", "immune")) if raised else ""
    if kind == "old":
        patient |= {"age": f"{rng.randint(80, 97)} yo", "why": "age over 80"}
    elif kind == "young":
        patient |= {"age": f"{rng.randint(1, 11)} mo", "why": "age under 1"}
    elif kind == "immune":
        plain, *others = rng.choice(knowledge()["immunosuppression"])
        patient |= {"immune": rng.choice([plain, *others]), "why": plain}
    return patient


def _note(rng, data, entry, present, absent, patient, difficulty) -> str:
    """What the nurse types: patient, complaint, findings and negatives in varying order, fillers, misspellings."""
    parts = [rng.choice(f[1:]) for f in present]
    rng.shuffle(parts)
    body = [rng.choice(("reports ", "c/o ", "", "has ")) + ", ".join(parts)]
    if absent:
        said = [rng.choice(f[1:]) for f in absent]
        relative = rng.random() < 0.25
        body.append(
            f"{rng.choice(RELATIVES)} had {said[0]}"
            if relative
            else rng.choice(("denies ", "no ", "neg for ")) + ", ".join(said)
        )
        if rng.random() < 0.3:
            body.reverse()
    fill = [
        ("hx ", data["history"], 0.5),
        ("meds ", data["medications"], 0.4),
    ]
    tail = [word + rng.choice(options) for word, options, share in fill if rng.random() < share]
    if patient["immune"]:
        tail.insert(rng.randint(0, len(tail)), patient["immune"])
    head = f"{patient['age']} {patient['sex']} {rng.choice(entry['says'])} {rng.choice(data['durations'])}"
    return _misspell(rng, ". ".join([head, *body, *tail]), 0.04 * difficulty)


def _misspell(rng: random.Random, text: str, rate: float) -> str:
    """Swap two inner letters of some longer words, as hurried typing does."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) > 4 and word.isalpha() and rng.random() < rate:
            k = rng.randint(1, len(word) - 3)
            words[i] = word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return " ".join(words)


def _rationales(rng, complaint, finding, absent, patient, label) -> dict[str, str]:
    """Three rationales with the same true reason: nurse-authored, nurse-post-processed and LLM-style."""
    plain, typed, why = finding[1], rng.choice(finding[1:]), patient["why"]
    plus = f", {why}" if why else ""
    said = f"{typed}{plus}"
    nurse = rng.choice(
        (f"{said} -> {SHORT[label]}", f"{SHORT[label]} d/t {said}", said, f"per protocol, {said}")
    )
    post = f"{plain.capitalize()}{plus}. Disposition: {LABELS[label]}."
    llm = f"In this call about {complaint}, the deciding finding is {plain}."
    if why:
        llm += f" The risk is higher because of {why}."
    if absent:
        llm += f" The caller has no {absent[0][1]}."
    llm += f" So {ADVICE[label]}."
    return {
        "rationale": llm,
        "rationale_nurse": nurse,
        "rationale_nurse_post": post,
        "rationale_llm": llm,
    }
