"""Train the bundled flux-mini: ``python experiments/train_minis/flux_mini.py STAGE --work FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

PIXART_MINI = Path(__file__).parents[2] / "ecad" / "models" / "minis" / "pixart-mini"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("text", "transformer", "bundle", "evaluate"))
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--pixart", type=Path, default=PIXART_MINI, help="where the VAE and T5 come from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=66.0, help="transformer: wall-clock budget")
    parser.add_argument("--bundle", type=Path, help="bundle, evaluate: the pipeline folder")
    parser.add_argument("--shift", type=float, default=0.4, help="bundle: the scheduler's shift")
    parser.add_argument("--images", type=int, default=192, help="evaluate: how many captions")
    parser.add_argument(
        "--guidance", type=float, nargs="+", default=[3.0], help="evaluate: guidance scale(s)"
    )
    parser.add_argument("--uncached-only", action="store_true", help="evaluate: skip cached and shorter runs")
    parser.add_argument("--first-seed", type=int, default=0, help="evaluate: caption i from this seed + i")
    parser.add_argument(
        "--search-captions",
        action="store_true",
        help="evaluate: those for choosing settings, not the held-out",
    )
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # tiny second moments otherwise slow the optimizers down
    if arguments.stage == "text":
        from flux_text import train_flux_text

        train_flux_text(arguments.work, arguments.seed)
    elif arguments.stage == "transformer":
        from train_flux import train_flux_transformer

        train_flux_transformer(arguments.work, arguments.pixart, arguments.seed, arguments.minutes)
    elif arguments.stage == "bundle":
        from flux_bundle import write_flux_bundle

        write_flux_bundle(arguments.work, arguments.pixart, arguments.bundle, arguments.shift)
    else:
        from evaluate import HELD_OUT, SEARCH, evaluate

        evaluate(
            arguments.bundle,
            arguments.work,
            arguments.images,
            arguments.guidance,
            arguments.uncached_only,
            arguments.first_seed,
            SEARCH if arguments.search_captions else HELD_OUT,
        )


if __name__ == "__main__":
    main()
