"""Toys that several tests use: settings of a search without a model, and a score that any image has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ecad.errors import ConfigError
from ecad.scoring import Metric, registered
from ecad.searching.settings import ResolvedSearchSettings


def toy_settings(generations: int, population: int, **changes: Any) -> ResolvedSearchSettings:
    """Of a search whose evaluations are made up: of the model no more than its name is read."""
    values: dict[str, Any] = {
        "model": "pixart-mini",
        "generations": generations,
        "population": population,
        "quality": "toy",
        "prompts": "toy",
        "prompts_limit": 1,
        "selection_limit": 0,
        "heldout_prompts": "toy",
        "heldout_limit": 1,
        "steps": 6,
        "guidance_scale": 4.5,
        "batch_size": 1,
    }
    return ResolvedSearchSettings(**{**values, **changes})


class Contrast:
    """Tiny models draw noise, so any deterministic score will do: the contrast of the image."""

    name, higher_is_better, needs_reference = "contrast", True, False

    def __call__(
        self, prompts: Sequence[str], images: np.ndarray, references: np.ndarray | None = None
    ) -> np.ndarray:
        return images.reshape(len(images), -1).std(axis=1) / 255.0

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        if "unjudgeable" in " ".join(prompts):
            raise ConfigError("cannot judge this")


@contextmanager
def metric(scorer: Any, **record: Any) -> Iterator[Metric]:
    """While inside, this scorer is known by its name."""
    with registered(
        Metric(
            scorer.name, lambda device: scorer, "a toy", higher_is_better=scorer.higher_is_better, **record
        )
    ) as found:
        yield found
