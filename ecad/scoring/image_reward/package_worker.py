"""Runs inside the image-reward package's own environment, which has no ecad: the other end of `image-reward-package`.

One JSON object per line. First it writes {"ready": true, "versions": {...}} or {"error": text}. Then for every line
{"prompts": [text], "images": [base64 of RGB bytes], "height": pixels, "width": pixels} on standard input it writes
{"scores": [number]} or {"error": text}. Arguments: a folder with ImageReward.pt and med_config.json (empty: the
package downloads them itself), and the device (empty: the package's default).
"""

from __future__ import annotations

import base64
import json
import os
import sys
from importlib import metadata
from typing import Any


def main() -> None:
    # The package prints to standard output: keep that for the answers, and send what is printed to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # The script's own folder comes first on the path: its clip.py must not pass for the package's `clip`.
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]  # noqa: PTH100

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        model = load(*sys.argv[1:3])
        from PIL import Image
    except BaseException as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        return
    answer({"ready": True, "versions": {"image-reward": version("image-reward"), "torch": version("torch")}})
    for line in sys.stdin:
        try:
            request = json.loads(line)
            size = (request["width"], request["height"])
            pictures = [Image.frombytes("RGB", size, base64.b64decode(text)) for text in request["images"]]
            pairs = zip(request["prompts"], pictures, strict=True)
            answer({"scores": [float(model.score(prompt, picture)) for prompt, picture in pairs]})
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"})


def load(folder: str, device: str) -> Any:
    import ImageReward

    options: dict[str, str] = {"device": device} if device else {}
    if folder:
        options["med_config"] = os.path.join(folder, "med_config.json")  # noqa: PTH118
        return ImageReward.load(os.path.join(folder, "ImageReward.pt"), **options)  # noqa: PTH118
    return ImageReward.load("ImageReward-v1.0", **options)


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main()
