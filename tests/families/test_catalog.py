"""Model names, families and presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecad.errors import ModelError
from ecad.families import BUNDLED, PRESETS, family_of_transformer, find_model, get_family, list_models


def test_names() -> None:
    assert find_model("pixart-alpha").location == "PixArt-alpha/PixArt-XL-2-256x256"
    assert find_model("pixart-alpha-256").name == "pixart-alpha"
    assert find_model("PixArt-alpha/PixArt-XL-2-1024-MS").name == "pixart-alpha-1024"
    mini = find_model("pixart-mini")
    assert mini.is_local
    assert Path(mini.location, "model_index.json").is_file()
    assert list_models()[0].name in BUNDLED
    unknown = find_model("somebody/some-model")
    assert (unknown.location, unknown.family, unknown.preset) == ("somebody/some-model", None, None)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_complete(name: str) -> None:
    source = find_model(name)
    assert source.family is not None
    counts = source.family.block_counts(source.transformer_config or {})
    assert set(counts) == set(source.family.block_list_names)
    if source.family.name in ("pixart", "flux") and name not in BUNDLED:
        pixart, flux = {"transformer_blocks": 28}, {"transformer_blocks": 19, "single_transformer_blocks": 38}
        assert counts == (flux if source.family.name == "flux" else pixart)
    assert source.preset is not None
    assert source.template is source.preset
    assert source.preset.height % (source.preset.vae_scale_factor * 2) == 0


def test_a_local_folder_is_recognised_by_its_transformer(tiny_folder: Path, tmp_path: Path) -> None:
    source = find_model(str(tiny_folder))
    assert (source.name, source.family) == ("tiny-pixart", get_family("pixart"))
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


def pipeline_folder(folder: Path, pipeline_class: str, **transformer: object) -> Path:
    """The two small files that a model is recognised by."""
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline_class}))
    (folder / "transformer" / "config.json").write_text(json.dumps(transformer))
    return folder


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in BUNDLED])
def test_a_downloaded_preset_is_recognised(name: str, tmp_path: Path) -> None:
    """A local copy has the preset's settings; 256 and 1024 of FLUX are the same files, so the first one's."""
    preset = PRESETS[name]
    class_name = get_family(preset.family).transformer_classes[0]
    folder = pipeline_folder(
        tmp_path / "copy", preset.pipeline_class, _class_name=class_name, **preset.transformer
    )
    source = find_model(str(folder))
    assert source.preset is None
    assert source.is_template_architecture
    expected = name.removesuffix("-1024") if preset.family == "flux" else name
    assert source.template is PRESETS[expected]


def test_other_sizes_of_a_known_pipeline_have_the_settings_of_the_preset_most_alike(tmp_path: Path) -> None:
    def template(folder: str, pipeline_class: str, **config: object) -> tuple[str, bool]:
        source = find_model(str(pipeline_folder(tmp_path / folder, pipeline_class, **config)))
        assert source.template is not None
        return source.template.name, source.is_template_architecture

    pixart = {"_class_name": "PixArtTransformer2DModel", "num_layers": 3}
    flux = {"_class_name": "FluxTransformer2DModel", "num_layers": 3}
    assert template("a", "PixArtAlphaPipeline", **pixart) == ("pixart-alpha", False)
    assert template("b", "PixArtSigmaPipeline", **pixart) == ("pixart-sigma", False)
    assert template("c", "PixArtSigmaPipeline", sample_size=128, **pixart) == ("pixart-sigma-1024", False)
    assert template("d", "FluxPipeline", guidance_embeds=True, **flux) == ("flux-dev", False)
    assert template("e", "FluxPipeline", guidance_embeds=False, **flux) == ("flux-schnell", False)
    # A class that no preset has: the family alone decides.
    assert template("f", "FluxImg2ImgPipeline", guidance_embeds=True, **flux) == ("flux-dev", False)


def test_a_folder_without_its_index_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    folder = pipeline_folder(tmp_path / "x", "FluxPipeline", _class_name="FluxTransformer2DModel")
    (folder / "model_index.json").unlink()
    with pytest.raises(ModelError, match=r"not a diffusers pipeline folder: model_index.json is missing"):
        find_model(str(folder))


def test_mistakes_are_named() -> None:
    with pytest.raises(ModelError, match="unknown model 'pixart-aplha'.*did you mean 'pixart-alpha'"):
        find_model("pixart-aplha")
    with pytest.raises(ModelError, match="known names: .*pixart-alpha"):
        find_model("x")
    with pytest.raises(ModelError, match="UNet2DConditionModel"):
        family_of_transformer("UNet2DConditionModel")
    with pytest.raises(ModelError, match="'num_layers'"):
        get_family("pixart").block_counts({})
    with pytest.raises(ModelError, match="no block list 'x'"):
        get_family("pixart").block_list("x")
