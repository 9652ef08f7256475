"""The `image-reward` scorer: the published ImageReward weights, in batches, without the image-reward package.

It gives the package's rewards: prompts are padded and truncated to 35 tokens, images resized bicubically until the
short side has 224 pixels and cropped to the middle (image-reward 1.5, `ImageReward.score`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecad.arrays import Images, Scores
from ecad.devices import choose_device
from ecad.errors import ConfigError, describe
from ecad.scoring.base import check_arguments
from ecad.scoring.needs import cached_hub_file, given_path, hub_file

REPOSITORY = "THUDM/ImageReward"
TOKENIZER_REPOSITORY = "bert-base-uncased"
WEIGHTS_FILE, CONFIG_FILE, VOCABULARY_FILE = "ImageReward.pt", "med_config.json", "vocab.txt"
ENVIRONMENT_VARIABLE = "ECAD_IMAGE_REWARD"
MAXIMUM_TOKENS = 35

REMEDY = (
    f"put {WEIGHTS_FILE} (1.8 GB) and {CONFIG_FILE} of the hub's {REPOSITORY} and {VOCABULARY_FILE} of "
    f"{TOKENIZER_REPOSITORY} into one folder and set {ENVIRONMENT_VARIABLE} to it, or go online once"
)

# CLIP's mean and standard deviation of RGB in [0, 1].
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class ImageRewardScorer:
    """ImageReward (arXiv 2304.05977): human preference for an image, given its prompt; about -2.3 to 2.

    The weights are found at construction and loaded at first use. `folder` holds the three files (see REMEDY);
    by default the environment variable names it, else the files come from the hub.
    """

    name = "image-reward"
    higher_is_better = True
    needs_reference = False

    def __init__(self, device: str = "auto", folder: str | None = None, batch_size: int = 16) -> None:
        self._device_name = device
        self._files = find_files(folder)
        self._batch_size = batch_size
        self._loaded: tuple[Any, Any] | None = None

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Scores:
        import torch

        check_arguments(self, prompts, images, references)
        model, tokenizer = self._load()
        parts = [np.zeros(0, np.float64)]
        for start in range(0, len(images), self._batch_size):
            batch = slice(start, start + self._batch_size)
            tokens = tokenizer(
                list(prompts[batch]),
                padding="max_length",
                truncation=True,
                max_length=MAXIMUM_TOKENS,
                return_tensors="pt",
            )
            pixels = torch.from_numpy(preprocess(images[batch], model.image_size))
            device = next(model.parameters()).device
            with torch.inference_mode():
                rewards = model.rewards(
                    tokens.input_ids.to(device),
                    tokens.attention_mask.to(device),
                    model.embed_images(pixels.to(device)),
                )
            parts.append(rewards.double().cpu().numpy())
        return np.concatenate(parts)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Any prompt and size will do; loads the weights, so that wrong ones are found before a search."""
        self._load()

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from ecad.scoring.image_reward.model import build_image_reward

            weights, config, vocabulary = self._files
            state, med_config = _read_weights(weights), _read_config(config)
            model = build_image_reward(state, med_config, str(weights))
            self._loaded = (
                model.to(choose_device(self._device_name)),
                load_tokenizer(vocabulary, int(med_config["vocab_size"])),
            )
        return self._loaded


def find_files(folder: str | None = None) -> tuple[Path, Path, Path]:
    """The weights, their settings and the vocabulary; ConfigError with the remedy if one cannot be had."""
    given = given_path(folder, ENVIRONMENT_VARIABLE)
    names = (WEIGHTS_FILE, CONFIG_FILE, VOCABULARY_FILE)
    if given is None:
        repositories = (REPOSITORY, REPOSITORY, TOKENIZER_REPOSITORY)
        # The large file last: a mistake in the small ones shows at once.
        found = {
            name: hub_file(where, name, REMEDY)
            for where, name in reversed(list(zip(repositories, names, strict=True)))
        }
        return found[WEIGHTS_FILE], found[CONFIG_FILE], found[VOCABULARY_FILE]
    missing = [name for name in names if not (given / name).is_file()]
    if missing:
        raise ConfigError(f"the ImageReward folder {given} has no {', '.join(missing)}: {REMEDY}")
    return given / WEIGHTS_FILE, given / CONFIG_FILE, given / VOCABULARY_FILE


def look() -> str:
    """What `ecad doctor` says of its weights."""
    return f"weights {find_cached_files()[0]}"


def find_cached_files() -> list[Path]:
    """The files, if they are on this machine; ConfigError with the remedy if not. Nothing is downloaded."""
    if given_path(None, ENVIRONMENT_VARIABLE) is not None:
        return list(find_files())
    wanted = ((REPOSITORY, WEIGHTS_FILE), (REPOSITORY, CONFIG_FILE), (TOKENIZER_REPOSITORY, VOCABULARY_FILE))
    found = [(name, cached_hub_file(repository, name)) for repository, name in wanted]
    missing = [name for name, path in found if path is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not in the hub's cache: {REMEDY}")
    return [path for _, path in found if path is not None]


def preprocess(images: Images, size: int) -> npt.NDArray[np.float32]:
    """Images uint8 (n, height, width, 3) as the network takes them: float32 (n, 3, size, size).

    As torchvision's Resize, CenterCrop, ToTensor and Normalize do on PIL images.
    """
    from PIL import Image

    height, width = images.shape[1:3]
    short = min(height, width)
    target = (int(size * width / short), int(size * height / short))  # width, height, as PIL wants them
    left, top = round((target[0] - size) / 2), round((target[1] - size) / 2)

    def rows() -> Iterator[npt.NDArray[np.float32]]:
        for image in images:
            picture = Image.fromarray(image)
            if picture.size != target:
                picture = picture.resize(target, Image.Resampling.BICUBIC)
            cropped = np.asarray(picture.crop((left, top, left + size, top + size)), np.float32)
            yield ((cropped / np.float32(255) - _MEAN) / _STD).transpose(2, 0, 1)

    return np.ascontiguousarray(np.stack(list(rows())))


def load_tokenizer(vocabulary: Path, vocabulary_size: int) -> Any:
    """BERT's uncased tokenizer with BLIP's two additional tokens, which have the last two ids."""
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(vocabulary.parent)
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    if len(tokenizer) != vocabulary_size:
        raise ConfigError(
            f"{vocabulary} has {len(tokenizer)} entries with [DEC] and [ENC], the network has {vocabulary_size}: "
            f"take {VOCABULARY_FILE} of {TOKENIZER_REPOSITORY}"
        )
    return tokenizer


def _read_weights(path: Path) -> dict[str, Any]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling and zip errors of every kind
        raise ConfigError(
            f"{path} is not a readable PyTorch checkpoint ({describe(error)}): {REMEDY}"
        ) from None
    if not isinstance(state, dict):
        raise ConfigError(f"{path} holds a {type(state).__name__}, not a state dict: {REMEDY}")
    return state


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    if not isinstance(config, dict) or "vocab_size" not in config:
        raise ConfigError(f"{path} is not ImageReward's {CONFIG_FILE}: it names no vocab_size")
    return config
