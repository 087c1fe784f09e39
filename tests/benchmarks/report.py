"""What the command writes: the tables of `README.md`, the figure of latency and its page's text."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from benchmarks import figure
from benchmarks.measure import TASKS, Row
from r2d import env, paths
from r2d.reporting import escape, readme

HERE = Path(__file__).parent
PAGES = paths.PACKAGE / "reporting" / "pages"  # of the report site
RELATIVE = "../../r2d/reporting/pages"  # the same, from `README.md`
PAGE = "paper.md"
WEIGHTS = "mini trained briefly, the others with random weights"
START, END = "<!-- {}: made by tests/benchmarks -->", "<!-- end of {} -->"


def write(rows: list[Row], machine: str, minutes: float) -> None:
    """Fill `README.md`, draw the figure and write its CSV, and fill the page that shows it."""
    picture = f"![Latency against size]({RELATIVE}/latency.png)\n\nIts source: `latency.csv`."
    fill(HERE / "README.md", "results", f"{tables(rows, machine, minutes)}\n\n{picture}")
    frame = latencies(rows)
    frame.to_csv(HERE / "latency.csv", index=False, float_format="%.6g")
    drawn = figure.latency(frame, f"{WEIGHTS}; {machine.partition(' (')[0]}")
    drawn.savefig(PAGES / "latency.png", dpi=160)
    fill(PAGES / PAGE, "latency", page(frame, machine))


def fill(file: Path, name: str, block: str) -> None:
    """Put `block` between a file's two markers of `name`."""
    text = file.read_text(encoding="utf-8")
    paths.write(file, readme.filled(text, block, START.format(name), END.format(name)))


def tables(rows: list[Row], machine: str, minutes: float) -> str:
    """Training, decoding together and decoding one at a time, in Markdown."""
    training = [row for row in rows if row.task in TASKS]
    decoding = [row for row in rows if row.task not in TASKS]
    parts = [f"On {machine}; commit {env.commit()}; {minutes:.1f} minutes."]
    for title, some in (
        ("Training", training),
        ("Decoding", [row for row in decoding if row.p95 is None]),
        ("Latency", [row for row in decoding if row.p95 is not None]),
    ):
        parts += [f"### {title}", escape.table(pd.DataFrame([_line(row) for row in some]))]
    return "\n\n".join(parts)


def _line(row: Row) -> dict[str, str]:
    """A row in milliseconds for people."""
    naive, ours = _ms(row.naive), _ms(row.ours)
    if row.p95:
        naive, ours = f"{naive} ({_ms(row.p95[0])})", f"{ours} ({_ms(row.p95[1])})"
    middle, low, high = row.ratio
    same_number = "bf16" not in row.engine and "int8" not in row.engine
    line = {
        "size": f"{row.size}, {row.parameters / 1e6:.0f} M",
        "what": row.task,
        "engine": row.engine,
        "straightforward (ms)": naive,
        "engine (ms)": ours,
        "times as fast": f"{middle:.2f} ({low:.2f}–{high:.2f})",
        "limit (ms)": _ms(row.limit),
        "its share, straightforward": f"{row.limit / row.naive:.0%}" if same_number else "–",
        "its share, engine": f"{row.limit / row.ours:.0%}",
    }
    if row.task not in TASKS:
        line["equal texts"] = "–" if row.equal is None else f"{row.equal:.0%}"
    return line


def latencies(rows: list[Row]) -> pd.DataFrame:
    """The rows of single cases, a line a size and engine, naive's first; seconds."""
    lines = []
    for row in rows:
        if row.p95 is None:
            continue
        facts = {name: asdict(row)[name] for name in ("size", "parameters")}
        first = not any(line["size"] == row.size for line in lines)
        if first:
            lines.append(facts | _latency(figure.GENERATE, row.naive, row.p95[0], (1.0, 1.0, 1.0)))
        lines.append(facts | _latency(row.engine, row.ours, row.p95[1], row.ratio))
    return pd.DataFrame(lines)


def _latency(engine: str, seconds: float, p95: float, ratio: tuple[float, ...]) -> dict:
    middle, low, high = ratio
    return {
        "engine": engine,
        "median": seconds,
        "p95": p95,
        "times_as_fast": middle,
        "lowest": low,
        "highest": high,
    }


def page(frame: pd.DataFrame, machine: str) -> str:
    """The figure with its table, in Markdown."""
    frame = frame.assign(
        cell=[f"{_ms(a)} ({_ms(b)})" for a, b in zip(frame["median"], frame["p95"], strict=True)],
        name=[
            f"{n}, {p / 1e6:.0f} M" for n, p in zip(frame["size"], frame["parameters"], strict=True)
        ],
    )
    order = list(dict.fromkeys(frame["name"])), list(dict.fromkeys(frame["engine"]))
    shown = frame.pivot(index="name", columns="engine", values="cell").loc[order[0], order[1]]
    shown = shown.rename_axis("size").reset_index()
    said = (
        "Milliseconds from a note of 60 to 120 tokens to its label and rationale, one case at a "
        f"time, median (95th percentile), {WEIGHTS}. On {machine}."
    )
    picture = "![Latency of label and rationale against size](latency.png)"
    return "\n\n".join([picture, said, escape.table(shown)])


def _ms(seconds: float) -> str:
    """Milliseconds in three figures or more."""
    value = 1000 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
