"""Synthetic telephone-triage notes: invented and seeded, for the private Health Link 811 data.

The profiles' regime (`difficulty` 0.6) has 40 % plain notes, in which counting words finds the
label, 24 % with a denied and 9 % with a relative's red flag, 15 % with a modifier and 12 % with two
findings (`SHARES`). The rule that decides every label (`noise` aside, nothing else does):

1. Each finding has an urgency, 0 = Call 911 ... 5 = Home care (`cards/triage_complaints.yaml`).
2. The most urgent finding that is *present* decides; one that the caller denies, or that a relative
   had, does not count.
3. Age under 1 year or from 80 years on, or immunosuppression, raises the urgency by one step, but
   never to Call 911.

What is true of a call stands in its record: `reason` is the finding of step 2, its plain name, then
the nurse's other spellings, joined by `|`; `kind` (one of `KINDS`) is what has to be read for the
label: in "negation" and "relative" a more urgent finding does not count, a "modifier" changes the
label, of "two findings" the lesser would change it, a "plain" note has nothing of these. `facts`
are plain names: `present: a, b; denied: c; relative: d; modifier: e`, without the empty ones; from
them `decide` gives the label.

Rationales are worded by `cards/triage_rationales.yaml` alone (`wordings`), so that they can be read
back exactly: a rationale is clauses, and a clause is one wording whose slots hold names of
`findings` and `modifiers`, or an advice.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
WEIGHTS = (0.18, 0.18, 0.16, 0.16, 0.15, 0.17)
# Of the notes that counting words does not decide; `difficulty` says how many those are.
SHARES = {"negation": 0.40, "relative": 0.15, "modifier": 0.25, "two findings": 0.20}
KINDS = ("plain", *SHARES)
RATIONALES = ("rationale_llm", "rationale_nurse", "rationale_nurse_post")
SLOT = re.compile(r"{(\w+)}")


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
    age: int
    unit: str = "yo"
    modifier: str = ""
    typed: str = ""

    @property
    def words(self) -> str:
        """The patient as rationales put it."""
        grown = self.unit == "yo" and self.age >= 18
        person = {"M": ("boy", "man"), "F": ("girl", "woman")}[self.sex][grown]
        article = "an" if str(self.age)[0] == "8" or self.age in (11, 18) else "a"
        return f"{article} {self.age}-{'year' if self.unit == 'yo' else 'month'}-old {person}"


@dataclass(frozen=True)
class Call:
    """What a note tells; the first of `present` decides.

    `denied`, and what a `relative` had (`theirs`), do not count; the most urgent come first.
    """

    kind: str
    complaint: Complaint
    says: str
    duration: tuple[str, str]  # as typed, in words
    patient: Patient
    present: list[Finding]
    denied: list[Finding] = field(default_factory=list)
    theirs: list[Finding] = field(default_factory=list)
    relative: str = ""

    @property
    def facts(self) -> str:
        """What is true of the call, in plain names."""
        parts = {
            "present": [finding.name for finding in self.present],
            "denied": [finding.name for finding in self.denied],
            "relative": [finding.name for finding in self.theirs],
            "modifier": [self.patient.modifier] if self.patient.modifier else [],
        }
        return "; ".join(f"{part}: {', '.join(names)}" for part, names in parts.items() if names)


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


@lru_cache
def wordings() -> dict:
    """How rationales are worded, by source: `capital`, `clauses` and `advice`, as the card says."""
    return yaml.safe_load((paths.CARDS / "triage_rationales.yaml").read_text(encoding="utf-8"))


@lru_cache
def complaints() -> tuple[Complaint, ...]:
    """Every complaint with its findings, most urgent first."""
    return tuple(
        Complaint(
            name,
            tuple(entry["says"]),
            tuple(Finding(urgency, tuple(names)) for urgency, *names in entry["findings"]),
        )
        for name, entry in knowledge()["complaints"].items()
    )


@lru_cache
def findings() -> dict[str, Finding]:
    """Every finding by each of its spellings."""
    every = [finding for complaint in complaints() for finding in complaint.findings]
    return {spelling: finding for finding in every for spelling in finding.spellings}


@lru_cache
def modifiers() -> dict[str, str]:
    """The plain name of every modifier by each of its spellings."""
    named = {"age over 80": "age over 80", "age under 1": "age under 1"}
    return named | {
        typed: names[0] for names in knowledge()["immunosuppression"] for typed in names
    }


def facts_of(text: str) -> dict[str, list[str]]:
    """A record's `facts` by part: `present`, `denied`, `relative`, `modifier`; [] for no such."""
    parts = dict(part.split(": ", 1) for part in text.split("; "))
    names = ("present", "denied", "relative", "modifier")
    return {name: parts[name].split(", ") if name in parts else [] for name in names}


