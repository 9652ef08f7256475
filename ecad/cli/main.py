"""`ecad`: the command line's entry point, and what every command does with an error."""

from __future__ import annotations

import os
import sys

import typer

import ecad
from ecad.cli import (
    calibrate,
    doctor,
    evaluate,
    export,
    families,
    generate,
    models,
    plot,
    report,
    schedule,
    search,
    show,
    status,
)
from ecad.cli.completion import completed
from ecad.cli.groups import EVALUATE, GENERATE, SEARCH, grouped
from ecad.cli.terminal import use_plain_characters
from ecad.errors import EcadError

app = typer.Typer(
    help="Learn cache schedules for diffusion transformers, look at them and use them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("search")(grouped(completed(search.search), SEARCH))
app.command("evaluate")(grouped(completed(evaluate.evaluate), EVALUATE))
app.command("status")(completed(status.status))
app.command("show")(completed(show.show))
app.command("plot")(completed(plot.plot))
app.command("report")(completed(report.report))
app.command("export")(completed(export.export))
app.command("generate")(grouped(completed(generate.generate), GENERATE))
app.command("calibrate")(completed(calibrate.calibrate))
app.command("models")(completed(models.models))
app.command("families")(completed(families.families))
app.command("doctor")(completed(doctor.doctor))
app.add_typer(schedule.app, name="schedule", help="Make, show and check schedule files.")


def _print_version(value: bool) -> None:
    if value:
        print(f"ecad {ecad.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    pass


def main() -> None:
    """Run a command; an expected error is one line and exit code 2, Ctrl-C is exit code 130."""
    use_plain_characters()
    try:
        app()
    except EcadError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (`ecad show ... | head`) has gone: not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
