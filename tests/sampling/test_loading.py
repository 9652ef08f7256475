"""From a preset's files to a search: the real classes at tiny size, so that only the weights are not the real ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.toys import Contrast, metric
from tiny_models import save_tiny_model

import ecad
from ecad.errors import ConfigError, ModelError, RunError
from ecad.evaluating.run import evaluate
from ecad.evaluating.settings import EvaluateSettings
from ecad.families import PRESETS, find_model
from ecad.sampling.base import Job
from ecad.sampling.flux import FluxSampler
from ecad.sampling.generation import Overrides, settings_for
from ecad.sampling.loading import dtype_of, load_model
from ecad.sampling.pipeline_files import PipelineFiles, find_files
from ecad.sampling.samplers import make_sampler
from ecad.schedule import ScheduleShape, heuristic, load_schedule
from ecad.searching.run import search
from ecad.searching.settings import SearchSettings
from ecad.storage import RunFolder

DOWNLOADED = [
    name
    for name, preset in PRESETS.items()
    if preset.source is not None and preset.family in ("pixart", "flux")
]
# FLUX at 256 and at 1024 is the same files.
FILES = [name for name in DOWNLOADED if not name.startswith("flux") or not name.endswith("-1024")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: save_tiny_model(name, root / f"tiny-{name}") for name in FILES}


@pytest.fixture
def _contrast() -> Iterator[None]:
    with metric(Contrast()):
        yield


def search_settings(folder: Path, tmp_path: Path, **changes: Any) -> SearchSettings:
    (tmp_path / "search.txt").write_text("a red bicycle\ntwo cats\n")
    (tmp_path / "heldout.txt").write_text("a harbour at night\n")
    values = {
        "model": str(folder),
        "generations": 2,
        "population": 4,
        "quality": "contrast",
        "prompts": str(tmp_path / "search.txt"),
        "heldout_prompts": str(tmp_path / "heldout.txt"),
        "height": 32,
        "width": 32,
        "batch_size": 2,
        "device": "cpu",
    }
    return SearchSettings.from_mapping({**values, **changes})


@pytest.mark.usefixtures("_contrast")
@pytest.mark.parametrize("name", FILES)
def test_a_search_on_every_presets_files(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    preset = PRESETS[name]
    config = search_settings(folders[name], tmp_path)
    resolved = config.resolved()
    assert (resolved.steps, resolved.guidance_scale) == (preset.steps, preset.guidance_scale)
    assert (
        json.loads((folders[name] / "model_index.json").read_text())["_class_name"] == preset.pipeline_class
    )
    # Four steps instead of twenty: what is tested is the way through the code.
    out = search(search_settings(folders[name], tmp_path, steps=4), tmp_path / "run").path
    report = json.loads((out / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["uncached"]["difference"] == 0.0
    assert rows["fora:2"]["speedup_macs"] > 1.0
    assert rows["fora:2"]["difference"] != 0.0
    assert RunFolder.existing(out).count_evaluations() == 8
    for path in (out / "front").glob("*.yaml"):
        assert load_schedule(path).family == preset.family


@pytest.mark.usefixtures("_contrast")
def test_a_flux_search_with_true_guidance_counts_both_passes(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def uncached_macs(out: str, **changes: Any) -> int:
        config = search_settings(folders["flux-dev"], tmp_path, steps=3, generations=1, **changes)
        report = json.loads((search(config, tmp_path / out).path / "report.json").read_text())
        return int(next(row["macs"] for row in report["rows"] if row["name"] == "uncached"))

    assert uncached_macs("two", true_cfg_scale=2.0) == 2 * uncached_macs("one")


@pytest.mark.usefixtures("_contrast")
def test_a_search_with_true_guidance_is_evaluated_under_its_own_settings(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """The front's numbers are those of its report: the same images of the same prompts and seeds."""
    config = search_settings(
        folders["flux-dev"], tmp_path, steps=3, generations=1, true_cfg_scale=2.0, guidance_scale=3.0
    )
    run = search(config, tmp_path / "run").path
    settings = EvaluateSettings(
        model=str(folders["flux-dev"]),
        schedules=(str(run),),
        prompts=str(tmp_path / "heldout.txt"),
        metrics=("contrast",),
        guidance_scale=3.0,
        true_cfg_scale=2.0,
        height=32,
        width=32,
        batch_size=2,
        device="cpu",
    )
    results = evaluate(settings, tmp_path / "results")
    report = {row["name"]: row for row in json.loads((run / "report.json").read_text())["rows"]}
    assert results.about["true_cfg_scale"] == 2.0
    assert len(results.rows) > 1
    for row in results.rows:
        assert row.macs == report[row.name]["macs"]
        assert row.metrics["contrast"].mean == report[row.name]["quality"]
    other = replace(settings, true_cfg_scale=None)
    with pytest.raises(RunError, match=r"other settings \(model true_cfg_scale: 2.0 there, None now\)"):
        evaluate(other, tmp_path / "results")
    with pytest.raises(ConfigError, match="the true CFG scale must be a number from 1 up, not 0.5"):
        evaluate(replace(settings, true_cfg_scale=0.5), tmp_path / "x")


