"""The image-reward scorer: the package's own rewards on seeded weights, its preprocessing, its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.scorer import ScorerContract
from PIL import Image
from safetensors.torch import load_file
from seeded_weights import TINY_VOCABULARY, seeded, tiny_image_reward, write_image_reward_folder

from ecad.errors import ConfigError
from ecad.scoring import make_scorer
from ecad.scoring.image_reward.model import REWARD_MEAN, REWARD_STD, build_image_reward
from ecad.scoring.image_reward.scorer import (
    MAXIMUM_TOKENS,
    ImageRewardScorer,
    find_cached_files,
    find_files,
    load_tokenizer,
    preprocess,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_reward_folder(tmp_path_factory.mktemp("image-reward"))


@pytest.fixture(scope="module")
def golden(shared_folder: Path) -> Path:
    path = shared_folder / "golden" / "image_reward"
    if not path.is_dir():
        pytest.skip("the rewards of the image-reward package are not here")
    return path


class TestImageRewardScorer(ScorerContract):
    @pytest.fixture
    def scorer(self, folder: Path) -> Any:
        return make_scorer("image-reward", "cpu", folder=str(folder), batch_size=2)


@pytest.mark.slow
def test_the_packages_rewards(golden: Path) -> None:
    """image-reward 1.5 computed these on the same seeded weights of the full size."""
    keys = json.loads((golden / "checkpoint_keys.json").read_text())
    state = seeded({name: shape for name, (shape, dtype) in keys.items() if dtype == "torch.float32"})
    for name, (shape, dtype) in keys.items():
        if dtype == "torch.int64":
            state[name] = torch.arange(shape[-1])[None]
    assert set(state) == set(keys)
    model = build_image_reward(state, json.loads((golden / "med_config.json").read_text()))
    expected = load_file(golden / "golden.safetensors")
    tokens = expected["input_ids"], expected["attention_mask"]
    with torch.inference_mode():
        embeddings = model.embed_images(expected["pixel_values"])
        rewards = model.rewards(*tokens, embeddings)
        on_first = model.rewards(*tokens, embeddings[:1].expand(6, -1, -1))
    assert embeddings.shape == (6, 197, 1024)
    torch.testing.assert_close(rewards, expected["reward"], rtol=0, atol=1e-4)
    torch.testing.assert_close(on_first, expected["reward_all_prompts_on_image_0"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("index", [0, 3, 4, 5])
def test_the_packages_preprocessing(golden: Path, index: int) -> None:
    picture = np.asarray(Image.open(golden / f"image_{index}.png").convert("RGB"))
    expected = load_file(golden / "golden.safetensors")["pixel_values"][index].numpy()
    np.testing.assert_allclose(preprocess(picture[None], 224)[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(96, 64), (64, 97), (224, 301), (48, 48), (33, 32)])
def test_preprocessing_is_torchvisions(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms", exc_type=Exception)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    chain = transforms.Compose(
        [
            transforms.Resize(32, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    np.testing.assert_allclose(
        preprocess(image[None], 32)[0], chain(Image.fromarray(image)).numpy(), rtol=0, atol=1e-6
    )


def test_tokens_are_blips(folder: Path) -> None:
    tokenizer = load_tokenizer(folder / "vocab.txt", len(TINY_VOCABULARY) + 2)
    tokens = tokenizer("A large RED circles [ENC] [DEC] dog", padding="max_length", max_length=MAXIMUM_TOKENS)
    place = TINY_VOCABULARY.index
    words = [place(word) for word in ("a", "large", "red", "circle", "##s")]
    added = [len(TINY_VOCABULARY) + 1, len(TINY_VOCABULARY)]  # [ENC] is the last, [DEC] the one before
    ids = [place("[CLS]"), *words, *added, place("[UNK]"), place("[SEP]")]
    assert tokens.input_ids == ids + [0] * (MAXIMUM_TOKENS - len(ids))
    assert sum(tokens.attention_mask) == len(ids)


def test_prompts_are_cut_at_35_tokens(folder: Path) -> None:
    scorer = ImageRewardScorer("cpu", str(folder))
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8).repeat(4, axis=0)
    words = "red " * (MAXIMUM_TOKENS - 2)  # with [CLS] and [SEP] just 35
    scores = scorer([words, words + "circle", words + "gray small a", "red " * 32 + "circle"], images)
    np.testing.assert_allclose(scores[:3], scores[0], rtol=1e-5)
    assert abs(scores[3] - scores[0]) > 1e-3


def test_the_reward_is_normalised_and_the_prompt_and_image_both_count(folder: Path) -> None:
    state, config = tiny_image_reward()
    zero = {name: torch.zeros_like(value) for name, value in state.items() if name.startswith("mlp.")}
    model = build_image_reward({**state, **zero}, config)
    ids, mask = torch.tensor([[2, 5, 3, 0]]), torch.tensor([[1, 1, 1, 0]])
    with torch.inference_mode():
        reward = model.rewards(ids, mask, model.embed_images(torch.zeros(1, 3, 32, 32)))
    assert reward.item() == pytest.approx(-REWARD_MEAN / REWARD_STD)
    scorer = ImageRewardScorer("cpu", str(folder))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    scores = scorer(["a red circle", "a red circle", "a small gray circle"], images[[0, 1, 0]])
    assert len(set(scores.tolist())) == 3


def test_missing_files_are_named_with_the_remedy(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    remedy = r"put ImageReward.pt .*med_config.json .*vocab.txt .*ECAD_IMAGE_REWARD"
    with pytest.raises(ConfigError, match=r"nowhere.*there is no such file or folder"):
        find_files(str(tmp_path / "nowhere"))
    shutil.copy(folder / "vocab.txt", tmp_path / "vocab.txt")
    monkeypatch.setenv("ECAD_IMAGE_REWARD", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"has no ImageReward.pt, med_config.json: {remedy}") as caught:
        make_scorer("image-reward")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("ECAD_IMAGE_REWARD", str(folder))
    assert [path.name for path in find_cached_files()] == ["ImageReward.pt", "med_config.json", "vocab.txt"]


def test_without_a_connection_the_remedy_is_said(monkeypatch: Any) -> None:
    def fail(*arguments: Any, **options: Any) -> str:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.delenv("ECAD_IMAGE_REWARD", raising=False)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)
    with pytest.raises(
        ConfigError, match=r"cannot get vocab.txt of bert-base-uncased .*ECAD_IMAGE_REWARD"
    ) as caught:
        make_scorer("image-reward")
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ConfigError, match=r"ImageReward.pt, med_config.json, vocab.txt not in the hub's cache"
    ):
        find_cached_files()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ImageReward.pt", b"not a checkpoint", "ImageReward.pt is not a readable PyTorch checkpoint"),
        ("med_config.json", b"{", "cannot read .*med_config.json"),
        ("med_config.json", b"{}", "names no vocab_size"),
        (
            "vocab.txt",
            b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n",
            "vocab.txt has 8 entries .* the network has 16",
        ),
    ],
)
def test_damaged_files_are_named(
    folder: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        make_scorer("image-reward", "cpu", folder=str(tmp_path / "copy")).check(["a"], 64, 64)
    assert "\n" not in str(caught.value)


def test_another_networks_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    state, _ = tiny_image_reward()
    del state["blip.text_encoder.encoder.layer.0.crossattention.self.key.weight"]
    for wrong in ({"layer.weight": torch.zeros(2)}, state):
        torch.save(wrong, tmp_path / "copy" / "ImageReward.pt")
        with pytest.raises(ConfigError, match="does not hold ImageReward's weights") as caught:
            make_scorer("image-reward", "cpu", folder=str(tmp_path / "copy")).check(["a"], 64, 64)
        assert "\n" not in str(caught.value)
