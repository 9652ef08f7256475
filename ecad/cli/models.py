"""`ecad models`: the names that --model knows."""

from __future__ import annotations

from pathlib import Path

import typer

from ecad.errors import ConfigError

# A terminal that is narrower breaks the lines; else hub ids were broken within cells, and could not be copied.
_WIDTH_OF_TABLE = 110


def models(
    inspect: str | None = typer.Option(
        None,
        metavar="PATH_OR_CLASS",
        help="Describe the transformer of a local pipeline folder, of a folder with a config.json, or of a class of "
        "diffusers that ecad does not know, as a family file to look over and give as --family.",
    ),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="With --inspect: file to write. [default: print it]"
    ),
    device: str = typer.Option("auto", help="With --inspect of a pipeline: auto, cpu, cuda, cuda:N or mps."),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """List the models that ecad knows by name; or describe one that it does not know.

    \b
    Examples:
      ecad models
      ecad models --inspect ./my-pipeline -o family.yaml
    """
    if inspect is not None:
        _inspect(inspect, out, device, force)
        return
    if out is not None:
        raise ConfigError("--out is for --inspect: give it PATH_OR_CLASS")
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
    console.width = max(console.width, _WIDTH_OF_TABLE)
    console.print(table)
    for note in notes:
        console.print(note)
    console.print("--model also takes a folder written by pipe.save_pretrained(...) or a hub id owner/name.")


def _inspect(source: str, out: Path | None, device: str, force: bool) -> None:
    from ecad.atomic import write_text
    from ecad.inspection import inspect_source

    if out is not None and out.exists() and not force:
        raise ConfigError(f"{out} exists already: choose another name or give --force")
    description = inspect_source(source, device)
    if out is None:
        print(description.to_yaml(), end="")
        return
    try:
        write_text(out, description.to_yaml())
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from None
    family = description.family
    parts = "; ".join(f"{each.name}: {', '.join(each.component_names)}" for each in family.block_lists)
    print(f"{out}: family {family.name} of {family.transformer_classes[0]}; {parts}")
