"""A form for a notebook: type a case, see labels, probabilities and rationales. Without a live kernel it does nothing."""

import html

from r2d.deploy.predict import Predictor
from r2d.errors import R2DError


def form(model: Predictor, abstain_below: float = 0.0):
    """An ipywidgets box around `model`; nothing typed into it is stored or logged."""
    import ipywidgets

    text = ipywidgets.Textarea(placeholder="Type a case", layout={"width": "95%", "height": "6em"})
    own = ipywidgets.Text(placeholder="Its candidates: one | another", layout={"width": "95%"})
    button = ipywidgets.Button(description="Decide", button_style="primary")
    shown = ipywidgets.HTML()

    def answer(_) -> None:
        try:
            shown.value = page(model, text.value, abstain_below, own.value)
        except R2DError as error:
            shown.value = html.escape(str(error))

    button.on_click(answer)
    return ipywidgets.VBox([text, *([] if model.labels else [own]), button, shown])


def page(model: Predictor, text: str, abstain_below: float = 0.0, candidates: str = "") -> str:
    """The answer to one case as HTML: each label's probability and, where the model explains, its rationale for each label."""
    (found,) = model.predict([text], not model.explains_labels, abstain_below, [candidates])
    under = (
        model.explain_under(text, candidates)
        if model.explains_labels
        else {found.label: found.rationale or ""}
    )
    rows = []
    for label, share in sorted(found.probabilities.items(), key=lambda item: -item[1]):
        name = f"<b>{html.escape(label)}</b>" if label == found.label else html.escape(label)
        rows.append(
            f"<tr><td>{name}</td><td>{share:.2f}</td><td>{html.escape(under.get(label, ''))}</td></tr>"
        )
    warning = "<p>Not sure enough: leave this case to a person.</p>" if found.abstained else ""
    head = "<tr><th>label</th><th>probability</th><th>rationale, were it this label</th></tr>"
    return f"{warning}<table>{head}{''.join(rows)}</table>"
