"""The official implementation's JSON: lossless in both directions, and strict about every mistake."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ecad
from ecad.errors import ScheduleError
from ecad.schedule import (
    Schedule,
    ScheduleShape,
    dump_official,
    dump_schedule,
    heuristic,
    load_schedule,
    save_official,
)
from ecad.schedule.files import parse_schedule

FILES = (
    "flux_256/ours_fast.json",
    "flux_256_to_1024/fast_256_to_1024.json",
    "pixart_alpha_256/ours_fast.json",
    "pixart_alpha_256/ours_faster.json",
    "pixart_alpha_ablations/pop_72_imgs_pp_10_prompts_33_highest_tmacs.json",
    "pixart_sigma_256/ours_fast.json",
)


def test_a_reused_whole_output_cannot_be_exported() -> None:
    schedule = heuristic("output:0,2", ScheduleShape("pixart", 4, {"transformer_blocks": 28}))
    with pytest.raises(ScheduleError, match="cannot express.*whole output is reused.*in 2 steps"):
        dump_official(schedule)


def small() -> dict[str, Any]:
    """Two steps of FLUX, one double and two single blocks; in step 0 a flag is false."""
    first = {
        "0": {"full_attn": True, "full_ff": True, "full_ff_context": False},
        "single_0": {"single_attn": True, "single_proj_mlp": True, "single_proj_out": True},
        "single_1": {"single_attn": True, "single_proj_mlp": True, "single_proj_out": True},
    }
    second = {
        "0": {"full_attn": False, "full_ff": True, "full_ff_context": False},
        "single_0": {"single_attn": False, "single_proj_mlp": False, "single_proj_out": False},
        "single_1": {"single_attn": False, "single_proj_mlp": False, "single_proj_out": True},
    }
    return {
        "cache_schedule": {
            "num_blocks": 1,
            "num_inference_steps": 2,
            "name": "small",
            "attributes": {"what": [1, 2.5, None]},
            "schedule": {"000": first, "001": second},
            "num_single_blocks": 2,
        },
        "config": {"height": 256, "width": 256, "guidance_scale": 5},
        "metrics": {"by_inference_step": {"000": {"macs": 10**15}}, "total_macs": 7},
    }


def through_yaml(schedule: Schedule) -> Schedule:
    return parse_schedule(dump_schedule(schedule), "file.yaml")


def test_flags_by_hand() -> None:
    schedule = parse_schedule(json.dumps(small()), "x")
    assert (schedule.family, schedule.name, schedule.steps) == ("flux", "small", 2)
    assert schedule.recompute["transformer_blocks"].tolist() == [[[True] * 3], [[False, True, False]]]
    single = schedule.recompute["single_transformer_blocks"]
    assert single[0].all()
    assert single[1].tolist() == [[False] * 3, [False, False, True]]
    assert schedule.model == {"height": 256, "width": 256}


@pytest.mark.parametrize("file", FILES)
def test_published_files_round_trip(file: str, shared_folder: Path) -> None:
    path = shared_folder / "official" / "schedules" / file
    text = path.read_text(encoding="utf-8")
    schedule = load_schedule(path)
    again = through_yaml(schedule)
    assert again == schedule
    assert dump_official(again) == text.rstrip("\n")  # even the same text
    document = json.loads(text)
    for name in ("attn1",) if schedule.family == "pixart" else ():
        flags = [
            [block[name] for block in step.values()]
            for step in document["cache_schedule"]["schedule"].values()
        ]
        assert schedule.recompute["transformer_blocks"][1:, :, 0].tolist() == flags[1:]
    if "first_step" not in schedule.provenance["official"]:
        # What we make for a schedule of our own is what they make.
        fresh = json.loads(dump_official(schedule.replace(provenance={}, model={})))
        assert fresh["cache_schedule"] == document["cache_schedule"]


def test_round_trip_keeps_all_there_is() -> None:
    document = small()
    document["notes"] = {"é": "x" * 300, "yes": "no", "08": 1e300}
    document["cache_schedule"]["more"] = -0.0
    schedule = through_yaml(parse_schedule(json.dumps(document), "x"))
    assert json.loads(dump_official(schedule)) == document
    renamed = json.loads(dump_official(schedule.replace(name="other")))
    assert renamed["cache_schedule"].pop("name") == "other"
    document["cache_schedule"].pop("name")
    assert renamed == document


def test_other_flags_do_not_inherit_measurements() -> None:
    schedule = parse_schedule(json.dumps(small()), "x").with_step(1, True)
    document = json.loads(dump_official(schedule, {"total_macs": 9}))
    assert document["metrics"] == {"total_macs": 9}
    assert "false" not in json.dumps(document["cache_schedule"]["schedule"])
    assert document["cache_schedule"]["attributes"] == {
        "num_affected_steps": 0,
        "num_affected_blocks": 0,
        "num_affected_blocks_single": 0,
        "total_num_affected_blocks": 0,
    }


@pytest.mark.parametrize("metrics", [None, {"total_macs": 5}])
def test_our_schedules_come_back_as_they_were(metrics: dict[str, Any] | None, tmp_path: Path) -> None:
    shape = ScheduleShape("pixart", 3, {"transformer_blocks": 2})
    stale = parse_schedule(json.dumps(small()), "x").provenance["official"]
    ours = heuristic("random:0.5", shape).replace(
        model={"name": "pixart-mini", "height": 64}, provenance={"run": "a", "official": stale}
    )
    save_official(ours, tmp_path / "s.json", metrics)
    loaded = load_schedule(tmp_path / "s.json")
    assert (loaded, loaded.name, loaded.model) == (ours, ours.name, ours.model)
    if metrics is None:
        assert loaded.provenance == ours.provenance
    text = (tmp_path / "s.json").read_text(encoding="utf-8")
    assert json.loads(dump_official(through_yaml(loaded))) == json.loads(text)
    assert json.loads(text)["config"] == {"height": 64}


def test_recognised_by_content(tmp_path: Path) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text("\ufeff \n" + json.dumps(small()), encoding="utf-8")
    assert load_schedule(path).name == "small"
    flow = tmp_path / "schedule.json"
    flow.write_text(
        "{ecad_schedule: 1, steps: 1, model: {family: pixart, blocks: {transformer_blocks: 1}},"
        " recompute: {transformer_blocks: {ff: ['1'], attn1: ['1'], attn2: ['1']}}}"
    )
    assert load_schedule(flow).family == "pixart"


def test_apply_takes_the_file(tiny_pipe: Any, tmp_path: Path) -> None:
    schedule = heuristic("fora:2", ScheduleShape("pixart", 6, {"transformer_blocks": 3}))
    save_official(schedule, tmp_path / "s.json")
    with ecad.applied(tiny_pipe, tmp_path / "s.json") as applied:
        assert applied.schedule == schedule


@pytest.mark.parametrize(
    ("family", "blocks", "config", "model"),
    [
        (
            "pixart",
            28,
            {"transformer_weights": "PixArt-alpha/PixArt-XL-2-1024-MS", "height": 256},
            "pixart-alpha-1024",
        ),
        ("pixart", 28, {"transformer_weights": "/data/PixArt-Sigma-XL-2-256x256/"}, "pixart-sigma"),
        ("pixart", 28, {"pipeline": "pixart_sigma_512"}, "pixart-sigma-512"),
        ("pixart", 28, {"pipeline": "PixArtAlphaPipeline"}, None),
        ("pixart", 28, {"transformer_weights": "someone/else", "height": 256, "width": 256}, None),
        (
            "flux",
            19,
            {"pipeline": "black-forest-labs/FLUX.1-dev", "height": 1024, "width": 1024},
            "flux-dev-1024",
        ),
        ("flux", 19, {"transformer_weights": "black-forest-labs/FLUX.1-schnell"}, "flux-schnell"),
        ("flux", 19, {"height": 256, "width": 256}, None),
        ("flux", 19, {"pipeline": 5, "transformer_weights": None}, None),
    ],
)
def test_which_model(family: str, blocks: int, config: dict[str, Any], model: str | None) -> None:
    counts = {"transformer_blocks": blocks}
    if family == "flux":
        counts["single_transformer_blocks"] = 38
    document = json.loads(dump_official(heuristic("all", ScheduleShape(family, 2, counts))))
    schedule = parse_schedule(json.dumps({**document, "config": config}), "x")
    assert schedule.model.get("name") == model
    if model == "pixart-alpha-1024":
        assert schedule.model["height"] == 1024  # of the weights, whatever the config says


def changed(change: Callable[[dict[str, Any]], Any]) -> str:
    document = copy.deepcopy(small())
    change(document)
    return json.dumps(document)


def flags_of(document: dict[str, Any]) -> dict[str, Any]:
    flags: dict[str, Any] = document["cache_schedule"]["schedule"]
    return flags


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


MISTAKES: dict[str, tuple[str, str]] = {
    "cut off": (json.dumps(small(), indent=4)[:900], r"x: line \d+: not valid JSON"),
    "cut off early": ('{"cache_sch', "line 1: not valid JSON"),
    "other JSON": ('{"a": 1}', "the file has no key 'cache_schedule'"),
    "no object": ('{"cache_schedule": [1]}', "cache_schedule must be a JSON object, not"),
    "no flags": (
        changed(lambda d: d["cache_schedule"].pop("schedule")),
        "cache_schedule has no key 'schedule'",
    ),
    "steps are text": (
        changed(lambda d: d["cache_schedule"].update(num_inference_steps="2")),
        "num_inference_steps must be a whole number from 1 to 1000, not '2'",
    ),
    "huge": (
        changed(lambda d: d["cache_schedule"].update(num_blocks=10**9)),
        "from 1 to 1000, not 1000000000",
    ),
    "steps are true": (changed(lambda d: d["cache_schedule"].update(num_inference_steps=True)), "not True"),
    "no single blocks": (
        changed(lambda d: d["cache_schedule"].pop("num_single_blocks")),
        "num_single_blocks must be a whole number",
    ),
    "missing step": (changed(lambda d: flags_of(d).pop("001")), "the key '001' is missing"),
    "one step more": (
        changed(lambda d: flags_of(d).update({"002": {}})),
        "the key '002' does not agree with num_inference_steps",
    ),
    "missing block": (
        changed(lambda d: flags_of(d)["001"].pop("single_1")),
        r'schedule\["001"\]: the key .single_1. is missing, which num_blocks and num_single_blocks',
    ),
    "missing component": (
        changed(lambda d: flags_of(d)["001"]["0"].pop("full_ff")),
        r'schedule\["001"\]\["0"\]: the key .full_ff. is missing',
    ),
    "unknown component": (
        changed(lambda d: flags_of(d)["001"]["0"].update(full_mlp=True)),
        "the key 'full_mlp' does not agree with the flux family",
    ),
    "flag is a number": (
        changed(lambda d: flags_of(d)["001"]["0"].update(full_ff=1)),
        r'schedule\["001"\]\["0"\]\["full_ff"\] must be true or false, not 1',
    ),
    "unknown family": (
        changed(lambda d: flags_of(d)["000"].update({"0": {"conv": True}})),
        "has the components .*conv.*full_attn",
    ),
    "name is a number": (changed(lambda d: d["cache_schedule"].update(name=5)), "name must be text, not 5"),
    "name is half a character": (
        changed(lambda d: d["cache_schedule"].update(name="\ud800")),
        "not valid Unicode",
    ),
    "config is a list": (changed(lambda d: d.update(config=[])), "config must be a JSON object"),
    "deep": (changed(lambda d: d.update(config={"a": nested(40)})), "nested too deeply"),
    "very deep": ('{"cache_schedule": ' + "[" * 500_000, "nested too deeply|not valid JSON"),
    "many values": (changed(lambda d: d.update(metrics={"a": [1] * 20000})), "too many for a schedule file"),
    "not finite": (changed(lambda d: d.update(metrics={"a": float("inf")})), "Infinity is not a number"),
    "too large a float": (
        changed(lambda d: d.update(metrics={"a": 7})).replace("7", "1e999"),
        "not a finite number",
    ),
    "a million digits": ('{"cache_schedule": ' + "1" * 10**6 + "}", "too many digits"),
    "twice": ('{"cache_schedule": {}, "cache_schedule": {}}', "the key 'cache_schedule' occurs twice"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case: str) -> None:
    text, message = MISTAKES[case]
    with pytest.raises(ScheduleError, match=message) as caught:
        parse_schedule(text, "x")
    assert str(caught.value).startswith("x: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_damaged_provenance_is_named() -> None:
    schedule = parse_schedule(json.dumps(small()), "x")
    kept = copy.deepcopy(schedule.provenance["official"])
    kept["first_step"]["transformer_blocks"]["full_ff"] = "10"
    with pytest.raises(ScheduleError, match="full_ff must be 1 digits 0 or 1, not '10'"):
        dump_official(schedule.replace(provenance={"official": kept}))
    del kept["rest"]
    with pytest.raises(ScheduleError, match="provenance.official has no key 'rest'"):
        dump_official(schedule.replace(provenance={"official": kept}))


def test_too_large_for_a_file(tmp_path: Path) -> None:
    large = Schedule("pixart", {"transformer_blocks": np.ones((300, 100, 3), dtype=bool)})
    with pytest.raises(ScheduleError, match="at most 2 MB"):
        save_official(large, tmp_path / "s.json")
    assert list(tmp_path.iterdir()) == []
