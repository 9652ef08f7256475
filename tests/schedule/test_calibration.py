"""What a calibration suggests: masks that are best under its additive model, SmoothCache's rule, files."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecad.errors import ScheduleError
from ecad.schedule import (
    Calibration,
    ScheduleShape,
    best_masks,
    effective,
    from_genome,
    genome_length,
    heuristic,
    load_calibration,
    smooth_of_share,
    smooth_schedule,
)

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 2})


def random_calibration(seed: int = 0, shape: ScheduleShape = SHAPE) -> Calibration:
    """Distances that grow with the gap between the steps."""
    rng = np.random.default_rng(seed)
    steps = np.arange(shape.steps)
    gaps = np.abs(steps[:, None] - steps)

    def errors(*size: int) -> np.ndarray:
        table = gaps.reshape(*gaps.shape, *[1] * len(size)) * rng.uniform(0.02, 0.1, (*gaps.shape, *size))
        return np.asarray(table)

    components = {name: errors(*size[1:]) for name, size in shape.array_shapes().items()}
    return Calibration(shape, components, errors(), {"model": "toy", "images": 2})


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_the_best_of_all(seed: int) -> None:
    errors = random_calibration(seed, ScheduleShape("pixart", 8, {"transformer_blocks": 1})).output

    def cost(mask: tuple[int, ...]) -> float:
        newest = [max(step for step in mask if step <= now) for now in range(8)]
        return sum(float(errors[used, now]) for now, used in enumerate(newest) if used != now)

    masks = best_masks(errors)
    assert sorted(masks) == list(range(1, 9))
    for count, mask in masks.items():
        assert len(mask) == count
        every = [(0, *rest) for rest in combinations(range(1, 8), count - 1)]
        assert cost(mask) == pytest.approx(min(map(cost, every)))


@pytest.mark.parametrize("name", ["pixart", "flux"])
def test_errors_of_a_schedule_are_those_of_what_it_uses(name: str) -> None:
    """Against a walk through the steps that holds what is stored."""
    blocks = {
        "pixart": {"transformer_blocks": 2},
        "flux": {"transformer_blocks": 1, "single_transformer_blocks": 2},
    }
    shape = ScheduleShape(name, 6, blocks[name])
    calibration = random_calibration(3, shape)
    rng = np.random.default_rng(4)
    schedule = from_genome(rng.random(genome_length(shape)) < 0.5, shape)
    expected = np.zeros((6, 1 + sum(size[2] for size in shape.array_shapes().values())))
    newest_output, newest = 0, dict.fromkeys(np.ndindex(3, 3, 9), 0)
    for step in range(1, 6):
        if not schedule.recompute_output[step]:
            expected[step, 0] = calibration.output[newest_output, step]
            continue
        newest_output = step
        column = 1
        for number, (block_list, flags) in enumerate(schedule.recompute.items()):
            for component in range(flags.shape[2]):
                having = np.flatnonzero(shape.present[block_list][:, component])
                for block in having:
                    key = (number, int(block), component)
                    if flags[step, block, component]:
                        newest[key] = step
                    error = calibration.components[block_list][newest[key], step, block, component]
                    expected[step, column] += (newest[key] != step) * error / len(having)
                column += 1
    assert calibration.errors_of(schedule) == pytest.approx(expected)
    assert np.count_nonzero(expected) > 5
    assert not calibration.errors_of(heuristic("all", shape)).any()


def test_one_step() -> None:
    assert best_masks(np.zeros((1, 1))) == {1: (0,)}


def test_smooth_by_hand() -> None:
    """attn1's error is the gap x 0.1 in block 0 and x 0.3 in block 1; the other components never change."""
    gaps = np.abs(np.arange(6)[:, None] - np.arange(6))
    components = np.zeros((6, 6, 2, 3))
    components[:, :, 0, 0], components[:, :, 1, 0] = 0.1 * gaps, 0.3 * gaps
    calibration = Calibration(SHAPE, {"transformer_blocks": components}, 0.2 * gaps)

    def steps(alpha: float) -> list[list[int]]:
        array = smooth_schedule(calibration, alpha).recompute["transformer_blocks"]
        assert np.array_equal(array[:, 0], array[:, 1])
        return [np.flatnonzero(array[:, 0, part]).tolist() for part in range(3)]

    # The mean over the blocks is 0.2 for one step, 0.4 for two.
    assert steps(0.3) == [[0, 2, 4], [0], [0]]
    assert steps(0.5) == [[0, 3], [0], [0]]
    assert steps(0.1) == [[0, 1, 2, 3, 4, 5], [0], [0]]
    assert steps(0.0) == [[0, 1, 2, 3, 4, 5]] * 3
    assert heuristic("smooth:0.3", SHAPE, calibration) == smooth_schedule(calibration, 0.3)


def test_smooth_recomputes_what_only_feeds_another_component_with_that() -> None:
    """FLUX's single blocks: `proj_out` reads `attn` and `proj_mlp`, whose own errors say nothing about the image."""
    shape = ScheduleShape("flux", 6, {"transformer_blocks": 1, "single_transformer_blocks": 2})
    gaps = np.abs(np.arange(6)[:, None] - np.arange(6))
    components = {name: np.zeros((6, 6, *array.shape[1:])) for name, array in shape.filled(False).items()}
    parts = shape.spec.block_list("single_transformer_blocks").component_names
    components["single_transformer_blocks"][:, :, :, parts.index("proj_out")] = 0.2 * gaps[:, :, None]
    components["single_transformer_blocks"][:, :, :, parts.index("attn")] = 0.5 * gaps[:, :, None]
    schedule = smooth_schedule(Calibration(shape, components, 0.2 * gaps), 0.3)
    single = schedule.recompute["single_transformer_blocks"]
    assert [np.flatnonzero(single[:, 0, part]).tolist() for part in range(len(parts))] == [[0, 2, 4]] * 3
    assert effective(schedule) == schedule


