"""Every kind of system that people hold against caching, as a row of one table: tiny ones, with random weights.

One-step students of a Stable Diffusion with timesteps of their own (SwiftBrush, DMD) or a pipeline of their own
(InstaFlow), few-step students, a merged finetune (DeMe), Kandinsky with its prior, and on the searched model itself a
one-step student and a few-step LoRA (PixArt's DMD, LCM).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.toys import Contrast, metric
from tiny_kandinsky import save_tiny_kandinsky
from tiny_stable_diffusion import save_tiny_stable_diffusion

from ecad.errors import ConfigError, ModelError
from ecad.evaluating.run import evaluate
from ecad.evaluating.settings import EvaluateSettings
from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.macs import uncached_macs
from ecad.measuring.statistics import paired_interval
from ecad.sampling.base import Job
from ecad.sampling.baseline import Baseline, load_baseline
from ecad.sampling.baseline_spec import parse_baseline
from ecad.sampling.counting import flop_counter

CPU = torch.device("cpu")
PROMPTS, JOBS = ["a cat", "a dog"], [Job(0, 3), Job(1, 4)]

# As InstaFlow's: the network says where the noise flows, and a step goes there.
RECTIFIED_FLOW = """
import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput


class FlowPipeline(StableDiffusionPipeline):
    @torch.no_grad()
    def __call__(self, prompt, num_inference_steps=1, generator=None, output_type="pil"):
        text, _ = self.encode_prompt(prompt, self.device, 1, False)
        latents = torch.cat([torch.randn(1, 4, 8, 8, generator=each) for each in generator])
        for step in range(num_inference_steps):
            flow = self.unet(latents, 1000 * (1 - step / num_inference_steps), text).sample
            latents = latents + flow / num_inference_steps
        images = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        images = self.image_processor.postprocess(images, output_type)
        return StableDiffusionPipelineOutput(images=images, nsfw_content_detected=None)
"""


@pytest.fixture(scope="module", autouse=True)
def _toy_metric() -> Iterator[None]:
    with metric(Contrast()):
        yield


@pytest.fixture(scope="module", autouse=True)
def _no_code_in_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from diffusers.utils import dynamic_modules_utils

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules"))
        )
        yield


@pytest.fixture(scope="module")
def models(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What such systems are published as: folders of pipelines, of networks, of adapters, and a file of weights."""
    from diffusers import PixArtTransformer2DModel, UNet2DConditionModel
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("neighbours")
    teacher = save_tiny_stable_diffusion(folder)
    kandinsky, decoder, prior = save_tiny_kandinsky(folder)
    torch.manual_seed(1)
    student = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(teacher / "unet"))
    student.save_pretrained(folder / "student")
    # Two finetunes, merged by the mean of their weights.
    merged = shutil.copytree(teacher, folder / "merged")
    unet = UNet2DConditionModel.from_pretrained(teacher / "unet")
    weights = {name: (value + unet.state_dict()[name]) / 2 for name, value in student.state_dict().items()}
    unet.load_state_dict(weights)
    unet.save_pretrained(merged / "unet")
    (folder / "flow.py").write_text(RECTIFIED_FLOW)
    transformer = PixArtTransformer2DModel.from_config(
        PixArtTransformer2DModel.load_config(tiny_folder / "transformer")
    )
    transformer.save_pretrained(folder / "pixart-student")
    adapters = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    own = PixArtTransformer2DModel.from_pretrained(tiny_folder / "transformer")
    get_peft_model(own, adapters).save_pretrained(folder / "lora")
    return {
        "own": tiny_folder,
        "teacher": teacher,
        "student": folder / "student",
        "merged": merged,
        "flow": folder / "flow.py",
        "kandinsky": kandinsky,
        "decoder": decoder,
        "prior": prior,
        "pixart-student": folder / "pixart-student",
        "lora": folder / "lora",
    }


def loaded(text: str, models: dict[str, Path]) -> Baseline:
    return load_baseline(parse_baseline(text.format(**models)), CPU)


