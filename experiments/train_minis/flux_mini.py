"""Train the bundled flux-mini: ``python experiments/train_minis/flux_mini.py STAGE --work FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

PIXART_MINI = Path(__file__).parents[2] / "ecad" / "models" / "minis" / "pixart-mini"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("text", "transformer"))
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--pixart", type=Path, default=PIXART_MINI, help="where the VAE and T5 come from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=66.0, help="transformer: wall-clock budget")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # tiny second moments otherwise slow the optimizers down
    if arguments.stage == "text":
        from flux_text import train_flux_text

        train_flux_text(arguments.work, arguments.seed)
    else:
        from train_flux import train_flux_transformer

        train_flux_transformer(arguments.work, arguments.pixart, arguments.seed, arguments.minutes)


if __name__ == "__main__":
    main()
