"""A schedule as a picture of characters: what is recomputed when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ecad.arrays import BoolArray
from ecad.schedule import HOLDS_DENOISED, HOLDS_OUTPUT, Schedule

# Different characters too, not only colours: for terminals without them, and for eyes that do not tell them apart.
_STYLES = {True: "green", False: "bright_black"}
_CHARACTERS = {True: "█", False: "·"}
_ASCII_CHARACTERS = {True: "#", False: "."}
_HELD = {
    HOLDS_OUTPUT: "the last output, where nothing of the transformer runs",
    HOLDS_DENOISED: "the clean sample predicted last, where nothing of the transformer runs",
}
_LEVELS = "▁▂▃▄▅▆▇█"
_ASCII_LEVELS = "12345678"
# A step that recomputes nothing, by whether the transformer runs in it.
_EMPTY_STYLES = {True: "yellow", False: "bright_black"}
_EMPTY = {True: "○", False: "·"}
_ASCII_EMPTY = {True: "-", False: "."}
_EMPTY_MEANINGS = {
    True: "only what surrounds the blocks runs",
    False: "nothing of the transformer runs",
}


class Heatmap:
    """One component's recomputations in a panel: a row per step, one or two characters per block."""

    def __init__(self, title: str, recompute: BoolArray, present: BoolArray) -> None:
        """`recompute` has the shape (steps, blocks), `present`, the blocks that have the component, (blocks,)."""
        self.title = title
        self.recompute = recompute
        self.present = present

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        steps, blocks = self.recompute.shape
        characters = _ASCII_CHARACTERS if options.ascii_only else _CHARACTERS
        label_width = self._label_width()
        cell = self._cell_width()
        ruler = "".join(
            f"{block:<{5 * cell}d}" for block in range(0, blocks, 5)
        )  # every fifth block's number
        text = Text(no_wrap=True, overflow="crop")
        text.append(" " * label_width + ruler[: blocks * cell] + "\n", style="bright_black")
        for step in range(steps):
            text.append(f"{step:{label_width - 1}d} ", style="bright_black")
            for value, is_there in zip(self.recompute[step], self.present, strict=True):
                character = characters[bool(value)] if is_there else " "
                text.append(character * cell, style=_STYLES[bool(value)])
            text.append("" if step == steps - 1 else "\n")
        yield Panel(text, title=self.title, title_align="left", width=self._width(), padding=0)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = min(self._width(), options.max_width)
        return Measurement(width, width)

    def _width(self) -> int:
        cells = self.recompute.shape[1] * self._cell_width()
        title = len(self.title) + 4  # a blank and a line on both sides of it
        return max(self._label_width() + cells, title) + 2  # borders

    def _cell_width(self) -> int:
        return 2 if self.recompute.shape[1] <= 12 else 1  # a few blocks: squares, for a character is tall

    def _label_width(self) -> int:
        return len(str(self.recompute.shape[0] - 1)) + 1  # the step's number and a blank


class StepProfile:
    """One character per step: how much of everything that step recomputes, from nothing to all.

    Where that is nothing, what surrounds the blocks may run all the same, or nothing of the transformer.
    """

    def __init__(self, fractions: Sequence[float], runs: Sequence[bool]) -> None:
        """`fractions` has the share that each step recomputes, `runs` whether the transformer runs in it."""
        self.fractions = fractions
        self.runs = runs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        levels, empty = (_ASCII_LEVELS, _ASCII_EMPTY) if options.ascii_only else (_LEVELS, _EMPTY)
        text = Text(overflow="fold")
        for fraction, runs in zip(self.fractions, self.runs, strict=True):
            if fraction:
                # Rounded up: only a step that recomputes nothing at all looks like it.
                text.append(levels[int(np.ceil(fraction * len(levels))) - 1], style=_STYLES[True])
            else:
                text.append(empty[runs], style=_EMPTY_STYLES[runs])
        yield text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, min(max(len(self.fractions), 1), options.max_width))


