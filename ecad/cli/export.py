"""`ecad export`: one schedule of a run's front as a file."""

from __future__ import annotations

from pathlib import Path

import typer

from ecad.errors import ConfigError


def export(
    run: Path = typer.Argument(help="Run folder."),
    speedup: float = typer.Option(
        ..., help="The best schedule that is at least this much faster than uncached."
    ),
    out: Path = typer.Option(..., "--out", "-o", help="Schedule file to write."),
    by: str = typer.Option("macs", help="Kind of speedup: macs (exact) or latency (as measured in the run)."),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Write one schedule of the front to a file, with its held-out numbers."""
    from ecad.schedule import save_schedule
    from ecad.storage import RunFolder

    folder = RunFolder.existing(run)
    folder.read_config()
    report = folder.read_report()
    if by not in ("macs", "latency"):
        raise ConfigError(f"--by must be macs or latency, not {by!r}")
    if out.exists() and not force:
        raise ConfigError(f"{out} exists already: choose another name or give --force")
    rows = [row for row in report["rows"] if row["kind"] == "front"]
    fast_enough = [row for row in rows if row[f"speedup_{by}"] >= speedup]
    if not fast_enough:
        fastest = max((row[f"speedup_{by}"] for row in rows), default=0.0)
        raise ConfigError(
            f"no schedule of the front is {speedup:g}x faster in {by}: the fastest is {fastest:.2f}x"
        )
    # The front's order is by search quality: the held-out numbers stay an unbiased estimate for the choice.
    chosen = fast_enough[0]
    schedule = folder.read_front()[chosen["name"]]
    heldout = {
        "prompts": report["heldout"]["prompts"],
        "images": report["heldout"]["images"],
        report["quality"]: chosen["quality"],
        "interval": chosen["quality_interval"],
        "difference_to_uncached": chosen["difference"],
        "difference_interval": chosen["difference_interval"],
        "speedup_macs": chosen["speedup_macs"],
        "speedup_latency": chosen["speedup_latency"],
        "hardware": report["environment"]["hardware"],
    }
    save_schedule(schedule.replace(provenance={**schedule.provenance, "heldout": heldout}), out)
    low, high = chosen["difference_interval"]
    print(
        f"{out}: {chosen['speedup_macs']:.2f}x in MACs, {chosen['speedup_latency']:.2f}x in latency, "
        f"{report['quality']} {chosen['quality']:.3f} ({chosen['difference']:+.3f} to uncached, "
        f"95 % interval {low:+.3f} to {high:+.3f})"
    )
