"""status.json: exact numbers by a clock of our own, and never a reason to stop."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from ecad.progress import Progress, WorkerReport
from ecad.storage import StatusFile

WORKER = WorkerReport("1", "busy", "host:7", 40, 2.0, 0.5, 1)


def progress(generation: int, evaluated: int, **values: Any) -> Progress:
    return Progress(
        phase="search",
        generation=generation,
        generations=5,
        evaluated=evaluated,
        population=10,
        evaluations=(generation - 1) * 10 + evaluated,
        points=[(0.25, 0.5), (1.0, 0.75)],
        hypervolume=0.125,
        images_per_evaluation=8,
        workers=(WORKER,),
        **values,
    )


def test_rate_and_remaining_time(tmp_path: Path) -> None:
    now = [1000.0]
    with StatusFile(tmp_path, lambda: now[0]) as status:
        status.update(progress(2, 0))
        now[0] += 10.0
        status.update(progress(2, 4), [("abc", "ValueError: no")])
        content = json.loads((tmp_path / "status.json").read_text())
        # 4 evaluations of 8 images in 10 s; 50 - 14 evaluations are left.
        assert content["images_per_second"] == 3.2
        assert content["remaining_s"] == 90.0
        assert (content["state"], content["generation"], content["evaluated"]) == ("search", 2, 4)
        assert content["failures"] == [{"key": "abc", "reason": "ValueError: no"}]
        assert content["workers"][0]["images_per_second"] == 2.0
        assert (content["process"], content["updated"]) == (os.getpid(), 1010.0)
        # At most once a second.
        now[0] += 0.5
        status.update(progress(2, 5))
        assert json.loads((tmp_path / "status.json").read_text()) == content
        # Nothing new, but alive; the rate is that of the last minute.
        now[0] += 60.0
        status.still_alive([])
        content = json.loads((tmp_path / "status.json").read_text())
        assert (content["evaluated"], content["workers"], content["updated"]) == (5, [], 1070.5)
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "stopped"


def test_later_phases_count_images(tmp_path: Path) -> None:
    now = [0.0]
    with StatusFile(tmp_path, lambda: now[0]) as status:
        status.update(progress(5, 10))
        for phase, first in (("selection", 100.0), ("held-out", 200.0)):
            for second in (0.0, 10.0):
                now[0] = first + second
                status.update(dataclasses.replace(progress(5, 0), phase=phase, images=(10 + int(second), 50)))
            content = json.loads((tmp_path / "status.json").read_text())
            # 10 images in 10 s, 30 are left.
            assert (content["state"], content["images"]) == (phase, [20, 50])
            assert (content["images_per_second"], content["remaining_s"]) == (1.0, 30.0)
    content = json.loads((tmp_path / "status.json").read_text())
    assert (content["state"], content["phase"]) == ("stopped", "held-out")


def test_the_end(tmp_path: Path) -> None:
    with StatusFile(tmp_path) as status:
        status.update(progress(5, 10))
        status.finish()
    content = json.loads((tmp_path / "status.json").read_text())
    assert (content["state"], content["remaining_s"]) == ("finished", 0.0)


def test_a_refused_start_leaves_the_status_of_another_search_alone(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("theirs")
    with StatusFile(tmp_path):
        pass
    assert (tmp_path / "status.json").read_text() == "theirs"


def test_no_space_is_no_reason_to_stop(tmp_path: Path) -> None:
    with StatusFile(tmp_path / "not" / "there") as status:
        status.update(progress(1, 1))
        status.finish()
