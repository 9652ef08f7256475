"""Time on paper: kernels counted by hand, tables against whole runs, the reference and what must come out."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import ecad
from ecad.errors import ConfigError
from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.paper.devices import DEVICES, PaperDevice, paper_cost
from ecad.measuring.paper.kernels import recorded
from ecad.measuring.paper.table import PaperTable, paper_table
from ecad.sampling.without_weights import build
from ecad.schedule import Schedule, ScheduleShape, heuristic, load_schedule

# One FLOP or one byte takes a second, and a launch nothing.
UNIT = PaperDevice("unit", 1.0, 1.0, 0.0)
LAUNCHES = PaperDevice("launches", 1e30, 1e30, 1.0)


def chain(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A product between pointwise operations; x is (4, 8), weight (8, 8), both float32."""
    before = torch.nn.functional.gelu(x + 1.0)
    product = before @ weight
    return x + 2.0 * product


def test_kernels_by_hand() -> None:
    x, weight = (torch.empty(size, device="meta") for size in ((4, 8), (8, 8)))
    with recorded() as recorder:
        recorder.keep(chain(x, weight))
    kernels = recorder.kernels
    small, large = 4 * 8 * 4, 8 * 8 * 4  # bytes
    assert kernels.flops == 2 * 4 * 8 * 8
    assert kernels.eager_s(LAUNCHES) == 5  # add, gelu, product, times, add
    assert kernels.fused_s(LAUNCHES) == 3
    product = max(512, 2 * small + large)
    assert kernels.eager_s(UNIT) == 2 * small + 2 * small + product + 2 * small + 3 * small
    # In front of the product: read x, write. Behind it: read x and the product, write.
    assert kernels.fused_s(UNIT) == 2 * small + product + 3 * small


def test_what_nobody_reads_is_not_written() -> None:
    x = torch.empty(16, device="meta")
    with recorded() as recorder:
        kept = x + 1.0
        recorder.keep(kept * 2.0)
    assert recorder.kernels.fused_s(UNIT) == 2 * 64
    recorder.keep(kept)
    assert recorder.kernels.fused_s(UNIT) == 3 * 64


def test_views_move_nothing_and_parts_are_read_as_parts() -> None:
    x = torch.empty(4, 16, device="meta")
    with recorded() as recorder:
        first, second = x.chunk(2, dim=1)
        recorder.keep(first.unsqueeze(0) + second)
    assert recorder.kernels.eager_s(LAUNCHES) == 1
    assert recorder.kernels.fused_s(UNIT) == 3 * 4 * 8 * 4


@pytest.mark.parametrize("model", ["pixart-mini", "flux-mini"])
@pytest.mark.parametrize("seed", range(3))
def test_the_table_is_what_a_whole_run_launches(model: str, seed: int) -> None:
    source = find_model(model)
    transformer, inputs = build(workload_for(source), 2)
    shape = ScheduleShape(source.architecture()[0].name, 20, source.block_counts())
    schedule = [
        heuristic("random:0.4:7", shape),
        heuristic("mask:0,9", shape),  # long enough for sums
        heuristic("fora:3", shape).replace(recompute_output=[step % 5 != 3 for step in range(20)]),
    ][seed]
    device = DEVICES["H100"]
    table = PaperTable(shape.family, transformer, inputs, 2, device)
    with recorded() as recorder, ecad.applied(transformer, schedule):
        for _ in range(20):
            transformer(**inputs)
    # What the first block is given costs some launches more.
    assert 2 * table.predict(schedule) == pytest.approx(recorder.kernels.eager_s(device), rel=0.01)
    with recorded() as recorder:
        transformer(**inputs)
    assert 2 * table.uncached_s(1) == pytest.approx(recorder.kernels.eager_s(device), rel=1e-12)


