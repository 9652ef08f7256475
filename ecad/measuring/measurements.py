"""What a comparison compares, and what it measures of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ecad.arrays import Images, Scores
from ecad.measuring.rows import Kind
from ecad.measuring.timing import LatencyMeasurement
from ecad.sampling.base import Job
from ecad.schedule import Schedule

Key = tuple[str, int]  # a contender's name and the number of a batch


class TextToImage(Protocol):
    """Another pipeline that makes images of the same prompts and seeds; see `ecad.sampling.baseline`."""

    @property
    def pipe(self) -> Any: ...

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one image's denoising, once they are known."""

    def sample(self, prompts: Sequence[str], jobs: Sequence[Job]) -> tuple[Images, float]:
        """Images uint8 (n, height, width, 3) of n prompts with the jobs' seeds, and the seconds that all of them
        took, text encoding excluded."""


@dataclass(frozen=True)
class Contender:
    """One row of a comparison.

    Without a schedule the untouched model runs with `steps` steps, or with `levels` at these of the uncached model's
    steps' noise levels; with a `pipeline` that one runs instead.
    """

    name: str
    kind: Kind
    steps: int
    schedule: Schedule | None = None
    pipeline: TextToImage | None = None
    levels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Measurement:
    """What one contender did in one batch.

    `scores` holds per scorer a float64 array (images,). `seconds_per_image` leaves out scoring and text encoding.
    `images_sha256` is the hash of the batch's pixels. `peak_memory_bytes` is, on a CUDA GPU, the memory of the
    contender's own weights and of all that was allocated while the batch was made. `pipeline_macs` are the
    multiply-accumulates of one image's denoising by another pipeline.
    """

    contender: str
    batch: int
    images: int
    scores: Mapping[str, Scores]
    seconds_per_image: float
    images_sha256: str
    peak_memory_bytes: int | None = None
    pipeline_macs: int | None = None

    @property
    def key(self) -> Key:
        return self.contender, self.batch


class Retiming(NamedTuple):
    """A further timing of a contender, in seconds per image."""

    contender: str
    seconds_per_image: float


@dataclass(frozen=True)
class Outcome:
    """All of a contender's measurements.

    `scores_by` holds per scorer an array (images,), `seconds_per_image` has shape (full batches,), and `timed_again_s`
    are seconds per image of further timings.
    """

    contender: Contender
    scores_by: Mapping[str, Scores]
    seconds_per_image: npt.NDArray[np.float64]
    images_sha256: tuple[str, ...] = ()
    peak_memory_bytes: int | None = None
    pipeline_macs: int | None = None
    timed_again_s: tuple[float, ...] = ()

    @property
    def latency(self) -> LatencyMeasurement:
        return LatencyMeasurement((*self.seconds_per_image.tolist(), *self.timed_again_s))

    @property
    def scores(self) -> Scores:
        """Those of the first scorer."""
        return next(iter(self.scores_by.values()))
