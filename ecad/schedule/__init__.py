"""Cache schedules: the array, its genome, heuristics, and YAML files."""

from ecad.schedule.files import dump_schedule, load_schedule, save_schedule
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
from ecad.schedule.schedule import BoolArray, Schedule, ScheduleShape

__all__ = [
    "HEURISTIC_HELP",
    "BoolArray",
    "GeneLayout",
    "Schedule",
    "ScheduleShape",
    "dump_schedule",
    "from_genome",
    "gene_layout",
    "genome_from_hex",
    "genome_length",
    "genome_to_hex",
    "heuristic",
    "is_heuristic",
    "load_schedule",
    "save_schedule",
    "step_mask",
    "to_genome",
]
