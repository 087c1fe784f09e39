"""Synthetic telephone-triage notes: invented and seeded, for the private Health Link 811 data.

The rule that decides every label (nothing else does):

1. Each finding has an urgency, 0 = Call 911 ... 5 = Home care (`cards/triage_complaints.yaml`).
2. The most urgent finding that is *present* decides; one that the caller denies, or that a relative
   had, does not count.
3. Age under 1 year or from 80 years on, or immunosuppression, raises the urgency by one step, but
   never to Call 911.

The finding of step 2 is the record's `reason`: its plain name, then the nurse's other spellings,
joined by `|`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Finding:
    """What a caller may have; `spellings` are its plain name and how nurses type it otherwise."""

    urgency: int
    spellings: tuple[str, ...]

    @property
    def name(self) -> str:
        """The plain name, which rationales state."""
        return self.spellings[0]


@dataclass(frozen=True)
class Complaint:
    """Why someone calls: `says` is how the nurse puts it, `findings` what there may be to it."""

    name: str
    says: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Patient:
    """`modifier` is what raises the urgency ("" for nothing), `typed` how the nurse types it.

    An age is a modifier that stands in the note as the age alone.
    """

    sex: str
    age: str
    modifier: str = ""
    typed: str = ""


@dataclass(frozen=True)
class Call:
    """What a note tells: the first of `present` decides, the red flags in `absent` do not count."""

    complaint: Complaint
    present: list[Finding]
    absent: list[Finding]
    patient: Patient

    @property
    def level(self) -> int:
        """The label by the rule, as an index into `LABELS`."""
        urgencies = [finding.urgency for finding in self.present]
        return disposition(urgencies, bool(self.patient.modifier))


@lru_cache
def knowledge() -> dict:
    """The complaints, findings and fillers of the notes, checked once.

    Raises `R2DError` when a finding carries two urgencies.
    """
    raw = yaml.safe_load((paths.CARDS / "triage_complaints.yaml").read_text(encoding="utf-8"))
    urgencies: dict[str, int] = {}
    for complaint, entry in raw["complaints"].items():
        for urgency, name, *_ in entry["findings"]:
            if urgencies.setdefault(name, urgency) != urgency:
                raise R2DError(
                    f"triage_complaints.yaml: {name!r} under {complaint!r} has a second urgency; "
                    "keep one."
                )
    return raw


def disposition(urgencies: list[int], raised: bool) -> int:
    """The rule: index into `LABELS` from the urgencies of the findings that are present.

    `raised` says whether a modifier (age, immunosuppression) holds.
    """
    level = min(urgencies)
    return max(1, level - 1) if raised and level > 0 else level


def generate(n: int, seed: int, difficulty: float = 0.5) -> Iterator[dict[str, str]]:
    """Yield `n` notes as records, one at a time; the same arguments give the same notes.

    `difficulty` (0 to 1) sets how often red flags are denied or belong to a relative, how often a
    modifier decides, and how much is misspelt. Raises `R2DError` outside that range.
    """
    if not 0 <= difficulty <= 1:
        raise R2DError(f"difficulty is {difficulty}; give a number from 0 to 1.")
    rng = random.Random(f"triage {seed} {difficulty}")
    for index in range(n):
        call = _call(rng, difficulty)
        note = _note(rng, call, difficulty)
        yield {
            "id": f"triage-{seed}-{index}",
            "question": misspell(rng, note, 0.04 * difficulty),
            "label": LABELS[call.level],
            "reason": "|".join(call.present[0].spellings),
            **_rationales(rng, call),
        }


def _call(rng: random.Random, difficulty: float) -> Call:
    """Draw the label, then findings and patient that the rule turns into that label."""
    target = rng.choices(range(6), WEIGHTS)[0]
    raised = target < 5 and rng.random() < 0.3 * difficulty
    urgency = target
    # A raised "Go to ED now" has a finding of the step below, or one of its own that stays.
    if raised and (target > 1 or (target == 1 and rng.random() < 0.5)):
        urgency = target + 1
    complaint, finding = rng.choice(_with_urgency(urgency))
    present = [finding]
    lesser = [other for other in complaint.findings if other.urgency > urgency]
    if lesser and rng.random() < 0.3:
        present.append(rng.choice(lesser))
    absent = []
    if rng.random() < 0.6 * difficulty:
        worse = [other for other in complaint.findings if other.urgency < urgency]
        wanted = rng.choice((1, 1, 2))
        absent = rng.sample(worse, min(len(worse), wanted))
    return Call(complaint, present, absent, _patient(rng, raised))


@lru_cache
def _with_urgency(urgency: int) -> list[tuple[Complaint, Finding]]:
    """The findings of this urgency, each with its complaint."""
    pairs = []
    for name, entry in knowledge()["complaints"].items():
        findings = tuple(Finding(f[0], tuple(f[1:])) for f in entry["findings"])
        complaint = Complaint(name, tuple(entry["says"]), findings)
        pairs += [(complaint, finding) for finding in findings if finding.urgency == urgency]
    return pairs


def _patient(rng: random.Random, raised: bool) -> Patient:
    """A patient with, if `raised`, one modifier."""
    sex, age = rng.choice("MF"), f"{rng.randint(1, 79)} yo"
    if not raised:
        return Patient(sex, age)
    modifier = rng.choice(("old", "young", "immune"))
    if modifier == "old":
        return Patient(sex, f"{rng.randint(80, 97)} yo", "age over 80")
    if modifier == "young":
        return Patient(sex, f"{rng.randint(1, 11)} mo", "age under 1")
    spellings = rng.choice(knowledge()["immunosuppression"])
    return Patient(sex, age, spellings[0], rng.choice(spellings))


def _note(rng: random.Random, call: Call, difficulty: float) -> str:
    """What the nurse types: patient, complaint, findings, negatives and fillers."""
    data = knowledge()
    parts = [rng.choice(finding.spellings) for finding in call.present]
    rng.shuffle(parts)
    body = [rng.choice(("reports ", "c/o ", "", "has ")) + ", ".join(parts)]
    if call.absent:
        body.append(_negative(rng, call.absent))
        if rng.random() < 0.3:
            body.reverse()
    tail = []
    for word, fillers, share in (
        ("hx ", data["history"], 0.5),
        ("meds ", data["medications"], 0.4),
    ):
        if rng.random() < share:
            tail.append(word + rng.choice(fillers))
    patient = call.patient
    if patient.typed:
        tail.insert(rng.randint(0, len(tail)), patient.typed)
    complaint, duration = rng.choice(call.complaint.says), rng.choice(data["durations"])
    head = f"{patient.age} {patient.sex} {complaint} {duration}"
    return ". ".join([head, *body, *tail])


def _negative(rng: random.Random, absent: list[Finding]) -> str:
    """Findings that don't count: the caller denies them, or a relative had the first."""
    typed = [rng.choice(finding.spellings) for finding in absent]
    if rng.random() < 0.25:
        return f"{rng.choice(RELATIVES)} had {typed[0]}"
    return rng.choice(("denies ", "no ", "neg for ")) + ", ".join(typed)


