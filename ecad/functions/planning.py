"""From what a caller gives to a search: its folder, its settings, and where its evaluations run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ecad.errors import ConfigError, RunError
from ecad.execution import ExecutionSettings
from ecad.families.catalog import OBJECT
from ecad.functions.extras import need
from ecad.searching.settings import SearchSettings, read_settings
from ecad.storage import RunFolder

SETTING_NAMES = tuple(field.name for field in fields(SearchSettings))

# What may be given with `resume`: the rest is the run's own.
_MAY_CHANGE = {"generations", "device", "device_map", "embedding_cache"}


@dataclass(frozen=True)
class SearchPlan:
    """Everything that `ecad.searching.run.search` is called with."""

    folder: Path
    settings: SearchSettings
    execution: ExecutionSettings
    extend: bool


def plan_search(
    settings: Mapping[str, Any],
    execution: ExecutionSettings,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    config: Path | None = None,
) -> SearchPlan:
    """`settings` are those that the caller gave. ConfigError or RunError for what does not go together.

    Without workers in `execution` as many as serve this search best are chosen.
    """
    need("pymoo", "threadpoolctl")
    if execution.uses_ray:
        need("ray")
    if resume is not None:
        folder, values = _resumed(resume, settings, out, config)
        known = RunFolder.existing(folder).read_config()
        # Where the evaluations run may change from start to start; whether the search is asynchronous may not.
        asynchronous = execution.asynchronous or known.get("asynchronous") is True
        execution = replace(execution, asynchronous=asynchronous)
    else:
        folder, values = _new(settings, out, config)
    found = SearchSettings.from_mapping(values)
    if found.model.startswith(OBJECT) and execution.uses_ray:
        raise ConfigError(
            "Ray workers load the model themselves, so a pipeline object cannot be searched with workers: leave them "
            "out, or give the model's name or the folder of pipe.save_pretrained(folder)"
        )
    return SearchPlan(folder, found, execution, extend=resume is not None)


def with_default_workers(plan: SearchPlan) -> SearchPlan:
    """The same with as many workers as serve this search best, where the caller says nothing of them."""
    if plan.execution.uses_ray or plan.execution.threads is not None:
        return plan
    from ecad.scoring.registry import METRICS, SHIPPED
    from ecad.searching.workers import default_workers

    if not set(METRICS) <= SHIPPED:  # which other processes do not know
        return plan
    kept = _kept_threads(plan.folder) if plan.extend else None
    found = default_workers(plan.settings.resolved(), kept)
    return replace(plan, execution=replace(plan.execution, workers=found))


def worker_count(workers: int | str | None, ray_address: str | None) -> int | None:
    """None: no Ray. 0: as many as fit, which is also the default on a cluster."""
    if workers is None:
        return None if ray_address is None else 0
    if workers == "none":
        return None
    if workers == "auto":
        return 0
    text = str(workers)
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise ConfigError(f"--workers must be a whole number from 1, auto or none, not {workers!r}")
    return int(text)


def _kept_threads(folder: Path) -> int | None:
    """The number of threads that each process of a run has had so far."""
    threads = (RunFolder.existing(folder).read_config().get("numerics") or {}).get("threads")
    return threads if isinstance(threads, int) else None


def _new(settings: Mapping[str, Any], out: Path | None, config: Path | None) -> tuple[Path, dict[str, Any]]:
    values = {**(read_settings(config) if config is not None else {}), **settings}
    if "model" not in values:
        raise ConfigError(
            "no model: give --model, for example --model pixart-mini (ecad models lists the names)"
        )
    model = str(values["model"])
    # Of a pipeline object, `object:NAME:FINGERPRINT`, the name.
    name = model.split(":")[1] if model.startswith(OBJECT) else Path(model).name
    if out is None and name in ("", ".."):  # would be runs/ itself, or lead out of it
        raise ConfigError(
            f"the model {values['model']!r} gives the run no name: give --out, for example --out runs/mine"
        )
    return out or Path("runs") / name, values


def _resumed(
    folder: Path, settings: Mapping[str, Any], out: Path | None, config: Path | None
) -> tuple[Path, dict[str, Any]]:
    if out is not None or config is not None:
        raise ConfigError("--resume takes everything from the run folder: leave out --out and --config")
    run = RunFolder.existing(folder)
    known = run.read_config().get("settings")
    if not isinstance(known, dict):
        raise ConfigError(f"{folder}/config.yaml has no settings")
    given = dict(settings)
    if str(given.get("model", "")).startswith(OBJECT):
        if given["model"] != known.get("model"):
            raise RunError(
                f"the run in {folder} is of {known.get('model')!r}, and this pipeline is {given['model']!r}: another "
                "one, or its weights are others"
            )
        for own in ("model", "dtype"):
            del given[own]
    refused = sorted(set(given) - _MAY_CHANGE)
    if refused:
        names = ", ".join("--" + name.replace("_", "-") for name in refused)
        raise ConfigError(f"--resume continues with the run's own settings: leave out {names}")
    earlier, wanted = known.get("generations"), given.get("generations")
    # Fewer than the run was for are fine if no more were searched: the report comes then after those.
    searched = max((item.generation for item in run.logged()), default=0)
    if isinstance(wanted, int) and isinstance(earlier, int) and wanted < min(earlier, searched):
        raise ConfigError(
            f"the run in {folder} is for {earlier} generations, {searched} of which are begun: --generations may only "
            "grow"
        )
    return folder, {**known, **given}
