"""Train the bundled pixart-mini: ``python experiments/train_minis/pixart_mini.py STAGE --work FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("vae", "text", "transformer", "decoder", "bundle", "evaluate"))
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=62.0, help="transformer: wall-clock budget")
    parser.add_argument("--bundle", type=Path, help="bundle, evaluate: the pipeline folder")
    parser.add_argument("--images", type=int, default=192, help="evaluate: how many held-out captions")
    parser.add_argument(
        "--guidance", type=float, nargs="+", default=[4.0], help="evaluate: guidance scale(s)"
    )
    parser.add_argument("--uncached-only", action="store_true", help="evaluate: skip cached and shorter runs")
    parser.add_argument("--first-seed", type=int, default=0, help="evaluate: caption i from this seed + i")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # tiny second moments otherwise slow the optimizers down
    if arguments.stage == "vae":
        from train_vae import train_vae

        train_vae(arguments.work, arguments.seed)
    elif arguments.stage == "text":
        from train_text_encoder import train_text_encoder

        train_text_encoder(arguments.work, arguments.seed)
    elif arguments.stage == "transformer":
        from train_transformer import train_transformer

        train_transformer(arguments.work, arguments.seed, arguments.minutes)
    elif arguments.stage == "decoder":
        from train_vae import refine_decoder

        refine_decoder(arguments.work, arguments.seed)
    elif arguments.stage == "bundle":
        from bundle import write_bundle

        write_bundle(arguments.work, arguments.bundle)
    else:
        from evaluate import evaluate

        evaluate(
            arguments.bundle,
            arguments.work,
            arguments.images,
            arguments.guidance,
            arguments.uncached_only,
            arguments.first_seed,
        )


if __name__ == "__main__":
    main()
