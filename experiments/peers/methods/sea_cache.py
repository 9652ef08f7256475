"""SeaCache of diffusers: tried, to have its own reason."""

from __future__ import annotations

import logging

from bench import Bench
from diffusers.hooks import SeaCacheConfig, apply_sea_cache
from peer import DoesNotFitError, Setting

from methods.diffusers_hooks import cached

NAME = "diffusers SeaCache"


def settings(bench: Bench, front: str | None) -> list[Setting]:
    setting = cached(bench, "default", apply_sea_cache, SeaCacheConfig)
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("diffusers.hooks.sea_cache")
    logger.addHandler(handler)
    level, logger.level, logger.propagate = logger.level, logging.WARNING, False
    try:
        drawn = bench.trial(setting)
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = level, True
    uncached = bench.draw(bench.jobs[:1], counted=True)
    if drawn.flops < uncached.flops:
        return [setting]
    raise DoesNotFitError(f"it computes everything, and says: {said[0] if said else 'nothing'}")
