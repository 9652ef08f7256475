"""How images are made: what a user may ask for, and the settings that follow for a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from ecad.families import ModelSource
from ecad.families.workload import native_size

# Held-out seeds start here, far above a search's, so that the two never share a noise.
HELDOUT_FIRST_SEED = 1_000_000_000

# Of a model that no preset is like.
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE_SCALE = 4.5


@dataclass(frozen=True)
class ModelChoice:
    """Which model, where and how it is loaded. `model` is a preset name, a local folder or a hub id."""

    model: str
    device: str = "auto"
    dtype: str = "auto"
    device_map: str | None = None
    embedding_cache: bool = True


@dataclass(frozen=True)
class Overrides:
    """What a user asks for; None: what the model's authors recommend."""

    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    height: int | None = None  # pixels
    width: int | None = None
    num_frames: int | None = None
    guidance_scale_2: float | None = None


@dataclass(frozen=True)
class GenerationSettings:
    """How images are made: steps, guidance scale, size in pixels, text tokens that prompts are padded to.

    `true_cfg_scale` above 1 gives FLUX and its like a second forward a step, of the empty prompt. With `levels` (step
    numbers, 0 first) only these steps' noise levels are used, as many steps as there are levels. `num_frames` is 1 for
    images, `guidance_scale_2` of a pipeline with two transformers the second one's (None: the same).
    """

    steps: int
    guidance_scale: float
    height: int
    width: int
    max_sequence_length: int
    true_cfg_scale: float = 1.0
    levels: tuple[int, ...] | None = None
    num_frames: int = 1
    guidance_scale_2: float | None = None

    def with_overrides(self, overrides: Overrides) -> GenerationSettings:
        """These settings, but for what the user asks for."""
        return replace(
            self, **{name: value for name, value in asdict(overrides).items() if value is not None}
        )


def settings_for(source: ModelSource, overrides: Overrides | None = None) -> GenerationSettings:
    """The recommendations of the preset, or for other models of the preset most like it (at the size the model was
    made for), with what the user asks for in their place. ModelError if the architecture is not known yet."""
    family, config = source.architecture()
    template = source.template
    if template is None:
        given = overrides or Overrides()
        # Only for a side that nobody gives: not every model says for which size it was made.
        height, width = (side or native_size(source) for side in (given.height, given.width))
        tokens = family.sizes.text_tokens
        frames = family.sizes.num_frames
        base = GenerationSettings(
            DEFAULT_STEPS, DEFAULT_GUIDANCE_SCALE, height, width, tokens, num_frames=frames
        )
    else:
        height, width = template.height, template.width
        # A FLUX transformer is made for all sizes (it has no sample_size): then the template's holds.
        has_size = config.get("sample_size") is not None
        if source.preset is None and has_size and not source.is_template_architecture:
            height = width = native_size(source)
        base = GenerationSettings(
            template.steps,
            template.guidance_scale,
            height,
            width,
            template.max_sequence_length,
            template.true_cfg_scale,
            num_frames=template.num_frames,
            guidance_scale_2=template.guidance_scale_2,
        )
    return base.with_overrides(overrides or Overrides())