KANDINSKY = "call.prior_num_inference_steps=2,height=16,width=16"
STUDENT = "{teacher}:unet={student},scheduler=LCMScheduler,guidance_scale=0"
ROWS = {
    "swiftbrush (1 step)": STUDENT + ",timesteps=999,name=swiftbrush",
    "dmd2 (2 steps)": STUDENT + ",timesteps=999/499,name=dmd2",
    "instaflow (1 step)": "{teacher}:unet={student},custom_pipeline={flow},name=instaflow",
    "merged (2 steps)": "{merged}:steps=2,guidance_scale=7.5",
    "kandinsky (2 steps)": "{kandinsky}:steps=2," + KANDINSKY,
    "own (4 steps)": "{own}:steps=4,name=own",
    "pixart-dmd (1 step)": "{own}:transformer={pixart-student},timesteps=400,scheduler=DDPMScheduler,guidance_scale=1,"
    "name=pixart-dmd",
    "lcm (2 steps)": "{own}:lora={lora},steps=2,scheduler=LCMScheduler,guidance_scale=1,name=lcm",
}


@pytest.fixture(scope="module")
def folder(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("table")
    (base / "mine.txt").write_text("a red circle\na blue square\na green cross\n")
    settings = EvaluateSettings(
        model=str(models["own"]),
        schedules=("fora:2",),
        baselines=tuple(row.format(**models) for row in ROWS.values()),
        prompts=str(base / "mine.txt"),
        metrics=("contrast",),
        steps=4,
        batch_size=2,
        device="cpu",
        samples=1,
    )
    evaluate(settings, base / "out")
    return base / "out"


def test_all_are_rows_of_one_table(folder: Path, models: dict[str, Path]) -> None:
    results = json.loads((folder / "results.json").read_text())
    rows: dict[str, dict[str, Any]] = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["uncached", "fora:2", *ROWS]
    records = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    records = [record for record in records if "scores" in record]  # the others are further timings

    def scores(name: str) -> np.ndarray:
        own = sorted((each["batch"], each["scores"]["contrast"]) for each in records if each["row"] == name)
        return np.concatenate([values for _, values in own])

    for name in ROWS:
        row = rows[name]
        assert row["kind"] == "baseline"
        assert row["latency_s"] > 0.0
        assert row["speedup_macs"] == rows["uncached"]["macs"] / row["macs"]
        paired = paired_interval(scores(name), scores("uncached"), 1)
        contrast = row["metrics"]["contrast"]
        assert (contrast["difference"], *contrast["difference_interval"]) == tuple(paired)

    # The searched model through its own call: the same images for the same seeds, the same work.
    own = rows["own (4 steps)"]
    assert own["identical_to_uncached"]
    assert own["macs"] == rows["uncached"]["macs"]
    assert own["metrics"]["contrast"]["difference"] == 0.0
    assert not any(rows[name]["identical_to_uncached"] for name in ROWS if name != "own (4 steps)")

    # One row per image without guidance, one step: what the formulas say of the transformer.
    without_guidance = workload_for(find_model(str(models["own"])), has_guidance_rows=False)
    assert rows["pixart-dmd (1 step)"]["macs"] == uncached_macs(1, without_guidance)
    # Merged adapters cost nothing.
    assert rows["lcm (2 steps)"]["macs"] == uncached_macs(2, without_guidance)
    # Students do one row a step, the finetune two.
    student = rows["swiftbrush (1 step)"]["macs"]
    assert rows["instaflow (1 step)"]["macs"] == student
    assert rows["dmd2 (2 steps)"]["macs"] == 2 * student
    assert rows["merged (2 steps)"]["macs"] == 4 * student


def test_a_student_at_its_own_timestep_makes_its_own_image(models: dict[str, Path]) -> None:
    """x0 = (noise - sigma eps) / alpha at timestep 999: worked out here, without a scheduler."""
    baseline = loaded(ROWS["swiftbrush (1 step)"], models)
    images, _ = baseline.sample(PROMPTS, JOBS)
    pipe = baseline.pipe
    noise = torch.cat(
        [torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)]
    )
    alpha = pipe.scheduler.alphas_cumprod[999]
    with torch.no_grad():
        text, _ = pipe.encode_prompt(PROMPTS, CPU, 1, False)
        eps = pipe.unet(noise, 999, text).sample
        latents = (noise - (1 - alpha).sqrt() * eps) / alpha.sqrt()
        if pipe.scheduler.config.clip_sample:
            latents = latents.clamp(-1.0, 1.0)
        # A consistency model's skip connection, which at this timestep hardly lets any noise through.
        scaled = 999 * pipe.scheduler.config.timestep_scaling
        data = pipe.scheduler.config.sigma_data if "sigma_data" in pipe.scheduler.config else 0.5
        skip, out = data**2 / (scaled**2 + data**2), scaled / (scaled**2 + data**2) ** 0.5
        decoded = pipe.vae.decode((skip * noise + out * latents) / pipe.vae.config.scaling_factor).sample
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(images - expected).max() < 1.0
    other = loaded(ROWS["swiftbrush (1 step)"].replace("unet={student},", ""), models)
    assert not np.array_equal(other.sample(PROMPTS, JOBS)[0], images)


