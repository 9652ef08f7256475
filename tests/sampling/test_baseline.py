"""Another pipeline as a baseline: a tiny Stable Diffusion (a UNet, as one-step students are) through its own call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_stable_diffusion import save_tiny_stable_diffusion

from ecad.errors import ConfigError, ModelError
from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.macs import uncached_macs
from ecad.sampling.base import Job
from ecad.sampling.baseline import Baseline, load_baseline
from ecad.sampling.baseline_spec import BaselineSpec, parse_baseline

CPU = torch.device("cpu")
JOBS = [Job(0, 3), Job(1, 4)]


def test_a_pipeline_with_its_settings() -> None:
    assert parse_baseline("some/folder") == BaselineSpec("some/folder", "folder")
    assert parse_baseline("owner/sd-turbo:steps=1,guidance_scale=0,dtype=float16,name=turbo") == BaselineSpec(
        "owner/sd-turbo", "turbo", steps=1, guidance_scale=0.0, dtype="float16"
    )
    assert parse_baseline("dmd:timesteps=999/499,height=64,width=32") == BaselineSpec(
        "dmd", "dmd", timesteps=(999, 499), height=64, width=32
    )
    assert parse_baseline("C:/models/x:steps=4").location == "C:/models/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x:step=1", "unknown setting 'step', known are steps"),
        ("x:steps=0", "steps must be a whole number from 1 to 1000, not '0'"),
        ("x:steps=one", "not 'one'"),
        ("x:steps=1,steps=2", "gives steps twice"),
        ("x:steps=1,timesteps=999", "steps or timesteps, not both"),
        ("x:timesteps=999/", "a timestep must be a whole number"),
        ("x:guidance_scale=-1", "guidance_scale must be a number from 0 to 1000, not '-1'"),
        (":steps=1", "names no pipeline"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_baseline(text)


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("baseline"))


def test_it_makes_the_images_of_its_own_call(stable_diffusion: Path) -> None:
    spec = parse_baseline(f"{stable_diffusion}:steps=2,guidance_scale=3.0")
    baseline = load_baseline(spec, CPU)
    assert (baseline.steps, baseline.spec.name) == (2, "tiny-sd")
    images, seconds = baseline.sample(["a cat", "a dog"], JOBS)
    assert images.shape == (2, 16, 16, 3)
    assert seconds > 0.0
    own = baseline.pipe(
        prompt=["a cat", "a dog"],
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in (3, 4)],
        num_inference_steps=2,
        guidance_scale=3.0,
        output_type="np",
    ).images
    assert np.array_equal(images, (own * 255).round().astype(np.uint8))
    assert not np.array_equal(images[0], images[1])
    # Nothing is left on the pipeline.
    assert "encode_prompt" not in vars(baseline.pipe)
    assert "forward" not in vars(baseline.pipe.unet)


def test_its_defaults_are_its_own(stable_diffusion: Path) -> None:
    baseline = load_baseline(parse_baseline(str(stable_diffusion)), CPU)
    assert baseline.steps == 50


def test_macs_are_counted_per_image(stable_diffusion: Path) -> None:
    macs = {}
    for steps in (1, 3):
        baseline = load_baseline(parse_baseline(f"{stable_diffusion}:steps={steps}"), CPU)
        baseline.sample(["a cat", "a dog"], JOBS)
        macs[steps] = baseline.macs
    assert macs[1] is not None
    assert macs[3] == 3 * macs[1]


def test_macs_are_those_of_our_own_count(tiny_pipe: Any, tiny_folder: Path) -> None:
    """The same convention as everywhere: counted by torch in a PixArt, it is what `ecad.measuring.macs` says."""
    calls = []

    class Call:
        """PixArt's own call would choose another size for so small a model."""

        def __call__(self, prompt, generator, output_type, num_inference_steps=2):  # type: ignore[no-untyped-def]
            calls.append(prompt)
            return tiny_pipe(
                prompt,
                generator=generator,
                output_type=output_type,
                num_inference_steps=num_inference_steps,
                use_resolution_binning=False,
                max_sequence_length=120,
            )

        transformer = tiny_pipe.transformer

    baseline = Baseline(BaselineSpec("x", "x"), Call())
    images, _ = baseline.sample(["a red circle"], JOBS[:1])
    assert calls == [["a red circle"]]
    assert images.shape == (1, 16, 16, 3)
    workload = workload_for(find_model(str(tiny_folder)), has_guidance_rows=True)
    assert baseline.macs == uncached_macs(2, workload)


def test_text_encoding_is_not_in_its_time(stable_diffusion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = load_baseline(parse_baseline(f"{stable_diffusion}:steps=1"), CPU)
    clock = iter([0.0, 10.0, 13.0, 20.0])  # the call starts, text starts, text ends, the call ends
    monkeypatch.setattr("ecad.sampling.any_pipeline.time.perf_counter", lambda: next(clock))
    assert baseline.sample(["a cat"], JOBS[:1])[1] == 17.0


def test_unsuitable_pipelines_are_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    class NoPrompt:
        def __call__(self, image, generator=None, num_inference_steps=50, output_type="pil"): ...  # type: ignore[no-untyped-def]

    class NoSteps:
        def __call__(self, prompt, generator=None, output_type="pil"): ...  # type: ignore[no-untyped-def]

    class Failing:
        def __call__(self, prompt, generator=None, num_inference_steps=1, output_type="pil"):  # type: ignore[no-untyped-def]
            raise RuntimeError("no\nidea")

    with pytest.raises(ConfigError, match="is a NoPrompt, whose call takes no 'prompt'"):
        Baseline(BaselineSpec("x", "x"), NoPrompt())
    with pytest.raises(ConfigError, match="takes no 'num_inference_steps'"):
        Baseline(BaselineSpec("x", "x", steps=1), NoSteps())
    with pytest.raises(ConfigError, match="has no default number of steps: give x:steps=N"):
        Baseline(BaselineSpec("x", "x"), NoSteps())
    with pytest.raises(ModelError, match=r"baseline 'x' \(Failing\) failed: no$"):
        Baseline(BaselineSpec("x", "x"), Failing()).sample(["a"], JOBS[:1])
    with pytest.raises(ModelError, match="cannot load the baseline .*save_pretrained"):
        load_baseline(BaselineSpec(str(tmp_path), "empty"), CPU)
