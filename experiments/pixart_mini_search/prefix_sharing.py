"""What computing common first steps once saves: `python prefix_sharing.py RUN...`, from the logs of searches.

Counts multiply-accumulates of the components that a generation's new schedules run, for several sizes of groups.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import yaml

from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.macs import schedule_macs, uncached_macs
from ecad.schedule import (
    Schedule,
    ScheduleShape,
    effective,
    from_genome,
    genome_from_hex,
    genome_length,
    group_by_prefix,
    shared_steps,
    step_mask,
)

SIZES = (2, 3, 4, 8, 1000)


def main(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    source = find_model(config["model"])
    if source.family is None or source.preset is None or source.transformer_config is None:
        raise SystemExit(f"{folder}: only runs on presets and bundled minis")
    shape = ScheduleShape(
        source.family.name, source.preset.steps, source.family.block_counts(source.transformer_config)
    )
    workload = workload_for(source)
    floor = (
        schedule_macs(step_mask(shape, [0]), workload) - uncached_macs(shape.steps, workload) / shape.steps
    )
    per_step = floor / (shape.steps - 1)  # what is outside the components, in every step

    def macs_of_first(schedule: Schedule, steps: int) -> float:
        """Of the first steps: as if all later ones reused everything."""
        arrays = {name: array.copy() for name, array in schedule.recompute.items()}
        for array in arrays.values():
            array[steps:] = False
        return schedule_macs(schedule.replace(recompute=arrays), workload) - per_step * (shape.steps - steps)

    generations = defaultdict(list)
    for line in (folder / "evaluations.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        genome = genome_from_hex(record["genome"], genome_length(shape))
        generations[record["generation"]].append(effective(from_genome(genome, shape)))
    total = sum(schedule_macs(each, workload) for schedules in generations.values() for each in schedules)
    saved = dict.fromkeys(SIZES, 0.0)
    for schedules in generations.values():
        for size in SIZES:
            for group in group_by_prefix(schedules, size):
                for one, other in pairwise(group):
                    common = shared_steps(schedules[one], schedules[other])
                    saved[size] += macs_of_first(schedules[other], common)
    cells = " | ".join(f"{saved[size] / total:.1%}" for size in SIZES)
    print(f"| {source.name}, {len(generations)} generations | {cells} |")


if __name__ == "__main__":
    print(
        "| MACs saved with groups of at most | 2 | 3 | 4 | 8 | a whole generation |\n|---|---|---|---|---|---|"
    )
    for argument in sys.argv[1:]:
        main(Path(argument))
