"""Model names, families and presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecad.errors import ModelError
from ecad.models import BUNDLED, PRESETS, family_of_transformer, find_model, get_family, list_models


def test_names() -> None:
    assert find_model("pixart-alpha").location == "PixArt-alpha/PixArt-XL-2-256x256"
    assert find_model("pixart-alpha-256").name == "pixart-alpha"
    assert find_model("PixArt-alpha/PixArt-XL-2-1024-MS").name == "pixart-alpha-1024"
    mini = find_model("pixart-mini")
    assert mini.is_local
    assert Path(mini.location, "model_index.json").is_file()
    assert list_models()[0].name in BUNDLED
    unknown = find_model("somebody/some-model")
    assert (unknown.location, unknown.spec, unknown.preset) == ("somebody/some-model", None, None)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_complete(name: str) -> None:
    source = find_model(name)
    assert source.spec is not None
    counts = source.spec.block_counts(source.transformer_config or {})
    assert counts == {"transformer_blocks": 8 if name == "pixart-mini" else 28}
    assert source.preset is not None
    assert source.preset.height % (source.preset.vae_scale_factor * 2) == 0


def test_a_local_folder_is_recognised_by_its_transformer(tiny_folder: Path, tmp_path: Path) -> None:
    source = find_model(str(tiny_folder))
    assert (source.name, source.spec) == ("tiny-pixart", get_family("pixart"))
    (tmp_path / "transformer").mkdir()
    config = tmp_path / "transformer" / "config.json"
    config.write_text(json.dumps({"_class_name": "SanaTransformer2DModel"}))
    with pytest.raises(ModelError, match="'SanaTransformer2DModel', ecad knows only"):
        find_model(str(tmp_path))
    config.write_text("{")
    with pytest.raises(ModelError, match=r"config.json is not valid JSON"):
        find_model(str(tmp_path))
    config.write_text("[]")
    with pytest.raises(ModelError, match="must hold a JSON object, not a list"):
        find_model(str(tmp_path))
    config.unlink()
    with pytest.raises(ModelError, match=r"not a diffusers pipeline folder.*save_pretrained"):
        find_model(str(tmp_path))


def test_mistakes_are_named() -> None:
    with pytest.raises(ModelError, match="unknown model 'pixart-aplha'.*did you mean 'pixart-alpha'"):
        find_model("pixart-aplha")
    with pytest.raises(ModelError, match="known names: pixart-alpha"):
        find_model("x")
    with pytest.raises(ModelError, match="UNet2DConditionModel"):
        family_of_transformer("UNet2DConditionModel")
    with pytest.raises(ModelError, match="'num_layers'"):
        get_family("pixart").block_counts({})
    with pytest.raises(ModelError, match="no block list 'x'"):
        get_family("pixart").block_list("x")
