"""Complete video families, each from the command line on a tiny local pipeline: calibrate, search, apply, generate."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.toys import Contrast, metric
from PIL import Image

import ecad
from ecad.schedule import heuristic, load_schedule

# File in tests/tiny_pipelines, and options of its pipeline.
PIPELINES = {
    "wan": {},
    "wan-2.2": {"two_transformers": True},
    "ltx": {},
    "cogvideox": {},
    "hunyuan_video": {},
}

# The second transformer's first step computes everything, whatever a schedule says: there must be others.
STEPS = {"wan-2.2": (8, 1.05)}


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object, exit_code: int = 0) -> None:
    from ecad.cli.main import main

    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == exit_code


@pytest.mark.parametrize("name", PIPELINES)
def test_a_family_is_calibrated_searched_applied_and_generated(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    family = name.partition("-")[0]
    steps, speedup = STEPS.get(name, (4, 1.1))
    tiny = import_module(f"tiny_pipelines.{family}")
    pipe, folder = tiny.build(**PIPELINES[name]), tmp_path / f"tiny-{name}"
    pipe.save_pretrained(folder)
    (tmp_path / "search.txt").write_text("a red bicycle\n")
    (tmp_path / "heldout.txt").write_text("a harbour at night\n")
    size = [part for key, value in tiny.SIZE.items() for part in ("--" + key.replace("_", "-"), str(value))]
    common = ("--model", folder, "--steps", steps, *size, "--device", "cpu")
    prompts = ("--prompts", tmp_path / "search.txt")
    command(monkeypatch, "calibrate", *common, *prompts, "-o", tmp_path / "c.json")
    command(
        monkeypatch,
        *("search", *common, *prompts, "--calibration", tmp_path / "c.json", "--workers", "none"),
        *(
            "--generations",
            2,
            "--population",
            8 if name == "wan-2.2" else 4,
            "--quality",
            "psnr",
            "--batch-size",
            1,
        ),
        *("--heldout-prompts", tmp_path / "heldout.txt", "--out", tmp_path / "run"),
        *(("--summed-runs",) if name == "wan-2.2" else ()),
    )
    assert "stored outputs of a batch of 1" in capsys.readouterr().err  # the memory that they take
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["search"].get("summed_runs", False) == (name == "wan-2.2")
    frames = tiny.SIZE["num_frames"]
    assert report["heldout"]["frames"] == {
        "count": frames,
        "judged_by_prompt": [0, frames // 2, frames - 1],
        "compared_with_uncached": "all",
    }
    command(monkeypatch, "export", tmp_path / "run", "--speedup", speedup, "-o", tmp_path / "fast.yaml")
    schedule = load_schedule(tmp_path / "fast.yaml")
    assert (schedule.family, schedule.steps) == (family.replace("_", "-"), steps)
    assert schedule.model["num_frames"] == frames

    call = {**tiny.SIZE, "num_inference_steps": steps, "output_type": "np"}

    def video() -> Any:
        generator = torch.Generator().manual_seed(0)
        return np.asarray(pipe("a red bicycle", generator=generator, **call).frames)

    ran: set[str] = set()
    parts = [part for part in ("transformer", "transformer_2") if getattr(pipe, part, None) is not None]
    for part in parts:
        getattr(pipe, part).register_forward_hook(lambda *_, part=part: ran.add(part))
    before = video()
    assert ran == set(parts)  # Wan 2.2: both
    assert before.shape == (1, frames, tiny.SIZE["height"], tiny.SIZE["width"], 3)
    with ecad.applied(pipe, heuristic("all", schedule.shape)):
        assert np.array_equal(video(), before)
    with ecad.applied(pipe, tmp_path / "fast.yaml") as handle:
        assert not np.array_equal(video(), before)
        assert handle.reused > 0
    assert np.array_equal(video(), before)

    command(
        monkeypatch,
        *("generate", *common, "--prompt", "a red bicycle", "--schedule", tmp_path / "fast.yaml"),
        *("--repeats", 1, "-o", tmp_path / "pair.gif"),
    )
    with Image.open(tmp_path / "pair.gif") as picture:
        assert getattr(picture, "n_frames", 1) == frames


@pytest.fixture(scope="module")
def ltx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-ltx"
    import_module("tiny_pipelines.ltx").build().save_pretrained(folder)
    return folder


def test_videos_are_evaluated(
    ltx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A metric of images sees three frames, one against uncached all of them; samples show the three."""
    (tmp_path / "prompts.txt").write_text("a red bicycle\na harbour at night\n")
    seen = []

    class Seeing(Contrast):
        def __call__(self, prompts: Any, images: Any, references: Any = None) -> Any:
            seen.append(images.shape)
            return super().__call__(prompts, images)

    with metric(Seeing()):
        command(
            monkeypatch,
            *("evaluate", "fora:2", "steps:2", "--model", ltx, "--steps", 4, "--height", 32, "--width", 64),
            *("--num-frames", 9, "--metrics", "contrast,rmse", "--prompts", tmp_path / "prompts.txt"),
            *("--batch-size", 2, "--samples", 1, "--device", "cpu", "-o", tmp_path / "out"),
        )
    assert set(seen) == {(6, 32, 64, 3)}
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["frames"]["judged_by_prompt"] == [0, 4, 8]
    assert "means over the frames 0, 4, 8 of each video" in capsys.readouterr().out
    rows = {row["name"]: row for row in results["rows"]}
    assert rows["fora:2"]["metrics"]["rmse"]["quality"] > 0
    [sample] = (tmp_path / "out" / "samples").glob("00-uncached/*.png")
    with Image.open(sample) as picture:
        assert picture.size == (3 * 64, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--num-frames", 6), "the number of frames must be 1 more than a multiple of 4 for tiny-ltx, not 6"),
        (("--out", "x.png"), "cannot write a video to x.png: the name must end in .gif or .mp4"),
        (("--model", "pixart-mini", "--num-frames", 5), "which makes images: leave out the number of frames"),
        (("--model", "pixart-mini", "--out", "x.gif"), "cannot write an image to x.gif"),
    ],
)
def test_mistakes_are_one_line(
    ltx: Path,
    arguments: tuple[object, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = () if "--model" in arguments else ("--model", ltx)
    rest = ("--prompt", "x", "--schedule", "fora:2", "--device", "cpu")
    command(monkeypatch, "generate", *model, *arguments, *rest, exit_code=2)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
