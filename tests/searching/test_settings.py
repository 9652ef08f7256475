"""Settings: defaults, presets, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecad.errors import ConfigError, ModelError
from ecad.searching.settings import SearchSettings


def test_the_presets_recommendations_fill_in_what_is_not_given() -> None:
    config = SearchSettings.from_mapping({"model": "pixart-mini", "population": 10}).resolved()
    assert (config.population, config.steps, config.quality, config.height) == (10, 20, "alignment", 64)
    assert config.prompts != config.heldout_prompts
    assert config.resolved() == config


def test_guidance_is_called_what_the_model_calls_it() -> None:
    """Qwen-Image recommends a true_cfg_scale; a search without it is another one, and one of FLUX as ever."""
    values = {"quality": "alignment", "prompts": "scenes-search", "heldout_prompts": "scenes-heldout"}
    qwen = SearchSettings.from_mapping({"model": "qwen-image", **values}).resolved()
    assert (qwen.true_cfg_scale, qwen.guidance_scale, qwen.steps) == (4.0, 1.0, 50)
    without = SearchSettings.from_mapping({"model": "qwen-image", "true_cfg_scale": 1.0, **values}).resolved()
    assert without.true_cfg_scale == 1.0
    again = SearchSettings.from_mapping(without.identity()).resolved()
    assert again.true_cfg_scale == 1.0
    flux = SearchSettings.from_mapping({"model": "flux-dev", **values}).resolved()
    assert flux.true_cfg_scale == 1.0
    assert "true_cfg_scale" not in flux.identity()


def test_all_mistakes_are_reported_at_once() -> None:
    values = {"generations": 0, "populaton": 5, "cost": "euros", "guidance_scale": "high", "seed": True}
    values["granularity"] = "step"
    with pytest.raises(ConfigError) as caught:
        SearchSettings.from_mapping(values)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "unknown setting 'populaton', did you mean 'population'?",
        "'generations' must be a whole number from 1 to 1000000, not 0",
        "'cost' must be one of macs, latency, paper:DEVICE (as paper:H100), not 'euros'",
        "'granularity' must be one of steps, components, blocks, not 'step'",
        "'guidance_scale' must be a number from 0 to 1000, not 'high'",
        "'seed' must be a whole number from 0 to 2147483647, not True",
        "'model' is missing",
    ):
        assert part in message


def test_crossover_points_must_be_in_order() -> None:
    values = {"model": "pixart-mini", "crossover_points_fewest": 5}
    with pytest.raises(ConfigError, match=r"'crossover_points_fewest' \(5\) must not exceed"):
        SearchSettings.from_mapping(values)


def test_a_model_without_a_default_quality_asks_for_one() -> None:
    with pytest.raises(ConfigError, match="--quality, --prompts, --heldout-prompts"):
        SearchSettings.from_mapping({"model": "pixart-alpha"}).resolved()


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ModelError, match="'pixart-mimi'.*did you mean 'pixart-mini'"):
        SearchSettings.from_mapping({"model": "pixart-mimi"}).resolved()


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("model: pixart-mini\ngenerations: 3\n")
    assert SearchSettings.from_file(path, {"generations": 7}).generations == 7
    with pytest.raises(ConfigError, match="no config file"):
        SearchSettings.from_file(tmp_path / "absent.yaml")
    path.write_text("model: [unclosed\n")
    with pytest.raises(ConfigError, match="not valid YAML.*line"):
        SearchSettings.from_file(path)
    path.write_text("- a list\n")
    with pytest.raises(ConfigError, match="not a list"):
        SearchSettings.from_file(path)
    path.write_text("model: pixart-mini\nsteeps: 10\n")
    with pytest.raises(ConfigError, match="search.yaml: unknown setting 'steeps', did you mean 'steps'"):
        SearchSettings.from_file(path)


def test_generations_and_device_do_not_change_what_is_found() -> None:
    one = SearchSettings.from_mapping({"model": "pixart-mini", "generations": 3, "device": "cpu"}).resolved()
    two = SearchSettings.from_mapping({"model": "pixart-mini", "generations": 9}).resolved()
    assert one.identity() == two.identity()
    # Settings that older run folders do not name are not there where nobody gives them.
    assert not {"prompts_format", "heldout_prompts_format"} & set(one.identity())
    assert (
        one.identity()
        != SearchSettings.from_mapping({"model": "pixart-mini", "seed": 1}).resolved().identity()
    )