def test_work_is_that_of_the_prior_and_of_the_decoder(models: dict[str, Path]) -> None:
    def counted(prior_steps: int, steps: int) -> int:
        text = f"{{kandinsky}}:steps={steps},call.prior_num_inference_steps={prior_steps},height=16,width=16"
        baseline = loaded(text, models)
        baseline.sample(PROMPTS[:1], JOBS[:1])
        assert baseline.macs is not None
        return baseline.macs

    one, more_prior, more_decoder = counted(2, 1), counted(4, 1), counted(2, 2)
    prior, decoder = (more_prior - one) // 2, more_decoder - one
    assert one == 2 * prior + decoder
    pipe = loaded("{kandinsky}:steps=1,height=16,width=16", models).pipe
    with flop_counter() as counter, torch.no_grad():  # both rows of its guidance
        pipe.prior_prior(
            torch.zeros(2, 16), 0, torch.zeros(2, 16), torch.zeros(2, 16, 16), torch.ones(2, 16).bool()
        )
    assert prior == counter.get_total_flops() // 2


def test_a_decoder_finds_its_prior(models: dict[str, Path], tmp_path: Path) -> None:
    images, _ = loaded("{kandinsky}:steps=2," + KANDINSKY, models).sample(PROMPTS, JOBS)
    given = loaded("{decoder}:prior={prior},steps=2," + KANDINSKY, models)
    assert np.array_equal(given.sample(PROMPTS, JOBS)[0], images)
    # As its repository on the hub says it: in the front matter of its card.
    named = shutil.copytree(models["decoder"], tmp_path / "named")
    (named / "README.md").write_text(f"---\nprior:\n- {models['prior']}\n---\n")
    found = load_baseline(parse_baseline(f"{named}:steps=2,{KANDINSKY}"), CPU)
    assert np.array_equal(found.sample(PROMPTS, JOBS)[0], images)
    with pytest.raises(
        ConfigError, match=r"KandinskyV22Pipeline, whose call takes no 'prompt'.* add prior=FOLDER"
    ):
        loaded("{decoder}:steps=2", models)
    with pytest.raises(ConfigError, match="which is called with a prompt: leave out prior"):
        loaded("{teacher}:prior={teacher},steps=2", models)


def test_text_encoding_inside_a_pipeline_is_not_in_its_time(models: dict[str, Path]) -> None:
    import time

    baseline = loaded("{kandinsky}:steps=1," + KANDINSKY, models)
    inner = baseline.pipe.prior_pipe
    encode = inner._encode_prompt

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.5)
        return encode(*args, **kwargs)

    inner._encode_prompt = slow
    start = time.perf_counter()
    _, seconds = baseline.sample(PROMPTS, JOBS)
    assert time.perf_counter() - start - seconds >= 0.5
    assert vars(inner)["_encode_prompt"] is slow  # what was there is there again


