"""Schedule files: our YAML, and the JSON of the official ECAD implementation."""

from ecad.schedule.files.ecad_yaml import (
    dump_schedule,
    load_schedule,
    parse_schedule,
    save_official,
    save_schedule,
)
from ecad.schedule.files.official import dump_official

__all__ = [
    "dump_official",
    "dump_schedule",
    "load_schedule",
    "parse_schedule",
    "save_official",
    "save_schedule",
]