@pytest.mark.usefixtures("_contrast")
def test_a_search_loads_the_text_encoders_once_and_runs_without_them(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECAD_CACHE", str(tmp_path / "cache"))
    loads: list[str] = []
    original = PipelineFiles.load_text_encoders
    monkeypatch.setattr(
        PipelineFiles,
        "load_text_encoders",
        lambda self, *args: (loads.append("load"), original(self, *args))[1],
    )
    evaluated: list[bool] = []
    sample = FluxSampler.sample

    def watched(self: FluxSampler, *args: Any) -> Any:
        evaluated.append(self.pipe.text_encoder is None and self.pipe.text_encoder_2 is None)
        return sample(self, *args)

    monkeypatch.setattr(FluxSampler, "sample", watched)
    config = search_settings(folders["flux-schnell"], tmp_path, generations=1)
    logs = []
    for out, changes in (("one", {}), ("two", {}), ("three", {"embedding_cache": False})):
        folder = search(SearchSettings(**{**vars(config), **changes}), tmp_path / out)
        logs.append((folder.path / "evaluations.jsonl").read_bytes())
    assert evaluated
    assert all(evaluated)
    assert loads == ["load", "load"]  # by the first run, and by the one without the cache
    assert logs[0] == logs[1] == logs[2]


def test_the_recommendations_of_the_preset_most_alike(folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        preset, found = PRESETS[name], settings_for(find_model(str(folder)))
        assert (found.steps, found.guidance_scale) == (preset.steps, preset.guidance_scale)
        assert found.max_sequence_length == preset.max_sequence_length
        assert (found.height, found.width) == (preset.height, preset.width)  # same latents, same VAE scale
        assert found.true_cfg_scale == 1.0
    changed = settings_for(find_model(str(folders["flux-dev"])), Overrides(height=48, true_cfg_scale=2.0))
    assert (changed.height, changed.width, changed.true_cfg_scale) == (48, 256, 2.0)


def test_dtypes(folders: dict[str, Path]) -> None:
    """On a GPU what the authors recommend; FLUX overflows in float16, also when it is a local folder."""
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    flux, pixart = find_model(str(folders["flux-dev"])), find_model(str(folders["pixart-alpha"]))
    assert dtype_of(flux, "auto", gpu) == torch.bfloat16
    assert dtype_of(pixart, "auto", gpu) == torch.float16
    assert dtype_of(flux, "auto", cpu) == torch.float32
    assert dtype_of(flux, "float16", gpu) == torch.float16
    assert dtype_of(find_model("somebody/some-model"), "auto", gpu) == torch.float16
    model = load_model(flux, "cpu", "bfloat16")
    assert {model.pipe.transformer.dtype, model.pipe.vae.dtype} == {torch.bfloat16}


def test_a_transformer_from_a_repository_of_its_own(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preset pixart-sigma: text encoder, VAE and scheduler from one place, the transformer from another."""
    from dataclasses import replace

    import diffusers

    pipeline, transformer = folders["pixart-sigma"], folders["pixart-sigma-512"]
    preset = replace(PRESETS["pixart-sigma"], source=str(pipeline), transformer_source=str(transformer))
    source = replace(find_model("pixart-sigma"), location=str(pipeline), preset=preset)
    asked: list[tuple[str, dict[str, Any]]] = []

    def download(name: str, **passed: Any) -> str:
        passed.pop("local_files_only", None)  # where there is no network
        asked.append((name, passed))
        return name

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    model = load_model(source, "cpu")
    assert asked == [(str(pipeline), {"transformer": None})]
    assert model.pipe.transformer.config.sample_size == 64
    assert type(model.pipe).__name__ == "PixArtSigmaPipeline"


def test_a_hub_model_without_a_preset_is_known_by_its_files(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    monkeypatch.setattr(
        diffusers.DiffusionPipeline, "download", lambda name, **_: str(folders["flux-schnell"])
    )
    source = find_model("somebody/flux-tuned")
    with pytest.raises(ModelError, match="'somebody/flux-tuned' is not known before it is loaded"):
        settings_for(source, None)
    model = load_model(source, "cpu")
    assert (model.source.name, model.source.is_local, model.family.name) == (
        "somebody/flux-tuned",
        False,
        "flux",
    )
    assert settings_for(model.source).steps == 4


def test_device_maps(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(folders["pixart-alpha"])
    with pytest.raises(ConfigError, match="unknown device map 'auto': use 'balanced'"):
        load_model(folder, "cpu", device_map="auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="'balanced' spreads a model over CUDA GPUs, but torch sees none"):
        load_model(folder, device_map="balanced")
    with pytest.raises(ConfigError, match="'device_map' must be one of balanced, not 'auto'"):
        SearchSettings.from_mapping({"model": folder, "device_map": "auto"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="uses all GPUs: leave out --device cpu"):
        load_model(folder, "cpu", device_map="balanced")


@pytest.mark.parametrize("device_map", ["balanced", "cpu"])
def test_a_spread_model_draws_the_same_images(
    device_map: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU diffusers has only the CPU to spread a model over: the way there is the same."""
    # "balanced" asks for GPUs, and "cpu", which leaves the mark of a device map on the pipeline, is not offered.
    monkeypatch.setattr("ecad.sampling.loading._check_device_map", lambda *_: None)
    folder = str(folders["flux-dev"])
    asked: list[str | None] = []
    load = PipelineFiles.load

    def watched(self: PipelineFiles, *args: Any, device_map: str | None = None, **settings: Any) -> Any:
        asked.append(device_map)
        return load(self, *args, device_map=device_map, **settings)

    monkeypatch.setattr(PipelineFiles, "load", watched)

    def images(spread: str | None) -> np.ndarray:
        model = load_model(folder, "cpu", device_map=spread, embedding_cache=False)
        assert model.device == torch.device("cpu")
        if spread == "cpu":
            assert model.pipe.hf_device_map == "cpu"
        sampler = make_sampler(model, settings_for(model.source, Overrides(steps=4, height=32, width=32)))
        conditioning = sampler.encode(["a red bicycle"], 1)
        model.free_text_encoders()
        with ecad.applied(model.pipe, heuristic("fora:2", shape)):
            return sampler.sample(conditioning, [Job(0, 1)])

    shape = ScheduleShape("flux", 4, {"transformer_blocks": 2, "single_transformer_blocks": 3})
    spread = images(device_map)
    assert asked == [device_map, None]  # the transformer and the VAE; the text encoders are never spread
    assert np.array_equal(spread, images(None))


@pytest.mark.parametrize("part", ["text_encoder_2", "tokenizer", "transformer", "scheduler"])
def test_what_is_missing_in_a_folder_is_said_in_one_line(
    part: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders["flux-dev"], broken)
    for path in (broken / part).iterdir():
        if path.name != "config.json":
            path.unlink()
    if part == "scheduler":
        shutil.rmtree(broken / part)

    def encode() -> None:
        model = load_model(str(broken), "cpu", embedding_cache=False)
        make_sampler(model, settings_for(model.source)).encode(["a red bicycle"], 1)

    with pytest.raises(ModelError, match="cannot load 'broken' from .* the folder is incomplete") as caught:
        encode()
    assert "\n" not in str(caught.value)


def test_the_parts_of_a_pipeline(folders: dict[str, Path]) -> None:
    files = find_files(find_model(str(folders["flux-dev"])))
    assert files.text_encoders == ("text_encoder", "text_encoder_2")
    assert files.tokenizers == ("tokenizer", "tokenizer_2")
    assert "image_encoder" not in files.index  # FLUX may have one, this one has not


def test_generating_with_a_local_flux_folder(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from ecad.cli.main import app

    out = tmp_path / "out.png"
    arguments = [
        "generate",
        "--model",
        str(folders["flux-dev"]),
        "--prompt",
        "a red bicycle",
        "--out",
        str(out),
    ]
    arguments += [
        "--schedule",
        "fora:2",
        "--steps",
        "4",
        "--height",
        "32",
        "--width",
        "32",
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, [*arguments, "--repeats", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "faster   (fora:2)" in result.output
    assert out.is_file()
