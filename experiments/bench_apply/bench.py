"""What a schedule is worth on the clock: `python bench.py` prints one table for the device at hand.

Each model runs its steps with the transformer alone: uncached, with hooks on components, by the fast path, and both
compiled. Weights are random (full size) or the bundled ones (minis); for time that is the same. Ratios are those of one
run, in which all rows take turns. Models: pixart-mini, flux-mini, pixart-256, flux-256, flux-1024.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import ecad
from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.macs import speedup_macs
from ecad.measuring.paper.devices import paper_device
from ecad.measuring.paper.table import PaperTable, paper_table
from ecad.resources import minis_dir
from ecad.sampling.without_weights import build
from ecad.schedule import Schedule, ScheduleShape, heuristic, load_schedule

STEPS = 20
MODELS = {  # name here -> preset, official files
    "pixart-mini": ("pixart-mini", ()),
    "flux-mini": ("flux-mini", ()),
    "pixart-256": ("pixart-alpha", ("pixart_alpha_256/ours_fast.json", "pixart_alpha_256/ours_faster.json")),
    "flux-256": ("flux-dev", ("flux_256/ours_fast.json",)),
    "flux-1024": ("flux-dev-1024", ("flux_256_to_1024/fast_256_to_1024.json",)),
}
HEURISTICS = ("fora:2", "fora:3", "fora:4", "fora:5", "mask:0,4,8,12,16", "output:0,1,2,6,12")
WAYS = ("hooks", "fast path", "compiled")


@dataclass
class Row:
    model: str
    batch: int
    schedule: str
    way: str
    flops_ratio: float
    samples_s: list[float] = field(default_factory=list)
    first_call_s: float = 0.0
    peak_bytes: int | None = None
    paper: float | None = None  # speedup against the uncached model, run likewise

    @property
    def seconds(self) -> float:
        return statistics.median(self.samples_s)


class Bench:
    """One model at one batch size on one device."""

    def __init__(self, name: str, batch: int, device: torch.device) -> None:
        self.name, self.batch, self.device = name, batch, device
        preset, self.official = MODELS[name]
        self.load = workload_for(find_model(preset))
        source = find_model(preset)
        self.shape = ScheduleShape(self.load.family, STEPS, source.block_counts())
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        meta, inputs = build(self.load, batch, dtype)
        if name.endswith("-mini"):
            self.transformer = (
                type(meta).from_pretrained(minis_dir() / preset, subfolder="transformer").to(device, dtype)
            )
        else:
            self.transformer = _filled(meta.to_empty(device=device))
        self.transformer.eval()
        self.inputs = {key: _values(value, device) for key, value in inputs.items()}
        self.impl: Any = None  # what `transformer.compile()` has made

    def steps(self) -> None:
        """One call's forwards, with the timesteps of one."""
        with torch.no_grad():
            for step in range(STEPS):
                now = torch.full_like(self.inputs["timestep"], 1.0 - step / STEPS)
                self.transformer(
                    **{**self.inputs, "timestep": now if self.load.family == "flux" else now * 1000}
                )
        _wait(self.device)

    @contextmanager
    def compiled(self) -> Iterator[None]:
        if self.impl is None:
            self.transformer.compile()
            self.impl = self.transformer._compiled_call_impl
        self.transformer._compiled_call_impl = self.impl
        try:
            yield
        finally:
            self.transformer._compiled_call_impl = None

    def run(self, schedule: Schedule | None, way: str) -> float:
        """Seconds of one call."""
        applied = (
            nullcontext()
            if schedule is None
            else ecad.applied(self.transformer, schedule, fast_path=way != "hooks")
        )
        with applied, self.compiled() if way == "compiled" else nullcontext():
            _wait(self.device)
            start = time.perf_counter()
            self.steps()
            return time.perf_counter() - start

    def schedules(self, official: Path) -> dict[str, Schedule]:
        found = {name: heuristic(name, self.shape) for name in HEURISTICS}
        for file in self.official:
            if (official / file).exists():
                found[file.split("/")[-1].removesuffix(".json")] = load_schedule(official / file)
        if self.name.endswith("-mini"):
            found.update(
                {name: load_schedule(f"{self.name}/{name}") for name in ("fast", "faster", "fastest")}
            )
        return found


def others(bench: Bench) -> Iterator[tuple[str, Callable[[], Any], Callable[[], None]]]:
    """Caches of others on this transformer: (name, switch on, switch off), where they install and know its class."""
    if not hasattr(bench.transformer, "enable_cache"):
        return
    from diffusers import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig

    step = {"now": 0}
    configs = {
        "diffusers FirstBlockCache, always": FirstBlockCacheConfig(threshold=1e9),
        "diffusers PAB, every 2nd": PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_timestep_skip_range=(-1, 2),
            current_timestep_callback=lambda: step["now"],
        ),
    }
    for name, config in configs.items():
        yield (
            name,
            lambda config=config: bench.transformer.enable_cache(config),
            bench.transformer.disable_cache,
        )
    try:
        import cache_dit  # noqa: F401
    except ImportError:
        print("cache-dit is not installed: no rows for it")


