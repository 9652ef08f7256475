"""Which of the components that a schedule recomputes really run: those whose output something reads."""

from __future__ import annotations

from ecad.schedule.schedule import BoolArray, Schedule

# family -> (block list, components that only the reader reads, reader). FLUX single-stream attention and MLP
# projection feed nothing but the block's output projection.
_READ_ONLY_BY: dict[str, tuple[str, tuple[str, ...], str]] = {
    "flux": ("single_transformer_blocks", ("attn", "proj_mlp"), "proj_out"),
}


def executed(schedule: Schedule) -> Schedule:
    """The schedule that gives the same images without computing what nothing reads.

    An output computed in step t is overwritten in the next step t' that recomputes its component (or never). It
    is read if and only if the reader is recomputed in some step u with t <= u < t'.
    """
    if schedule.family not in _READ_ONLY_BY:
        return schedule
    list_name, feeding, reader = _READ_ONLY_BY[schedule.family]
    names = schedule.spec.block_list(list_name).component_names
    array = schedule.recompute[list_name].copy()
    reads = array[:, :, names.index(reader)]
    for name in feeding:
        index = names.index(name)
        array[:, :, index] &= _read_before_overwritten(array[:, :, index], reads)
    return schedule.replace(recompute={**schedule.recompute, list_name: array})


def _read_before_overwritten(writes: BoolArray, reads: BoolArray) -> BoolArray:
    """Whether a value stored in this step would be read before the next write; all of shape (steps, blocks)."""
    live = reads.copy()
    for step in range(len(live) - 2, -1, -1):
        # Not read now: then it must survive this step, which it does where the next step does not overwrite it.
        live[step] |= live[step + 1] & ~writes[step + 1]
    return live