def decide(facts: str, negation: bool = True, modifiers: bool = True) -> str:
    """The label by the rule, from a record's `facts`.

    Without `negation` what is denied, or was a relative's, counts as present; without `modifiers`
    nothing raises the urgency.
    """
    parts = facts_of(facts)
    counted = parts["present"] + ([] if negation else parts["denied"] + parts["relative"])
    urgencies = [findings()[name].urgency for name in counted]
    return LABELS[disposition(urgencies, modifiers and bool(parts["modifier"]))]


def disposition(urgencies: list[int], raised: bool) -> int:
    """The rule: index into `LABELS` from the urgencies of the findings that are present.

    `raised` says whether a modifier (age, immunosuppression) holds.
    """
    level = min(urgencies)
    return max(1, level - 1) if raised and level > 0 else level


def generate(
    n: int,
    seed: int,
    difficulty: float = 0.5,
    noise: float = 0.0,
    topics: int | None = None,
    harmless: float = 0.2,
) -> Iterator[dict[str, str]]:
    """Yield `n` notes as records, one at a time; the same arguments give the same notes.

    `difficulty` is the share of notes that counting words does not decide (`SHARES`); with it come
    misspellings, and denials that change nothing, at the rate `harmless`. With probability `noise`
    the nurse's disposition is one step off: label and advice are, the note and what the
    rationales name are not. Calls are about the first `topics` of the card's complaints, all of
    them if None: fewer have fewer findings, which are learned in fewer steps. Raises `R2DError` for
    a value out of range.
    """
    for name, value in (("difficulty", difficulty), ("noise", noise)):
        if not 0 <= value <= 1:
            raise R2DError(f"{name} is {value}; give a number from 0 to 1.")
    topics = topics or len(complaints())
    if topics > len(complaints()):
        raise R2DError(f"topics is {topics}; give a number from 1 to {len(complaints())}.")
    notes = random.Random(f"triage {seed} {difficulty}")
    slips = random.Random(f"triage noise {seed}")
    for index in range(n):
        call = _call(notes, difficulty, topics, harmless)
        question = misspell(notes, _note(notes, call), 0.04 * difficulty)
        level = LABELS.index(decide(call.facts))
        slip = slips.choice((-1, 1))
        if slips.random() < noise:
            level += slip if 0 <= level + slip < len(LABELS) else -slip
        words = random.Random(f"triage words {seed} {index}")
        rationales = {source: _rationale(words, source, call, level) for source in RATIONALES}
        yield {
            "id": f"triage-{seed}-{index}",
            "question": question,
            "label": LABELS[level],
            "rationale": rationales["rationale_llm"],
            **rationales,
            "reason": "|".join(call.present[0].spellings),
            "kind": call.kind,
            "facts": call.facts,
        }


def _call(rng: random.Random, difficulty: float, topics: int, harmless: float) -> Call:
    """Draw the kind and the label, then a call that the rule turns into that label."""
    hard = [difficulty * share for share in SHARES.values()]
    kind = rng.choices(KINDS, [1 - difficulty, *hard])[0]
    choices = _choices(kind, topics)
    weights = [WEIGHTS[level] if choices[level] else 0.0 for level in range(len(LABELS))]
    level = rng.choices(range(len(LABELS)), weights)[0]
    complaint, decider = rng.choice(choices[level])
    worse = [other for other in complaint.findings if other.urgency < decider.urgency]
    lesser = [other for other in complaint.findings if other.urgency > decider.urgency]
    present, denied, theirs = [decider], [], []
    if kind == "two findings":
        present.append(lesser.pop(rng.randrange(len(lesser))))
    if kind == "negation":
        denied = rng.sample(worse, 2 if len(worse) > 1 and rng.random() < 0.3 else 1)
    if kind == "relative":
        theirs = [rng.choice(worse)]
    elif lesser and rng.random() < harmless * difficulty:
        changing_nothing = denied if kind == "negation" or rng.random() < 0.75 else theirs
        changing_nothing.append(rng.choice(lesser))
    raised = kind == "modifier"
    if kind == "plain" and decider.urgency <= 1:  # where a modifier changes nothing
        raised = rng.random() < 0.3 * difficulty
    return Call(
        kind=kind,
        complaint=complaint,
        says=rng.choice(complaint.says),
        duration=tuple(rng.choice(knowledge()["durations"])),
        patient=_patient(rng, raised),
        present=present,
        denied=sorted(denied, key=lambda finding: finding.urgency),
        theirs=theirs,
        relative=rng.choice(knowledge()["relatives"]),
    )


