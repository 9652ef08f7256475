"""What was measured, one line of JSON each, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from bench import Bench, Measured

Key = tuple[str, str, str]  # model, method, setting; no setting for a method that does not fit


class Log:
    """Lines of three kinds: `uncached` (one a model), `row`, and `unfit` (a method or setting, with the reason)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[dict[str, Any]] = []
        if path.exists():
            text = path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # a line that was cut off is measured again
            if whole != text:
                path.write_text(whole, encoding="utf-8")
            self.lines = [json.loads(line) for line in whole.splitlines()]

    def __contains__(self, key: Key) -> bool:
        return any((line["model"], line["method"], line["setting"]) == key for line in self.lines)

    def of_kind(self, kind: str) -> Iterator[dict[str, Any]]:
        return (line for line in self.lines if line["kind"] == kind)

    def add_uncached(self, bench: Bench, environment: dict[str, Any]) -> None:
        """The references; a run that goes on must find the same ones. SystemExit if it does not."""
        line = {
            "kind": "uncached",
            "model": bench.model,
            "method": "",
            "setting": "uncached",
            "alignment": _floats(bench.uncached_alignment),
            "flops": bench.uncached_flops,
            "environment": environment,
        }
        for earlier in self.of_kind("uncached"):
            if earlier["model"] == bench.model:
                if any(earlier[name] != line[name] for name in ("alignment", "flops")):
                    raise SystemExit(
                        f"{self._path} has other uncached images of {bench.model}: another machine, other versions or "
                        "another number of captions; start anew with another --out"
                    )
                return
        self._add(line)

    def add_row(self, key: Key, measured: Measured) -> None:
        numbers = asdict(measured)
        numbers["alignment"], numbers["psnr"] = _floats(measured.alignment), _floats(measured.psnr)
        self._add({"kind": "row", **_named(key), **numbers})

    def add_unfit(self, key: Key, reason: str) -> None:
        self._add({"kind": "unfit", **_named(key), "reason": reason})

    def _add(self, line: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)


def _named(key: Key) -> dict[str, str]:
    return dict(zip(("model", "method", "setting"), key, strict=True))


def _floats(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]