class Legend:
    """What the heatmap's two characters mean, and those of its line "per step" for steps that recompute nothing."""

    def __init__(self, schedule: Schedule) -> None:
        runs = schedule.recompute_output.tolist()
        empty = {run for fraction, run in zip(step_fractions(schedule), runs, strict=True) if not fraction}
        self.empty = sorted(empty, reverse=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        characters = _ASCII_CHARACTERS if options.ascii_only else _CHARACTERS
        text = Text("rows are steps, columns are blocks: ")
        for value, meaning in ((True, " recomputed  "), (False, " reused")):
            text.append(characters[value], style=_STYLES[value])
            text.append(meaning)
        characters = _ASCII_EMPTY if options.ascii_only else _EMPTY
        for number, runs in enumerate(self.empty):
            text.append("  " if number else "\nper step: ")
            text.append(characters[runs], style=_EMPTY_STYLES[runs])
            text.append(f" {_EMPTY_MEANINGS[runs]}")
        yield text


def schedule_panels(schedule: Schedule) -> Columns:
    """One panel per block list and component, side by side where they fit: rows are steps, columns are blocks."""
    panels = []
    if schedule.reuses_output:
        runs = schedule.recompute_output[:, None]
        panels.append(Heatmap(f"whole output: {_percent(runs.mean())}", runs, np.array([True])))
    for block_list in schedule.spec.block_lists:
        array, present = schedule.recompute[block_list.name], schedule.shape.present[block_list.name]
        # With a single list of blocks its name only takes room.
        prefix = f"{block_list.name} " if len(schedule.spec.block_lists) > 1 else ""
        for index, component in enumerate(block_list.component_names):
            recompute, is_there = array[:, :, index], present[:, index]
            if not is_there.any():
                continue
            title = f"{prefix}{component}: {_percent(recompute[:, is_there].mean())}"
            panels.append(Heatmap(title, recompute, is_there))
    return Columns(panels, padding=(0, 0))


def schedule_summary(schedule: Schedule, costs: Mapping[str, float] | None = None) -> Table:
    """What the schedule is, in a few lines; `costs` has its MACs and speedup, where they are known."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("name", Text(schedule.name or "-"))
    table.add_row("for", schedule.shape.describe())
    for key, value in schedule.model.items():
        table.add_row(Text(key if key != "name" else "model"), Text(_plain(value)))
    table.add_row("recomputed", f"{_percent(schedule.recompute_fraction())} of all components")
    table.add_row("per step", StepProfile(step_fractions(schedule), schedule.recompute_output.tolist()))
    if schedule.reuses_output:
        table.add_row("holds", _HELD[schedule.holds])
    if costs is not None:
        table.add_row("cost", cost_text(costs))
    for key, value in schedule.provenance.items():
        table.add_row(Text(key), Text(_plain(value)))
    return table


def cost_text(costs: Mapping[str, float]) -> str:
    """`costs` has "macs" (of one image), "speedup_macs", "stored_bytes_16bit" and the same "_summed" (the most, of one
    image)."""
    macs = costs["macs"]
    amount = f"{macs / 1e12:.3f} TMACs" if macs >= 1e11 else f"{macs / 1e9:.3f} GMACs"
    stored = f"{costs['stored_bytes_16bit'] / 2**20:,.4g} MiB"
    text = (
        f"{amount} per image, {costs['speedup_macs']:.2f}x fewer than uncached; stores up to {stored} per image in "
        "16 bits"
    )
    if costs["stored_bytes_16bit_summed"] == costs["stored_bytes_16bit"]:
        return text
    return f"{text} ({costs['stored_bytes_16bit_summed'] / 2**20:,.4g} MiB where stretches are summed up)"


def step_fractions(schedule: Schedule) -> list[float]:
    """For each step, the share of its blocks' components that is recomputed."""
    present = schedule.shape.present
    flat = np.concatenate([array[:, present[name]] for name, array in schedule.recompute.items()], axis=1)
    return [float(fraction) for fraction in flat.mean(axis=1)]


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}".replace(".0%", "%")


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return (" to " if len(value) == 2 else ", ").join(map(_plain, value))  # two numbers are an interval
    return f"{value:.4g}" if isinstance(value, float) else str(value)
