"""experiments/peers: the whole command on two captions, and that what peers leave behind is found and removed."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.macs import speedup_macs
from ecad.schedule import ScheduleShape, heuristic

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "peers"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(FOLDER / script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def compared(out: Path, model: str, *methods: str) -> dict[str, dict[str, str]]:
    """The rows by method, of each method's first setting, on two captions."""
    pytest.importorskip("diffusers", minversion="0.42", reason="the peers are those of diffusers 0.42")
    arguments = ["--out", str(out), "--models", model, "--methods", *methods, "--settings", "1"]
    arguments += ["--captions", "2", "--timed", "1", "--repeats", "1"]
    assert len(run("compare.py", *arguments).splitlines()) == len(methods)
    before = (out / "log.jsonl").read_bytes()
    assert run("compare.py", *arguments) == ""  # nothing twice
    assert (out / "log.jsonl").read_bytes() == before
    run("table.py", "--out", str(out))
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_one_setting_each(tmp_path: Path) -> None:
    methods = (
        "ecad front",
        "fewer steps",
        "FORA",
        "step mask by hand",
        "diffusers FirstBlockCache",
        "T-GATE",
    )
    rows = compared(tmp_path, "flux-mini", *methods)
    assert set(rows) == {"uncached", *methods} - {"T-GATE"}  # FLUX has no cross-attention
    assert float(rows["uncached"]["compute"]) == 1
    assert float(rows["fewer steps"]["compute"]) == 5 / 20
    assert float(rows["step mask by hand"]["compute"]) == 6 / 20
    # What torch counts of an ecad schedule is what ecad says of it, less the modulations of blocks that are reused.
    source = find_model("flux-mini")
    schedule = heuristic("fora:3", ScheduleShape("flux", 20, source.block_counts()))
    predicted = 1 / speedup_macs(schedule, workload_for(source))
    assert 0.98 * predicted < float(rows["FORA"]["compute"]) <= predicted
    assert 0 < float(rows["diffusers FirstBlockCache"]["compute"]) < 1
    assert "forward" in rows["diffusers FirstBlockCache"]["left_behind"]
    assert all(0 <= float(row["alignment"]) <= 1 and float(row["time"]) > 0 for row in rows.values())
    assert all(10 < float(rows[name]["psnr_db"]) < 100 for name in methods[:-1])
    assert '"kind": "unfit"' in (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    run("plot.py", "--out", str(tmp_path), "--picture", str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.slow
def test_one_setting_of_cache_dit(tmp_path: Path) -> None:
    pytest.importorskip(
        "cache_dit", reason="cache-dit is not installed: see experiments/peers/requirements.txt"
    )
    rows = compared(tmp_path, "flux-mini", "cache-dit DBCache", "cache-dit steps mask")
    # Its first block runs in every step, all blocks in at least the mask's steps.
    assert 0.4 < float(rows["cache-dit steps mask"]["compute"]) < 0.6
    assert "transformer.forward" in rows["cache-dit steps mask"]["left_behind"]


def test_traces_are_named_and_removed() -> None:
    class Pipe(SimpleNamespace):
        pass

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)])

    pipe = Pipe(transformer=Model())
    block = pipe.transformer.blocks[1]
    with traces_module().Traces(pipe) as traces:
        assert traces.left() == []
        block.forward = torch.relu
        block.register_forward_hook(lambda *_: None)
        block.in_features = 7
        pipe.manager = 1
        Pipe.is_cached = True  # type: ignore[attr-defined]
        assert traces.left() == [
            "Pipe.is_cached",
            "pipe.manager",
            "transformer.blocks.*._forward_hooks",
            "transformer.blocks.*.forward",
            "transformer.blocks.*.in_features",
        ]
    assert traces.left() == []
    assert not hasattr(Pipe, "is_cached")
    assert block.in_features == 1
    assert block(torch.zeros(1, 1)).shape == (1, 1)


def traces_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers_traces", FOLDER / "traces.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
