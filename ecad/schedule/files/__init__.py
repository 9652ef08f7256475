"""Schedule files: our YAML, the JSON of the official ECAD implementation, and what other tools read."""

from ecad.schedule.files.ecad_yaml import (
    dump_schedule,
    load_schedule,
    parse_schedule,
    read_text,
    save_official,
    save_schedule,
)
from ecad.schedule.files.formats import FORMATS, export_schedule
from ecad.schedule.files.official import dump_official

__all__ = [
    "FORMATS",
    "dump_official",
    "dump_schedule",
    "export_schedule",
    "load_schedule",
    "parse_schedule",
    "read_text",
    "save_official",
    "save_schedule",
]
