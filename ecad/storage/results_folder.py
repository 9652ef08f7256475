"""The folder of one `ecad evaluate`. Its files are plain, written so that a stop at any moment leaves them valid.

config.yaml            settings, model, contenders, prompt hash; decides whether the folder may be continued
environment.json       versions and hardware of the last start
scores.jsonl           one line per contender and batch: its scores and its latency; the checkpoint.
                       Or a further timing of a row whose times are in doubt
features/NETWORK/ROW/  features of the images, for metrics of a whole set
samples/ROW/*.png      the images of the sample grid
schedules/ROW.yaml     the schedules that were compared
results.json .csv .md  the table
grid.png               sample images: a row per contender, a column per prompt
report.html            all of it as a page
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from ecad.errors import RunError, one_line
from ecad.storage.differences import first_difference
from ecad.storage.json_lines import JsonLines, Record
from ecad.storage.locked_folder import LockedFolder

EVALUATION_FORMAT = 1
_CONFIG = "config.yaml"
_LOG = "scores.jsonl"


class ResultsFolder(LockedFolder[JsonLines[Record]]):
    """The folder of an evaluation; its log has a record per contender and batch."""

    kind = "evaluation folder"

    def _open_log(self) -> JsonLines[Record]:
        remedy = "all earlier results are safe, run the same command again later"
        return JsonLines(self.path / _LOG, lambda record: record, remedy)

    def claim(self, content: Mapping[str, Any]) -> None:
        """Use the folder for an evaluation with these settings (plain data).

        RunError if it holds results of other ones, another version's results, or something else.
        """
        known = self._read_config()
        if known is None or (not self.log.items and not (self.path / "results.json").exists()):
            text = yaml.safe_dump(
                {"ecad_evaluation": EVALUATION_FORMAT, **content},
                sort_keys=False,
                allow_unicode=True,
                width=110,
            )
            self.write_text(_CONFIG, text)
            return
        if not self.log.items:
            raise RunError(f"{self.path} has results but no scores: its {_LOG} is lost")
        for part in content:
            if known.get(part) != content[part]:
                raise RunError(
                    f"{self.path} holds an evaluation with other settings "
                    f"({first_difference(known.get(part), content[part], part)}): use another --out"
                )

    def _read_config(self) -> dict[str, Any] | None:
        path = self.path / _CONFIG
        if not path.exists():
            return None
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{path} is damaged: {one_line(error)}") from None
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror}") from None
        if not isinstance(content, dict) or "ecad_evaluation" not in content:
            raise RunError(f"{self.path} is not an evaluation folder (see its {_CONFIG}): use another --out")
        if content["ecad_evaluation"] != EVALUATION_FORMAT:
            raise RunError(
                f"{self.path} was written in evaluation format {content['ecad_evaluation']!r}, this version of "
                f"ecad reads {EVALUATION_FORMAT}: use another --out"
            )
        return content

    # --- files ---

    def write_features(self, name: str, features: npt.NDArray[Any]) -> None:
        """An array of numbers, exactly as it is."""
        buffer = io.BytesIO()
        np.save(buffer, features, allow_pickle=False)
        self.write_bytes(name, buffer.getvalue())

    def read_features(self, name: str) -> npt.NDArray[Any]:
        path = self.path / name
        try:
            array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise RunError(f"{path} is lost: evaluate again with another --out") from None
        except (OSError, ValueError, EOFError) as error:
            raise RunError(f"{path} is damaged: {error}") from None
        return array
