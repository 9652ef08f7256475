"""Notes where a schedule is used on another model than the one it was learnt on."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

import ecad
from ecad.families import PRESETS
from ecad.families.recognition import Evidence, fitting_presets
from ecad.schedule import ScheduleShape, heuristic
from ecad.schedule.transfer import transfer_note

ALPHA = heuristic("fora:2", ScheduleShape("pixart", 20, {"transformer_blocks": 28})).replace(
    model={"name": "pixart-alpha", "height": 256, "width": 256}
)


def test_note() -> None:
    note = transfer_note(ALPHA, "pixart-sigma", ["pixart-sigma"])
    assert note is not None
    assert "learnt on pixart-alpha (256 x 256 pixels) and is used on pixart-sigma" in note
    assert transfer_note(ALPHA, "pixart-alpha") is None
    assert transfer_note(ALPHA, "either", ["pixart-sigma", "pixart-alpha"]) is None
    for name in (None, "", 5):
        assert transfer_note(ALPHA.replace(model={"name": name}), "pixart-sigma") is None


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].source is not None])
def test_presets_recognise_themselves(name: str) -> None:
    preset = PRESETS[name]
    config = {**preset.transformer, "dropout": 0.0, "_class_name": "x"}
    evidence = Evidence(preset.family, pipeline_class=preset.pipeline_class, transformer=config)
    found = [each.name for each in fitting_presets(evidence)]
    # Several with the same architecture: FLUX at every resolution, Z-Image and its distilled Turbo.
    expected = [
        each.name
        for each in PRESETS.values()
        if (each.pipeline_class, each.transformer) == (preset.pipeline_class, preset.transformer)
    ]
    assert found == expected


def test_apply_logs_the_note(tiny_pipe: Any, caplog: pytest.LogCaptureFixture) -> None:
    schedule = heuristic("fora:2", ScheduleShape("pixart", 6, {"transformer_blocks": 3})).replace(
        model={"name": "pixart-alpha"}
    )
    with caplog.at_level(logging.INFO, logger="ecad"):
        with ecad.applied(tiny_pipe, schedule):
            pass
        assert caplog.messages == []  # a pipeline that was put together by hand: nobody knows what it is
        tiny_pipe.register_to_config(_name_or_path="somewhere/tiny")
        with ecad.applied(tiny_pipe, schedule.replace(model={"name": "tiny"})):
            pass
        assert caplog.messages == []
        with ecad.applied(tiny_pipe, schedule):
            pass
    assert len(caplog.messages) == 1
    assert "learnt on pixart-alpha and is used on tiny" in caplog.messages[0]


def names(**evidence: Any) -> list[str]:
    return [preset.name for preset in fitting_presets(Evidence(**evidence))]


def test_names_are_the_last_part_of_whatever_they_are_in() -> None:
    """As files of the official implementation have them: a hub id, a path, an alias, the most exact first."""
    assert names(family="pixart", names=["PixArt-alpha/PixArt-XL-2-512x512"]) == ["pixart-alpha-512"]
    assert names(family="pixart", names=["/data/PixArt_XL_2_1024_MS/"]) == ["pixart-alpha-1024"]
    assert names(family="pixart", names=[None, "", "pixart-sigma-256"]) == ["pixart-sigma"]
    assert names(family="pixart", names=["unheard-of", "PixArtSigmaPipeline"]) == [
        "pixart-sigma",
        "pixart-sigma-512",
        "pixart-sigma-1024",
    ]
    # A name that nobody knows is no evidence for anything.
    assert names(family="pixart", names=["unheard-of"]) == names(family="flux", names=[]) == []


def test_a_size_orders_and_decides_nothing() -> None:
    flux = ["flux-dev", "flux-dev-1024", "flux-schnell", "flux-schnell-1024", "flux-mini"]
    assert names(family="flux") == flux
    assert names(family="flux", size=(1024, 1024)) == sorted(flux, key=lambda name: not name.endswith("1024"))
    assert names(family="flux", names=["FLUX.1-dev"], size=(1024, 1024)) == ["flux-dev-1024", "flux-dev"]


def test_blocks_and_numbers_speak_against_presets() -> None:
    assert names(family="pixart", blocks={"transformer_blocks": 28}, size=(512, 512))[0] == "pixart-alpha-512"
    assert "pixart-mini" not in names(family="pixart", blocks={"transformer_blocks": 28})
    assert names(family="pixart", blocks={"transformer_blocks": 5}) == []
    assert names(family="flux", transformer={"guidance_embeds": False})[:1] == ["flux-schnell"]
    assert names(family="flux", transformer={"guidance_embeds": None, "unheard_of": 1})[0] == "flux-dev"


def test_nothing_speaks_against_a_preset_of_which_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = replace(PRESETS["pixart-sigma"], name="unknown", aliases=(), source="a/unknown", transformer={})
    monkeypatch.setitem(PRESETS, "unknown", unknown)
    assert "unknown" in names(family="pixart", blocks={"transformer_blocks": 5})
    assert names(family="pixart", names=["a/unknown"], transformer={"num_layers": 5}) == ["unknown"]


def test_the_class_of_another_preset_speaks_against_one() -> None:
    assert names(family="pixart", pipeline_class="PixArtSigmaPipeline")[0] == "pixart-sigma"
    assert "pixart-alpha" not in names(family="pixart", pipeline_class="PixArtSigmaPipeline")
    # One that no preset has says nothing.
    assert names(family="flux", pipeline_class="FluxImg2ImgPipeline") == names(family="flux")
