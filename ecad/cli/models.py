"""`ecad models`: the names that --model knows."""

from __future__ import annotations


def models() -> None:
    """List the models that ecad knows by name."""
    from rich.console import Console
    from rich.table import Table

    from ecad.families import list_models

    table = Table()
    for heading in ("name", "size", "steps", "guidance", "weights"):
        table.add_column(heading, no_wrap=heading != "weights", overflow="fold")
    notes = []
    for preset in list_models():
        table.add_row(
            preset.name,
            f"{preset.height} x {preset.width}"
            + (f" x {preset.num_frames} frames" if preset.num_frames > 1 else ""),
            str(preset.steps),
            f"{preset.guidance_scale:g}",
            "bundled with ecad" if preset.source is None else preset.transformer_source or preset.source,
        )
        if preset.note:
            notes.append(f"{preset.name}: {preset.note}.")
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note)
    console.print("--model also takes a folder written by pipe.save_pretrained(...) or a hub id owner/name.")
