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
from PIL import Image

import ecad
from ecad.schedule import heuristic, load_schedule

FAMILIES = ("wan", "ltx", "cogvideox", "hunyuan_video")


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object, exit_code: int = 0) -> None:
    from ecad.cli.main import main

    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == exit_code


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_calibrated_searched_applied_and_generated(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = import_module(f"tiny_pipelines.{family}")
    pipe, folder = tiny.build(), tmp_path / f"tiny-{family}"
    pipe.save_pretrained(folder)
    (tmp_path / "search.txt").write_text("a red bicycle\n")
    (tmp_path / "heldout.txt").write_text("a harbour at night\n")
    size = [part for name, value in tiny.SIZE.items() for part in ("--" + name.replace("_", "-"), str(value))]
    common = ("--model", folder, "--steps", tiny.STEPS, *size, "--device", "cpu")
    prompts = ("--prompts", tmp_path / "search.txt")
    command(monkeypatch, "calibrate", *common, *prompts, "-o", tmp_path / "c.json")
    command(
        monkeypatch,
        *("search", *common, *prompts, "--calibration", tmp_path / "c.json", "--workers", "none"),
        *("--generations", 2, "--population", 4, "--quality", "psnr", "--batch-size", 1),
        *("--heldout-prompts", tmp_path / "heldout.txt", "--out", tmp_path / "run"),
    )
    assert "stored outputs of a batch of 1" in capsys.readouterr().err  # the memory that they take
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    frames = tiny.SIZE["num_frames"]
    assert report["heldout"]["frames"] == {
        "count": frames,
        "judged_by_prompt": [0, frames // 2, frames - 1],
        "compared_with_uncached": "all",
    }
    command(monkeypatch, "export", tmp_path / "run", "--speedup", 1.1, "-o", tmp_path / "fast.yaml")
    schedule = load_schedule(tmp_path / "fast.yaml")
    assert (schedule.family, schedule.steps) == (family.replace("_", "-"), tiny.STEPS)
    assert schedule.model["num_frames"] == frames

    call = {**tiny.SIZE, "num_inference_steps": tiny.STEPS, "output_type": "np"}

    def video() -> Any:
        generator = torch.Generator().manual_seed(0)
        return np.asarray(pipe("a red bicycle", generator=generator, **call).frames)

    before = video()
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
