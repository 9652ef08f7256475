"""Using a schedule on another model than the one it was learnt on.

A schedule may be used on every model with the same blocks (`family` and `blocks`: that is checked, and a misfit
is an error): one of PixArt-alpha on PixArt-Sigma, one of 256 pixels at 1024, one of FLUX.1-dev on FLUX.1-schnell if
the steps are as many. What it was learnt on is in `Schedule.model`. Elsewhere it runs, but its quality has not been
measured: the user is told in a note.
"""

from __future__ import annotations

from collections.abc import Collection

from ecad.schedule.schedule import Schedule


def transfer_note(schedule: Schedule, used_on: str, presets: Collection[str] = ()) -> str | None:
    """One line for the user, or None where the schedule is used on what it was learnt on, or one cannot know.

    `used_on` names the model in the note. `presets` are the names of the presets that it may be: none for a model
    that ecad has no preset for.
    """
    learnt_on = schedule.model.get("name")
    if not isinstance(learnt_on, str) or not learnt_on or learnt_on == used_on or learnt_on in presets:
        return None
    size = ""
    height, width = schedule.model.get("height"), schedule.model.get("width")
    if type(height) is int and type(width) is int:
        size = f" ({height} x {width} pixels)"
    return (
        f"the schedule {schedule.name!r} was learnt on {learnt_on}{size} and is used on {used_on}: it fits, but its "
        "quality there is not known; learn one with ecad search"
    )
