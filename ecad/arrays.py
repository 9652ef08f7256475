"""The arrays that all rooms hand to each other, by name: what their axes are and what a value means."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]  # of a schedule: (steps, blocks, components), True recomputes
Images = npt.NDArray[np.uint8]  # (n, height, width, 3), RGB; of videos (n, frames, height, width, 3)
Scores = npt.NDArray[np.float64]  # (n,): one score per image
FloatArray = npt.NDArray[np.floating[Any]]
