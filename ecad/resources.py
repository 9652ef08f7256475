"""Where the files that ship with ecad are: schedules, prompt lists and the bundled minis.

In an installed wheel `schedules/` and `calibration_prompts/` lie inside the package, as `ecad/_data/...`
(setup.cfg maps them there). In a checkout, or an editable install of one, they lie beside the package.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ecad.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


def schedules_dir() -> Path:
    """The folder with one sub-folder of schedules (YAML) per model."""
    return _data_dir("schedules")


def calibration_prompts_dir() -> Path:
    """The folder with the prompt lists (text, one prompt a line)."""
    return _data_dir("calibration_prompts")


def minis_dir() -> Path:
    """The folder with the small models that ship with ecad, one diffusers pipeline folder each."""
    folder = _PACKAGE / "families" / "minis"
    if not folder.is_dir():
        raise ConfigError(f"the bundled models are missing: {folder} does not exist; reinstall ecad")
    return folder


def find_schedule(name: str) -> Path | None:
    """A schedule's file: `pixart-mini/fast` -> .../schedules/pixart-mini/fast.yaml. None if there is none."""
    return _find(schedules_dir(), name, ".yaml")


def find_prompts(name: str) -> Path | None:
    """A prompt list's file: `scenes-search` -> .../scenes-search.txt. None if there is none."""
    return _find(calibration_prompts_dir(), name, ".txt")


def list_schedules() -> list[str]:
    """The names that `find_schedule` finds, sorted."""
    return _list(schedules_dir(), ".yaml")


def list_prompts() -> list[str]:
    """The names that `find_prompts` finds, sorted."""
    return _list(calibration_prompts_dir(), ".txt")


def _data_dir(name: str) -> Path:
    installed = _PACKAGE / "_data" / name
    if installed.is_dir():
        return installed
    checkout = _PACKAGE.parent
    # site-packages may hold an unrelated folder of this name; only beside ecad's setup.cfg is it ours.
    if (checkout / "setup.cfg").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise ConfigError(
        f"ecad's {name} are missing: neither {installed} nor {checkout / name} is there; reinstall ecad"
    )


def _find(folder: Path, name: str, suffix: str) -> Path | None:
    """The file called `name`, its suffix optional. A name that could point outside `folder` finds nothing."""
    relative = PurePosixPath(name)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts or set(name) & set("\\:\0"):
        return None
    path = folder / relative
    if path.suffix != suffix:
        path = path.with_name(path.name + suffix)
    try:
        # Resolved, so that a link inside the folder does not lead out of it either.
        inside = path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except OSError:  # for example a name too long for the file system
        return None
    return path if inside else None


def _list(folder: Path, suffix: str) -> list[str]:
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob(f"*{suffix}")
        if path.is_file()
    )
