"""What scoring costs beside sampling, in multiply-accumulates per image: the most that overlapping the two could save.

ImageReward's network (BLIP: ViT-L/16 at 224 pixels, BERT-base with cross-attention) is counted by torch with random
weights; the models' MACs are those that ecad states, at the presets' settings.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from ecad.families import find_model
from ecad.families.registry import PRESETS
from ecad.families.workload import workload_for
from ecad.measuring.macs import uncached_macs
from ecad.scoring.image_reward.model import ImageRewardModel
from ecad.scoring.image_reward.scorer import MAXIMUM_TOKENS

VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 16,
}
TEXT = {"vocab_size": 30524, "encoder_hidden_size": 1024, "is_decoder": True}  # the rest is BERT-base
HEAD = {0: (768, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}


def image_reward_macs() -> int:
    """MACs of one image and its prompt."""
    model = ImageRewardModel(VISION, TEXT, HEAD).eval()  # what the weights are makes no difference
    pixels = torch.zeros(1, 3, model.image_size, model.image_size)
    tokens = torch.zeros(1, MAXIMUM_TOKENS, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.rewards(tokens, torch.ones_like(tokens), model.embed_images(pixels))
    return counter.get_total_flops() // 2


def main() -> None:
    scoring = image_reward_macs()
    print(f"ImageReward: {scoring / 1e9:.1f} G multiply-accumulates per image\n")
    print("| model | sampling one image uncached, G | scoring beside it | beside sampling at half the cost |")
    print("|---|---|---|---|")
    for name in ("pixart-alpha", "pixart-alpha-1024", "flux-dev", "flux-dev-1024"):
        sampling = uncached_macs(PRESETS[name].steps, workload_for(find_model(name)))
        shares = [f"{scoring / (scoring + sampling * part):.1%}" for part in (1.0, 0.5)]
        print(f"| {name} | {sampling / 1e9:,.0f} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
