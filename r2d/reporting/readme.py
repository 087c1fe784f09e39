"""The README's results block, made from `figures/mini/` and never typed.

python -m r2d.readme          # rewrite the block
"""

from pathlib import Path

from r2d import paths
from r2d.errors import R2DError

START, END = "<!-- results: made by python -m r2d.readme -->", "<!-- end of results -->"


def block(folder: Path) -> str:
    """Table 1 with what was found from it in words, and figure 1, of one profile's figures folder."""
    names = ("table_1.md", "findings.md")
    for name in names:
        if not (folder / name).is_file():
            raise R2DError(f"{folder / name} is not there; run `./run_all.sh` first.")
    table, findings = ((folder / name).read_text(encoding="utf-8").strip() for name in names)
    found = findings.split("\n\n**E")[0].removeprefix("**Table 1**").strip()
    where = f"The other experiments' findings: [findings.md](figures/{folder.name}/findings.md), figures 2 to 7 beside it."
    pictures = sorted(folder.glob("fig1a_main_*.png"), reverse=True)
    shown = "\n\n".join(
        f"![Labels and rationales](figures/{folder.name}/{p.name})" for p in pictures[:1]
    )
    return f"{table}\n\n{found}\n\n{where}\n\n{shown}"


def filled(text: str, inner: str) -> str:
    """`text` with `inner` between the markers; raises `R2DError` when they are not there."""
    if text.count(START) != 1 or text.count(END) != 1:
        raise R2DError(f"README.md needs one line {START} and one line {END}.")
    head, rest = text.split(START)
    return f"{head}{START}\n\n{inner}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    readme = paths.ROOT / "README.md"
    readme.write_text(
        filled(readme.read_text(encoding="utf-8"), block(paths.figures("mini"))), encoding="utf-8"
    )
