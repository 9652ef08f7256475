"""The table that a search predicts latency with: read, or measured at its start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecad.config import SearchConfig
from ecad.errors import ConfigError, RunError
from ecad.evaluation.latency import LatencyTable, calibration_schedules, measure_interleaved
from ecad.evaluation.prompts import PromptSet
from ecad.evaluation.samplers import Sampler
from ecad.schedule import Schedule, ScheduleShape
from ecad.storage import RunFolder

_CALIBRATION_REPEATS = 3


def latency_table(
    folder: RunFolder, config: SearchConfig, sampler: Sampler, prompts: PromptSet, shape: ScheduleShape
) -> LatencyTable | None:
    """The table that predicts latency in the search: given, from an earlier start, or measured now."""
    if config.cost != "latency" and config.latency_table is None:
        return None
    stored = folder.read_json("latency_table.json")
    if stored is None and not folder.log.is_empty:
        raise RunError(f"run folder {folder.path} has evaluations but its latency_table.json is lost")
    if stored is None and config.latency_table is not None:
        path = Path(config.latency_table)
        given = RunFolder(path.parent).read_json(path.name)
        if given is None:
            raise ConfigError(f"no latency table {path}")
        stored = given
    # What the seconds are seconds of: a table of another model or size predicts nothing here.
    settings = sampler.settings
    measured_on = {
        "shape": shape.describe(),
        "size": f"{settings.height} x {settings.width}",
        "guidance": sampler.has_guidance_rows,
        "batch_size": config.batch_size,
    }
    if stored is not None and stored.get("measured_on") != measured_on:
        raise ConfigError(
            f"the latency table was measured on {stored.get('measured_on')}, this search runs {measured_on}"
        )
    table = LatencyTable.from_dict(stored) if stored else _measure_table(config, sampler, prompts, shape)
    folder.write_json("latency_table.json", {"measured_on": measured_on, **table.to_dict()})
    return table


def _measure_table(
    config: SearchConfig, sampler: Sampler, prompts: PromptSet, shape: ScheduleShape
) -> LatencyTable:
    from ecad.caching import applied
    from ecad.evaluation.samplers import jobs_for

    batch_size = config.batch_size or 1
    used = prompts.prompts[:batch_size]
    conditioning = sampler.encode(used, batch_size)
    jobs = jobs_for(len(used), 1, 0)
    schedules = calibration_schedules(shape, np.random.default_rng(config.seed))

    def timed(schedule: Schedule) -> Callable[[], object]:
        def run() -> object:
            with applied(sampler.pipe, schedule):
                return sampler.sample(conditioning, jobs)

        return run

    measured = measure_interleaved(
        {str(index): timed(schedule) for index, schedule in enumerate(schedules)},
        repeats=_CALIBRATION_REPEATS,
        warmup=1,
        images=len(jobs),
    )
    return LatencyTable.fit(schedules, [measurement.median_s for measurement in measured.values()])
