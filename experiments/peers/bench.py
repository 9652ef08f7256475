"""One mini, its captions, and what is measured of a setting on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peer import Call, Setting
from traces import Traces

from ecad.arrays import Images
from ecad.prompts import load_prompts
from ecad.sampling.base import Job, batches_of, jobs_for
from ecad.sampling.counting import flop_counter
from ecad.sampling.generation import ModelChoice
from ecad.sampling.pipeline_sampler import generators_of
from ecad.sampling.subject import prepare_subject
from ecad.scoring.alignment import AlignmentScorer
from ecad.scoring.fidelity import PsnrScorer

FIRST_SEED = 9000
BATCH = (
    32  # images that are drawn together where quality is judged; caches that decide by a mean decide for all
)
TIMED = 4  # the same where the time is taken
REPEATS = 3
UNCACHED = Call()


@dataclass(frozen=True)
class Drawn:
    images: Images
    wall_s: float
    cpu_s: float
    flops: int  # the transformer's; 0 where they were not counted


@dataclass(frozen=True)
class Measured:
    """Of one setting: `alignment` and `psnr` (dB to uncached) have shape (captions,), times (repeats,) are seconds of
    the whole pipeline call for the timed batch, beside those of the uncached one before it.

    `left_behind` is what the peer's own switch-off leaves; `own_off_identical` says whether uncached images were the
    same bit for bit nevertheless, before that was removed.
    """

    alignment: np.ndarray
    psnr: np.ndarray
    flops: int
    wall_s: list[float]
    cpu_s: list[float]
    uncached_wall_s: list[float]
    uncached_cpu_s: list[float]
    left_behind: list[str]
    own_off_identical: bool


class ChangedError(Exception):
    """Uncached images are not the same any more: nothing that comes after could be believed."""


class Bench:
    """Draws through the pipeline's own call; `uncached` are the references, shape (captions, height, width, 3).

    `kept` is a file for these: what an earlier run drew is taken if a fresh batch is the same bit for bit.
    """

    def __init__(self, model: str, captions: int, timed: int, repeats: int, kept: Path) -> None:
        self.subject = prepare_subject(ModelChoice(model, device="cpu"))
        self.model, self.pipe, self.steps = model, self.subject.model.pipe, self.subject.settings.steps
        self.prompts = load_prompts("scenes-heldout", captions).prompts
        self.jobs = jobs_for(captions, 1, FIRST_SEED)
        self._timed, self._repeats = self.jobs[:timed], repeats
        settings = self.subject.settings
        self._arguments = {
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance_scale,
            "height": settings.height,
            "width": settings.width,
            "max_sequence_length": settings.max_sequence_length,
        }
        if self.subject.model.family.name == "pixart":
            self._arguments |= {"use_resolution_binning": False, "clean_caption": False}
        self.draw(self.jobs[:1])  # warm-up, and what a call leaves on the pipeline itself
        self._check = self.draw(self._timed).images
        self.uncached, self.uncached_flops = self._references(kept)
        self.uncached_alignment = AlignmentScorer()(self.prompts, self.uncached)

    @torch.no_grad()
    def draw(self, jobs: Sequence[Job], call: Call = UNCACHED, *, counted: bool = False) -> Drawn:
        """The jobs' images as the pipeline is now, in one call; `counted` runs it under torch's FLOP counter."""
        count = _counted(self.pipe.transformer) if counted else nullcontext([])
        with count as flops:
            wall, processor = time.perf_counter(), time.process_time()
            output = (call.function or self.pipe)(
                generator=generators_of(jobs),
                output_type="np",
                **{
                    "prompt": [self.prompts[job.prompt_index % len(self.prompts)] for job in jobs],
                    **self._arguments,
                    **call.arguments,
                },
            )
            processor, wall = time.process_time() - processor, time.perf_counter() - wall
        pixels = np.nan_to_num(np.asarray(output.images)).clip(0.0, 1.0)
        return Drawn((pixels * 255).round().astype(np.uint8), wall, processor, sum(flops))

    def measure(self, setting: Setting) -> Measured:
        """Quality and FLOPs of all captions, then time beside the uncached model's, in turn.

        ChangedError if the uncached images are not the same bit for bit after each switch-off.
        """
        left: list[str] = []
        identical = True

        def once(draw: Callable[[Call], Drawn], look: bool = False) -> Drawn:
            nonlocal identical
            with Traces(self.pipe) as traces:
                with setting.switch() as call:
                    drawn = draw(call)
                if look:
                    left.extend(traces.left())
                    identical = self._is_untouched() if left else True
            return drawn

        parts = [
            once(lambda call, batch=batch: self.draw(batch, call, counted=True), look=number == 0)
            for number, batch in enumerate(batches_of(self.jobs, BATCH))
        ]
        images = np.concatenate([part.images for part in parts])
        pairs = []
        for _ in range(self._repeats):
            before = self.draw(self._timed)
            self._confirm(before.images, setting)
            pairs.append((before, once(lambda call: self.draw(self._timed, call))))
        self._confirm(self.draw(self._timed).images, setting)
        return Measured(
            alignment=AlignmentScorer()(self.prompts, images),
            psnr=PsnrScorer("cpu")(self.prompts, images, self.uncached),
            flops=sum(part.flops for part in parts),
            wall_s=[own.wall_s for _, own in pairs],
            cpu_s=[own.cpu_s for _, own in pairs],
            uncached_wall_s=[before.wall_s for before, _ in pairs],
            uncached_cpu_s=[before.cpu_s for before, _ in pairs],
            left_behind=left,
            own_off_identical=identical,
        )

    def draw_search(self, captions: int) -> Drawn:
        """Images of the first captions that searches use, for calibrations: seeds 0, 1, ..."""
        jobs = jobs_for(captions, 1, 0)
        texts = load_prompts("scenes-search", captions).prompts
        return self.draw(jobs, Call({"prompt": list(texts)}))

    def trial(self, setting: Setting) -> Drawn:
        """The first image alone with its FLOPs, for a method to see whether it does anything."""
        with Traces(self.pipe), setting.switch() as call:
            return self.draw(self.jobs[:1], call, counted=True)

    def _references(self, kept: Path) -> tuple[Images, int]:
        """Images of all captions, and the FLOPs that they took."""
        if kept.exists():
            with np.load(kept) as content:
                same = content["check"].shape == self._check.shape and (content["check"] == self._check).all()
                if same and len(content["images"]) == len(self.jobs):
                    return content["images"], int(content["flops"])
        parts = [self.draw(batch, counted=True) for batch in batches_of(self.jobs, BATCH)]
        images, flops = np.concatenate([part.images for part in parts]), sum(part.flops for part in parts)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, check=self._check, images=images, flops=flops)
        return images, flops

    def _is_untouched(self) -> bool:
        """Whether uncached images are the same; also not if what a peer left behind makes the pipeline fail."""
        try:
            return bool((self.draw(self._timed).images == self._check).all())
        except RuntimeError:
            return False

    def _confirm(self, images: Images, setting: Setting) -> None:
        if not (images == self._check).all():
            raise ChangedError(f"{self.model}: uncached images changed with {setting.name!r} switched off")


@contextmanager
def _counted(transformer: torch.nn.Module) -> Iterator[list[int]]:
    """Collects the FLOPs of each of its forwards, whatever is switched on: torch counts what really runs."""
    flops: list[int] = []
    hidden = vars(transformer).get("forward")
    forward = transformer.forward

    def counted(*arguments: Any, **named: Any) -> Any:
        counter = flop_counter()
        # Its tracker of modules never ends on cache-dit's, which hold their own parent; it is not needed for the sum.
        counter.mod_tracker = _NoTracker()
        with counter:
            result = forward(*arguments, **named)
        flops.append(counter.get_total_flops())
        return result

    transformer.forward = counted
    try:
        yield flops
    finally:
        if hidden is None:
            del transformer.forward
        else:
            transformer.forward = hidden


class _NoTracker:
    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
