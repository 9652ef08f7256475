"""The table that a search predicts latency with: read, or measured at its start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecad.errors import ConfigError, RunError
from ecad.families.family import Workload
from ecad.measuring.latency_table import LatencyTable, TimeTable, calibration_schedules, executions
from ecad.measuring.macs import executed
from ecad.measuring.paper.devices import is_paper, paper_cost
from ecad.measuring.paper.table import paper_table
from ecad.measuring.timing import measure_interleaved
from ecad.prompts import PromptSet
from ecad.sampling.base import jobs_for
from ecad.sampling.subject import Subject
from ecad.schedule import Schedule
from ecad.searching.settings import ResolvedSearchSettings
from ecad.storage import RunFolder

_CALIBRATION_REPEATS = 3


def latency_table(
    folder: RunFolder, settings: ResolvedSearchSettings, subject: Subject, prompts: PromptSet
) -> TimeTable | None:
    """The table that predicts latency in the search: on paper, given, from an earlier start, or measured now."""
    if is_paper(settings.cost):
        if settings.latency_table is not None:
            raise ConfigError(f"--latency-table goes with --cost latency, not with --cost {settings.cost}")
        wanted = paper_cost(settings.cost)
        if not isinstance(subject.workload, Workload):
            raise ConfigError(f"--cost {settings.cost} needs a model of a family with formulas")
        images, is_compiled = settings.batch_size, wanted.is_compiled
        return paper_table(subject.workload, wanted.device, images=images, is_compiled=is_compiled)
    if settings.cost != "latency" and settings.latency_table is None:
        return None
    stored = folder.read_json("latency_table.json")
    if stored is None and not folder.log.is_empty:
        raise RunError(f"run folder {folder.path} has evaluations but its latency_table.json is lost")
    if stored is None and settings.latency_table is not None:
        path = Path(settings.latency_table)
        given = RunFolder(path.parent).read_json(path.name)
        if given is None:
            raise ConfigError(f"no latency table {path}")
        stored = given
    # What the seconds are seconds of: a table of another model or size predicts nothing here.
    generation = subject.settings
    measured_on = {
        "shape": subject.shape.describe(),
        "size": f"{generation.height} x {generation.width}"
        + (f" x {generation.num_frames} frames" if generation.num_frames > 1 else ""),
        "guidance": subject.sampler.has_guidance_rows,
        "batch_size": settings.batch_size,
    }
    if stored is not None and stored.get("measured_on") != measured_on:
        raise ConfigError(
            f"the latency table was measured on {stored.get('measured_on')}, this search runs {measured_on}"
        )
    table = LatencyTable.from_dict(stored) if stored else _measure_table(settings, subject, prompts)
    folder.write_json("latency_table.json", {"measured_on": measured_on, **table.to_dict()})
    return table


def _measure_table(settings: ResolvedSearchSettings, subject: Subject, prompts: PromptSet) -> LatencyTable:
    from ecad.caching import applied

    sampler, batch_size = subject.sampler, settings.batch_size
    used = prompts.prompts[:batch_size]
    conditioning = sampler.encode(used, batch_size)
    jobs = jobs_for(len(used), 1, 0)
    schedules = calibration_schedules(subject.shape, np.random.default_rng(settings.seed))

    def timed(schedule: Schedule) -> Callable[[], float]:
        def run() -> float:
            with applied(sampler.pipe, schedule):
                return sampler.sample_timed(conditioning, jobs)[1]

        return run

    measured = measure_interleaved(
        {str(index): timed(schedule) for index, schedule in enumerate(schedules)},
        repeats=_CALIBRATION_REPEATS,
        warmup=1,
        images=len(jobs),
        work={str(index): executions(schedule) for index, schedule in enumerate(schedules)},
    )
    ran = [executed(schedule, subject.workload) for schedule in schedules]
    return LatencyTable.fit(ran, [measurement.median_s for measurement in measured.values()])
