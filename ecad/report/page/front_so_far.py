"""The front of a search that is not finished, from its log."""

from __future__ import annotations

from collections.abc import Sequence

from ecad.errors import ScheduleError
from ecad.genetic import nondominated
from ecad.report.page.content import FRONT, Mark, Measure
from ecad.schedule import Calibration, Schedule, effective, from_genome, genome_from_hex, genome_length
from ecad.storage.log import Logged


def front_so_far(
    entries: Sequence[Logged], calibration: Calibration | None, measure: Measure, metric: str, model: str
) -> tuple[list[str], list[Mark]]:
    """The headings of the table, and a mark for each schedule that no other one of the log dominates, slowest first.

    The calibration knows the shape that the genomes are of; without one there are no schedules to show.
    """
    evaluations = [entry.evaluation for entry in entries]
    members = nondominated([item.cost for item in evaluations], [item.quality for item in evaluations])[::-1]
    marks = []
    for index in members:
        entry, evaluation = entries[index], evaluations[index]
        speedup = 1.0 / evaluation.cost
        name = f"{speedup:.2f}x-{evaluation.key[:6]}"
        schedule = _schedule(entry, calibration, f"{model}-{speedup:.2f}x", model)
        marks.append(
            Mark(
                id=f"key-{evaluation.key[:12]}",
                name=name,
                group=FRONT,
                speedups={measure.key: speedup},
                qualities={metric: (evaluation.quality,) * 3},
                cells=[name, f"{speedup:.2f}x", str(entry.generation), f"{evaluation.quality:.3f}"],
                use="" if schedule is None else f'ecad.apply(pipe, "{name}.yaml")',
                schedule=schedule,
                file_name=f"{name}.yaml",
            )
        )
    return ["schedule", measure.axis, "generation", f"{metric} (search prompts)"], marks


def _schedule(entry: Logged, calibration: Calibration | None, name: str, model: str) -> Schedule | None:
    if calibration is None:
        return None
    shape = calibration.shape
    try:
        genome = genome_from_hex(entry.genome, genome_length(shape))
    except ScheduleError:  # of an earlier format, whose genomes had other genes
        return None
    return effective(from_genome(genome, shape)).replace(
        name=name, model={"name": model}, provenance={"generation": entry.generation, "unfinished": True}
    )
