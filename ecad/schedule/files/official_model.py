"""Which preset a schedule of the official ECAD implementation was made for, as far as its config says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecad.families import get_family
from ecad.families.recognition import Evidence, fitting_presets

_WEIGHTS_KEYS = ("transformer_weights", "pipeline")  # the more exact one first


def model_of_config(family: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """`Schedule.model` of an official file: name, height and width in pixels, each only where it is known.

    A PixArt transformer has a resolution of its own, so it follows from the weights' name and not from the
    config's height and width. A FLUX transformer serves all resolutions, so there the config decides.
    """
    names = [config.get(key) for key in _WEIGHTS_KEYS]
    if get_family(family).has_own_resolution:
        presets = fitting_presets(Evidence(family, names))
        if len(presets) != 1:
            return {}
        return {"name": presets[0].name, "height": presets[0].height, "width": presets[0].width}
    sizes = {key: config[key] for key in ("height", "width") if type(config.get(key)) is int}
    size = (sizes["height"], sizes["width"]) if len(sizes) == 2 else None
    presets = fitting_presets(Evidence(family, names, size=size))
    return {"name": presets[0].name, **sizes} if presets else sizes