def test_smooth_of_a_share_recomputes_no_more() -> None:
    calibration = random_calibration()
    for share in (0.2, 0.4, 0.6):
        schedule = smooth_of_share(calibration, share)
        assert schedule.recompute_fraction() <= share
        assert heuristic(schedule.name, SHAPE, calibration) == schedule
        alpha = float(schedule.name.partition(":")[2])
        assert (
            smooth_schedule(calibration, 0.95 * alpha).recompute_fraction() >= schedule.recompute_fraction()
        )
    assert smooth_of_share(calibration, 0.0).recompute_fraction() == pytest.approx(1 / 6)  # step 0 at least


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smooth:0.1", "make one with ecad calibrate --model MODEL -o FILE, and give --calibration FILE"),
        ("smooth:x", "ALPHA must be a number from 0 on"),
        ("smooth:-1", "ALPHA must be a number from 0 on"),
        ("smooth:nan", "ALPHA must be a number from 0 on"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        heuristic(text, SHAPE)


class Euler:
    """A scheduler."""


MADE_WITH: dict[str, Any] = {
    **{"model": "toy", "images": 2, "height": 16, "width": 16},
    **{"guidance_scale": 4.5, "true_cfg_scale": 1.0, "scheduler": "Euler"},
}
SETTINGS = {
    "steps": 6,
    "height": 16,
    "width": 16,
    "guidance_scale": 4.5,
    "true_cfg_scale": 1.0,
    "num_frames": 1,
}


@pytest.mark.parametrize(
    ("recorded", "here", "different"),
    [
        ({"model": "other"}, {}, "model other (here toy)"),
        ({"guidance_scale": 7}, {}, "guidance_scale 7 (here 4.5)"),
        ({"scheduler": "DDIMScheduler"}, {}, "scheduler DDIMScheduler (here Euler)"),
        ({"width": 32}, {"width": 64}, "width 32 (here 64)"),
        ({}, {"num_frames": 17}, "num_frames 1 (here 17)"),  # recorded for videos only
        ({"guidance_scale_2": 3.0}, {"guidance_scale_2": None}, "guidance_scale_2 3.0 (here none)"),
        (
            {"model": "two\nlines", "scheduler": "x" * 99},
            {},
            f"model two lines (here toy), scheduler {'x' * 60} (here Euler)",
        ),
    ],
)
def test_what_it_was_made_with_is_compared(
    recorded: dict[str, Any], here: dict[str, Any], different: str
) -> None:
    calibration = replace(random_calibration(), source={**MADE_WITH, **recorded})
    assert calibration.origin_note("toy", {**SETTINGS, **here}, Euler()) == (
        f"it was made with {different}, and how outputs change may differ here: make one with ecad calibrate"
    )


@pytest.mark.parametrize("source", [MADE_WITH, {}, {"model": None}, {"images": 9, "scheduler": "Euler"}])
def test_the_same_origin_and_none_at_all_are_not_noted(source: dict[str, Any]) -> None:
    calibration = replace(random_calibration(), source=source)
    assert calibration.origin_note("toy", SETTINGS, Euler()) is None
    assert calibration.origin_note("toy") is None


def test_a_calibration_of_another_shape_is_refused() -> None:
    with pytest.raises(ScheduleError, match="is for pixart, 6 steps.*needed is one for pixart, 7 steps"):
        heuristic("smooth:1", ScheduleShape("pixart", 7, {"transformer_blocks": 2}), random_calibration())


def test_files_keep_four_digits(tmp_path: Path) -> None:
    calibration = random_calibration()
    calibration.save(tmp_path / "new" / "c.json")
    loaded = load_calibration(tmp_path / "new" / "c.json")
    assert (loaded.shape, dict(loaded.source)) == (SHAPE, {"model": "toy", "images": 2})
    assert np.allclose(loaded.output, calibration.output, rtol=5e-4)
    blocks = "transformer_blocks"
    assert np.allclose(loaded.components[blocks], calibration.components[blocks], rtol=5e-4)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "new" / "c.json").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ecad_calibration": 9}, "not a calibration of this version"),
        ({"steps": 5}, "damaged: its numbers do not fit its shape"),
        ({"steps": None}, "damaged"),
        ({"output": [["x"]]}, "damaged"),
        ({"components": {}}, "damaged"),
        ({"output": (-np.ones((6, 6))).tolist()}, "damaged: its numbers"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**random_calibration().to_json(), **changes}))
    with pytest.raises(ScheduleError, match=message):
        load_calibration(path)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match="cannot read the calibration"):
        load_calibration(tmp_path / "absent.json")
    (tmp_path / "torn.json").write_text('{"ecad')
    with pytest.raises(ScheduleError, match="torn.json is damaged"):
        load_calibration(tmp_path / "torn.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ScheduleError, match="list.json is not a calibration"):
        load_calibration(tmp_path / "list.json")
