"""What models wrote, for people to read before they read any mean of it."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from pandas.io.formats.style import Styler

from r2d import data
from r2d.data import triage, triage_reading
from r2d.data.dataset import Dataset
from r2d.data.record import Record
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import escape, theme

if TYPE_CHECKING:
    from r2d.method.objective import Objective
    from r2d.models.decode import Decoder

HIDDEN = "(not shown, as its rationales: these cases are not synthetic)"
RIGHT, WRONG = "right", "wrong"
CONVINCING = "wrong, yet convincing"  # its rationale supports the wrong label
OUTCOMES = {RIGHT: theme.GREEN, WRONG: theme.VERMILION, CONVINCING: theme.ORANGE}
UNSUPPORTED = "The rationale does not support this label."
GOLD = "Gold"

# Inline and few: JupyterLab and sites keep these; without them the texts stand below one another.
CARD = "border:1px solid #8886;border-radius:6px;padding:.7em .9em;margin:0 0 1em;"
CARD += "max-width:72em;line-height:1.4;overflow-wrap:anywhere;break-inside:avoid"
ROW = "display:flex;flex-wrap:wrap;gap:.6em 1.2em;margin:.6em 0 0"
CELL = "flex:1 1 15em;padding:0 0 0 .7em;border-left:4px solid "
SMALL = "margin:.2em 0;font-size:.9em;opacity:.8"
LINE = "margin:.2em 0"


@dataclass(frozen=True)
class Example:
    """A test case to read, and why this one."""

    record: Record
    why: str


def choose(loaded: Dataset) -> list[Example]:
    """The same few synthetic test cases in every notebook, chosen by what their generator recorded.

    The first plain one; the first whose label would be another if what is denied, or a relative
    had, counted; the first whose label would be another without its modifier. None where nothing
    is recorded.
    """
    known = [record for record in loaded.test if record.kind in triage.KINDS and record.facts]
    plain = [Example(r, "Its findings alone decide it.") for r in known if r.kind == "plain"]
    skipped = {
        "negation": "If what is denied, or a relative had, counted, it would be {}.",
        "modifiers": "Without age or immunosuppression it would be {}.",
    }
    chosen = plain[:1]
    for part, why in skipped.items():
        labels = [(r, triage.decide(r.facts, **{part: False})) for r in known]
        misread = [(r, label) for r, label in labels if label != triage.decide(r.facts)]
        chosen += [Example(r, why.format(label)) for r, label in misread[:1]]
    return chosen


def pick(loaded: Dataset, title: str, finished: Mapping) -> list[Example]:
    """`choose`, and for each outcome that a finished run has on none of them its first such case.

    `title` is its method's, `finished` what `Run.read` gives.
    """
    outcome_of, examples = outcomes(finished), choose(loaded)
    records = {record.id: record for record in loaded.test}
    shown = {outcome_of[example.record.id] for example in examples}
    for outcome in OUTCOMES:
        first = next((key for key, own in outcome_of.items() if own == outcome), None)
        if first and outcome not in shown:
            examples.append(Example(records[first], f"The first that {title} decided {outcome}."))
    return examples


def outcomes(finished: Mapping) -> dict[str, str]:
    """Of each test case by its id, whether the run decided it right.

    A wrong one is convincing where the rationale supports the wrong label, as `evaluation.support`
    reads it, and is fluent: not degenerate, and of synthetic triage in the generator's wordings.
    """
    measured, predictions = finished["metrics"]["per_example"], finished["predictions"]
    unknown = [0] * len(predictions)
    supports, degenerate = (measured.get(name, unknown) for name in ("agreement", "degenerate"))
    found = {}
    for i, case in enumerate(predictions):
        fluent = not degenerate[i] and (
            not case.get("facts") or triage_reading.read(case["rationale"]).whole
        )
        wrong = CONVINCING if supports[i] and fluent else WRONG
        found[case["id"]] = RIGHT if measured["correct"][i] else wrong
    return found


def written(
    examples: Sequence[Example], decoder: "Decoder", objective: "Objective"
) -> dict[str, dict]:
    """The rationales that a network writes of examples by their ids, told the gold label.

    A prompt that names no label (stage 1, DSS) tells none.
    """
    records = [example.record for example in examples]
    asked = [objective.explain_prompt(record.text, record.label) for record in records]
    texts = decoder.rationales(asked)
    return {r.id: {"rationale": text} for r, text in zip(records, texts, strict=True)}


def of_run(loaded: Dataset, title: str, finished: Mapping):
    """A finished run's answers beside gold, for `display`: `pick`'s cases."""
    return show(pick(loaded, title, finished), {title: _answers(finished)}, loaded.synthetic)


def of_methods(recipe: Recipe, runs: Sequence[Run], dataset: str):
    """Trained methods side by side on one dataset, each one's first run, for `display`.

    The cases are `pick`'s for the recipe's reference, or for the last method where that is not
    among them.
    """
    first: dict[str, Run] = {}
    for run in runs:
        if run.dataset == dataset and run.objective:
            first.setdefault(run.method, run)
    if not first:
        return show([], {}, synthetic=True)
    reference = first.get(recipe.reference, list(first.values())[-1])
    loaded = data.load(dataset, recipe.data(dataset, reference.method))
    finished = {run: run.read() for run in first.values()}
    answers = {run.title: _answers(each) for run, each in finished.items()}
    return show(pick(loaded, reference.title, finished[reference]), answers, loaded.synthetic)


def show(
    examples: Sequence[Example], answers: Mapping[str, Mapping[str, Mapping]], synthetic: bool
):
    """Cards for `display`: note, gold label and rationale, and the `answers` beside them.

    `answers` are by a method's title and a case's id; one has a `rationale` and, where the method
    decides, a `label` and its `outcome`. Texts are shown of synthetic cases only.
    """
    from IPython.display import HTML

    cards = [
        _card(number, example, answers, synthetic) for number, example in enumerate(examples, 1)
    ]
    if not cards:
        cards = [f'<p style="{LINE}">There are no synthetic cases to show here.</p>']
    return HTML(f'<div class="tex2jax_ignore mathjax_ignore">{"".join(cards)}</div>')


def _answers(finished: Mapping) -> dict[str, dict]:
    """A finished run's predictions by case, each with its outcome.

    `contradicts` says that the rationale does not support the label beside it.
    """
    outcome_of, predictions = outcomes(finished), finished["predictions"]
    supports = finished["metrics"]["per_example"].get("agreement", [None] * len(predictions))
    return {
        case["id"]: case | {"outcome": outcome_of[case["id"]], "contradicts": hit == 0}
        for case, hit in zip(predictions, supports, strict=True)
    }


def _card(number: int, example: Example, answers: Mapping, synthetic: bool) -> str:
    record = example.record
    note = record.text if synthetic else HIDDEN
    cells = [_cell(GOLD, record.label, "", record.rationale if synthetic else None, theme.GREY)]
    for title, by_case in answers.items():
        answer = by_case[record.id]
        label, outcome = answer.get("label", ""), answer.get("outcome", "")
        text = answer["rationale"] if synthetic or not answer["rationale"] else None
        remark = UNSUPPORTED if answer["rationale"] and answer.get("contradicts") else ""
        colour = OUTCOMES.get(outcome, theme.BLUE)
        cells.append(_cell(title, label, outcome, text, colour, remark))
    kind = f" ({_text(record.kind)})" if record.kind else ""
    lines = [
        f'<p style="{SMALL}"><b>Case {number}</b>{kind}. {_text(example.why)}</p>',
        f'<p style="{LINE}"><b>Note</b> {_text(note)}</p>',
        f'<div style="{ROW}">{"".join(cells)}</div>',
    ]
    if record.facts and synthetic:
        lines.append(f'<p style="{SMALL};padding-top:.4em">True of it: {_text(record.facts)}</p>')
    return f'<div style="{CARD}">{"".join(lines)}</div>'


def _cell(
    title: str, label: str, outcome: str, rationale: str | None, colour: str, remark: str = ""
) -> str:
    """One answer: whose, which label and how that came out, the rationale and a remark on it.

    None is a rationale that is not shown.
    """
    decided = f": {_text(label)}" if label else ""
    verdict = f" <b>({outcome})</b>" if outcome else ""
    noted = f'<p style="{SMALL}">{remark}</p>' if remark else ""
    said = "" if rationale is None else _text(rationale) or "<i>(no rationale)</i>"
    text = f'<p style="{LINE}">{said}</p>' if said else ""
    return (
        f'<div style="{CELL}{colour}"><p style="{LINE}"><b>{_text(title)}</b>{decided}{verdict}</p>'
        f"{text}{noted}</div>"
    )


def _text(text: str) -> str:
    """Another's text as HTML."""
    return html.escape(escape.one_line(text))