def measure(
    bench: Bench, schedules: dict[str, Schedule], rounds: int, deadline: float, ways: tuple[str, ...]
) -> list[Row]:
    def row(schedule: str, way: str, ratio: float) -> Row:
        return Row(bench.name, bench.batch, schedule, way, ratio)

    tasks: list[tuple[Row, Callable[[], float]]] = [(row("uncached", "", 1.0), lambda: bench.run(None, ""))]
    if "compiled" in ways:
        tasks.append((row("uncached", "compiled", 1.0), lambda: bench.run(None, "compiled")))
    tables: dict[bool, PaperTable] = {}
    if not bench.name.endswith("-mini"):
        for is_compiled in (False, True):
            tables[is_compiled] = paper_table(
                bench.load, paper_device("H100"), images=bench.batch, is_compiled=is_compiled
            )
    for name, schedule in schedules.items():
        ratio = speedup_macs(schedule, bench.load)
        for way in ways:
            one = row(name, way, ratio)
            if tables and way != "hooks":
                one.paper = tables[way == "compiled"].speedup(schedule)
            tasks.append((one, lambda schedule=schedule, way=way: bench.run(schedule, way)))
    for name, on, off in others(bench):

        def run(on: Callable[[], Any] = on, off: Callable[[], None] = off) -> float:
            on()
            try:
                with bench.transformer.cache_context("cond"):
                    return bench.run(None, "")
            finally:
                off()

        counter = FlopCounterMode(display=False)
        with counter:
            bench.run(None, "")
        uncached = counter.get_total_flops()
        counter = FlopCounterMode(display=False)
        with counter:
            run()
        tasks.append((row(name, "", uncached / counter.get_total_flops()), run))
    left = []
    for one, task in tasks:  # warm up, compile
        if time.monotonic() > deadline:
            print(f"{bench.name}: out of time, {one.schedule} {one.way} and what follows is left out")
            break
        if bench.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        one.first_call_s = task()
        if bench.device.type == "cuda":
            one.peak_bytes = torch.cuda.max_memory_allocated()
        left.append((one, task))
    for _ in range(rounds):
        for one, task in left:
            one.samples_s.append(task())
    return [one for one, _ in left]


def table(rows: list[Row]) -> str:
    columns = (
        "model",
        "batch",
        "schedule",
        "way",
        "FLOPs",
        "latency",
        "efficiency",
        "against compiled uncached",
        "on paper (H100)",
        "first call",
        "peak",
    )
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    base = {(row.model, row.batch, row.way): row.seconds for row in rows if row.schedule == "uncached"}
    for row in rows:
        ratio = base[row.model, row.batch, ""] / row.seconds
        compiled = base.get((row.model, row.batch, "compiled"))
        fair = ratio if row.way != "compiled" or compiled is None else compiled / row.seconds
        low, high = min(row.samples_s), max(row.samples_s)
        memory = "" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.1f} GiB"
        paper = "" if row.paper is None else f"{row.paper:.2f}x"
        against = f"{fair:.2f}x" if row.way == "compiled" else ""
        cells = (
            row.model,
            row.batch,
            row.schedule,
            row.way,
            f"{row.flops_ratio:.2f}x",
            f"{ratio:.2f}x ({1e3 * row.seconds:.0f} ms, {1e3 * low:.0f} to {1e3 * high:.0f})",
            f"{fair / row.flops_ratio:.2f}",
            against,
            paper,
            f"{row.first_call_s:.1f} s",
            memory,
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _filled(transformer: Any) -> Any:
    with torch.no_grad():
        for tensor in (*transformer.parameters(), *transformer.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(std=0.02)
    return transformer


def _values(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _values(each, device) for key, each in value.items()}
    if not isinstance(value, torch.Tensor):
        return value
    return torch.ones(value.shape, dtype=value.dtype, device=device) * 0.5


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", default=None, help="model:batch,...  [default: minis at 1 and 8; on a GPU full size, too]"
    )
    parser.add_argument("--official", type=Path, default=Path("../shared/official/schedules"))
    parser.add_argument("--schedules", default=None, help="only these, separated by semicolons")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    is_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if is_gpu else "cpu")
    default = "pixart-mini:1,flux-mini:1,pixart-mini:8,flux-mini:8"
    if is_gpu:
        default += ",pixart-256:1,pixart-256:100,flux-256:1,flux-256:16,flux-1024:1"
    chosen = [item.rpartition(":") for item in (options.models or default).split(",")]
    deadline = time.monotonic() + 60 * options.minutes
    rows: list[Row] = []
    for number, (name, _, batch) in enumerate(chosen):
        share = (deadline - time.monotonic()) / (len(chosen) - number)
        try:
            bench = Bench(name, int(batch), device)
            schedules = bench.schedules(options.official)
            if options.schedules is not None:
                schedules = {each: schedules[each] for each in options.schedules.split(";")}
            ways = tuple(options.ways.split(","))
            rows += measure(bench, schedules, options.rounds, time.monotonic() + share, ways)
        except torch.cuda.OutOfMemoryError:
            print(f"{name} at batch {batch} does not fit")
        if is_gpu:
            torch.cuda.empty_cache()
    hardware = (
        torch.cuda.get_device_name() if is_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(
        f"{hardware}, torch {torch.__version__}, ecad {ecad.__version__}; {STEPS} steps, medians of {options.rounds}\n"
    )
    print(table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
