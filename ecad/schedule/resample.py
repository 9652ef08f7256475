"""A schedule's pattern over another number of steps."""

from __future__ import annotations

import numpy as np

from ecad.arrays import BoolArray


def resample_steps(recompute: BoolArray, steps: int) -> BoolArray:
    """The same pattern over relative time: from shape (S, blocks, components) to (steps, blocks, components).

    Both trajectories are laid on the unit interval. An old step s recomputes on all of [s/S, (s+1)/S), and a new
    step t of N covers [t/N, (t+1)/N). For each block and component separately, M(t) is the number of new steps'
    worth of recomputing that lies before t/N:

        M(t) = N * measure of the recomputed part of [0, t/N)

    and new step t recomputes if and only if ceil(M(t+1)) > ceil(M(t)): as soon as a part of a recompute begins
    that earlier steps have not paid for. (The one-dimensional error diffusion of image halftoning.) Hence:

    - a component recomputes ceil(N * k / S) times, with k its recomputes among the S old steps: its share of the
      compute stays, but for less than one step;
    - as many steps as before: the same schedule; step 0 always recomputes, since the old one does;
    - an integer multiple N = m S: every flag is repeated m times;
    - where the old schedule reuses throughout the time of a new step, the new one reuses too.

    Taking the flag at the nearest old position instead would keep none of the share when steps are left out:
    from 20 to 10 steps, "every 2nd step" would become "every step" or "never".
    """
    old_steps = recompute.shape[0]
    # Old recomputes before each old step, shape (S + 1, blocks, components).
    before = np.concatenate([np.zeros_like(recompute[:1], dtype=np.int64), np.cumsum(recompute, axis=0)])
    flags = np.concatenate([recompute, np.zeros_like(recompute[:1])])  # a flag after the end, never counted
    # t/N = (whole + rest/N) / S in old steps, all in integers: S * M(t) = N * before[whole] + rest * flags[whole].
    whole, rest = np.divmod(np.arange(steps + 1) * old_steps, steps)
    scaled = steps * before[whole] + rest[:, None, None] * flags[whole]
    rounded_up = -(-scaled // old_steps)
    result: BoolArray = rounded_up[1:] > rounded_up[:-1]
    return result
