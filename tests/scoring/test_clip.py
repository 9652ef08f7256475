"""The CLIP score, with open_clip's own classes on a small random model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.scorer import ScorerContract
from PIL import Image

from ecad.errors import ConfigError
from ecad.scoring import make_scorer

open_clip = pytest.importorskip("open_clip", exc_type=Exception)

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the model "ecad-tiny", which open_clip knows from here on."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "ecad-tiny.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "ecad-tiny.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("ecad-tiny").state_dict(), folder / "a+b.pt")
    return folder / "a+b.pt"


class TestClip(ScorerContract):
    @pytest.fixture
    def scorer(self, checkpoint: Path) -> Any:
        return make_scorer(f"clip:ecad-tiny/{checkpoint}", "cpu", batch_size=2)

    def test_it_is_100_times_the_cosine(self, scorer: Any, given: Any, checkpoint: Path) -> None:
        prompts, images, _ = given
        model, preprocess = open_clip.create_model_from_pretrained("ecad-tiny", str(checkpoint))
        tokens = open_clip.get_tokenizer("ecad-tiny")(prompts)
        with torch.inference_mode():
            for index, score in enumerate(scorer(prompts, images)):
                image = model.encode_image(preprocess(Image.fromarray(images[index]))[None])
                text = model.encode_text(tokens[index : index + 1])
                cosine = torch.nn.functional.cosine_similarity(image, text).item()
                assert score == pytest.approx(100 * cosine, abs=1e-3)
        assert scorer.name == f"clip:ecad-tiny/{checkpoint}"

    def test_prompts_are_cut_at_the_models_context(self, scorer: Any, given: Any) -> None:
        _, images, _ = given
        words = "red " * 10  # with the start and end tokens 12
        same = images[[0, 0, 0]]
        scores = scorer([words, words + "circle on white", "red " * 9 + "circle"], same)
        assert scores[0] == scores[1]
        assert scores[2] != scores[0]


def test_unknown_models_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"open_clip has no model 'ViT-Z'.*clip:ViT-B-32/openai"):
        make_scorer("clip:ViT-Z/openai")
    with pytest.raises(ConfigError, match=r"'nobody' is neither a checkpoint file nor one of .*openai"):
        make_scorer("clip:ViT-B-32/nobody")
    with pytest.raises(
        ConfigError, match=r"'' is neither a checkpoint file nor one of the weights of ecad-tiny"
    ):
        make_scorer("clip:ecad-tiny")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"cannot load clip:ecad-tiny/.*broken.pt") as caught:
        make_scorer(f"clip:ecad-tiny/{tmp_path / 'broken.pt'}", "cpu").check([], 64, 64)
    assert "\n" not in str(caught.value)


def test_without_a_connection_the_remedy_is_said(monkeypatch: Any, caplog: Any) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        logging.error("cannot download")  # open_clip does, on the root logger: a second line for the user
        raise OSError("no route to host\nand more that nobody needs")

    monkeypatch.setattr("open_clip.create_model_from_pretrained", fail)
    monkeypatch.setattr("ecad.hub.why_away", lambda: None)  # it answers at first
    with pytest.raises(
        ConfigError,
        match=r"cannot load clip \(OSError: no route to host\): download open_clip_model.safetensors of the hub's "
        r"timm/vit_base_patch32_clip_224.openai on .*clip:ViT-B-32/PATH",
    ):
        make_scorer("clip").check([], 64, 64)
    with pytest.raises(ConfigError, match=r"cannot load clip:hf-hub:a/b .* as clip:local-dir:FOLDER"):
        make_scorer("clip:hf-hub:a/b").check([], 64, 64)
    assert caplog.text == ""
    logging.getLogger(__name__).error("heard")  # nothing stays silent
    assert "heard" in caplog.text
