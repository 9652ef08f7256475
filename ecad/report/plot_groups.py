"""Which rows of a comparison share a mark in a plot, how it looks, and what a row is called there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ecad.measuring.rows import Kind, Row


@dataclass(frozen=True)
class Group:
    """Colours are those of Okabe and Ito, which colour-blind people tell apart; marks differ, too."""

    label: str
    colour: str
    marker: str
    text_colour: str  # darker: thin letters of a light colour are hard to read


FRONT = Group("ecad front", "#009E73", "o", "#00694D")
SCHEDULE = Group("schedules", "#009E73", "h", "#00694D")
HEURISTIC = Group("heuristics (FORA, masks, gates)", "#E69F00", "s", "#8A5F00")
SMOOTH = Group("SmoothCache's rule", "#CC79A7", "D", "#94406F")
OUTPUT = Group("whole output reused", "#D55E00", "P", "#A34700")
FEWER_STEPS = Group("fewer steps", "#0072B2", "^", "#00568A")
UNEVEN_STEPS = Group("fewer steps, unevenly spaced", "#56B4E9", "v", "#1D6E9E")
MORE_STEPS = Group("more steps", "#0072B2", ">", "#00568A")
BASELINE = Group("other pipelines", "#000000", "*", "#000000")
GROUPS = (
    FRONT,
    SCHEDULE,
    HEURISTIC,
    SMOOTH,
    OUTPUT,
    FEWER_STEPS,
    UNEVEN_STEPS,
    MORE_STEPS,
    BASELINE,
)


def group_of(row: Row) -> Group:
    """ValueError for the uncached row, which is a line and no mark."""
    if row.kind is Kind.HEURISTIC:
        return {"smooth": SMOOTH, "output": OUTPUT, "denoised": OUTPUT}.get(
            row.name.partition(":")[0], HEURISTIC
        )
    if row.kind is Kind.FEWER_STEPS:
        return UNEVEN_STEPS if "," in row.name else FEWER_STEPS
    groups = {
        Kind.FRONT: FRONT,
        Kind.SCHEDULE: SCHEDULE,
        Kind.MORE_STEPS: MORE_STEPS,
        Kind.BASELINE: BASELINE,
    }
    if row.kind not in groups:
        raise ValueError(f"no mark for a row of kind {row.kind}")
    return groups[row.kind]


def short_name(row: Row, longest: int = 16) -> str:
    """For a label: lists of steps become their number, the front's schedules their rank."""
    kind, _, rest = row.name.partition(":")
    if row.kind is Kind.FRONT:
        rank = re.match(r"0*(\d+)-", row.name)
        return rank.group(1) if rank else row.name[:longest]
    if row.kind in (Kind.FEWER_STEPS, Kind.MORE_STEPS) and kind == "steps":
        return f"{row.steps} uneven steps" if "," in rest else f"{row.steps} steps"
    if row.kind is Kind.HEURISTIC and re.fullmatch(r"\d+(,\d+)+", rest):
        return f"{kind}, {rest.count(',') + 1} steps"
    if kind == "smooth" and rest:
        return f"smooth:{float(rest):.2g}" if re.fullmatch(r"\d*\.?\d+", rest) else row.name[:longest]
    name = row.name.rpartition("/")[2] if row.kind is Kind.SCHEDULE else row.name
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