def misspell(rng: random.Random, text: str, rate: float) -> str:
    """Swap two inner letters of some longer words, as hurried typing does."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) > 4 and word.isalpha() and rng.random() < rate:
            k = rng.randint(1, len(word) - 3)
            words[i] = word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return " ".join(words)


def _rationales(rng: random.Random, call: Call) -> dict[str, str]:
    """Three rationales with the same true reason: nurse-authored, post-processed and LLM-style."""
    finding, modifier, level = call.present[0], call.patient.modifier, call.level
    more = f", {modifier}" if modifier else ""
    typed = rng.choice(finding.spellings) + more
    short = SHORT[level]
    nurse = rng.choice(
        (f"{typed} -> {short}", f"{short} d/t {typed}", typed, f"per protocol, {typed}")
    )
    post = f"{finding.name.capitalize()}{more}. Disposition: {LABELS[level]}."
    llm = f"In this call about {call.complaint.name}, the deciding finding is {finding.name}."
    if modifier:
        llm += f" The risk is higher because of {modifier}."
    if call.absent:
        llm += f" The caller has no {call.absent[0].name}."
    llm += f" So {ADVICE[level]}."
    return {
        "rationale": llm,
        "rationale_nurse": nurse,
        "rationale_nurse_post": post,
        "rationale_llm": llm,
    }
