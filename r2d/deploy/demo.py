"""One case and all that the model says of it: a form for a notebook, or a page of its own.

Without a live kernel the form does nothing. What is typed into it is neither stored nor logged.
"""

import html
import math
from collections.abc import Mapping, Sequence

from r2d.deploy import occlusion
from r2d.deploy.occlusion import Part
from r2d.deploy.predict import Prediction, Predictor
from r2d.errors import R2DError
from r2d.reporting import escape

SHOWN = 8  # labels, the likeliest: each costs a rationale
NAMED = 3  # parts that a sentence names
LITTLE = math.log(1.1)  # nats: what changes a label's probability by less decides nothing
MOST_TIMES = 1000  # beyond which how often is no use

# Colours with an alpha, which fit light and dark pages: for, against, neither.
FOR, AGAINST, BAR = "230,159,0", "86,180,233", "119,119,119"
BOX = "max-width:56em;line-height:1.5;overflow-wrap:anywhere"
LINE = "margin:.4em 0"
SMALL = "margin:.4em 0;font-size:.9em;opacity:.85"
WARNING = f"{LINE};padding:.4em .7em;border-left:4px solid #d55e00;background:rgba(213,94,0,.12)"
NOTE = f"{LINE};padding:.6em .8em;border:1px solid #8886;border-radius:6px;white-space:pre-wrap"
ROW = "display:inline-flex;gap:.8em;align-items:center;width:calc(100% - 1.5em);padding:.15em 0"
ALIGNED = f"{ROW};margin-left:1.1em"  # with those after a triangle
NAME, TRACK, SHARE = "flex:0 1 16em;min-width:7em", "flex:1 1 6em", "flex:0 0 3.2em"
WHY = "margin:.1em 0 .5em;padding:0 0 0 .8em;border-left:4px solid #8886"
DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font-family: system-ui, sans-serif; margin: 1.2em auto; max-width: 58em; padding: 0 1em; }}
</style>
</head>
<body>
<h1 style="font-size:1.3em">{title}</h1>
{page}
</body>
</html>
"""


def form(model: Predictor, abstain_below: float = 0.0):
    """An ipywidgets box around `model`: what `page` says of what is typed into it."""
    import ipywidgets

    text = ipywidgets.Textarea(placeholder="Type a case", layout={"width": "95%", "height": "6em"})
    candidates = ipywidgets.Text(
        placeholder="Its candidates: one | another", layout={"width": "95%"}
    )
    button = ipywidgets.Button(description="Decide", button_style="primary")
    answer = ipywidgets.HTML()

    def decide(_) -> None:
        button.disabled = True
        try:
            answer.value = page(model, text.value, abstain_below, candidates.value)
        except R2DError as error:
            answer.value = html.escape(str(error))
        finally:
            button.disabled = False

    button.on_click(decide)
    inputs = [text, candidates] if model.takes_candidates else [text]
    return ipywidgets.VBox([*inputs, button, answer])


def page(
    model: Predictor,
    text: str,
    abstain_below: float = 0.0,
    candidates: str | Sequence[str] = "",
) -> str:
    """What the model says of one case, as HTML that needs nothing else.

    The label, or that it abstains; the case with its deciding words marked; every label's
    probability as a bar and, where the model explains, the rationale it would write for each.
    """
    explain = not model.explains_labels  # else under each label, below
    (prediction,) = model.predict([text], explain, abstain_below, [candidates])
    parts = model.explain_words(text, candidates, prediction.label)
    shares = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    rationales = {prediction.label: prediction.rationale or ""}
    if model.explains_labels:
        likeliest = [label for label, _ in shares[:SHOWN]]
        rationales = model.explain_under(text, candidates, likeliest)
    sections = [
        _verdict(prediction, abstain_below),
        _marked(parts),
        f'<p style="{SMALL}">{_in_words(parts, prediction.label)}</p>',
        *(_bar(label, share, rationales, prediction.label) for label, share in shares[:SHOWN]),
        f'<p style="{SMALL}">{_about_shares(model, len(shares))}</p>',
    ]
    return f'<div class="tex2jax_ignore mathjax_ignore" style="{BOX}">{"".join(sections)}</div>'


def show(
    model: Predictor,
    text: str,
    abstain_below: float = 0.0,
    candidates: str | Sequence[str] = "",
):
    """`page` for `display`."""
    from IPython.display import HTML

    return HTML(page(model, text, abstain_below, candidates))


def document(
    model: Predictor,
    text: str,
    abstain_below: float = 0.0,
    candidates: str | Sequence[str] = "",
) -> str:
    """`page` as a file of its own."""
    said = page(model, text, abstain_below, candidates)
    return DOCUMENT.format(title=_text(f"{model.title}: one case"), page=said)


def _verdict(prediction: Prediction, abstain_below: float) -> str:
    label, share = _text(prediction.label), f"{prediction.confidence:.0%}"
    if not prediction.abstained:
        return f'<p style="{LINE}"><b>{label}</b> ({share})</p>'
    return (
        f'<p style="{WARNING}">Not sure enough: leave this case to a person. The likeliest label, '
        f"<b>{label}</b>, has {share}, and {abstain_below:.0%} were asked for.</p>"
    )


def _marked(parts: Sequence[Part]) -> str:
    """The case, each part shaded by its weight."""
    most = max((abs(part.weight) for part in parts), default=0.0)
    return f'<p style="{NOTE}">{"".join(_mark(part, most) for part in parts)}</p>'


def _mark(part: Part, most: float) -> str:
    words = part.text.rstrip()
    blanks = html.escape(part.text[len(words) :])
    if abs(part.weight) < LITTLE:
        return html.escape(words) + blanks
    line = "solid" if part.weight > 0 else "dotted"  # told apart without colours, too
    colour = FOR if part.weight > 0 else AGAINST
    style = f"background:rgba({colour},{0.75 * abs(part.weight) / most:.2f});color:inherit;"
    style += f"border-bottom:2px {line} rgb({colour})"
    return f'<mark style="{style}">{html.escape(words)}</mark>{blanks}'


def _in_words(parts: Sequence[Part], label: str) -> str:
    """How the marks came about, and the parts that weigh most."""
    unit = "word" if all(len(part.text.split()) == 1 for part in parts) else "clause"
    how = (
        f"Each {unit} is left out in turn: underlined are those without which {_text(label)} "
        "would be less likely (dotted: likelier)."
    )
    if unit == "clause":
        how += f" Of a case of over {occlusion.MOST_PARTS} words it is clauses."
    heaviest = sorted(parts, key=lambda part: -part.weight)[:NAMED]
    named = [part for part in heaviest if part.weight >= LITTLE]
    if not named:
        return f"{how} No {unit} decides alone."
    times = ", ".join(f"{_times(part)} without <b>{_bare(part)}</b>" for part in named)
    return f"{how} How many times less likely it would be: {times}."


def _times(part: Part) -> str:
    if part.weight > math.log(MOST_TIMES):
        return f"over {MOST_TIMES:,}"
    return f"{math.exp(part.weight):.1f}"


def _bare(part: Part) -> str:
    """A part's words as HTML, without the punctuation mark that they end with."""
    return _text(part.text.rstrip().rstrip("".join(occlusion.CLAUSE_ENDS)) or part.text)


