"""The search loop and the whole of `ecad search`, on a tiny model: exact resume, refusals, results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.toys import Contrast, metric, toy_settings

from ecad.errors import ConfigError, RunError
from ecad.execution import Outcome
from ecad.progress import WorkerReport
from ecad.records import Candidate, Evaluation
from ecad.schedule import ScheduleShape, genome_length, load_schedule, to_genome
from ecad.searching.run import evolve, search
from ecad.searching.settings import SearchSettings
from ecad.storage import EvaluationLog, RunFolder

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})
CONFIG = toy_settings(generations=6, population=10)


class ToyExecutor:
    """Evaluates without a model: quality is a fixed function of the genome. Can stop after some evaluations."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.done = 0
        self._stop_after = stop_after
        self._weights = np.random.default_rng(0).random(genome_length(SHAPE))

    workers: Sequence[WorkerReport] = ()

    def run(self, candidates: Iterable[Candidate]) -> Iterator[Outcome]:
        for candidate in candidates:
            if self.done == self._stop_after:
                raise KeyboardInterrupt
            self.done += 1
            genome = to_genome(candidate.schedule)
            quality = float((genome * self._weights).sum() / self._weights.sum())
            yield (
                candidate,
                Evaluation(candidate.key, float(genome.mean()), quality, (quality,), int(genome.sum())),
            )


def test_stopped_anywhere_and_resumed_gives_the_same_log(tmp_path: Path) -> None:
    def run(path: Path, stop_after: int | None = None) -> None:
        with EvaluationLog(path) as log:
            evolve(CONFIG, SHAPE, ToyExecutor(stop_after), log, lambda progress: None)

    run(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    assert whole.count(b"\n") == 60
    for stop_after in (0, 1, 9, 10, 11, 37, 59):
        path = tmp_path / f"{stop_after}.jsonl"
        with pytest.raises(KeyboardInterrupt):
            run(path, stop_after)
        assert whole.startswith(path.read_bytes())
        run(path)
        assert path.read_bytes() == whole


class OutOfTurn(ToyExecutor):
    """The last of the candidates is ready first."""

    def run(self, candidates: Iterable[Candidate]) -> Iterator[Outcome]:
        return super().run(list(candidates)[::-1])


def test_results_before_their_turn_survive_a_stop(tmp_path: Path) -> None:
    def run(path: Path, executor: ToyExecutor) -> None:
        with EvaluationLog(path) as log:
            evolve(CONFIG, SHAPE, executor, log, lambda progress: None)

    run(tmp_path / "whole.jsonl", ToyExecutor())
    whole = (tmp_path / "whole.jsonl").read_bytes()
    for stop_after in (0, 1, 9, 10, 15, 59):
        path, waiting = tmp_path / f"{stop_after}.jsonl", tmp_path / f"{stop_after}.waiting.jsonl"
        with pytest.raises(KeyboardInterrupt):
            run(path, OutOfTurn(stop_after))
        # None of the generation that was under way was in its turn.
        assert path.read_bytes().count(b"\n") == stop_after // 10 * 10
        held = waiting.read_bytes() if waiting.exists() else b""
        assert held.count(b"\n") == stop_after % 10
        # The log of a run that goes on in turn is the same, and nothing is evaluated twice: not even if the last
        # record was torn.
        torn = len(held) > 0
        waiting.write_bytes(held[:-3])
        executor = ToyExecutor()
        run(path, executor)
        assert executor.done == 60 - stop_after + torn
        assert path.read_bytes() == whole
        assert not waiting.exists()


def test_what_waits_for_its_turn_is_something_found(tmp_path: Path) -> None:
    """As long as nothing was found, a run folder may change its settings."""
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path) as log:
        assert log.is_empty
        with pytest.raises(KeyboardInterrupt):
            evolve(CONFIG, SHAPE, OutOfTurn(1), log, lambda progress: None)
        assert len(log) == 0
        assert not log.is_empty
    with EvaluationLog(path) as log:
        assert not log.is_empty


def test_resuming_evaluates_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for expected in (60, 0):
        executor = ToyExecutor()
        with EvaluationLog(path) as log:
            evolve(CONFIG, SHAPE, executor, log, lambda progress: None)
        assert executor.done == expected


def test_more_generations_extend_the_same_search(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path) as log:
        history = evolve(CONFIG, SHAPE, ToyExecutor(), log, lambda progress: None)
        six = path.read_bytes()
        longer = evolve(replace(CONFIG, generations=8), SHAPE, ToyExecutor(), log, lambda progress: None)
    assert path.read_bytes().startswith(six)
    assert longer.hypervolume[:6] == history.hypervolume
    assert longer.hypervolume == sorted(longer.hypervolume)
    assert longer.hypervolume[-1] > longer.hypervolume[0]


