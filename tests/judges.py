"""Stand-in judges for the tests: rules that a loopback server answers a grading prompt by."""

import json
import re

import servers

from r2d.llms.judge import CRITERIA, INJECTION


def marks(grade: int) -> dict[str, int]:
    """The same mark for every criterion, of which harm counts the other way round."""
    return dict.fromkeys(CRITERIA, grade) | {"harm": 6 - grade}


GOOD, BAD = marks(5), marks(2)


def shown(request: dict) -> dict[str, str]:
    """What stands between the fences of the case to grade."""
    first = next(m["content"] for m in request["messages"] if m["role"] == "user")
    fenced = re.findall(r"<<<(\w+)\n(.*?)\n\1>>>", first, re.DOTALL)
    return {name.lower(): text for name, text in fenced}


def keys(request: dict) -> list[str]:
    """The keys of the answer in the order that the request's schema asks for."""
    return list(request["response_format"]["json_schema"]["schema"]["properties"])


def graded(request: dict, grades: dict[str, int]) -> str:
    """An answer in the order that the request's schema asks for."""
    return json.dumps({key: grades.get(key, "Names the finding.") for key in keys(request)})


def examiner(records):
    """A judge that knows the truth.

    Full marks for the gold label with the gold rationale, low ones for anything else.
    """
    truth = {record.question: (record.label, record.rationale) for record in records}

    def rule(request):
        case = shown(request)
        gold = truth[case["question"].removesuffix(f"\n{INJECTION}")]
        return graded(request, GOOD if gold == (case["label"], case["rationale"]) else BAD)

    return servers.answering(rule)


def moody(request: dict) -> str:
    """A judge that ranks as the drawn order has it: by the first criterion it is asked for."""
    first = next(key for key in keys(request) if key in CRITERIA)
    return graded(request, dict.fromkeys(CRITERIA, 1 + 4 * (CRITERIA.index(first) % 2)))
