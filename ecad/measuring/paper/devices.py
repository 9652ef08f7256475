"""GPUs by what decides the time of a kernel."""

from __future__ import annotations

from dataclasses import dataclass

from ecad.errors import ConfigError

# Fused attention reaches this share of what matrix products do.
ATTENTION_SHARE = 0.6


@dataclass(frozen=True)
class PaperDevice:
    """What a GPU sustains, which is less than what is advertised: FLOP/s in 16 bits, bytes/s, seconds per launch."""

    name: str
    flops_per_s: float
    bytes_per_s: float
    launch_s: float

    def seconds(self, flops: float, moved_bytes: float) -> float:
        """Of one kernel, by the roofline model: bound by arithmetic, by memory, or by being launched at all.

        Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009.
        """
        return max(flops / self.flops_per_s, moved_bytes / self.bytes_per_s, self.launch_s)


# With the A6000's, PixArt-256 and FLUX-256 come out as the official implementation measured them, within 3 and 12 %;
# the H100's were not held against a measurement.
DEVICES = {
    device.name: device
    for device in (
        PaperDevice("A6000", 110e12, 0.68e12, 5e-6),
        PaperDevice("H100", 600e12, 2.8e12, 4e-6),
    )
}


PAPER = "paper:"
_COMPILED = ":compiled"


@dataclass(frozen=True)
class PaperCost:
    """`paper:H100` or `paper:H100:compiled`, as a search takes it for what a schedule costs."""

    device: PaperDevice
    is_compiled: bool


def is_paper(text: str) -> bool:
    return text.startswith(PAPER)


def paper_cost(text: str) -> PaperCost:
    """ConfigError unless it names a known device."""
    name = text.removeprefix(PAPER)
    return PaperCost(paper_device(name.removesuffix(_COMPILED)), name.endswith(_COMPILED))


def paper_device(name: str) -> PaperDevice:
    """By its name, in any case; ConfigError for others."""
    known = {each.lower(): device for each, device in DEVICES.items()}
    if name.lower() not in known:
        raise ConfigError(f"time on paper is known for {', '.join(DEVICES)}, not for {name!r}")
    return known[name.lower()]
