"""What a user says of another pipeline: where it is, and the settings that are not its own defaults."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ecad.errors import ConfigError

BASELINE_HELP = (
    "folder or hub id of another text-to-image pipeline, with its settings behind a colon: "
    "PATH:steps=1,guidance_scale=0 (also timesteps=999/499, height, width, dtype, name)"
)

_OPTIONS = re.compile(r":(\w+=[^,:]*(?:,\w+=[^,:]*)*)$")


@dataclass(frozen=True)
class BaselineSpec:
    """What the user asks for; None means the pipeline's own default.

    `timesteps` are those of the noise schedule that a distilled model was trained for, instead of a number of steps.
    """

    location: str
    name: str
    steps: int | None = None
    timesteps: tuple[int, ...] | None = None
    guidance_scale: float | None = None
    height: int | None = None  # pixels
    width: int | None = None
    dtype: str = "auto"


def parse_baseline(text: str) -> BaselineSpec:
    """`PATH` or `PATH:steps=1,...`; see BASELINE_HELP."""
    found = _OPTIONS.search(text)
    location = text[: found.start()] if found else text
    options: dict[str, str] = {}
    for pair in found.group(1).split(",") if found else []:
        key, _, value = pair.partition("=")
        if key in options:
            raise ConfigError(f"baseline {text!r} gives {key} twice")
        options[key] = value
    known = ("steps", "timesteps", "guidance_scale", "height", "width", "dtype", "name")
    unknown = [key for key in options if key not in known]
    if unknown:
        raise ConfigError(f"baseline {text!r}: unknown setting {unknown[0]!r}, known are {', '.join(known)}")
    if not location:
        raise ConfigError(f"baseline {text!r} names no pipeline: use {BASELINE_HELP}")
    if "steps" in options and "timesteps" in options:
        raise ConfigError(f"baseline {text!r}: give steps or timesteps, not both")

    def number(key: str, low: int, high: int) -> int | None:
        return _whole(options[key], f"baseline {text!r}: {key}", low, high) if key in options else None

    timesteps = None
    if "timesteps" in options:
        parts = options["timesteps"].split("/")
        timesteps = tuple(_whole(part, f"baseline {text!r}: a timestep", 0, 100_000) for part in parts)
    guidance = None
    if "guidance_scale" in options:
        try:
            guidance = float(options["guidance_scale"])
        except ValueError:
            guidance = -1.0
        if not 0.0 <= guidance <= 1000.0:
            value = options["guidance_scale"]
            raise ConfigError(
                f"baseline {text!r}: guidance_scale must be a number from 0 to 1000, not {value!r}"
            )
    return BaselineSpec(
        location=location,
        name=options.get("name") or Path(location).name,
        steps=number("steps", 1, 1000),
        timesteps=timesteps,
        guidance_scale=guidance,
        height=number("height", 1, 65_536),
        width=number("width", 1, 65_536),
        dtype=options.get("dtype", "auto"),
    )


def _whole(text: str, what: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ConfigError(f"{what} must be a whole number from {low} to {high}, not {text!r}")
    return value
