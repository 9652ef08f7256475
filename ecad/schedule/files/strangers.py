"""Files that are taken for schedules, and are something else: what they are, and the command that leads on."""

from __future__ import annotations

import json
import re

from ecad.schedule.files.smoothcache import is_smoothcache

_MASK = re.compile(r"^\s*steps_computation_mask:\s*\[([01,\s]*)\]", re.MULTILINE)
_MOST_STEPS = 100  # that a message lists


def what_else(text: str) -> str | None:
    """What this is, if it is no schedule but known, and what to do; None if it may be a schedule."""
    if is_smoothcache(text):
        return "masks of SmoothCache, which name no model: ecad schedule import FILE --model MODEL -o OUT"
    if _is_calibration(text):
        return "a calibration: ecad schedule new smooth:ALPHA --model MODEL --calibration FILE -o OUT"
    if re.search(r"^cache_config:", text, re.MULTILINE) and "ecad_schedule" not in text:
        return f"a configuration of cache-dit, which names no model{_remedy(text)}"
    return None


def _is_calibration(text: str) -> bool:
    if '"ecad_calibration"' not in text:
        return False
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "ecad_calibration" in content


def _remedy(text: str) -> str:
    """The command that makes the nearest schedule of its steps mask."""
    match = _MASK.search(text)
    digits = re.findall(r"[01]", match[1]) if match else []
    steps = [str(step) for step, digit in enumerate(digits) if digit == "1"]
    if not steps or len(steps) > _MOST_STEPS:
        return ": write a schedule for your model with ecad schedule new"
    name = f"output:{','.join(steps)}"
    return (
        f": nearest to its steps mask is ecad schedule new {name} --steps {len(digits)} --model MODEL -o OUT"
    )
