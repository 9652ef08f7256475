"""Weights of the scorers' real networks with random, seeded values, in the published files' formats.

For a machine that cannot download the published ones: the scores mean nothing, but the loaders, the networks' sizes
and so the time they take are the real ones. `python random_weights.py FOLDER` writes them (2.7 GB).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from ecad.scoring.image_reward.model import _RENAMED, ImageRewardModel

CLIP_ARCHITECTURE = "ViT-B-32"

# ImageReward: BLIP large looks at the image, BERT base reads the prompt; the settings of its med_config.json.
_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
_TEXT = {
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "vocab_size": 30524,
}
_HEAD = {0: (768, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}
_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def image_reward_folder(folder: Path) -> Path:
    """ImageReward.pt, med_config.json and vocab.txt, as ECAD_IMAGE_REWARD wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    text = {**_TEXT, "encoder_hidden_size": 1024, "is_decoder": True}
    state = {}
    for key, value in ImageRewardModel(_VISION, text, _HEAD).state_dict().items():
        # The scorer's names for the package's, the other way round.
        for published, ours in reversed(_RENAMED):
            key = key.replace(ours, published)
        state[key] = value
    torch.save(state, folder / "ImageReward.pt")
    settings = {**_TEXT, "encoder_width": 1024, "add_cross_attention": True}
    (folder / "med_config.json").write_text(json.dumps(settings), encoding="utf-8")
    # Letters are enough to read any caption; two places are left for [DEC] and [ENC].
    letters = [prefix + chr(ord("a") + place) for prefix in ("", "##") for place in range(26)]
    known = [*_MARKS, *letters]
    known += [f"[unused{place}]" for place in range(_TEXT["vocab_size"] - 2 - len(known))]
    (folder / "vocab.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    return folder


def clip_checkpoint(path: Path) -> Path:
    """A checkpoint of open_clip's ViT-B-32."""
    import open_clip

    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(open_clip.create_model(CLIP_ARCHITECTURE).state_dict(), path)
    return path


def lpips_backbone(path: Path) -> Path:
    """A file as torchvision's AlexNet checkpoint; lpips' own layers on top of it come with its package."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(alexnet(weights=None).state_dict(), path)
    return path


def write_all(folder: Path) -> tuple[Path, Path, Path]:
    """ImageReward's folder, CLIP's checkpoint and LPIPS' backbone; those that are there already are kept."""
    image_reward, clip, lpips = folder / "image_reward", folder / "clip.pt", folder / "alexnet.pth"
    if not (image_reward / "vocab.txt").is_file():
        image_reward_folder(image_reward)
    if not clip.is_file():
        clip_checkpoint(clip)
    if not lpips.is_file():
        lpips_backbone(lpips)
    return image_reward, clip, lpips


if __name__ == "__main__":
    print(*write_all(Path(sys.argv[1])), sep="\n")
