"""What a reused step hands to the solver: the last output or the clean sample: `python compare.py -o FOLDER`.

The same step masks in both forms, on `pixart-mini` with several schedulers, against fewer steps at the same noise
levels where a scheduler can do that: 96 held-out captions each. FOLDER/SCHEDULER/results.md has a table; what is done
is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import diffusers

import ecad
from ecad.resources import minis_dir

MINI = "pixart-mini"
SCHEDULERS = (
    "DPMSolverMultistep",
    "UniPCMultistep",
    "DEISMultistep",
    "DDIM",
    "EulerDiscrete",
    "EulerAncestralDiscrete",
)
MASKS = ("0,1,3,6,9,12,15,18", "0,1,2,4,7,9,13,16", "0,2,6,10,14,18", "0,3,6,10,14", "0,3,8,13")
# Of the mini's preset, which a local folder does not have.
SETTINGS = {"steps": 20, "guidance_scale": 4.0, "height": 64, "width": 64, "dtype": "float32"}
_OF_ONE_SOLVER = ("algorithm_type", "solver_type", "final_sigmas_type")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("schedulers", nargs="*", metavar="SCHEDULER", help=", ".join(SCHEDULERS))
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    unknown = set(options.schedulers) - set(SCHEDULERS)
    if unknown:
        parser.error(f"unknown scheduler {min(unknown)!r}: there are {', '.join(SCHEDULERS)}")
    for name in options.schedulers or SCHEDULERS:
        compare(name, options.out / name)


def compare(name: str, folder: Path) -> None:
    """Evaluate the masks in FOLDER."""
    model = folder / "model"
    if not model.exists():
        pipe = diffusers.DiffusionPipeline.from_pretrained(minis_dir() / MINI)
        kept = {key: value for key, value in pipe.scheduler.config.items() if key not in _OF_ONE_SOLVER}
        if name != "DPMSolverMultistep":
            pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(kept)
        pipe.save_pretrained(model)
    # DEIS has no custom timesteps.
    kinds = ("output", "denoised") if name == "DEISMultistep" else ("output", "denoised", "steps")
    found = ecad.evaluate(
        str(model),
        [f"{kind}:{mask}" for mask in MASKS for kind in kinds],
        folder,
        **SETTINGS,
        prompts="scenes-heldout",
        prompts_limit=96,
        first_seed=9000,
        metrics="alignment",
        batch_size=32,
        samples=0,
        page=False,
    )
    print(found._repr_markdown_(), flush=True)


if __name__ == "__main__":
    main()