@pytest.fixture(scope="module")
def reference() -> Any:
    """The reference implementation, where it is at hand."""
    path = Path(__file__).resolve().parents[3] / "shared" / "paper_time" / "paper_time.py"
    if not path.exists():
        pytest.skip("the reference for time on paper is not here (shared/paper_time)")
    spec = importlib.util.spec_from_file_location("paper_time", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OFFICIAL = "official/schedules/"
PIXART, FLUX = "pixart_alpha_256/ours_faster.json", "flux_256/ours_fast.json"
CASES = [  # model, batch, device, file, at least: eager, compiled against the compiled uncached model
    ("pixart-256", 100, "H100", PIXART, 3.25, 3.5),
    ("pixart-256", 100, "A6000", PIXART, 3.35, 3.55),
    ("pixart-256", 1, "H100", PIXART, 3.2, 3.3),
    ("flux-256", 16, "A6000", FLUX, 0.94 * 3.16, 0.94 * 3.16),
]


@pytest.mark.parametrize(("model", "batch", "device", "file", "eager", "compiled"), CASES)
def test_official_schedules_at_full_size(
    reference: Any,
    shared_folder: Path,
    model: str,
    batch: int,
    device: str,
    file: str,
    eager: float,
    compiled: float,
) -> None:
    schedule = load_schedule(shared_folder / OFFICIAL / file)
    transformer, call = reference.build(model, batch)
    known = DEVICES[device]
    table = PaperTable(schedule.family, transformer, call, batch, known)
    uncached = reference.run(transformer, call, device, 1).seconds
    assert batch * table.uncached_s(1) == pytest.approx(uncached, rel=1e-9)
    assert table.speedup(schedule) >= eager
    assert PaperTable(schedule.family, transformer, call, batch, known, True).speedup(schedule) >= compiled
    if batch == 100 and device == "H100":
        cached = reference.run(transformer, call, device, 20, schedule).seconds
        assert batch * table.predict(schedule) == pytest.approx(cached, rel=3e-3)


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("images", [1, 8, 100])
def test_sums_never_cost_time(monkeypatch: pytest.MonkeyPatch, images: int, is_compiled: bool) -> None:
    load = workload_for(find_model("pixart-alpha"))
    table = paper_table(load, DEVICES["H100"], images=images, is_compiled=is_compiled)
    shape = ScheduleShape("pixart", 20, {"transformer_blocks": 28})
    from ecad.measuring.paper import table as module

    original = module.plan_execution
    for name in ("fora:3", "mask:0,9", "mask:0,4,8,12,16", "random:0.2:1"):
        schedule = heuristic(name, shape)
        with_sums = table.predict(schedule)
        monkeypatch.setattr(module, "plan_execution", lambda *args, **_: original(*args))
        assert with_sums <= table.predict(schedule) * (1 + 1e-12)
        monkeypatch.setattr(module, "plan_execution", original)


def test_costs_by_name() -> None:
    cost = paper_cost("paper:h100:compiled")
    assert (cost.device, cost.is_compiled) == (DEVICES["H100"], True)
    with pytest.raises(ConfigError, match="known for A6000, H100, not for 'V100'"):
        paper_cost("paper:V100")


def test_check_states_it(tmp_path: Path) -> None:
    def check(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [shutil.which("ecad") or "ecad", "schedule", "check", "pixart-mini/fast", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    found = json.loads(check("--device", "A6000", "--batch", "4", "--json").stdout)
    table = paper_table(workload_for(find_model("pixart-mini")), DEVICES["A6000"], images=4)
    schedule: Schedule = load_schedule("pixart-mini/fast")
    assert found["paper_s"] == pytest.approx(table.predict(schedule))
    assert (found["paper_device"], found["paper_batch"], found["paper_compiled"]) == ("A6000", 4, False)
    assert found["paper_speedup"] == pytest.approx(table.speedup(schedule))
    assert "not for 'V100'" in check("--device", "V100").stderr
    assert "--batch must be at least 1" in check("--device", "H100", "--batch", "0").stderr


def test_another_shape_is_refused() -> None:
    table = paper_table(workload_for(find_model("pixart-mini")), DEVICES["H100"])
    with pytest.raises(ecad.ScheduleError, match="the time on paper is of"):
        table.predict(heuristic("fora:2", ScheduleShape("pixart", 20, {"transformer_blocks": 28})))
