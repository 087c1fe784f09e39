"""What a rationale of a synthetic triage note says, read back by the wordings it was made of."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from r2d.data import triage

_NAMES = {"finding": "finding", "lesser": "finding", "denied": "finding", "theirs": "finding"}
_NAMES |= {"modifier": "modifier"}


@dataclass(frozen=True)
class Reading:
    """What a text says, in plain names; None where it says nothing, or two different things.

    `advice` is the label it advises, `finding` what it says decides, `modifier` what it says raises
    the urgency. `denied` is what it says is absent or a relative's: that names no reason. `whole`
    is whether every clause is one of the generator's.
    """

    advice: str | None
    finding: str | None
    modifier: str | None
    denied: frozenset[str]
    whole: bool


@lru_cache(maxsize=20_000)
def read(rationale: str) -> Reading:
    """What a rationale in any of the three sources' wordings says.

    Names have to be spelt as the generator spells them: one that is garbled names nothing.
    """
    text = " ".join(rationale.split())
    clauses = [_clause(part) for part in re.split(r"(?<=\.) ", text)]
    if not any(clauses):
        clauses = [_clause(text)]
    said = [pair for slots in clauses if slots for pair in slots.items()]

    def only(slot: str) -> str | None:
        values = {value for name, value in said if name == slot}
        return values.pop() if len(values) == 1 else None

    denied = {value for name, value in said if name in ("denied", "theirs") and value}
    whole = all(slots is not None and all(slots.values()) for slots in clauses)
    return Reading(only("advice"), only("finding"), only("modifier"), frozenset(denied), whole)


def _clause(text: str) -> dict[str, str | None] | None:
    """The slots of one clause, None in a slot whose name is unknown; None if it is no clause."""
    text = text.rstrip(". ").casefold()
    loose = None
    for pattern in _patterns():
        match = pattern.fullmatch(text)
        if match:
            slots = {
                name: _plain(name, value) for name, value in match.groupdict().items() if value
            }
            if all(slots.values()):
                return slots
            loose = loose or slots
    return loose


def _plain(slot: str, value: str) -> str | None:
    """The plain name, or the label, that a slot's text stands for."""
    return _known()[_NAMES.get(slot, slot)].get(value)


@lru_cache
def _known() -> dict[str, dict[str, str]]:
    """Names by their texts, case-folded: of findings, of modifiers, and of labels by advice."""
    advice = {}
    for wording in triage.wordings().values():
        for label, texts in zip(triage.LABELS, wording["advice"], strict=True):
            advice |= {text.casefold(): label for text in texts}
    findings = {text.casefold(): known.name for text, known in triage.findings().items()}
    modifiers = {text.casefold(): name for text, name in triage.modifiers().items()}
    return {"finding": findings, "modifier": modifiers, "advice": advice}


@lru_cache
def _patterns() -> tuple[re.Pattern, ...]:
    """Every wording of every source as a pattern over case-folded text, its full stop left out."""
    templates = [
        template
        for wording in triage.wordings().values()
        for wordings in wording["clauses"].values()
        for template in wordings
    ]
    return tuple(re.compile(_pattern(template)) for template in dict.fromkeys(templates))


def _pattern(template: str) -> str:
    known = _known()
    slots = {
        "advice": f"(?P<advice>{_any_of(known['advice'])})",
        "reason": f"{_named('finding')}(?:, {_named('modifier')})?",
        **{slot: _named(slot) for slot in _NAMES},
    }
    parts = triage.SLOT.split(template.rstrip(".").casefold())
    literal = [re.escape(part) for part in parts[::2]]
    filled = [slots.get(name, ".+?") for name in parts[1::2]]
    pairs = zip(literal, [*filled, ""], strict=True)
    return "".join(part for pair in pairs for part in pair)


def _named(slot: str) -> str:
    """A slot that holds a known name, or else any text, which then names nothing."""
    return f"(?P<{slot}>{_any_of(_known()[_NAMES[slot]])}|.+?)"


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
