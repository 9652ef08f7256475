"""The append-only log of an evaluation: torn lines, damage, a full disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ecad.errors import RunError
from ecad.storage.json_lines import JsonLines


def opened(path: Path) -> JsonLines[Any]:
    return JsonLines(path, dict, "all earlier results are safe")


def test_records_come_back_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = opened(path)
    log.append({"row": "a", "x": 0.1})
    log.append({"row": "b", "x": 1e-300})
    assert log.items == [{"row": "a", "x": 0.1}, {"row": "b", "x": 1e-300}]
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"row": "c"')
    log = opened(path)
    assert log.items == [{"row": "a", "x": 0.1}, {"row": "b", "x": 1e-300}]
    assert path.read_bytes() == whole
    log.append({"row": "c"})
    log.close()
    assert path.read_bytes() == whole + b'{"row":"c"}\n'
    with pytest.raises(RunError, match="is closed"):
        log.append({})


def test_what_cannot_be_parsed_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":2}\n')
    with pytest.raises(RunError, match=r"log\.jsonl is damaged at line 2: KeyError 'a'"):
        JsonLines(path, lambda record: record["a"], "")


@pytest.mark.parametrize("line", [b"{broken\n", b"[1]\n"])
def test_damage_is_named_by_its_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a":1}\n' + line + b'{"b":2}\n')
    with pytest.raises(RunError, match=r"log\.jsonl is damaged at line 2"):
        opened(path)


def test_a_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    log = opened(path)
    log.append({"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device; all earlier results are safe"):
        log.append({"b": 2})
    assert path.read_bytes() == b'{"a":1}\n'
