"""What the presets of the minis have in common: the small trained models that ship with ecad."""

from __future__ import annotations

from ecad.families.family import Preset, frozen


def mini_preset(
    name: str,
    family: str,
    pipeline_class: str,
    *,
    guidance_scale: float,
    population: int,
    search_prompts: int,
    selection_prompts: int,
    heldout_prompts: int,
) -> Preset:
    """The preset of the mini in `minis/NAME`, for a CPU: so large that ten generations take about ten minutes on two
    cores."""
    return Preset(
        name=name,
        family=family,
        source=None,
        pipeline_class=pipeline_class,
        steps=20,
        guidance_scale=guidance_scale,
        height=64,
        width=64,
        dtype="float32",
        max_sequence_length=24,  # the longest caption has 17 or, with CLIP's start token, 18 tokens
        vae_scale_factor=4,
        search=frozen(
            {
                "population": population,
                "quality": "alignment",
                "prompts": "scenes-search",
                "prompts_limit": search_prompts,
                "selection_limit": selection_prompts,
                "heldout_prompts": "scenes-heldout",
                "heldout_limit": heldout_prompts,
                "batch_size": 8,
            }
        ),
        note="a small trained model that ships with ecad; draws simple scenes, made to try ecad on a CPU",
    )