def _bar(label: str, share: float, rationales: Mapping[str, str], decided: str) -> str:
    """A label's probability, and under it, to be opened, the rationale for that label."""
    name = f"<b>{_text(label)}</b>" if label == decided else _text(label)
    colour = FOR if label == decided else BAR
    bar = f"display:block;height:.8em;width:{share:.1%};min-width:2px;background:rgb({colour})"
    row = (
        f'<span style="{NAME}">{name}</span><span style="{TRACK}"><span style="{bar}"></span>'
        f'</span><span style="{SHARE}">{share:.1%}</span>'
    )
    why = _text(rationales.get(label, ""))
    if label != decided and why:
        said = f'<p style="{WHY}">Were it {_text(label)}: {why}</p>'
        return f'<details><summary><span style="{ROW}">{row}</span></summary>{said}</details>'
    said = f'<p style="{WHY}">Because: {why}</p>' if why else ""
    return f'<div><span style="{ALIGNED}">{row}</span>{said}</div>'


def _about_shares(model: Predictor, labels: int) -> str:
    """What to know of the probabilities and the rationales."""
    sentences = []
    if labels > SHOWN:
        sentences.append(f"The {SHOWN} likeliest of {labels} labels are shown.")
    if model.open_labels:
        sentences.append("The probability is that of just this text.")
    elif model.temperature == 1:
        sentences.append(
            "The probabilities are not calibrated: <code>python -m r2d calibrate</code> does that."
        )
    else:
        sentences.append(f"Probabilities are calibrated (temperature {model.temperature:.2f}).")
    if model.explains_labels:
        sentences.append(
            "Open a label to read what the model would say for it: if that convinces as much, the "
            "rationale is no evidence for the label."
        )
    elif model.objective.explains:
        sentences.append("This method's rationale is the same whatever the label.")
    return " ".join(sentences)


def _text(text: str) -> str:
    """Another's text as HTML."""
    return html.escape(escape.one_line(text))
