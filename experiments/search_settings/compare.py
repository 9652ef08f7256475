"""Ten generations at settings for which nothing was tuned: `python compare.py [NAME ...] -o FOLDER`.

Each setting is searched as its preset says, and its front meets, on 96 held-out captions, every rival of the report:
heuristics, masks and SmoothCache's rule by the run's calibration, fewer steps evenly and unevenly spaced.
FOLDER/NAME.md has the rows and the verdict. What is done is not done again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tables"))

from front_against_rivals import tables

import ecad
from ecad.resources import minis_dir

CAPTIONS, FIRST_SEED = 96, 9000
SHARES = (0.5, 0.4, 0.33, 0.25, 0.2)


@dataclass(frozen=True)
class Setting:
    """What is not as in the mini's preset; `scheduler` is a class of diffusers."""

    name: str
    mini: str
    given: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    seed: int = 0
    scheduler: str | None = None


SETTINGS = (
    Setting("flux-14-steps", "flux-mini", {"steps": 14, "guidance_scale": 2.0}),
    Setting("pixart-28-steps", "pixart-mini", {"steps": 28}, seed=7),
    Setting(
        "pixart-euler",
        "pixart-mini",
        {
            "steps": 24,
            "guidance_scale": 3.0,
            "height": 64,
            "width": 64,
            "dtype": "float32",
        },  # a folder has no preset
        seed=1,
        scheduler="EulerDiscreteScheduler",
    ),
)


def main() -> None:
    names = [setting.name for setting in SETTINGS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"unknown setting {min(unknown)!r}: there are {', '.join(names)}")
    for setting in SETTINGS:
        if not options.names or setting.name in options.names:
            compare(setting, options.out / setting.name)


def compare(setting: Setting, folder: Path) -> None:
    """Search, evaluate, and write FOLDER.md."""
    model = setting.mini if setting.scheduler is None else _with_scheduler(setting, folder / "model")
    # The evaluation below has more held-out captions.
    preset = ({} if setting.scheduler is None else _search_settings(setting.mini)) | {"heldout_limit": 16}
    found = ecad.search(
        model,
        folder / "run",
        generations=10,
        seed=setting.seed,
        **setting.given,
        **preset,
        workers="none",
        threads=1,
        page=False,
    )
    rivals = [row.name for row in found.rows if row.kind not in ("uncached", "front")]
    evaluated = ecad.evaluate(
        model,
        [str(found.folder), *rivals],
        folder / "results",
        **setting.given,
        prompts="scenes-heldout",
        prompts_limit=CAPTIONS,
        first_seed=FIRST_SEED,
        metrics="alignment",
        batch_size=32,
        calibration=found.folder / "calibration.json",
        samples=0,
        page=False,
    )
    changed = ", ".join(f"{name} {value}" for name, value in setting.given.items())
    scheduler = "" if setting.scheduler is None else f", {setting.scheduler}"
    lines = [f"# {setting.name}", "", f"`{setting.mini}`, {changed}{scheduler}, seed {setting.seed}.", ""]
    lines += tables(folder / "results", found.folder, SHARES)
    lines += ["", evaluated._repr_markdown_()]
    folder.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    print(f"{setting.name}: {folder.with_suffix('.md')}", flush=True)


def _with_scheduler(setting: Setting, folder: Path) -> str:
    """A local folder of the mini with another scheduler."""
    import diffusers

    if not folder.exists():
        pipe = diffusers.DiffusionPipeline.from_pretrained(minis_dir() / setting.mini)
        pipe.scheduler = getattr(diffusers, setting.scheduler or "").from_config(pipe.scheduler.config)
        pipe.save_pretrained(folder)
    return str(folder)


def _search_settings(mini: str) -> dict[str, Any]:
    """How the mini's preset searches, which a local folder does not say."""
    from ecad.families.registry import find_preset

    preset = find_preset(mini)
    if preset is None:
        raise SystemExit(f"no preset {mini}")
    return dict(preset.search)


if __name__ == "__main__":
    main()
