"""The settings of a search: from YAML or the command line to one frozen, complete `SearchSettings`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from ecad.errors import ConfigError, one_line
from ecad.families import find_model
from ecad.genetic.granularity import GRANULARITIES, Granularity
from ecad.measuring.paper.devices import PAPER, is_paper, paper_cost
from ecad.measuring.rows import Measure
from ecad.sampling.generation import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS, ModelChoice, Overrides


@dataclass(frozen=True)
class SearchSettings:
    """All settings of a search. None means "the model's own", filled in by `resolved`.

    Everything but `generations` and where it runs (`device`, `device_map`, `embedding_cache`) decides what the
    search finds, so a run folder is only continued with equal settings. `prompts_limit`, `selection_limit` and
    `heldout_limit` count prompts. Those of the selection follow those of the search in the same set: the best
    schedules of the search are evaluated on them too (0: on none). `mutation_rate` is per gene, `granularity` the
    finest that schedules differ in; `calibration` is a file of `ecad calibrate`, without which one is made;
    `prompts_format` and `heldout_prompts_format` say what a file's name does not (`ecad.prompts.formats`);
    `start_from` names schedules for the first generation: files, bundled names, run folders, with commas;
    `true_cfg_scale` above 1 adds a second forward a step to FLUX and its like. With `summed_runs` schedules are
    followed as `ecad.apply(..., summed_runs=True)` does, each for itself: what only stretches of reused blocks read is
    held as sums, and no first steps are shared.
    """

    model: str
    generations: int = 50
    population: int | None = None
    seed: int = 0
    cost: str = "macs"  # or "latency", "paper:H100", "paper:H100:compiled"
    latency_table: str | None = None
    calibration: str | None = None
    quality: str | None = None
    prompts: str | None = None
    prompts_format: str | None = None
    prompts_limit: int | None = None
    selection_limit: int | None = None
    seeds_per_prompt: int = 1
    heldout_prompts: str | None = None
    heldout_prompts_format: str | None = None
    heldout_limit: int | None = None
    heldout_seeds_per_prompt: int = 1
    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    batch_size: int | None = None
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | None = None
    embedding_cache: bool = True
    crossover_points_fewest: int = 2
    crossover_points_most: int = 4
    crossover_probability: float = 0.9
    mutation_rate: float = 0.02
    granularity: Granularity = "blocks"
    start_from: str | None = None
    summed_runs: bool = False
    guidance_scale_2: float | None = None

    def resolved(self) -> ResolvedSearchSettings:
        """With the preset's recommendations and ecad's defaults in place of None, and checked as a whole."""
        source = find_model(self.model)
        values = asdict(self)
        recommended: dict[str, Any] = {
            "population": 24,
            "prompts_limit": 100,
            "selection_limit": 0,
            "heldout_limit": 200,
            "batch_size": 8,
        }
        if source.template is not None:
            template = source.template
            recommended.update(template.search)
            recommended.update(steps=template.steps, guidance_scale=template.guidance_scale)
            recommended.update(true_cfg_scale=template.true_cfg_scale)
            if source.preset is not None or source.is_template_architecture:
                recommended.update(height=template.height, width=template.width)
            if template.num_frames > 1:
                recommended.update(num_frames=template.num_frames)
        recommended.setdefault("steps", DEFAULT_STEPS)
        recommended.setdefault("guidance_scale", DEFAULT_GUIDANCE_SCALE)
        recommended.setdefault("true_cfg_scale", 1.0)
        for name, value in recommended.items():
            if values[name] is None:
                values[name] = value
        missing = [name for name in ("quality", "prompts", "heldout_prompts") if values[name] is None]
        if missing:
            options = ", ".join("--" + name.replace("_", "-") for name in missing)
            raise ConfigError(f"model {self.model!r} has no default for {', '.join(missing)}: give {options}")
        return ResolvedSearchSettings(**_checked(values, "the settings"))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str = "the settings") -> SearchSettings:
        """Check every value; all mistakes are reported in one error."""
        return cls(**_checked(values, origin))

    @classmethod
    def from_file(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> SearchSettings:
        """A YAML file of settings; `overrides` (for example from the command line) win."""
        return cls.from_mapping({**read_settings(path), **(overrides or {})}, origin=str(path))

    @property
    def choice(self) -> ModelChoice:
        return ModelChoice(self.model, self.device, self.dtype, self.device_map, self.embedding_cache)

    @property
    def overrides(self) -> Overrides:
        return Overrides(
            self.steps,
            self.guidance_scale,
            self.true_cfg_scale,
            self.height,
            self.width,
            self.num_frames,
            self.guidance_scale_2,
        )


@dataclass(frozen=True, kw_only=True)
class ResolvedSearchSettings(SearchSettings):
    """The same with nothing left open, as a search needs them (sizes excepted, which the loaded model may decide)."""

    population: int = field()
    quality: str = field()
    prompts: str = field()
    prompts_limit: int = field()
    selection_limit: int = field()
    heldout_prompts: str = field()
    heldout_limit: int = field()
    steps: int = field()
    guidance_scale: float = field()
    true_cfg_scale: float = 1.0
    batch_size: int = field()

    def resolved(self) -> ResolvedSearchSettings:
        return self

    @property
    def reported_cost(self) -> Measure:
        """What rows of a report are compared by: there is no paper for those without a schedule."""
        return "latency" if self.cost == "latency" else "macs"

    def identity(self) -> dict[str, Any]:
        """The settings that decide what the search finds.

        One that was added after the first release is left out at its default: older run folders do not name it.
        """
        template = find_model(self.model).template
        elsewhere = ("generations", "device", "device_map", "embedding_cache")
        values = {name: value for name, value in asdict(self).items() if name not in elsewhere}
        if values["true_cfg_scale"] == 1.0 == (1.0 if template is None else template.true_cfg_scale):
            del values["true_cfg_scale"]
        for name in (
            "start_from",
            "num_frames",
            "prompts_format",
            "heldout_prompts_format",
            "guidance_scale_2",
        ):
            if values[name] is None:
                del values[name]
        if not values["summed_runs"]:
            del values["summed_runs"]
        return values


def _checked(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    mistakes = [*_unknown_keys(values), *_wrong_values(values)]
    if not isinstance(values.get("model"), str) or not values.get("model"):
        mistakes.append("'model' is missing: give a preset name, a local folder or a hub id")
    if mistakes:
        raise ConfigError(f"{origin}: " + "; ".join(mistakes))
    return {name: _as_declared(name, value) for name, value in values.items()}


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold settings as 'name: value' lines, not a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


_INTEGERS: dict[str, tuple[int, int]] = {  # name -> smallest, largest value
    "generations": (1, 1_000_000),
    "population": (4, 100_000),
    "seed": (0, 2**31 - 1),
    "prompts_limit": (1, 10**7),
    "selection_limit": (0, 10**7),
    "heldout_limit": (1, 10**7),
    "seeds_per_prompt": (1, 10_000),
    "heldout_seeds_per_prompt": (1, 10_000),
    "steps": (2, 1000),
    "height": (1, 65_536),
    "width": (1, 65_536),
    "num_frames": (1, 65_536),
    "batch_size": (1, 100_000),
    "crossover_points_fewest": (1, 1000),
    "crossover_points_most": (1, 1000),
}
_NUMBERS: dict[str, tuple[float, float]] = {
    "guidance_scale": (0.0, 1000.0),
    "guidance_scale_2": (0.0, 1000.0),
    "true_cfg_scale": (1.0, 1000.0),
    "crossover_probability": (0.0, 1.0),
    "mutation_rate": (0.0, 1.0),
}
_CHOICES = {
    "granularity": GRANULARITIES,
    "dtype": ("auto", "float32", "float16", "bfloat16"),
    "device_map": ("balanced",),
}
_COSTS = ("macs", "latency")
_SWITCHES = ("embedding_cache", "summed_runs")
_TEXTS = (
    "model",
    "quality",
    "prompts",
    "prompts_format",
    "heldout_prompts",
    "heldout_prompts_format",
    "device",
    "latency_table",
    "calibration",
    "start_from",
)
_OPTIONAL = {field.name for field in fields(SearchSettings) if field.default is None}


def _unknown_keys(values: Mapping[str, Any]) -> list[str]:
    known = [field.name for field in fields(SearchSettings)]
    mistakes = []
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"
            mistakes.append(f"unknown setting {key!r}{hint}")
    return mistakes


def _wrong_values(values: Mapping[str, Any]) -> list[str]:
    mistakes = []
    for name, value in values.items():
        if value is None and name in _OPTIONAL:
            continue
        if name in _INTEGERS:
            low, high = _INTEGERS[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                mistakes.append(f"{name!r} must be a whole number from {low} to {high}, not {value!r}")
        elif name in _NUMBERS:
            minimum, maximum = _NUMBERS[name]
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not minimum <= value <= maximum
            ):
                mistakes.append(f"{name!r} must be a number from {minimum:g} to {maximum:g}, not {value!r}")
        elif name == "cost":
            mistakes += _wrong_cost(value)
        elif name in _CHOICES:
            if value not in _CHOICES[name]:
                mistakes.append(f"{name!r} must be one of {', '.join(_CHOICES[name])}, not {value!r}")
        elif name in _SWITCHES:
            if not isinstance(value, bool):
                mistakes.append(f"{name!r} must be true or false, not {value!r}")
        elif name in _TEXTS and not isinstance(value, str):
            mistakes.append(f"{name!r} must be text, not {value!r}")
    fewest, most = values.get("crossover_points_fewest", 2), values.get("crossover_points_most", 4)
    if isinstance(fewest, int) and isinstance(most, int) and fewest > most:
        mistakes.append(
            f"'crossover_points_fewest' ({fewest}) must not exceed 'crossover_points_most' ({most})"
        )
    return mistakes


def _wrong_cost(value: Any) -> list[str]:
    if value in _COSTS:
        return []
    if isinstance(value, str) and is_paper(value):
        try:
            paper_cost(value)
        except ConfigError as error:
            return [f"'cost': {error}"]
        return []
    return [f"'cost' must be one of {', '.join(_COSTS)}, paper:DEVICE (as {PAPER}H100), not {value!r}"]


def _as_declared(name: str, value: Any) -> Any:
    return float(value) if name in _NUMBERS and value is not None else value
