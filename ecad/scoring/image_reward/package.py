"""The `image-reward-package` scorer: the untouched image-reward package, in an environment of its own.

image-reward 1.5 pins versions that current open_clip and transformers refuse, so it runs in another Python: a worker
process that is started at first use, asked in lines of JSON, and ended with the scorer. `image-reward` gives the same
rewards without it, and faster.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ecad.arrays import Images, Scores
from ecad.errors import ConfigError, ScoreError, one_line
from ecad.scoring.base import check_arguments
from ecad.scoring.image_reward import package_worker as package_worker
from ecad.scoring.image_reward.scorer import ENVIRONMENT_VARIABLE as FOLDER_VARIABLE
from ecad.scoring.needs import given_path

PYTHON_VARIABLE = "ECAD_IMAGE_REWARD_PYTHON"
# The package pins neither: with later versions it cannot be imported.
REMEDY = (
    "make an environment for it (python3 -m venv ir && ir/bin/pip install image-reward==1.5 transformers==4.40.2 "
    f"diffusers==0.29.2 clip) and set {PYTHON_VARIABLE} to ir/bin/python, or use image-reward, which needs none"
)


class PackagedImageRewardScorer:
    """`python` is the interpreter of the package's environment, `folder` holds its weights (see `image-reward`)."""

    name = "image-reward-package"
    higher_is_better = True
    needs_reference = False

    def __init__(self, device: str = "auto", python: str | None = None, folder: str | None = None) -> None:
        self._device = "" if device == "auto" else device
        self._python = find_python(python)
        weights = given_path(folder, FOLDER_VARIABLE)
        self._folder = "" if weights is None else str(weights)
        self._worker: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None
        self.versions: dict[str, str] = {}  # of the packages in the worker's environment, once it runs

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Scores:
        check_arguments(self, prompts, images, references)
        if len(images) == 0:
            return np.zeros(0, np.float64)
        self._start()
        answer = self._ask(
            {
                "prompts": list(prompts),
                "images": [base64.b64encode(image.tobytes()).decode() for image in images],
                "height": images.shape[1],
                "width": images.shape[2],
            }
        )
        if "error" in answer:
            raise ScoreError(f"{self.name}: the package could not score the images: {answer['error']}")
        return np.array(answer["scores"], np.float64)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Any prompt and size will do; starts the package, so that a broken environment shows at once."""
        self._start()

    def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(OSError):
                if worker.stdin is not None:
                    worker.stdin.close()  # the worker's loop ends with its input
            try:
                worker.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _start(self) -> None:
        if self._worker is not None:
            return
        # A file, not a pipe: nobody would empty the pipe while we wait for an answer.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
        script = str(Path(package_worker.__file__).resolve())
        try:
            self._worker = subprocess.Popen(
                [self._python, script, self._folder, self._device],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise ConfigError(f"cannot start {self._python}: {error.strerror}; {REMEDY}") from None
        first = self._read()
        if not first.get("ready"):
            reason = first.get("error", "it is not ready")
            self.close()
            raise ConfigError(f"the image-reward package does not run in {self._python} ({reason}): {REMEDY}")
        self.versions = dict(first.get("versions", {}))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        worker = self._worker
        if worker is None or worker.stdin is None:
            raise ScoreError(f"{self.name} is closed")
        with contextlib.suppress(BrokenPipeError):  # then the answer below says that the worker is gone
            worker.stdin.write(json.dumps(request) + "\n")
            worker.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        """The worker's next answer. If it ended instead, an error with what it said last; the next call starts anew."""
        stream = self._worker.stdout if self._worker is not None else None
        line = stream.readline() if stream is not None else ""
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            content = {"error": f"its process ended; the last it said: {self._last_words()!r}"}
            self.close()
        if "error" in content:
            content["error"] = one_line(content["error"])[:300]
        return content

    def _last_words(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else ""


def look() -> str:
    """What `ecad doctor` says of it."""
    return f"runs in {find_python()} (not started)"


def find_python(option: str | None = None) -> str:
    """The interpreter of the package's environment; ConfigError with the remedy if none is named or it is absent."""
    text = option or os.environ.get(PYTHON_VARIABLE, "")
    if not text:
        raise ConfigError(f"image-reward-package needs an environment of its own: {REMEDY}")
    found = shutil.which(str(Path(text).expanduser()))
    if found is None:
        raise ConfigError(f"{PYTHON_VARIABLE}: {text!r} is no Python interpreter; {REMEDY}")
    return found
