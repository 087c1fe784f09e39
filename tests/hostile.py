"""Texts that want to be run, a table made of them, and notebooks executed in this process."""

import ast
import contextlib
import io
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython.display
import matplotlib.pyplot as plt
import nbformat
import pandas as pd
from IPython.core.formatters import DisplayFormatter
from IPython.core.pylabtools import select_figure_formats
from nbformat.v4 import new_output

from r2d import paths

ATTACK = "document.documentElement.dataset.attacked=1"  # what a script of theirs does to the page
SVG = f"<svg onload={ATTACK}>"  # without quotes, which Sphinx would curl
IMAGE = f'"><img src=x onerror="{ATTACK}">'
SCRIPT = f"<script>{ATTACK}</script>"
LINK = f"[x](javascript:{ATTACK})"
ROLE = "{eval-rst}`x` {download}`/etc/passwd`"
FENCE = f"```{{raw}} html\n{SCRIPT}\n```\n"
DIRECTIVE = "```{include} /etc/passwd\n```\n\n:::{raw} html\nx\n:::\n\n.. raw:: html\n\n   x\n"
FORMULA = r"$\frac{$ \(x\) $$y$$"
COLUMN = f"a|b {SVG} {LINK}"
TEXTS = (SVG, IMAGE, SCRIPT, LINK, ROLE, FENCE, DIRECTIVE, FORMULA, COLUMN)
EVERYTHING = "\n\n".join(TEXTS)
TITLE = f"`{SVG}\n{LINK}\n```{{raw}} html"
LABELS = (SVG, LINK, IMAGE + FORMULA, "```{raw} html")
QUESTION, LABEL, RATIONALE = f"{SVG}q", f"{LINK} {SCRIPT}", "```{raw} html"  # columns


def table(file: Path, rows: int = 48) -> Path:
    """A table in which all texts and the columns' names are hostile."""
    chosen = random.Random(0)
    listed = []
    for k in range(rows):
        texts = chosen.sample(TEXTS, len(TEXTS))
        listed.append(
            {
                QUESTION: f"case {k} " + "\n".join(texts),
                LABEL: LABELS[k % len(LABELS)],
                RATIONALE: "\n".join(reversed(texts)),
            }
        )
    pd.DataFrame(listed).to_csv(file, index=False)
    return file


def executed(name: str, out: Path, parameters: dict[str, Any]) -> None:
    """The notebook as papermill would leave it, without a kernel's start."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook.metadata["papermill"] = {"parameters": parameters, "duration": 1.0}
    namespace: dict[str, Any] = {"__name__": "__main__"}
    formatter = DisplayFormatter()
    select_figure_formats(SimpleNamespace(display_formatter=formatter), {"png"})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
            cell.outputs = _run(cell.source, namespace, formatter)
            if "parameters" in cell.metadata.get("tags", []):
                namespace |= parameters
    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out)


def _run(source: str, namespace: dict, formatter: DisplayFormatter) -> list:
    """A cell's outputs: what it prints, displays and ends with, and the figures it leaves open."""
    displayed: list[Any] = []
    statements = ast.parse(source).body
    last = statements[-1] if isinstance(statements[-1], ast.Expr) else None
    before = statements[:-1] if last else statements
    printed, usual = io.StringIO(), IPython.display.display
    IPython.display.display = displayed.append
    if "display" in namespace:
        namespace["display"] = displayed.append
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(ast.Module(before, []), "cell", "exec"), namespace)
            if last:
                displayed.append(
                    eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
                )
    finally:
        IPython.display.display = usual
    displayed += [plt.figure(number) for number in plt.get_fignums()]
    outputs = [new_output("stream", name="stdout", text=printed.getvalue())]
    for each in displayed:
        if each is not None:
            data, metadata = formatter.format(each)
            outputs.append(new_output("display_data", data, metadata=metadata))
    plt.close("all")
    return outputs
