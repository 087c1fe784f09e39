"""A form for a notebook: type a case, see labels, probabilities and rationales.

Without a live kernel it does nothing.
"""

import html

from r2d.deploy.predict import Predictor
from r2d.errors import R2DError


def form(model: Predictor, abstain_below: float = 0.0):
    """An ipywidgets box around `model`; nothing typed into it is stored or logged."""
    import ipywidgets

    text = ipywidgets.Textarea(placeholder="Type a case", layout={"width": "95%", "height": "6em"})
    candidates = ipywidgets.Text(
        placeholder="Its candidates: one | another", layout={"width": "95%"}
    )
    button = ipywidgets.Button(description="Decide", button_style="primary")
    answer = ipywidgets.HTML()

    def decide(_) -> None:
        try:
            answer.value = page(model, text.value, abstain_below, candidates.value)
        except R2DError as error:
            answer.value = html.escape(str(error))

    button.on_click(decide)
    inputs = [text, candidates] if model.takes_candidates else [text]
    return ipywidgets.VBox([*inputs, button, answer])


def page(model: Predictor, text: str, abstain_below: float = 0.0, candidates: str = "") -> str:
    """The answer to one case as HTML.

    It has each label's probability and, where the model explains, its rationale for each label.
    """
    explain = not model.explains_labels  # else under each label, below
    (prediction,) = model.predict([text], explain, abstain_below, [candidates])
    rationales = {prediction.label: prediction.rationale or ""}
    if model.explains_labels:
        rationales = model.explain_under(text, candidates)
    rows = []
    for label, share in sorted(prediction.probabilities.items(), key=lambda item: -item[1]):
        name = html.escape(label)
        if label == prediction.label:
            name = f"<b>{name}</b>"
        why = html.escape(rationales.get(label, ""))
        rows.append(f"<tr><td>{name}</td><td>{share:.2f}</td><td>{why}</td></tr>")
    warning = "<p>Not sure enough: leave this case to a person.</p>" if prediction.abstained else ""
    head = "<tr><th>label</th><th>probability</th><th>rationale, were it this label</th></tr>"
    return f"{warning}<table>{head}{''.join(rows)}</table>"