def wrapped(frame: pd.DataFrame) -> Styler:
    """A table of texts: left-aligned, broken over lines, without an index."""
    style = escape.styled(frame).hide().format(na_rep="–")
    layout = {"text-align": "left", "vertical-align": "top", "white-space": "normal"}
    return style.set_properties(**layout, **{"min-width": "8em", "max-width": "22em"})


def token_strip(tokens: Sequence[tuple[str, float]], title: str) -> Styler:
    """The tokens of a target in one row, the darker the larger their loss (nats, below each)."""
    shade = colormaps["Oranges"]
    columns = [str(place) for place in range(1, len(tokens) + 1)]
    frame = pd.DataFrame(
        [[text for text, _ in tokens], [f"{loss:.2f}" for _, loss in tokens]],
        index=["token", "loss"],
        columns=columns,
    )
    colours = [f"background-color: {to_hex(shade(min(loss, 4) / 5))}" for _, loss in tokens]
    style = escape.styled(frame).apply(lambda _: colours, axis=1)
    return style.set_caption(html.escape(title)).hide(axis="columns")


def greyed(scores: pd.DataFrame) -> Styler:
    """A judge's grades (`judge.table`), with the rows of one that failed in grey."""
    columns = scores.drop(columns=["method", "qualified"])
    style = escape.styled(columns).hide().format(precision=2, na_rep="–")
    return style.set_properties(subset=(~scores["qualified"], slice(None)), color="#999999")
