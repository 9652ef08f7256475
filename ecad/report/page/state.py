"""How an unfinished search stands, in a sentence."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecad.report.page.content import State
from ecad.report.progress import duration

# A search notes about once a second that it lives; loading a model or one long batch may take longer.
_SILENT_S = 60.0


def search_state(folder: Path, status: Mapping[str, Any], evaluations: int) -> tuple[State, str]:
    """Whether somebody works on it, as far as its status file says, and a sentence for people."""
    state, updated = status.get("state", "unknown"), status.get("updated")
    lives = isinstance(updated, (int, float)) and time.time() - updated < _SILENT_S
    if state not in ("stopped", "finished", "unknown") and lives:
        where = f"generation {status.get('generation', '?')} of {status.get('generations', '?')}"
        phase = where if state in ("search", "preparing") else f"{state}: {_share(status)}"
        remaining = status.get("remaining_s")
        left = f", {duration(remaining)} left of it" if isinstance(remaining, (int, float)) else ""
        return "running", f"The search is running ({phase}{left}): {evaluations} schedules evaluated so far."
    return "unfinished", (
        f"The search is not finished: {evaluations} schedules evaluated so far. "
        f"Continue it with: ecad search --resume {folder}"
    )


def _share(status: Mapping[str, Any]) -> str:
    done, total = (status.get("images") or [0, 0])[:2]
    return f"{done} of {total} images"
