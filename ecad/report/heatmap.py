"""A schedule as a picture of characters: what is recomputed when."""

from __future__ import annotations

from rich.columns import Columns
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ecad.schedule import Schedule

# Different characters too, not only colours: for terminals without them, and for eyes that do not tell them apart.
_RECOMPUTE, _REUSE = ("█", "green"), ("·", "bright_black")


def schedule_panels(schedule: Schedule) -> Columns:
    """One panel per block list and component, side by side where they fit: rows are steps, columns are blocks."""
    panels = []
    for block_list in schedule.spec.block_lists:
        array = schedule.recompute[block_list.name]
        for index, component in enumerate(block_list.component_names):
            text = Text(no_wrap=True)
            for step in range(schedule.steps):
                text.append(f"{step:3d} ")
                for recompute in array[step, :, index]:
                    character, style = _RECOMPUTE if recompute else _REUSE
                    text.append(character, style=style)
                text.append("" if step == schedule.steps - 1 else "\n")
            title = f"{component}: {array[:, :, index].mean():.0%}"
            panels.append(
                Panel(text, title=title, title_align="left", subtitle=block_list.name, expand=False)
            )
    return Columns(panels)


def schedule_summary(schedule: Schedule) -> Table:
    """What the schedule is, in a few lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("name", schedule.name or "-")
    table.add_row("for", schedule.shape.describe())
    for key, value in schedule.model.items():
        table.add_row(key, str(value))
    table.add_row("recomputed", f"{schedule.recompute_fraction():.1%} of all components")
    for key, value in schedule.provenance.items():
        table.add_row(key, _plain(value))
    return table


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " to ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
