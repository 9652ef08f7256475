"""Schedules as steps masks, which other tools read: one digit per step, 1 computes and 0 reuses.

Formats as read in cache-dit 1.5.3, and in the documents of stable-diffusion.cpp and SGLang. A mask says less than a
schedule: what a step with 0 reuses is the other tool's own, so each file says that images differ.
"""

from __future__ import annotations

from itertools import groupby

from ecad.errors import ScheduleError
from ecad.schedule.files.smoothcache import is_uniform
from ecad.schedule.liveness import effective
from ecad.schedule.schedule import Schedule

_DIFFERENCE = """\
# A 0 is not what it is in ecad, which returns the stored outputs of components, or of the whole transformer, or lets
# the solver go on with the clean sample predicted last: such tools run the first blocks of every step, and add what
# the other blocks changed in the last computed step. So images and times are not those that ecad measured: look at
# them before you rely on this file.
"""


def steps_mask(schedule: Schedule) -> tuple[int, ...]:
    """One digit per step, 1 where everything is recomputed and 0 where nothing is.

    Values that nobody reads do not count. ScheduleError, naming the step, if one recomputes only a part.
    """
    live = effective(schedule)
    parts = sum(int(present.sum()) for present in schedule.shape.present.values())
    digits = []
    for step in range(schedule.steps):
        recomputed = sum(int(array[step].sum()) for array in live.recompute.values())
        if recomputed not in (0, parts):
            another = "--format smoothcache, or " if is_uniform(schedule) else ""
            raise ScheduleError(
                f"step {step} is mixed: it recomputes {recomputed} of {parts} components, and a steps mask says all or "
                f"none of a step: take {another}a schedule such as output:0,3,6 or fora:3 (ecad schedule new)"
            )
        digits.append(int(recomputed > 0))
    return tuple(digits)


def dump_cache_dit(schedule: Schedule) -> str:
    """YAML for `cache_dit.load_configs`, and for SGLang's `--cache-dit-config`."""
    mask = steps_mask(schedule)
    return (
        f"{_title(schedule, 'cache-dit')}"
        "# cache_dit.enable_cache(pipe, **cache_dit.load_configs('THIS FILE')), or\n"
        "# sglang generate --backend diffusers --cache-dit-config 'THIS FILE'; with the number of steps below.\n"
        f"{_DIFFERENCE}"
        "cache_config:\n"
        "  Fn_compute_blocks: 1\n"
        "  Bn_compute_blocks: 0\n"
        f"  max_warmup_steps: {_first_run(mask)}\n"
        f"  num_inference_steps: {len(mask)}\n"
        f"  steps_computation_mask: [{', '.join(map(str, mask))}]\n"
        "  steps_computation_policy: static\n"
        "  # If the pipeline calls the transformer twice a step and cache-dit does not know (FLUX, true_cfg_scale):\n"
        "  # enable_separate_cfg: true\n"
    )


def dump_sd_cpp(schedule: Schedule) -> str:
    """The arguments of stable-diffusion.cpp's `sd-cli`, with comments."""
    mask = steps_mask(schedule)
    return (
        f"{_title(schedule, 'stable-diffusion.cpp')}"
        f"# sd-cli --steps {len(mask)} ... $(grep -v '^#' 'THIS FILE')\n"
        f"{_DIFFERENCE}"
        "# As far as its source was read (commit e58790e), the cache that runs follows neither mask nor policy but\n"
        "# its threshold, from 15 to 95 percent of the steps: compare steps_skipped in the log with the mask's zeros.\n"
        f"--cache-mode cache-dit --cache-option Fn=1,Bn=0,warmup={_first_run(mask)} "
        f"--scm-mask {','.join(map(str, mask))} --scm-policy static\n"
    )


def dump_sglang(schedule: Schedule) -> str:
    """Environment variables of SGLang's own pipelines, for a shell to read: the mask as runs of 1 and of 0."""
    mask = steps_mask(schedule)
    runs = {digit: [len(list(run)) for each, run in groupby(mask) if each == digit] for digit in (1, 0)}
    if not runs[0]:
        raise ScheduleError("the schedule recomputes every step: SGLang's bins cannot say so, and need not")
    bins = {digit: ",".join(map(str, lengths)) for digit, lengths in runs.items()}
    return (
        f"{_title(schedule, 'SGLang')}"
        f"# . 'THIS FILE' && sglang generate --num-inference-steps {len(mask)} ...\n"
        f"{_DIFFERENCE}"
        "export SGLANG_CACHE_DIT_ENABLED=true\n"
        "export SGLANG_CACHE_DIT_FN=1\n"
        "export SGLANG_CACHE_DIT_BN=0\n"
        f"export SGLANG_CACHE_DIT_WARMUP={_first_run(mask)}\n"
        f"export SGLANG_CACHE_DIT_SCM_COMPUTE_BINS={bins[1]}\n"
        f"export SGLANG_CACHE_DIT_SCM_CACHE_BINS={bins[0]}\n"
        "export SGLANG_CACHE_DIT_SCM_POLICY=static\n"
    )


def _title(schedule: Schedule, tool: str) -> str:
    # ASCII, because cache-dit opens files in the locale's encoding.
    name = f" {schedule.name[:60]!a}" if schedule.name else ""
    return f"# Steps mask for {tool}, by ecad from the schedule{name}:\n# {schedule.shape.describe()}.\n"


def _first_run(mask: tuple[int, ...]) -> int:
    """How many steps are computed before the first that is not: those tools count as many as warm-up."""
    return mask.index(0) if 0 in mask else len(mask)
