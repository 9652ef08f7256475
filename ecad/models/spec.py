"""Families of diffusion transformers, as data: which modules can be cached and how a family is recognised.

A new family is a new `ModelSpec` here plus its sampler in `ecad.evaluation.samplers` and its MACs in
`ecad.evaluation.cost`; schedules, caching and search are written against this description only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecad.errors import ModelError


@dataclass(frozen=True)
class Component:
    """A module inside every block of a list whose output can be stored and reused.

    `name` is the attribute of the block module; `kind` says what it computes, for heuristics that treat
    kinds differently: "self_attention", "cross_attention", "joint_attention", "feed_forward", "projection".
    `feeds` names the component of the same block that alone reads this one's output: where that one is reused,
    nobody does. None: the block itself reads the output, at every step.
    """

    name: str
    kind: str
    feeds: str | None = None


@dataclass(frozen=True)
class BlockList:
    """A list of equal blocks. `name` is the transformer's attribute (an `nn.ModuleList`)."""

    name: str
    count_key: str  # key of the transformer's config that holds the number of blocks
    components: tuple[Component, ...]  # one that feeds another comes before it

    def __post_init__(self) -> None:
        names = self.component_names
        for index, component in enumerate(self.components):
            if component.feeds is not None and component.feeds not in names[index + 1 :]:
                raise ModelError(
                    f"{self.name}: {component.name!r} must come before the component it feeds "
                    f"({component.feeds!r}), in {list(names)}"
                )

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(component.name for component in self.components)


@dataclass(frozen=True)
class ModelSpec:
    """One family: how its transformer is recognised and what can be cached in it."""

    family: str
    transformer_class: str
    block_lists: tuple[BlockList, ...]

    @property
    def block_list_names(self) -> tuple[str, ...]:
        return tuple(block_list.name for block_list in self.block_lists)

    def block_list(self, name: str) -> BlockList:
        for block_list in self.block_lists:
            if block_list.name == name:
                return block_list
        raise ModelError(
            f"family {self.family!r} has no block list {name!r}, only {list(self.block_list_names)}"
        )

    def block_counts(self, transformer_config: Mapping[str, Any]) -> dict[str, int]:
        """Number of blocks of each list, from the transformer's config."""
        try:
            return {bl.name: int(transformer_config[bl.count_key]) for bl in self.block_lists}
        except KeyError as error:
            raise ModelError(
                f"the config of a {self.transformer_class} must have the key {error.args[0]!r}"
            ) from error
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"the config of a {self.transformer_class} has a wrong number of blocks: {error}"
            ) from None


PIXART = ModelSpec(
    family="pixart",
    transformer_class="PixArtTransformer2DModel",
    block_lists=(
        BlockList(
            name="transformer_blocks",
            count_key="num_layers",
            components=(
                Component("attn1", "self_attention"),
                Component("attn2", "cross_attention"),
                Component("ff", "feed_forward"),
            ),
        ),
    ),
)

FLUX = ModelSpec(
    family="flux",
    transformer_class="FluxTransformer2DModel",
    block_lists=(
        # Double-stream blocks: attention over text and image together, then a feed-forward for each stream.
        BlockList(
            name="transformer_blocks",
            count_key="num_layers",
            components=(
                Component("attn", "joint_attention"),
                Component("ff", "feed_forward"),
                Component("ff_context", "feed_forward"),
            ),
        ),
        # Single-stream blocks: attention and MLP side by side, joined by one output projection.
        BlockList(
            name="single_transformer_blocks",
            count_key="num_single_layers",
            components=(
                Component("attn", "joint_attention", feeds="proj_out"),
                Component("proj_mlp", "projection", feeds="proj_out"),
                Component("proj_out", "projection"),
            ),
        ),
    ),
)

FAMILIES: dict[str, ModelSpec] = {spec.family: spec for spec in (PIXART, FLUX)}


def get_family(name: str) -> ModelSpec:
    """The family of this name."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise ModelError(f"unknown model family {name!r}: ecad knows {sorted(FAMILIES)}") from None


def family_of_transformer(class_name: str) -> ModelSpec:
    """The family whose transformer class has this name (a class name, for example of a `config.json`)."""
    for spec in FAMILIES.values():
        if spec.transformer_class == class_name:
            return spec
    known = sorted(spec.transformer_class for spec in FAMILIES.values())
    raise ModelError(f"ecad does not know the transformer class {class_name!r}, only {known}")
