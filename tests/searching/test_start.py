"""Searches that start from schedules of earlier ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.toys import Contrast, metric

from ecad.errors import ConfigError, RunError
from ecad.genetic.seeding import initial_genomes
from ecad.schedule import Schedule, ScheduleShape, dump_schedule, heuristic, load_schedule, to_genome
from ecad.searching.run import search
from ecad.searching.settings import SearchSettings
from ecad.searching.start import start_schedules
from ecad.storage import RunFolder
from ecad.storage.log import read_evaluations

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})


@pytest.fixture(scope="module", autouse=True)
def _toy_scorer() -> Iterator[None]:
    with metric(Contrast()):
        yield


@pytest.fixture
def settings(tiny_folder: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "search.txt").write_text("a large red circle\na green cross\n")
    (tmp_path / "heldout.txt").write_text("a small blue square on a white background\n")
    return {
        "model": str(tiny_folder),
        "steps": 6,
        "generations": 2,
        "population": 8,
        "quality": "contrast",
        "prompts": str(tmp_path / "search.txt"),
        "heldout_prompts": str(tmp_path / "heldout.txt"),
        "batch_size": 2,
        "device": "cpu",
    }


def written(folder: Path, *names: str, shape: ScheduleShape = SHAPE) -> Path:
    folder.mkdir()
    for name in names:
        (folder / f"{name.replace(':', '-')}.yaml").write_text(dump_schedule(heuristic(name, shape)))
    return folder


def test_given_schedules_come_first() -> None:
    given = [heuristic(f"random:0.5:{seed}", SHAPE) for seed in range(4)]
    genomes = initial_genomes(SHAPE, 12, np.random.default_rng(0), start=[*given, given[0]])
    assert np.array_equal(genomes[:4], [to_genome(schedule) for schedule in given])
    assert len({genome.tobytes() for genome in genomes}) == 12
    everything = to_genome(heuristic("all", SHAPE))
    assert any(np.array_equal(genome, everything) for genome in genomes[4:])


def test_a_front_and_a_file_begin_the_search_and_are_kept(settings: dict[str, Any], tmp_path: Path) -> None:
    earlier = written(tmp_path / "earlier", "random:0.4:1", "random:0.4:2")
    (tmp_path / "one.yaml").write_text(dump_schedule(heuristic("random:0.4:3", SHAPE)))
    config = SearchSettings.from_mapping({**settings, "start_from": f"{earlier}, {tmp_path / 'one.yaml'}"})
    search(config, tmp_path / "run")
    asked = [item.key for item in read_evaluations(tmp_path / "run" / "evaluations.jsonl")]
    expected = [heuristic(f"random:0.4:{seed}", SHAPE).digest() for seed in (1, 2, 3)]
    assert asked[:3] == expected
    assert [
        load_schedule(path).digest() for path in sorted((tmp_path / "run" / "start").iterdir())
    ] == expected
    log = (tmp_path / "run" / "evaluations.jsonl").read_bytes()
    shutil.rmtree(earlier)
    # Stopped in the middle, with the files gone: the same answer.
    lines = log.splitlines(keepends=True)
    (tmp_path / "run" / "evaluations.jsonl").write_bytes(b"".join(lines[:5]))
    search(config, tmp_path / "run")
    assert (tmp_path / "run" / "evaluations.jsonl").read_bytes() == log
    # A run's folder stands for its front.
    front = list((tmp_path / "run" / "front").iterdir())
    again = SearchSettings.from_mapping(
        {**settings, "population": 2 * len(front) + 2, "start_from": str(tmp_path / "run")}
    )
    search(again, tmp_path / "again")
    assert len(list((tmp_path / "again" / "start").iterdir())) == len(front)
    shutil.rmtree(tmp_path / "run" / "start")
    with pytest.raises(RunError, match="has evaluations but its start/ is lost"):
        search(config, tmp_path / "run")


def test_what_does_not_fit_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    def refused(start_from: object, match: str) -> None:
        config = SearchSettings.from_mapping({**settings, "start_from": str(start_from)})
        with pytest.raises(ConfigError, match=match):
            search(config, tmp_path / "run")
        assert not (tmp_path / "run" / "config.yaml").exists()

    other = ScheduleShape("pixart", 5, {"transformer_blocks": 3})
    refused(
        written(tmp_path / "other", "fora:2", shape=other), "is for pixart, 5 steps.*the model has pixart, 6"
    )
    many = written(tmp_path / "many", *(f"random:0.5:{seed}" for seed in range(5)))
    refused(many, r"names 5 schedules, .* no more than half of the population \(8\)")
    strange = tmp_path / "strange"
    strange.mkdir()
    for seed in range(5):
        schedule = heuristic(f"random:0.5:{seed}", SHAPE)
        seen = {"relative_cost": 0.5, "contrast": 0.1, "prompts": "p", "images": 2 + seed // 4}
        (strange / f"{seed}.yaml").write_text(dump_schedule(schedule.replace(provenance={"search": seen})))
    refused(
        strange,
        r"give a larger --population, or only fronts of searches that saw the contrast of equally many",
    )
    (strange / "4.yaml").write_text(dump_schedule(schedule.replace(provenance={"search": "by hand"})))
    refused(strange, "give a larger --population")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "the folder has no schedules, nor a front")


def test_of_several_fronts_the_best_go_on(tmp_path: Path) -> None:
    """First the common front, spread over its costs, then what is least below it."""
    points = {1: (0.5, 1.0), 2: (0.2, 0.7), 3: (0.49, 0.99), 4: (0.3, 0.6), 5: (0.4, 0.2), 6: (0.9, 0.98)}
    for seed, (cost, quality) in points.items():
        folder = tmp_path / "fronts" / str(seed % 2) / "front"
        folder.mkdir(parents=True, exist_ok=True)
        search_saw = {
            "cost": "macs",
            "relative_cost": cost,
            "alignment": quality,
            "prompts": "p",
            "images": 9,
        }
        schedule = heuristic(f"random:0.5:{seed}", SHAPE).replace(provenance={"search": search_saw})
        (folder / f"{seed}.yaml").write_text(dump_schedule(schedule))
    runs = ",".join(str(tmp_path / "fronts" / name) for name in "01")
    said: list[str] = []

    def started(population: int) -> list[str]:
        values = {"model": "pixart-mini", "population": population, "start_from": runs}
        with RunFolder(tmp_path / str(population)) as run:
            found = start_schedules(run, SearchSettings.from_mapping(values).resolved(), SHAPE, said.append)
        return [schedule.digest() for schedule in found]

    def named(*seeds: int) -> list[str]:
        return [heuristic(f"random:0.5:{seed}", SHAPE).digest() for seed in seeds]

    assert started(4) == named(1, 2)  # the ends of the front
    assert started(6) == named(1, 3, 2)
    assert started(10) == named(6, 1, 3, 4, 2)  # nothing of 5
    assert [line.split(",")[0] for line in said] == [
        f"of the 6 schedules of --start-from the best {most} go on" for most in (2, 3, 5)
    ]
    assert sorted(started(12)) == sorted(named(*points))
    assert len(said) == 3


def test_what_is_given_holds_what_the_search_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A genome does not say it; the copies that the run keeps do."""
    folder = written(tmp_path / "given", "output:0,2", "denoised:0,2", "denoised:0,3", "mask:0,2")
    shape = ScheduleShape(SHAPE.family, SHAPE.steps, SHAPE.blocks, "denoised")
    values = {"model": "pixart-mini", "population": 8, "start_from": str(folder)}
    with RunFolder(tmp_path / "run") as run:
        found = start_schedules(run, SearchSettings.from_mapping(values).resolved(), shape)
    expected = [heuristic(name, shape) for name in ("denoised:0,2", "denoised:0,3", "mask:0,2")]
    assert sorted(map(Schedule.digest, found)) == sorted(map(Schedule.digest, expected))
    assert "1 schedules of --start-from go on as ones that hold the clean sample" in caplog.text
