"""Small pictures of what the report's rows paint, for the page that shows them."""

from __future__ import annotations

from collections.abc import Sequence

from ecad.arrays import Images
from ecad.measuring.measurements import Contender, Measurement
from ecad.report.samples import SAMPLES, SMALL_SUFFIX, row_folder, sample_stem, small_picture
from ecad.sampling.base import Job
from ecad.sampling.generation import HELDOUT_FIRST_SEED
from ecad.scoring.videos import strip
from ecad.searching.setup import PreparedRun
from ecad.storage import RunFolder

PROMPTS = 6  # of which each row's first image is kept


class SampleKeeper:
    """Keeps, of each row, the first image of each of the first held-out prompts in the run folder.

    Where workers make most images, only those that are timed in this process can be kept.
    """

    def __init__(self, run: PreparedRun, folder: RunFolder, contenders: Sequence[Contender]) -> None:
        self._folder = folder
        self._folders = {item.name: row_folder(place, item.name) for place, item in enumerate(contenders)}
        count = min(PROMPTS, len(run.heldout_prompts))
        seeds = run.settings.heldout_seeds_per_prompt
        self.jobs = [Job(index, HELDOUT_FIRST_SEED + index * seeds) for index in range(count)]
        self._prompts = run.heldout_prompts.prompts

    def __call__(self, measurement: Measurement, batch: Sequence[Job], images: Images) -> None:
        for job, image in zip(batch, images, strict=True):
            if job in self.jobs:
                name = f"{SAMPLES}/{self._folders[measurement.contender]}/{sample_stem(*job)}{SMALL_SUFFIX}"
                self._folder.write_bytes(name, small_picture(strip(image)))

    def to_json(self) -> list[dict[str, str | int]]:
        """What was painted: prompt and seed of each image."""
        return [{"prompt": self._prompts[job.prompt_index], "seed": job.seed} for job in self.jobs]
