"""The peers, one file each: how to switch it on and off, and its settings."""

from importlib import import_module

_NAMES = (
    "ecad_front",
    "steps",
    "fora",
    "step_masks",
    "smoothcache",
    "tgate_package",
    "tgate_schedules",
    "cache_dit_dbcache",
    "cache_dit_masks",
    "first_block",
    "taylorseer",
    "magcache",
    "pyramid_attention",
    "faster_cache",
    "sea_cache",
    "text_kv",
)


def all_methods() -> list:
    return [import_module(f"methods.{name}") for name in _NAMES]
