"""What the page says in pairs: what a search cost, its settings, versions and the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ecad.measuring.rows import Row
from ecad.storage.log import Logged

_MACHINE = ("hardware", "device", "dtype", "torch_threads", "platform")


def search_cost(
    searched: Iterable[Logged],
    selected: Iterable[Logged],
    rows: Sequence[Row],
    images_per_row: int,
    status: Mapping[str, Any],
) -> dict[str, str]:
    """Of each stage how much it evaluated, in images and in what those cost: a schedule's image at a cost of .2 is a
    fifth of an uncached one."""
    facts = {}
    for stage, entries in (("search", searched), ("selection", selected)):
        count, images, worth = _sums(entries)
        if count:
            facts[stage] = f"{count:,} evaluations: " + _images(images, worth)
    if rows:
        worth = images_per_row * sum(1.0 / row.speedup_macs for row in rows if row.speedup_macs)
        facts["report"] = f"{len(rows)} rows: " + _images(len(rows) * images_per_row, worth)
    started, updated = status.get("started"), status.get("updated")
    if isinstance(started, (int, float)) and isinstance(updated, (int, float)):
        facts["time"] = f"{_duration(updated - started)} from its last start on"
    if status.get("failure_count"):
        facts["failures"] = f"{status['failure_count']} candidates could not be evaluated"
    return facts


def settings_facts(config: Mapping[str, Any]) -> dict[str, str]:
    """config.yaml without what only programs read."""
    facts: dict[str, str] = {}
    for key, value in config.items():
        if key in ("ecad_run", "ecad_evaluation", "rows"):
            continue
        if key == "settings" and isinstance(value, Mapping):
            facts.update({name: plain(item) for name, item in value.items() if item is not None})
        elif value is not None:
            facts.setdefault(key, plain(value))
    return facts


def environment_facts(environment: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Versions, and the machine."""
    machine = {name: plain(environment[name]) for name in _MACHINE if name in environment}
    versions = {name: plain(value) for name, value in environment.items() if name not in _MACHINE}
    return versions, machine


def plain(value: Any) -> str:
    """A value of a settings file in a line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {plain(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and len(value) == 64 and all(letter in "0123456789abcdef" for letter in value):
        return value[:12] + "..."  # a hash
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _sums(entries: Iterable[Logged]) -> tuple[int, int, float]:
    """How many, their images, and how many uncached images they are worth."""
    count, images, worth = 0, 0, 0.0
    for entry in entries:
        count += 1
        if entry.evaluation.is_finite:
            images += entry.images
            worth += entry.images * entry.evaluation.cost
    return count, images, worth


def _images(images: int, worth: float) -> str:
    return f"{images:,} images, which cost as much as {worth:,.0f} uncached ones"
