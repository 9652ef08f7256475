"""cache-dit on a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from bench import Bench
from peer import Call, DoesNotFitError, Setting


def load() -> Any:
    """The package. DoesNotFitError where it is not installed."""
    try:
        import cache_dit
    except ImportError as error:
        raise DoesNotFitError(f"cannot be imported: {error}") from None
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0].lower().replace("-", "_") == "cache_dit":
            logging.getLogger(name).setLevel(logging.ERROR)
    return cache_dit


def dbcache(bench: Bench, name: str, calibrator: str | None = None, **options: Any) -> Setting:
    """DBCache with these fields of its configuration; `calibrator` extrapolates ("taylorseer", "dmd")."""
    return Setting(name, partial(_enabled, bench, calibrator, options))


@contextmanager
def _enabled(bench: Bench, calibrator: str | None, options: dict[str, Any]) -> Iterator[Call]:
    package = load()
    kinds = {None: None, "taylorseer": "TaylorSeerCalibratorConfig", "dmd": "DMDCalibratorConfig"}
    kind = kinds[calibrator]
    package.enable_cache(
        bench.pipe,
        cache_config=package.DBCacheConfig(num_inference_steps=bench.steps, **options),
        calibrator_config=None if kind is None else getattr(package, kind)(),
    )
    try:
        yield Call()
    finally:
        package.disable_cache(bench.pipe)