# --- the whole thing, on a tiny diffusers pipeline ---


@pytest.fixture(scope="module")
def settings(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "search.txt").write_text("a large red circle on a gray background\n")
    (folder / "heldout.txt").write_text("a small blue square on a white background\n")
    shutil.copy(folder / "search.txt", folder / "same.txt")
    return {
        "model": str(tiny_folder),
        "steps": 6,
        "generations": 3,
        "population": 6,
        "quality": "contrast",
        "prompts": str(folder / "search.txt"),
        "heldout_prompts": str(folder / "heldout.txt"),
        "batch_size": 2,
        "seeds_per_prompt": 2,
        "heldout_seeds_per_prompt": 2,
        "device": "cpu",
    }


@pytest.fixture(scope="module", autouse=True)
def _toy_scorer() -> Iterator[None]:
    with metric(Contrast()):
        yield


def reproducible_files(folder: Path) -> dict[str, bytes]:
    names = ["config.yaml", "evaluations.jsonl", "history.json"]
    paths = [*(folder / name for name in names), *sorted((folder / "front").glob("*.yaml"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def finished(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    search(SearchSettings.from_mapping(settings), folder)
    return folder


def test_results_of_a_search(finished: Path, settings: dict[str, Any]) -> None:
    report = json.loads((finished / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["uncached"]["speedup_macs"] == 1.0
    assert rows["uncached"]["difference"] == 0.0
    assert {"fora:2", "fora:3", "steps:3"} <= set(rows)
    assert report["heldout"]["images"] == 2
    front = RunFolder.existing(finished).read_front()
    assert list(front) == [row["name"] for row in report["rows"] if row["kind"] == "front"]
    assert "all" not in [row["name"] for row in report["rows"]]
    for path in (finished / "front").glob("*.yaml"):
        schedule = load_schedule(path)
        assert schedule.shape == SHAPE
        assert schedule.provenance["search"]["contrast"] > 0
        assert schedule.model["height"] == 16
    assert RunFolder.existing(finished).count_evaluations() == 18


def test_small_pictures_of_the_first_prompts_are_kept(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    samples = report["heldout"]["samples"]
    assert [each["seed"] for each in samples] == [report["heldout"]["first_seed"]]  # of one prompt, two seeds
    for place, row in enumerate(report["rows"]):
        found = sorted(path.name for path in finished.glob(f"samples/{place:02d}-*/*"))
        assert found == [f"{index:03d}-{each['seed']}.webp" for index, each in enumerate(samples)], row[
            "name"
        ]
    pictures = [path.read_bytes() for path in finished.glob("samples/*/000-*")]
    assert len(set(pictures)) > 2
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows["uncached"]["paper_s"]) == {"A6000", "H100"}
    assert rows["steps:3"]["paper_s"]["H100"] == pytest.approx(rows["uncached"]["paper_s"]["H100"] / 2)
    assert rows["fora:2"]["paper_s"]["H100"] < rows["uncached"]["paper_s"]["H100"]


def test_equal_settings_give_equal_files(finished: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    search(SearchSettings.from_mapping(settings), tmp_path / "again")
    assert reproducible_files(tmp_path / "again") == reproducible_files(finished)


def test_a_stopped_search_continues_to_the_same_files(
    finished: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    def stop(progress: Any) -> None:
        if progress.evaluations == 8:
            raise KeyboardInterrupt

    config = SearchSettings.from_mapping(settings)
    with pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "run", stop)
    assert RunFolder.existing(tmp_path / "run").count_evaluations() == 8
    search(config, tmp_path / "run")
    assert reproducible_files(tmp_path / "run") == reproducible_files(finished)


def test_the_report_of_a_finished_search_is_kept(
    finished: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Times would differ for no reason, and it takes minutes."""
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "report.json"
    before, said = path.read_bytes(), []
    search(SearchSettings.from_mapping(settings), tmp_path / "run", announce=said.append)
    assert path.read_bytes() == before
    assert any("the report is kept" in line and str(path) in line for line in said)
    # One of another front, or none that can be read, is not.
    for text in (before.decode().replace('"hypervolume"', '"other"', 1), "{"):
        path.write_text(text)
        search(SearchSettings.from_mapping(settings), tmp_path / "run")
        assert json.loads(path.read_text())["rows"][0]["kind"] == "uncached"
        assert path.read_bytes() != text.encode()


def test_other_settings_in_the_same_folder_are_refused(finished: Path, settings: dict[str, Any]) -> None:
    before = reproducible_files(finished)
    for change in ({"seed": 5}, {"population": 8}, {"steps": 5}):
        config = SearchSettings.from_mapping({**settings, **change})
        name, value = next(iter(change.items()))
        with pytest.raises(
            RunError, match=rf"other settings \(settings {name}: .* there, {value} now\).*--out"
        ):
            search(config, finished)
    assert reproducible_files(finished) == before


def test_a_search_of_an_older_format_is_not_continued(
    finished: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Its candidates came from other genomes; all that was found can still be read."""
    shutil.copytree(finished, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("ecad_run: 8", "ecad_run: 1"))
    assert RunFolder.existing(tmp_path / "run").read_config()["ecad_run"] == 1
    with pytest.raises(RunError, match=r"older ecad \(run format 1, now 8\)"):
        search(SearchSettings.from_mapping(settings), tmp_path / "run")


def test_changed_prompts_in_the_same_file_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a small red cross on a white background\n")
    config = SearchSettings.from_mapping({**settings, "prompts": str(prompts), "generations": 1})
    search(config, tmp_path / "run")
    prompts.write_text("a small green cross on a white background\n")
    with pytest.raises(RunError, match=r"other settings \(prompts search"):
        search(config, tmp_path / "run")


def test_the_format_of_prompt_files_is_a_setting_of_the_run(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "search.data").write_text("id;text\n1;a large red circle, on a gray background\n")
    (tmp_path / "heldout.data").write_text('{"prompt": "a small blue square on a white background"}\n')
    formats = {"prompts_format": "csv-semicolon:text", "heldout_prompts_format": "jsonl"}
    files = {"prompts": str(tmp_path / "search.data"), "heldout_prompts": str(tmp_path / "heldout.data")}
    config = SearchSettings.from_mapping({**settings, **files, **formats, "generations": 1})
    with pytest.raises(ConfigError, match="unknown prompt format 'semicolons'"):
        search(replace(config, prompts_format="semicolons"), tmp_path / "run")
    search(config, tmp_path / "run")
    kept = RunFolder.existing(tmp_path / "run").read_config()
    assert kept["settings"]["prompts_format"] == "csv-semicolon:text"
    assert kept["settings"]["heldout_prompts_format"] == "jsonl"
    assert kept["prompts"]["search"]["count"] == 1
    # As --resume reads it: nothing is evaluated again.
    before = reproducible_files(tmp_path / "run")
    search(SearchSettings.from_mapping(kept["settings"]), tmp_path / "run")
    assert reproducible_files(tmp_path / "run") == before
    with pytest.raises(RunError, match="other settings"):
        search(replace(config, prompts_format="csv-semicolon:id"), tmp_path / "run")


def test_nothing_is_claimed_before_all_settings_are_known_to_work(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """A mistake that shows late must neither cost a search nor spoil the folder for the corrected command."""
    prompts = tmp_path / "heldout.txt"
    prompts.write_text("unjudgeable\n")
    wrong = {**settings, "heldout_prompts": str(prompts), "generations": 1}
    with pytest.raises(ConfigError, match="cannot judge this"):
        search(SearchSettings.from_mapping(wrong), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
    search(SearchSettings.from_mapping({**settings, "generations": 1}), tmp_path / "run")


def test_a_lost_log_is_not_started_over(finished: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "evaluations.jsonl").unlink()
    with pytest.raises(RunError, match=r"evaluations.jsonl is lost"):
        search(SearchSettings.from_mapping(settings), tmp_path / "run")


def test_shared_prompts_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    config = SearchSettings.from_mapping({**settings, "heldout_prompts": settings["prompts"]})
    with pytest.raises(ConfigError, match="must be disjoint"):
        search(config, tmp_path / "run")


def test_searching_by_time_on_paper(settings: dict[str, Any], tmp_path: Path) -> None:
    config = SearchSettings.from_mapping({**settings, "cost": "paper:H100", "generations": 2})
    folder = search(config, tmp_path / "run")
    with folder:
        items = list(folder.log)
    slowest = max(items, key=lambda item: item.latency_s)
    for item in items:  # the uncached model is among them
        assert item.cost == pytest.approx(item.latency_s / slowest.latency_s)
    assert not (tmp_path / "run" / "latency_table.json").exists()
    with pytest.raises(ConfigError, match="known for A6000, H100, not for 'V100'"):
        SearchSettings.from_mapping({**settings, "cost": "paper:V100"})


def test_searching_by_latency(settings: dict[str, Any], tmp_path: Path) -> None:
    config = SearchSettings.from_mapping({**settings, "cost": "latency", "generations": 2})
    search(config, tmp_path / "run")
    table = json.loads((tmp_path / "run" / "latency_table.json").read_text())
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    front = [row for row in report["rows"] if row["kind"] == "front"]
    assert all(row["latency_s_predicted"] > 0 for row in front)
    # A given table makes a latency search as reproducible as one by MACs.
    given = {**settings, "cost": "latency", "generations": 2}
    given["latency_table"] = str(tmp_path / "run" / "latency_table.json")
    search(SearchSettings.from_mapping(given), tmp_path / "given")
    assert json.loads((tmp_path / "given" / "latency_table.json").read_text()) == table
    (tmp_path / "given" / "latency_table.json").unlink()
    with pytest.raises(RunError, match=r"latency_table.json is lost"):
        search(SearchSettings.from_mapping(given), tmp_path / "given")
    with pytest.raises(ConfigError, match=r"table was measured on .*16 x 16.*this search runs .*32 x 16"):
        search(SearchSettings.from_mapping({**given, "height": 32}), tmp_path / "larger")
    logs = [(tmp_path / name / "evaluations.jsonl").read_bytes() for name in ("run", "given")]
    assert logs[0] == logs[1]


def test_objectives_are_cut_off_where_differences_mean_nothing() -> None:
    """Ruined images count as failed, lossless ones as equally good."""
    from ecad.records import Evaluation
    from ecad.searching.history import objectives

    def seen(quality: float) -> tuple[float, float]:
        evaluation = Evaluation(key="k", cost=0.5, quality=quality, scores=(quality,), macs=1, latency_s=None)
        cost, loss = objectives(evaluation, (0.4, 0.9))
        return cost, -loss

    assert [seen(value)[1] for value in (0.4, 0.7, 0.9, 0.95)] == [0.4, 0.7, 0.9, 0.9]
    assert all(np.isfinite(seen(value)[0]) for value in (0.4, 0.9, 0.95))
    assert np.isnan(seen(0.39)[0])
    assert seen(0.39)[1] == 0.39  # how bad it was
    assert np.isnan(seen(float("nan"))).all()
    assert np.isnan(seen(float("inf"))).all()


def test_selection_on_more_prompts(settings: dict[str, Any], tmp_path: Path) -> None:
    """The front is chosen by the scores on all prompts; stopped in the selection, a run continues to the same."""
    prompts = tmp_path / "search.txt"
    prompts.write_text(
        "".join(f"a large red circle on a {name} background\n" for name in ("gray", "white", "blue"))
    )
    config = SearchSettings.from_mapping(
        {**settings, "prompts": str(prompts), "prompts_limit": 1, "selection_limit": 2}
    )
    phases: list[str] = []
    search(config, tmp_path / "whole", lambda progress: phases.append(progress.phase))
    assert list(dict.fromkeys(phases)) == ["search", "selection", "held-out"]
    names = ("selection-1.jsonl", "selection-2.jsonl")
    rounds = []
    for name in names:
        lines = [json.loads(line) for line in (tmp_path / "whole" / name).read_text().splitlines()]
        rounds.append({line["key"]: line["scores"] for line in lines if "key" in line})
        assert len({tuple(scores) for scores in rounds[-1].values()}) == len(rounds[-1])
    assert set(rounds[1]) <= set(rounds[0])
    for schedule in RunFolder.existing(tmp_path / "whole").read_front().values():
        assert [len(selected[schedule.digest()]) for selected in rounds] == [2, 2]  # one prompt, two seeds
        assert schedule.provenance["search"]["images"] == 6

    def stop(progress: Any) -> None:
        if progress.phase == "selection" and progress.images[0] > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "stopped", stop)
    assert not (tmp_path / "stopped" / "front").exists()
    search(config, tmp_path / "stopped")
    assert reproducible_files(tmp_path / "stopped") == reproducible_files(tmp_path / "whole")
    for name in names:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_selection_prompts_go_on_with_the_seeds_of_the_search(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """Search and selection together make the images that a search on all prompts would make."""
    from ecad.searching.setup import prepare

    prompts = tmp_path / "search.txt"
    prompts.write_text(
        "".join(f"a large red circle on a {name} background\n" for name in ("gray", "white", "blue"))
    )

    def scores(limit: int, selection: int) -> list[float]:
        values = {**settings, "prompts": str(prompts), "prompts_limit": limit, "selection_limit": selection}
        with RunFolder(tmp_path / f"{limit}-{selection}") as folder:
            run = prepare(folder, SearchSettings.from_mapping(values).resolved(), False)
            parts = [run.evaluator, *run.selection_evaluators]
            assert [part.images_per_evaluation for part in parts] == ([2, 2, 2] if selection else [6])
            found = [float(score) for part in parts for score in part.scores(None)]
            # Variants meet what finalists have met before the last round.
            assert (run.refinement_evaluator is not None) == bool(selection)
            if run.refinement_evaluator is not None:
                assert run.refinement_evaluator.scores(None).tolist() == found[:4]
            return found

    assert scores(1, 2) == scores(3, 0)
