"""The configurations in experiments/paper: what they say, and that each one starts, on tiny models of its classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tiny_models import save_tiny_model
from typer.testing import CliRunner

from ecad.cli.main import app
from ecad.prompts import load_prompts
from ecad.searching.settings import SearchSettings
from ecad.storage import RunFolder

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "paper"

# file -> (model, generations, population, prompts, seeds per prompt)
RUNS = {
    "alpha-256": ("pixart-alpha", 550, 72, 100, 10),
    "sigma-256": ("pixart-sigma", 550, 72, 100, 10),
    "flux-dev-256": ("flux-dev", 250, 24, 100, 10),
    "alpha-256-population-24": ("pixart-alpha", 550, 24, 100, 10),
    "alpha-256-seeds-1": ("pixart-alpha", 550, 72, 100, 1),
    "alpha-256-seeds-3": ("pixart-alpha", 550, 72, 100, 3),
    "alpha-256-prompts-33": ("pixart-alpha", 550, 72, 33, 10),
    "alpha-256-prompts-10": ("pixart-alpha", 550, 72, 10, 10),
}


def test_every_file_is_listed_here_and_in_the_readme() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(RUNS)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in RUNS:
        assert f"`{name}`" in readme or f"`-{name.removeprefix('alpha-256-')}`" in readme, name


@pytest.mark.parametrize("name", RUNS)
def test_the_settings_are_the_papers(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    config = SearchSettings.from_file(path).resolved()
    found = (
        config.model,
        config.generations,
        config.population,
        config.prompts_limit,
        config.seeds_per_prompt,
    )
    assert found == RUNS[name]
    assert (config.seed, config.steps, config.height, config.width, config.cost) == (0, 20, 256, 256, "macs")
    assert config.guidance_scale == (5.0 if config.model == "flux-dev" else 4.5)
    assert config.quality == "image-reward"
    assert (config.crossover_points_fewest, config.crossover_points_most) == (4, 4)
    assert (config.crossover_probability, config.mutation_rate) == (0.9, 0.05)
    # Every value is in the file and not left to a default that may change.
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    optional = {field for field, value in vars(config).items() if field not in written and value is not None}
    assert optional <= {
        "latency_table",
        "true_cfg_scale",
        "dtype",
        "device",
        "device_map",
        "embedding_cache",
        "summed_runs",
    } | {"heldout_seeds_per_prompt"}
    assert f"ecad search --config experiments/paper/{name}.yaml" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RUNS)
def test_a_dry_run(name: str, tmp_path: Path) -> None:
    """One generation by the file's own command, with tiny weights, few prompts and a scorer that is always there."""
    model = save_tiny_model(RUNS[name][0], tmp_path / "model")
    out = tmp_path / "run"
    overrides = {
        "--model": str(model),
        "--out": str(out),
        "--generations": "1",
        "--population": "4",
        "--quality": "alignment",
        "--prompts": "scenes-search",
        "--prompts-limit": "2",
        "--seeds-per-prompt": "1",
        "--heldout-prompts": "scenes-heldout",
        "--heldout-limit": "1",
        "--steps": "3",
        "--height": "64",
        "--width": "64",
        "--batch-size": "2",
        "--device": "cpu",
    }
    options = [word for option in overrides.items() for word in option]
    result = CliRunner().invoke(
        app, ["search", "--config", str(FOLDER / f"{name}.yaml"), *options], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    folder = RunFolder.existing(out)
    assert folder.count_evaluations() == 4
    settings = folder.read_config()["settings"]
    assert (settings["crossover_points_fewest"], settings["mutation_rate"]) == (4, 0.05)
    report = json.loads((out / "report.json").read_text())
    assert report["rows"][0]["name"] == "uncached"
    assert report["rows"][0]["speedup_macs"] == 1.0


def test_transfer_to_another_model_and_another_size(tmp_path: Path) -> None:
    """The README's commands: a schedule of one PixArt, made at one size, on another one."""
    schedule = tmp_path / "schedule.yaml"
    runner = CliRunner()
    alpha, sigma = (save_tiny_model(f"pixart-{kind}", tmp_path / kind) for kind in ("alpha", "sigma"))
    runner.invoke(
        app,
        ["schedule", "new", "fora:2", "--model", str(alpha), "--steps", "4", "-o", str(schedule)],
        catch_exceptions=False,
    )
    for model, size in ((sigma, 32), (alpha, 48)):
        picture = tmp_path / f"{model.name}.png"
        command = [
            "generate",
            "--model",
            str(model),
            "--schedule",
            str(schedule),
            "--prompt",
            "a red bicycle",
        ]
        command += ["-o", str(picture), "--height", str(size), "--width", str(size), "--repeats", "1"]
        result = runner.invoke(app, [*command, "--device", "cpu"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert picture.is_file()


def test_the_prompt_lists_are_made_from_the_official_files(
    shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runpy

    script = runpy.run_path(str(FOLDER / "make_prompts.py"))
    monkeypatch.setitem(script["write"].__globals__, "FOLDER", tmp_path)
    prompts = shared_folder / "official" / "prompts"
    script["main"]([str(prompts / "ImageRewardPrompts.json"), str(prompts / "PartiPrompts_head.tsv")])
    search = load_prompts(str(tmp_path / "image-reward-100.txt"))
    assert len(search) == 100
    assert search.skipped == 0
    assert search.prompts[0] == "a concept art of a vehicle, cyberpunk"
    heldout = load_prompts(str(tmp_path / "parti.txt"))
    assert heldout.prompts[:2] == ("bond", "element")