@lru_cache
def _choices(kind: str, topics: int) -> list[list[tuple[Complaint, Finding]]]:
    """By label, the complaints and deciding findings that a note of this kind may have."""
    choices = [[] for _ in LABELS]
    for complaint in complaints()[:topics]:
        urgencies = [finding.urgency for finding in complaint.findings]
        for finding in complaint.findings:
            level = disposition([finding.urgency], raised=kind == "modifier")
            fits = {
                "plain": True,
                "modifier": level != finding.urgency,
                "negation": min(urgencies) < finding.urgency,
                "relative": min(urgencies) < finding.urgency,
                "two findings": max(urgencies) > finding.urgency,
            }
            if fits[kind]:
                choices[level].append((complaint, finding))
    return choices


def _patient(rng: random.Random, raised: bool) -> Patient:
    """A patient with, if `raised`, one modifier."""
    sex, age = rng.choice("MF"), rng.randint(1, 79)
    if not raised:
        return Patient(sex, age)
    modifier = rng.choice(("old", "young", "immune"))
    if modifier == "old":
        return Patient(sex, rng.randint(80, 97), "yo", "age over 80")
    if modifier == "young":
        return Patient(sex, rng.randint(1, 11), "mo", "age under 1")
    spellings = rng.choice(knowledge()["immunosuppression"])
    return Patient(sex, age, "yo", spellings[0], rng.choice(spellings))


def _note(rng: random.Random, call: Call) -> str:
    """What the nurse types: patient, complaint, what is and is not present, fillers."""
    data, patient = knowledge(), call.patient
    head = f"{patient.age} {patient.unit} {patient.sex} {call.says} {call.duration[0]}"
    clauses = [_clause(rng, rng.choice(data["present"]), call.present, " and ")]
    if call.denied:
        clauses.append(_clause(rng, rng.choice(data["denied"]), call.denied, " or "))
    if call.theirs:
        clauses.append(_clause(rng, f"{call.relative} had", call.theirs, " and "))
    bare = clauses[0]
    rng.shuffle(clauses)
    body = clauses[0]
    for clause in clauses[1:]:
        joint = rng.choice((". ", ". ", ", ", " but "))
        # After a comma a bare finding would be one more of those that the clause before denies.
        body += (". " if joint == ", " and clause == bare else joint) + clause
    tail = []
    for word, fillers in (("hx", data["history"]), ("meds", data["medications"])):
        if rng.random() < 0.3:
            tail.append(f"{word} {rng.choice(fillers)}")
    if patient.typed:
        tail.insert(rng.randint(0, len(tail)), patient.typed)
    return ". ".join([head, body, *tail])


def _clause(rng: random.Random, cue: str, found: Sequence[Finding], last: str) -> str:
    """Findings in any order and spelling, after what is said of them."""
    typed = [rng.choice(finding.spellings) for finding in found]
    rng.shuffle(typed)
    return f"{cue} {rng.choice((', ', last)).join(typed)}".strip()


def misspell(rng: random.Random, text: str, rate: float) -> str:
    """Swap two inner letters of some longer words, as hurried typing does."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) > 4 and word.isalpha() and rng.random() < rate:
            k = rng.randint(1, len(word) - 3)
            words[i] = word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return " ".join(words)


def _rationale(rng: random.Random, source: str, call: Call, level: int) -> str:
    """A rationale of the true reason and the disposition `level`, worded as the card says."""
    wording = wordings()[source]
    slots = _slots(rng, source, call) | {"advice": rng.choice(wording["advice"][level])}
    clauses = []
    for templates in wording["clauses"].values():
        template = rng.choice(templates)
        if all(slots[name] for name in SLOT.findall(template)):
            clause = template.format(**slots)
            clauses.append(clause[0].upper() + clause[1:] if wording["capital"] else clause)
    return " ".join(clauses)


def _slots(rng: random.Random, source: str, call: Call) -> dict[str, str]:
    """What a wording's slots hold, "" for what the call does not have."""
    finding, modifier = call.present[0].name, call.patient.modifier
    complaint, duration = call.complaint.name, call.duration[1]
    if source == "rationale_nurse":
        finding = rng.choice(call.present[0].spellings)
        complaint, duration = call.says, call.duration[0]
        modifier = call.patient.typed or modifier
    return {
        "complaint": complaint,
        "duration": duration,
        "patient": call.patient.words,
        "finding": finding,
        "reason": f"{finding}, {modifier}" if modifier else finding,
        "modifier": modifier,
        "lesser": call.present[1].name if len(call.present) > 1 else "",
        "denied": call.denied[0].name if call.denied else "",
        "theirs": call.theirs[0].name if call.theirs else "",
        "relative": call.relative,
    }