def test_networks_come_from_folders_and_files(models: dict[str, Path]) -> None:
    start = "{teacher}:steps=1,guidance_scale=0,"
    expected, _ = loaded(start + "unet={student}", models).sample(PROMPTS, JOBS)
    file = "unet={student}/diffusion_pytorch_model.safetensors"
    assert np.array_equal(loaded(start + file, models).sample(PROMPTS, JOBS)[0], expected)
    # The network of another pipeline's folder.
    merged, _ = loaded("{merged}:steps=1,guidance_scale=0", models).sample(PROMPTS, JOBS)
    assert np.array_equal(loaded(start + "unet={merged}", models).sample(PROMPTS, JOBS)[0], merged)
    assert not np.array_equal(merged, expected)


def test_a_lora_is_scaled_and_fits(models: dict[str, Path]) -> None:
    plain, _ = loaded("{own}:steps=2", models).sample(PROMPTS, JOBS)
    without, _ = loaded("{own}:steps=2,lora={lora},lora_scale=0", models).sample(PROMPTS, JOBS)
    assert np.array_equal(plain, without)
    half, whole = (
        loaded(f"{{own}}:steps=2,lora={{lora}},lora_scale={scale}", models).pipe.transformer.state_dict()
        for scale in ("0.5", "1")
    )
    own = loaded("{own}:steps=2", models).pipe.transformer.state_dict()
    name = "transformer_blocks.0.attn1.to_q.weight"
    assert torch.allclose(half[name] - own[name], (whole[name] - own[name]) / 2, atol=1e-6)
    assert whole.keys() == own.keys()
    with pytest.raises(ConfigError, match="changes no weight: its layers are not those of .*tiny-sd"):
        loaded("{teacher}:lora={lora}", models)


def test_a_model_of_ecad_by_its_name_runs_as_that() -> None:
    named = load_baseline(parse_baseline("pixart-mini"), CPU)
    assert named.steps == 20
    one = load_baseline(parse_baseline("pixart-mini:steps=1,scheduler=DDPMScheduler"), CPU)
    images, _ = one.sample(["a large red circle on a gray background"], JOBS[:1])
    assert images.shape == (1, 64, 64, 3)
    assert one.macs == uncached_macs(1, workload_for(find_model("pixart-mini"), has_guidance_rows=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{teacher}:timesteps=999", "a DDIMScheduler takes no timesteps of one's own: add scheduler=LCMScheduler"),
        ("{teacher}:steps=1,scheduler=Nothing", "diffusers has no scheduler 'Nothing'"),
        ("{teacher}:steps=1,scheduler.spacing=x", "DDIMScheduler has no setting 'spacing', it has .*timestep_spacing"),
        ("{teacher}:steps=1,transformer={student}", "has no 'transformer': .* is made of .*unet"),
        ("{teacher}:steps=1,unet=/nowhere/x", "no folder /nowhere/x for the baseline's unet: give a folder"),
        ("{teacher}:steps=1,call.beauty=3", "whose call takes no 'beauty'"),
        ("{own}:steps=1,lora=/nowhere", "cannot load the baseline /nowhere"),
        ("{teacher}:steps=1,unet=", "unet has no value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(models: dict[str, Path], text: str, message: str) -> None:
    with pytest.raises((ConfigError, ModelError), match=message) as caught:
        loaded(text, models)
    assert "\n" not in str(caught.value)


def test_a_scheduler_that_takes_no_single_step_says_which_do(models: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match=r"tuple index .* scheduler=DDPMScheduler"):
        loaded("{own}:timesteps=400,guidance_scale=1", models).sample(PROMPTS, JOBS)


def test_settings_of_calls_and_schedulers() -> None:
    spec = parse_baseline(
        "x:steps=4,scheduler.timestep_spacing=trailing,call.sigmas=1.0/0.5,call.use_resolution_binning=true,"
        "call.prior_num_inference_steps=5,call.negative_prompt=blurry"
    )
    assert spec.scheduler_settings == {"timestep_spacing": "trailing"}
    assert spec.call == {
        "sigmas": [1.0, 0.5],
        "use_resolution_binning": True,
        "prior_num_inference_steps": 5,
        "negative_prompt": "blurry",
    }
    assert parse_baseline("x").made_of() == {}
    assert set(spec.made_of()) == {"call", "scheduler_settings"}
