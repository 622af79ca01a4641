"""Score tables for the terminal, and as CSV, LaTeX and Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Cell = str | int | float | None
Row = Sequence[Cell]


class Table(NamedTuple):
    """Score rows in sections separated by lines. Floats are fractions; NaN or None means not measured."""

    title: str
    header: Sequence[str]
    sections: Sequence[Sequence[Row]]
    notes: Sequence[str] = ()
    """Sentences below the table."""
    differences: frozenset[int] = frozenset()
    """Columns with signed numbers."""


def davis_table(scores: dict[str, Any]) -> Table:
    """The table for scores of `downstream.scoring.davis.score_folder`."""
    counts, steady = scores["counts"], scores["T"]
    over = "sequences" if counts["objects"] == counts["sequences"] else f"{counts['objects']} objects"
    sections: list[list[Row]] = [
        [(name, *_values(entry)) for name, entry in scores["sequences"].items()],
        [(f"mean of {over}", *_values(scores | {"T": steady["mean"]}))],
    ]
    notes = [f"J&F {percent(scores['J&F']['mean'])}"]
    if attributes := scores.get("attributes"):
        sections.append([(f"{key}, {len(e['sequences'])} sequences", *_values(e)) for key, e in attributes.items()])
    if not math.isnan(scores["T_all"]["mean"]):
        share = f"{len(steady['sequences'])} of {counts['sequences']} sequences ({steady['list']})"
        rest = (
            f", {percent(scores['T_all']['mean'])} over all (T_all)"
            if len(steady["sequences"]) < counts["sequences"]
            else ""
        )
        notes.append(f"T   {percent(steady['mean'])} over {share}{rest}; lower is steadier")
    if "class_mean" in scores["J"]:
        notes.append(f"J   {percent(scores['J']['class_mean'])}, mean of {len(scores['classes'])} classes")
    lacking = missing_in_words(scores)
    return Table(
        f"{scores['task']}, per cent" + (", PARTIAL" if lacking else ""),
        ("sequence", *(f"{m} {key}" for m in "JF" for key in ("mean", "recall", "decay")), "T"),
        sections,
        notes + ([f"PARTIAL: {lacking}"] if lacking else []),
    )


def percent(fraction: float | None) -> str:
    """A fraction in per cent with one decimal; a dash if it was not measured (None or NaN).

    >>> percent(0.5), percent(None), percent(math.nan)
    ('50.0', '-', '-')
    """
    return "-" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.1f}"


def missing_in_words(scores: dict[str, Any]) -> str:
    """Sequences and frames left out by `--only-existing`, in words; empty if none."""
    missing = scores.get("missing", {"sequences": [], "frames": {}})
    frames = sum(map(len, missing["frames"].values()))
    parts = []
    if missing["sequences"]:
        parts.append(f"{len(missing['sequences'])} sequences are missing ({', '.join(missing['sequences'])})")
    if short := missing.get("too_short"):
        parts.append(f"{len(short)} sequences have too few annotated frames ({', '.join(short)})")
    if frames:
        parts.append(f"{frames} frames are missing of {', '.join(missing['frames'])}")
    return " and ".join(parts)


def _values(entry: dict[str, Any]) -> list[float]:
    return [entry[measure][key] for measure in "JF" for key in ("mean", "recall", "decay")] + [entry["T"]]


def show(table: Table) -> None:
    """Prints a table on the terminal, in per cent."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(title=table.title, box=SIMPLE)
    for number, name in enumerate(table.header):
        drawn.add_column(name.replace(" ", "\n"), no_wrap=True, justify="right" if number else "left")
    for number, section in enumerate(table.sections):
        for row in section:
            drawn.add_row(*_in_words(table, row), style="bold" if number == 1 else None)
        drawn.add_section()
    console = Console(highlight=False, soft_wrap=True, markup=False)
    # a narrow terminal wraps the table; it is not truncated
    needed = console.measure(drawn, options=console.options.update(max_width=10_000)).maximum
    console.width = max(console.width, needed)
    console.print(drawn)
    for note in table.notes:
        console.print(note)


def as_csv(table: Table) -> str:
    """CSV of fractions with six decimals; cells without a value are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.header)
    for section in table.sections:
        for row in section:
            writer.writerow([_digits(cell) for cell in row])
    return out.getvalue()


def _digits(cell: Cell) -> str:
    if cell is None or cell != cell:
        return ""
    return f"{cell:.6f}" if isinstance(cell, float) else str(cell)


def as_markdown(table: Table) -> str:
    """Markdown pipe table in per cent, with the notes below."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rows = [line(row) for row in rows_in_words(table)]
    rule = "|---|" + "---:|" * (len(table.header) - 1)
    return "\n".join([line(table.header), rule, *rows, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def as_latex(table: Table) -> str:
    """LaTeX tabular in per cent, for the package booktabs; the notes are comments."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(_escaped(cell) for cell in cells) + r" \\"

    rows = [r"\midrule" + "\n" + "\n".join(line(_in_words(table, row)) for row in part) for part in table.sections]
    top = [f"% {note}" for note in ("needs \\usepackage{booktabs}", table.title, *table.notes)]
    columns = "l" + "r" * (len(table.header) - 1)
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(table.header), *rows, r"\bottomrule"]
    return "\n".join([*top, *body, r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def rows_in_words(table: Table) -> list[list[str]]:
    """All rows as text, in per cent."""
    return [_in_words(table, row) for section in table.sections for row in section]


def _in_words(table: Table, row: Row) -> list[str]:
    words = []
    for column, cell in enumerate(row):
        text = percent(cell) if isinstance(cell, float) else "-" if cell is None else str(cell)
        positive = isinstance(cell, float) and cell > 0 and column in table.differences
        words.append(f"+{text}" if positive else text)
    return words


FORMATS: dict[str, Callable[[Table], str]] = {".csv": as_csv, ".tex": as_latex, ".md": as_markdown}
"""Formatting functions by file suffix."""
