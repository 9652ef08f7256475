"""Hand-made masks of whole steps, run by ecad.

Reused are components (`mask`), the whole output (`output`), or the clean sample that it predicted (`denoised`).
"""

from __future__ import annotations

from bench import Bench
from peer import Setting

from methods.schedules import rows

NAME = "step mask by hand"
_TEXTS = {
    "flux-mini": ("output:0,1,2,5,10,15", "mask:0,1,2,6,12"),
    "pixart-mini": (
        "output:0,2,6,10,12,18",
        "mask:0,2,4,7,10,13,16",
        "denoised:0,2,6,10,12,18",
        "denoised:0,2,6,10,14,18",
    ),
}


def settings(bench: Bench, front: str | None) -> list[Setting]:
    return rows(bench, _TEXTS[bench.model])
