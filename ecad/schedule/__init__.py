"""Cache schedules: the array, its genome, heuristics, and YAML files."""

from ecad.schedule.calibration import (
    Calibration,
    best_masks,
    load_calibration,
    smooth_of_share,
    smooth_schedule,
)
from ecad.schedule.files import dump_schedule, load_schedule, save_official, save_schedule
from ecad.schedule.files.official import dump_official
from ecad.schedule.genome import (
    GeneLayout,
    from_genome,
    gene_layout,
    genome_from_hex,
    genome_length,
    genome_to_hex,
    to_genome,
)
from ecad.schedule.heuristics import HEURISTIC_HELP, heuristic, is_heuristic, step_mask
from ecad.schedule.liveness import ExecutionPlan, effective, plan_execution, stored_after_step
from ecad.schedule.prefixes import group_by_prefix, shared_steps
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import HOLDS_DENOISED, HOLDS_OUTPUT, ScheduleShape

__all__ = [
    "HEURISTIC_HELP",
    "HOLDS_DENOISED",
    "HOLDS_OUTPUT",
    "Calibration",
    "ExecutionPlan",
    "GeneLayout",
    "Schedule",
    "ScheduleShape",
    "best_masks",
    "dump_official",
    "dump_schedule",
    "effective",
    "from_genome",
    "gene_layout",
    "genome_from_hex",
    "genome_length",
    "genome_to_hex",
    "group_by_prefix",
    "heuristic",
    "is_heuristic",
    "load_calibration",
    "load_schedule",
    "plan_execution",
    "save_official",
    "save_schedule",
    "shared_steps",
    "smooth_of_share",
    "smooth_schedule",
    "step_mask",
    "stored_after_step",
    "to_genome",
]
