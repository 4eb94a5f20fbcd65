"""cli: the command `groundswell`: thin verbs over the pipelines, and how errors end the program."""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import Annotated, Any

import typer

from groundswell.core.errors import GroundswellError
from groundswell.core.files import is_full
from groundswell.core.registry import Pipeline, discover
from groundswell.train.signals import Interrupted, interruptible

HELP = """Turn archives of Earth-sensing records into models that can be trusted and deployed.

\b
Begin with:
  groundswell doctor                what this machine has, and what is missing
  groundswell demo                  simulate, train, evaluate, write a report
  groundswell das scan FOLDER       see what is in a folder of fibre records
  groundswell das train fibre --set data.folder=FOLDER --out runs/first
  groundswell evaluate runs/first   score it beside its controls
"""


def _pipeline_app(pipeline: Pipeline) -> typer.Typer:
    app = typer.Typer(name=pipeline.name, help=f"{pipeline.title}.", no_args_is_help=True,
                      rich_markup_mode=None, pretty_exceptions_enable=False)
    for name in pipeline.steps:
        app.command(name)(pipeline.step(name))
    return app


def build_app() -> typer.Typer:
    """The whole command line. Only light modules are imported to build it."""
    from groundswell.cli import recipes, verbs

    app = typer.Typer(name="groundswell", help=HELP, no_args_is_help=True, rich_markup_mode=None,
                      pretty_exceptions_enable=False, add_completion=True)

    @app.callback()
    def options(
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
        version: Annotated[bool, typer.Option("--version", help="Show the version and leave.",
                                              callback=_show_version, is_eager=True)] = False,
    ) -> None:
        # Read by every room through the environment, so that worker processes follow as well.
        if debug:
            os.environ["GROUNDSWELL_DEBUG"] = "1"
        if quiet:
            os.environ["GROUNDSWELL_QUIET"] = "1"

    for name in ("doctor", "demo", "evaluate", "predict", "export", "report", "resume", "runs"):
        app.command(name)(getattr(verbs, name))
    app.add_typer(recipes.app, name="recipe")
    for pipeline in discover().values():
        app.add_typer(_pipeline_app(pipeline), name=pipeline.name)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from groundswell import __version__

        typer.echo(f"groundswell {__version__}")
        raise typer.Exit


def _complain(text: str) -> None:
    print(f"groundswell: {text}", file=sys.stderr)


def run(arguments: list[str] | None = None) -> None:
    """Entry point. Exit status 0; 1 for a failure, 2 for bad input, 3 for a refused gate, 128 + n for a signal."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be no text; on stderr that is so already
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    before = {name: os.environ.get(name) for name in ("GROUNDSWELL_DEBUG", "GROUNDSWELL_QUIET")}
    try:
        with interruptible():
            result: Any = build_app()(args=arguments, standalone_mode=False, prog_name="groundswell")
        return result if isinstance(result, int) else 0
    except Interrupted as error:
        _complain(f"{error}; what was finished before is kept")
        return 128 + error.number
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except Exception as error:
        return _status_of(error)
    finally:  # --debug and --quiet are meant for this command, not for the next one of a notebook
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _status_of(error: Exception) -> int:
    if os.environ.get("GROUNDSWELL_DEBUG"):
        traceback.print_exc()
    if isinstance(error, GroundswellError):
        _complain(str(error))
        return error.exit_status
    status = getattr(error, "exit_code", None)
    if isinstance(status, int):  # what typer raises on its own account: usage errors, Exit, Abort
        show = getattr(error, "show", None)
        if callable(show):
            show()
        return status
    if type(error).__name__ == "Abort":
        _complain("interrupted")
        return 130
    if isinstance(error, BrokenPipeError):
        return 1
    if is_full(error):
        _complain(f"No space left on the device ({getattr(error, 'filename', None) or 'unknown file'}). Free some "
                  "space and run again.")
        return 1
    _complain(f"This should not have happened: {type(error).__name__}: {error}. Run again as 'groundswell --debug ...' "
              f"to see where, and report it.")
    return 1
