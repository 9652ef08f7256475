"""What a user says of another pipeline: where it is, and the settings that are not its own defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecad.errors import ConfigError

BASELINE_HELP = (
    "folder, hub id or model name of another text-to-image pipeline, with its settings behind a colon: "
    "PATH:steps=1,guidance_scale=0 (also timesteps=999/499, height, width, dtype, name; unet, transformer, vae, prior, "
    "lora, lora_scale, scheduler, custom_pipeline; call.ARGUMENT and scheduler.SETTING)"
)

# Networks that may come from a place of their own, for example a student's.
PARTS = ("unet", "transformer", "transformer_2", "vae")
_NAMES = (
    *("steps", "timesteps", "guidance_scale", "height", "width", "dtype", "name"),
    *PARTS,
    *("prior", "lora", "lora_scale", "scheduler", "custom_pipeline"),
)
_OPTIONS = re.compile(r":([\w.]+=[^,:]*(?:,[\w.]+=[^,:]*)*)$")


@dataclass(frozen=True)
class BaselineSpec:
    """What the user asks for; None means the pipeline's own default.

    `timesteps` are those of the noise schedule that a distilled model was trained for, instead of a number of steps.
    `parts` are networks from elsewhere, by the component's name; `prior` is the pipeline that makes what this one's
    call takes in place of a prompt; `lora` are adapters that are merged into the weights, times `lora_scale`.
    `scheduler` is a class of diffusers with these `scheduler_settings`; `call` are further arguments of its call.
    `custom_pipeline` is a file of Python or a name that diffusers knows, whose code is run.
    """

    location: str
    name: str
    steps: int | None = None
    timesteps: tuple[int, ...] | None = None
    guidance_scale: float | None = None
    height: int | None = None  # pixels
    width: int | None = None
    dtype: str = "auto"
    parts: Mapping[str, str] = field(default_factory=dict)
    prior: str | None = None
    lora: str | None = None
    lora_scale: float = 1.0
    scheduler: str | None = None
    scheduler_settings: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    custom_pipeline: str | None = None

    def made_of(self) -> dict[str, Any]:
        """Plain data of what else it is made of than of its pipeline, as far as the user says it."""
        values = {
            "parts": {name: _short(path) for name, path in self.parts.items()},
            "prior": _short(self.prior),
            "lora": _short(self.lora),
            "lora_scale": None if self.lora_scale == 1.0 else self.lora_scale,
            "scheduler": self.scheduler,
            "scheduler_settings": dict(self.scheduler_settings),
            "call": dict(self.call),
            "custom_pipeline": _short(self.custom_pipeline),
        }
        return {name: value for name, value in values.items() if value not in (None, {})}


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
    further = {
        prefix: {key.removeprefix(prefix): value for key, value in options.items() if key.startswith(prefix)}
        for prefix in ("call.", "scheduler.")
    }
    unknown = [key for key in options if key not in _NAMES and not key.startswith(tuple(further))]
    if unknown:
        raise ConfigError(
            f"baseline {text!r}: unknown setting {unknown[0]!r}, known are {', '.join(_NAMES)}, and call.NAME and "
            "scheduler.NAME for arguments of the pipeline's call and settings of its scheduler"
        )
    empty = next((key for key, value in options.items() if not value.strip()), None)
    if empty is not None:
        raise ConfigError(f"baseline {text!r}: {empty} has no value")
    if not location:
        raise ConfigError(f"baseline {text!r} names no pipeline: use {BASELINE_HELP}")
    if "steps" in options and "timesteps" in options:
        raise ConfigError(f"baseline {text!r}: give steps or timesteps, not both")

    def whole(key: str, low: int, high: int) -> int | None:
        return _whole(options[key], f"baseline {text!r}: {key}", low, high) if key in options else None

    timesteps = None
    if "timesteps" in options:
        parts = options["timesteps"].split("/")
        timesteps = tuple(_whole(part, f"baseline {text!r}: a timestep", 0, 100_000) for part in parts)
    guidance = options.get("guidance_scale")
    scale = options.get("lora_scale")
    return BaselineSpec(
        location=location,
        name=options.get("name") or Path(location).name,
        steps=whole("steps", 1, 1000),
        timesteps=timesteps,
        guidance_scale=None if guidance is None else _number(guidance, f"baseline {text!r}: guidance_scale"),
        height=whole("height", 1, 65_536),
        width=whole("width", 1, 65_536),
        dtype=options.get("dtype", "auto"),
        parts={name: options[name] for name in PARTS if name in options},
        prior=options.get("prior"),
        lora=options.get("lora"),
        lora_scale=1.0 if scale is None else _number(scale, f"baseline {text!r}: lora_scale"),
        scheduler=options.get("scheduler"),
        scheduler_settings={name: _literal(value) for name, value in further["scheduler."].items()},
        call={name: _literal(value) for name, value in further["call."].items()},
        custom_pipeline=options.get("custom_pipeline"),
    )


def _whole(text: str, what: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ConfigError(f"{what} must be a whole number from {low} to {high}, not {text!r}")
    return value


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1000.0:
        raise ConfigError(f"{what} must be a number from 0 to 1000, not {text!r}")
    return value


def _literal(text: str) -> Any:
    """A number, true, false or none, or numbers with slashes between them as a list; all else is text."""
    constants = {"true": True, "false": False, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    parts = text.split("/")
    for convert in (int, float):
        try:
            numbers = [convert(part) for part in parts]
        except ValueError:
            continue
        return numbers if len(numbers) > 1 else numbers[0]
    return text


def _short(place: str | None) -> str | None:
    """A local folder or file by its name alone: a results folder may be read on another machine."""
    return place if place is None or not Path(place).exists() else Path(place).name
