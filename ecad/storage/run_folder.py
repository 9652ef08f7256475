"""One folder per run. Its files are plain text, written so that a stop at any moment leaves them valid.

config.yaml          settings, model, prompt hashes; decides whether the run may be continued
family.yaml          the family of the model, if that came from a file
environment.json     versions and hardware of the last start (for people; never compared)
evaluations.jsonl    the evaluation log, see ecad.storage.log
*.waiting.jsonl      evaluations that came before their turn; gone when all of them are in the log
selection-N.jsonl    the further looks at the best schedules, if the search has selection prompts
refinement.jsonl     variants of the best, on all prompts before the last of these looks
latency_table.json   the fitted latency table, if the search uses one
start/*.yaml         the schedules that the search was given to start from
front/*.yaml         the schedules of the front, cheapest last
report.json          the front on held-out prompts
samples/ROW/*.webp   small pictures of what each row of the report paints
report.html          all of it as a page
status.json          how the search stands while it runs, see ecad.storage.status
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ecad.atomic import write_text
from ecad.errors import RunError, one_line
from ecad.families import load_family
from ecad.families.registry import use
from ecad.families.spec_file import FAMILY_FILE
from ecad.schedule import Schedule, dump_schedule, load_schedule
from ecad.storage.locked_folder import LockedFolder
from ecad.storage.log import EvaluationLog, Logged, read_evaluations, read_log

RUN_FORMAT = 8
# What is found in them is the same, but earlier searches went other ways.
READABLE_FORMATS = (1, 2, 3, 4, 5, 6, 7, RUN_FORMAT)


class RunFolder(LockedFolder[EvaluationLog]):
    """The folder of a run, with its evaluation log."""

    kind = "run folder"

    def _open_log(self) -> EvaluationLog:
        return EvaluationLog(self._log_path)

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of a run that was started before."""
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path} is not a run folder: it has no config.yaml (start one with ecad search)")
        folder = cls(path)
        folder.use_family()
        return folder

    def use_family(self) -> None:
        """Make the run's family known, if it came from a file."""
        if (self.path / FAMILY_FILE).is_file():
            use(load_family(self.path / FAMILY_FILE))

    @property
    def is_started(self) -> bool:
        return (self.path / "config.yaml").is_file()

    @property
    def has_results(self) -> bool:
        return (self.path / "report.json").is_file() or (self.path / "front").is_dir()

    @property
    def _log_path(self) -> Path:
        return self.path / "evaluations.jsonl"

    # --- settings ---

    def write_config(self, content: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(
            {"ecad_run": RUN_FORMAT, **content}, sort_keys=False, allow_unicode=True, width=110
        )
        self.write_text("config.yaml", text)

    def read_config(self) -> dict[str, Any]:
        """The content of config.yaml; a run folder of another format version is refused."""
        path = self.path / "config.yaml"
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{path} is damaged: {one_line(error)}") from None
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror}") from None
        version = content.get("ecad_run") if isinstance(content, dict) else None
        if version not in READABLE_FORMATS:
            raise RunError(
                f"{self.path} was written in run format {version!r}, this version of ecad reads {RUN_FORMAT} and "
                "older: use the ecad version that wrote it or start a new run"
            )
        return dict(content)

    # --- results ---

    def write_front(self, schedules: Mapping[str, Schedule]) -> None:
        """Replace front/ by these files (file stem -> schedule)."""
        self.write_schedules("front", schedules)

    def write_schedules(self, folder: str, schedules: Mapping[str, Schedule]) -> None:
        """Replace a folder of schedules by these files (file stem -> schedule)."""
        target, fresh, old = (self.path / name for name in (folder, f"{folder}.new", f"{folder}.old"))
        try:
            for leftover in (fresh, old):
                shutil.rmtree(leftover, ignore_errors=True)
            fresh.mkdir()
            for stem, schedule in schedules.items():
                write_text(fresh / f"{stem}.yaml", dump_schedule(schedule))
            if target.exists():
                target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise RunError(f"cannot write {target}: {error.strerror}") from error

    def read_front(self) -> dict[str, Schedule]:
        """File stem -> schedule, in the order of the file names."""
        return {path.stem: load_schedule(path) for path in sorted((self.path / "front").glob("*.yaml"))}

    def read_json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}") from None
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror}") from None
        if not isinstance(content, dict):
            raise RunError(f"{path} is damaged: it must hold a JSON object")
        return content

    def read_report(self) -> dict[str, Any]:
        """The content of report.json, whose presence means that the search went through to its end."""
        report = self.read_json("report.json")
        if report is None:
            raise RunError(
                f"the run in {self.path} has no report yet ({self.count_evaluations()} evaluations so far): "
                f"let it finish with ecad search --resume {self.path}"
            )
        return report

    def logged(self) -> Iterator[Logged]:
        """What is in the log, read without taking the folder."""
        return read_log(self._log_path)

    def count_evaluations(self) -> int:
        """Number of whole records in the log, read without taking the folder."""
        return sum(1 for _ in read_evaluations(self._log_path))

    def failures(self) -> list[tuple[str, str]]:
        """(key, reason) of every candidate in the log that could not be evaluated."""
        return [
            (item.key, item.failure) for item in read_evaluations(self._log_path) if item.failure is not None
        ]

    def search_points(self) -> list[tuple[float, float]]:
        """(relative cost, quality) of every evaluation in the log."""
        return [(item.cost, item.quality) for item in read_evaluations(self._log_path) if item.is_finite]
