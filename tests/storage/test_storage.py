"""The run folder: what survives a stop at any byte, and what is refused."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ecad.errors import ConfigError, ModelError, RunError
from ecad.records import Candidate, Evaluation
from ecad.schedule import ScheduleShape, genome_to_hex, heuristic, to_genome
from ecad.storage import EvaluationLog, RunFolder

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})


def entry(name: str, quality: float = 0.5) -> tuple[Candidate, Evaluation]:
    schedule = heuristic(name, SHAPE)
    key = schedule.digest()
    candidate = Candidate(key, schedule, genome_to_hex(to_genome(schedule)), 1, 0)
    return candidate, Evaluation(key, 0.1 + 0.2, quality, (quality, 1 / 3), 12345678901234567, None)


def test_what_is_written_is_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    pairs = [entry("fora:2"), entry("fora:3", 1 / 7), entry("attn:2", math.nan)]
    with EvaluationLog(path) as log:
        for candidate, evaluation in pairs:
            log.append(candidate, evaluation)
    with EvaluationLog(path) as log:
        assert len(log) == 3
        assert [log[evaluation.key] for _, evaluation in pairs[:2]] == [
            evaluation for _, evaluation in pairs[:2]
        ]
        assert math.isnan(log[pairs[2][1].key].quality)
        assert not log[pairs[2][1].key].is_finite
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_torn_last_record_is_dropped_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path) as log:
        log.append(*entry("fora:2"))
    first = path.read_bytes()
    with EvaluationLog(path) as log:
        log.append(*entry("fora:3"))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with EvaluationLog(path) as log:
            assert len(log) == (1 if length >= len(first) else 0)
            log.append(*entry("fora:3"))
        expected = whole if length >= len(first) else whole[len(first) :]
        assert path.read_bytes() == expected


def test_damage_in_the_middle_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path) as log:
        log.append(*entry("fora:2"))
        log.append(*entry("fora:3"))
    damaged = b"{}\n" + path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(RunError, match=r"log.jsonl is damaged at line 1"):
        EvaluationLog(path)
    assert path.read_bytes() == damaged


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path) as log:
        log.append(*entry("fora:2"))
        before = path.read_bytes()

        def no_space(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(RunError, match="No space left on device.*--resume"):
            log.append(*entry("fora:3"))
    assert path.read_bytes() == before


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom ecad.errors import RunError\nfrom ecad.storage import RunFolder\n"
        "try:\n    RunFolder(Path(sys.argv[1])).__enter__()\nexcept RunError as error:\n    print(error)\n"
    )

    def second_process() -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "run")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with RunFolder(tmp_path / "run"):
        assert "is in use by another process" in second_process()
    assert second_process() == ""


def test_config_versions(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.write_config({"settings": {"seed": 1}})
        assert folder.read_config() == {"ecad_run": 8, "settings": {"seed": 1}}
    (tmp_path / "config.yaml").write_text("ecad_run: 99\n")
    with pytest.raises(RunError, match="run format 99, this version of ecad reads 8 and older"):
        RunFolder.existing(tmp_path).read_config()
    (tmp_path / "config.yaml").write_text("a: [\n")
    with pytest.raises(RunError, match="damaged"):
        RunFolder.existing(tmp_path).read_config()
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.existing(tmp_path / "absent")


def test_the_front_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_front({"01-2.00x": heuristic("fora:2", SHAPE), "02-3.00x": heuristic("fora:3", SHAPE)})
    folder.write_front({"01-1.50x": heuristic("attn:2", SHAPE)})
    assert folder.read_front() == {"01-1.50x": heuristic("attn:2", SHAPE)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front"]


def test_writing_without_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not open for writing"):
        _ = RunFolder(tmp_path).log


def leave(path: Path, error: BaseException, write: Callable[[RunFolder], None] = lambda folder: None) -> None:
    """Enter a run folder, write into it, and leave it by this error."""

    def work() -> None:
        with RunFolder(path) as folder:
            write(folder)
            raise error

    with pytest.raises(type(error)):
        work()


def test_a_folder_that_was_refused_its_settings_is_gone(tmp_path: Path) -> None:
    for error in (ConfigError("no"), RunError("no"), KeyboardInterrupt()):
        leave(tmp_path / "deep" / "run", error)
        assert not (tmp_path / "deep").exists()


def test_what_was_written_before_the_first_evaluation_goes_with_a_refusal_only(tmp_path: Path) -> None:
    def configure(folder: RunFolder) -> None:
        folder.write_config({})

    leave(tmp_path / "run", ModelError("no"), configure)
    assert not (tmp_path / "run").exists()
    leave(tmp_path / "run", RunError("all candidates failed"), configure)
    assert (tmp_path / "run" / "config.yaml").exists()
    leave(tmp_path / "run", ModelError("no"), configure)  # the folder is that of an earlier start
    assert (tmp_path / "run" / "config.yaml").exists()


def test_a_refusal_keeps_evaluations_and_what_others_put_there(tmp_path: Path) -> None:
    leave(tmp_path / "run", ConfigError("no"), lambda folder: folder.log.append(*entry("fora:2")))
    assert (tmp_path / "run" / "evaluations.jsonl").stat().st_size > 0
    (tmp_path / "mine").mkdir()
    leave(tmp_path / "mine", ConfigError("no"))
    assert list((tmp_path / "mine").iterdir()) == []
    (tmp_path / "mine" / "note.txt").write_text("x")
    leave(tmp_path / "mine", ConfigError("no"))
    assert (tmp_path / "mine" / "note.txt").read_text() == "x"
