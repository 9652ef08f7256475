"""What a family of diffusion transformers is, as plain data: one `Family` per file of this folder describes one.

Schedules, caching, sampling and search are written against this description only. Nothing here knows torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ecad.errors import ModelError

# (block list, component) -> a number for one execution, all rows: the same in all blocks that have the component, or
# one for each block where they differ (0 in those that lack it).
ComponentNumbers = Mapping[tuple[str, str], int | tuple[int, ...]]

# Key that ecad adds to a loaded transformer's config: number of blocks of each list, for families without `count_key`.
COUNTED_BLOCKS = "_ecad_blocks"


def frozen(values: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """A read-only copy."""
    return MappingProxyType(dict(values or {}))


@dataclass(frozen=True)
class Component:
    """A module inside every block of a list whose output can be stored and reused.

    `name` is the block's attribute (dotted if it lies deeper). `kind` says what it computes, for heuristics that
    treat kinds differently: "self_attention", "cross_attention", "joint_attention", "feed_forward", "projection".
    `feeds` names the component of the same block that alone reads this one's output: where that one is reused, nobody
    does. None: the block itself reads the output, at every step. `missing_in` are the blocks that do not have it,
    counted from the end where negative (SD3's last block has no `ff_context`: -1). `calls` is how often a block calls
    it in one forward, at most (CogView4's `ff`: for the image and for the text): the calls go by their order, each has
    an output of its own, and one decision is for all of them. `is_optional`: blocks of some models have None in its
    place (EasyAnimate's `txt_ff`), and what a schedule says of it there means nothing. Without `in_every_pass` a
    forward may do without it (LTX-2's attention from audio to video, in a pass of guidance that keeps the two apart).
    """

    name: str
    kind: str
    feeds: str | None = None
    missing_in: tuple[int, ...] = ()
    calls: int = 1
    in_every_pass: bool = True
    is_optional: bool = False

    def __post_init__(self) -> None:
        if self.calls < 1:
            raise ModelError(
                f"component {self.name!r} must be called at least once a forward, not {self.calls} times"
            )

    def is_in(self, block: int, blocks: int) -> bool:
        """Whether block number `block` of `blocks` has it."""
        return block not in self.missing_in and block - blocks not in self.missing_in


@lru_cache(maxsize=256)  # a search asks for the same few thousands of times in each generation
def _present(components: tuple[Component, ...], blocks: int) -> tuple[tuple[bool, ...], ...]:
    return tuple(tuple(component.is_in(block, blocks) for component in components) for block in range(blocks))


class OfficialNames(NamedTuple):
    """How files of the official ECAD implementation name a block list: see `ecad.schedule.files.official`."""

    count_key: str
    prefix: str  # of a block's key
    components: tuple[str, ...]  # in the order of our components


@dataclass(frozen=True)
class BlockList:
    """A list of blocks with the same components.

    `name` is the transformer's attribute (an `nn.ModuleList`). Where the blocks lie elsewhere, `path` says so: the
    dotted path of a block with `*` in the place of its number (HiDream: "double_stream_blocks.*.block"). `sums_up`: the
    gates are a table of the block plus an embedding that all share, see `ecad.schedule.summed`; its components are then
    self-attention, cross-attention and feed-forward. `is_optional`: only those blocks at the path count that have the
    first component, and there may be none (the second attention in Stable Diffusion 3.5's first blocks).
    """

    name: str
    count_key: (
        str  # key of the transformer's config that holds the number of blocks, or a list of their numbers
    )
    components: tuple[Component, ...]  # one that feeds another comes before it
    path: str = ""
    official: OfficialNames | None = None
    sums_up: bool = False
    is_optional: bool = False

    def __post_init__(self) -> None:
        names = self.component_names
        for index, component in enumerate(self.components):
            if component.feeds is not None and component.feeds not in names[index + 1 :]:
                raise ModelError(
                    f"{self.name}: {component.name!r} must come before the component it feeds "
                    f"({component.feeds!r}), in {list(names)}"
                )
            consumer = None if component.feeds is None else self.components[names.index(component.feeds)]
            if consumer is not None and not set(consumer.missing_in) <= set(component.missing_in):
                raise ModelError(
                    f"{self.name}: {component.name!r} feeds {consumer.name!r}, and so must be missing in every block "
                    f"in which that is: {list(consumer.missing_in)}"
                )
        if self.path and self.path.split(".").count("*") != 1:
            raise ModelError(f"{self.name}: the path {self.path!r} must have one * for a block's number")

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(component.name for component in self.components)

    def present(self, blocks: int) -> tuple[tuple[bool, ...], ...]:
        """[block][component]: whether the block has it."""
        return _present(self.components, blocks)

    def count_in(self, transformer_config: Mapping[str, Any]) -> int:
        """Number of blocks, from the transformer's config; KeyError, TypeError or ValueError for what is none."""
        if self.is_optional and transformer_config.get(self.count_key) is None:
            return 0
        value = transformer_config[self.count_key]
        return len(value) if isinstance(value, (list, tuple)) else int(value)

    def count_of(self, component: str, blocks: int) -> int:
        """How many of `blocks` blocks have the component."""
        index = self.component_names.index(component)
        return sum(row[index] for row in self.present(blocks))

    def by_block(self, component: str, numbers: int | tuple[int, ...], blocks: int) -> list[int]:
        """A component's number in each of `blocks` blocks, 0 where it is missing; see `ComponentNumbers`."""
        index = self.component_names.index(component)
        if isinstance(numbers, int):
            return [numbers * row[index] for row in self.present(blocks)]
        if len(numbers) != blocks:
            raise ModelError(
                f"{self.name}: there are {len(numbers)} numbers for {component!r}, but {blocks} blocks"
            )
        return [number * row[index] for number, row in zip(numbers, self.present(blocks), strict=True)]


@dataclass(frozen=True)
class TakeOver:
    """Two transformers that take turns in a call: the second one has the less noisy steps (Wan 2.2).

    Those are the timesteps below `boundary_ratio` of the timesteps of training; `scheduler` is the config of the
    pipeline's scheduler, with its `_class_name`, which says what timesteps there are.
    """

    boundary_ratio: float
    scheduler: Mapping[str, Any]


@dataclass(frozen=True)
class Preset:
    """A model by name, with the settings its authors recommend.

    `source` is a hub id, or None for a mini bundled with ecad. Where the transformer lives in a repository of
    its own, `transformer_source` names it. `height` and `width` are pixels; `max_sequence_length` is the number
    of text tokens that every prompt is padded to. `transformer` holds the architecture's numbers (a subset of
    the transformer's `config.json`), so that costs can be computed without any weights. `search` holds settings of
    a search (see `ecad.searching.settings`), `aliases` are further names for `--model`. Of a video model `num_frames`
    is the number of frames, and `vae_temporal_factor` how many of them (after the first) the VAE makes one latent
    frame.
    """

    name: str
    family: str
    source: str | None
    pipeline_class: str
    steps: int
    guidance_scale: float
    height: int
    width: int
    dtype: str
    max_sequence_length: int
    vae_scale_factor: int = 8
    num_frames: int = 1
    vae_temporal_factor: int = 1
    transformer_source: str | None = None
    transformer: Mapping[str, Any] = field(default_factory=frozen)
    search: Mapping[str, Any] = field(default_factory=frozen)
    aliases: tuple[str, ...] = ()
    note: str = ""
    true_cfg_scale: float = 1.0  # of families whose `guidance_setting` it is
    guidance_scale_2: float | None = None  # of the second transformer, where there are two; None: the same
    take_over: TakeOver | None = None


@dataclass(frozen=True)
class Workload:
    """What one denoising step of one image or video processes.

    `rows` is the number of rows that pass the transformer for one image: 2 with classifier-free guidance (in one
    forward or in two, which costs the same), else 1. `image_tokens` and `text_tokens` are per row, those of a video are
    all frames'. `transformer` holds the numbers of its config. The steps are the schedule's. Where another transformer
    takes over, that one computes everything in its first step.
    """

    family: str
    transformer: Mapping[str, Any]
    height: int  # pixels
    width: int  # pixels
    latent_height: int  # what the VAE makes of the pixels
    latent_width: int
    image_tokens: int
    text_tokens: int
    rows: int
    num_frames: int = 1
    latent_frames: int = 1
    take_over: TakeOver | None = None


@dataclass(frozen=True)
class CountedWorkload:
    """The same of a family without formulas: what torch counted in one denoising step of one image.

    MACs and numbers in the output are those of one execution of each component, `constant_macs` those of a step
    outside of them, all for all rows.
    """

    family: str
    transformer: Mapping[str, Any]
    component_macs: ComponentNumbers
    constant_macs: int
    output_values: ComponentNumbers
    whole_output_values: int = 0
    take_over: TakeOver | None = None


class StepMacs(NamedTuple):
    """MACs of one execution of each component (all its calls), and of one step outside of them; for all rows."""

    components: ComponentNumbers
    constant: int


@dataclass(frozen=True)
class Formulas:
    """What a family costs, from its config: exact integers, without weights and without torch.

    `macs(workload, is_paper)` counts as the ECAD paper does if asked to (see `ecad.measuring.macs`).
    `output_values` are the numbers in the output of one execution of each component, for all rows,
    `whole_output_values` those in the transformer's own output.
    """

    macs: Callable[[Workload, bool], StepMacs]
    output_values: Callable[[Workload], ComponentNumbers]
    whole_output_values: Callable[[Workload], int]


@dataclass(frozen=True)
class Sizes:
    """What the family's pipelines do where neither preset nor config says otherwise (defaults of diffusers)."""

    text_tokens: int  # per prompt, padded; where `pads_text` is False, of the prompt that costs are told for
    latents_per_token: int | None = (
        None  # latent pixels of an image token, each way; None: config's patch_size
    )
    sample_size: int | None = None  # native latent height and width; None: config's sample_size
    further_text_tokens: int = 0  # that the transformer sees beside those of `max_sequence_length`
    pads_text: bool = (
        True  # to `max_sequence_length`; False: that is only the longest, a prompt has what it has
    )
    num_frames: int = 1  # of a video


@dataclass(frozen=True)
class Family:
    """One family: how its transformers are recognised, what can be cached in them, and what that costs.

    `guidance_setting` is the setting that, above `guided_above`, makes the transformer work on two rows per image and
    step: "guidance_scale" (classifier-free guidance) or "true_cfg_scale" (where guidance_scale is an input of the
    model). Without `formulas` the costs are counted by torch once a model is loaded.
    """

    name: str
    transformer_classes: tuple[str, ...]
    block_lists: tuple[BlockList, ...]
    sizes: Sizes
    presets: tuple[Preset, ...] = ()
    guidance_setting: Literal["guidance_scale", "true_cfg_scale"] = "guidance_scale"
    guided_above: float = 1.0
    formulas: Formulas | None = None

    @property
    def block_list_names(self) -> tuple[str, ...]:
        return tuple(block_list.name for block_list in self.block_lists)

    @property
    def level(self) -> Literal["complete", "known"]:
        """Complete: its costs are known from the config alone, and models of it by name with their settings."""
        return "complete" if self.formulas is not None and self.presets else "known"

    @property
    def sums_up(self) -> bool:
        """Whether stretches of reused blocks of one of its lists can be read as sums."""
        return any(block_list.sums_up for block_list in self.block_lists)

    @property
    def has_own_resolution(self) -> bool:
        """Whether each of its transformers is made for one image size, which its config names."""
        return self.sizes.sample_size is None

    def has_guidance_rows(self, transformer_config: Mapping[str, Any], value: float | None = None) -> bool:
        """Whether a `guidance_setting` of this value gives two rows; None: of what its pipelines do by themselves."""
        is_scale = self.guidance_setting == "guidance_scale"
        if is_scale and transformer_config.get("guidance_embeds"):  # distilled: the scale is an input
            return False
        return is_scale if value is None else value > self.guided_above

    @property
    def makes_videos(self) -> bool:
        return self.sizes.num_frames > 1

    def block_list(self, name: str) -> BlockList:
        for block_list in self.block_lists:
            if block_list.name == name:
                return block_list
        raise ModelError(
            f"family {self.name!r} has no block list {name!r}, only {list(self.block_list_names)}"
        )

    def block_counts(self, transformer_config: Mapping[str, Any]) -> dict[str, int]:
        """Number of blocks of each list, from the transformer's config; see `COUNTED_BLOCKS` for what that lacks."""
        kind = " or ".join(self.transformer_classes)
        if not all(each.count_key for each in self.block_lists):
            return self._counted_blocks(transformer_config, kind)
        try:
            return {each.name: each.count_in(transformer_config) for each in self.block_lists}
        except KeyError as error:
            raise ModelError(f"the config of a {kind} must have the key {error.args[0]!r}") from error
        except (TypeError, ValueError) as error:
            raise ModelError(f"the config of a {kind} has a wrong number of blocks: {error}") from None

    def _counted_blocks(self, transformer_config: Mapping[str, Any], kind: str) -> dict[str, int]:
        counted = transformer_config.get(COUNTED_BLOCKS)
        if not isinstance(counted, Mapping) or set(counted) != set(self.block_list_names):
            unknown = next(each.name for each in self.block_lists if not each.count_key)
            raise ModelError(
                f"the config of a {kind} does not say how many {unknown} it has; that is known once the model is "
                "loaded: use ecad search, evaluate, generate or calibrate"
            )
        return dict(counted)
