"""The way in and out of every command: the group, what errors look like, exit codes."""

import atexit
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import click

from latentcache import __version__
from latentcache.cli.build import build
from latentcache.cli.demo import demo
from latentcache.cli.encode import encode
from latentcache.cli.encoders import encoders
from latentcache.cli.habits import Commands, answered
from latentcache.cli.look.compare import compare
from latentcache.cli.look.report import report
from latentcache.cli.look.show import show
from latentcache.cli.look.stats import stats
from latentcache.cli.look.status import status
from latentcache.cli.look.verify import verify
from latentcache.cli.plan import plan
from latentcache.cli.recipe import recipe
from latentcache.cli.storage_flags import storage_flag
from latentcache.cli.stores.annotate import annotate
from latentcache.cli.stores.copy import copy
from latentcache.cli.stores.export import export
from latentcache.cli.stores.fold import fold
from latentcache.cli.stores.gc import gc
from latentcache.cli.stores.import_command import import_command
from latentcache.cli.stores.retire import retire
from latentcache.cli.stores.swap import swap
from latentcache.cli.train import train
from latentcache.core.errors import ConfigError, LatentCacheError, QuarantineLimitError
from latentcache.core.extras import missing_package
from latentcache.core.log_lines import VARIABLE, log_to_stderr, logs_are_json, say, say_error

FAILED, WRONG_USAGE, DAMAGED, STOPPED = 1, 2, 3, 130
"""Exit codes; 130 is what a shell makes of SIGINT."""


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="latentcache", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens underneath.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar=VARIABLE,
    help=f"Of what goes to stderr: text, or a JSON object a line. Also {VARIABLE}.",
)
@click.pass_context
def cli(context: click.Context, verbose: bool, log_format: str | None) -> None:
    """Turn images and videos into a store of latents, and look after it.

    Running a command again finishes what is missing and changes nothing else. Corpus and
    store may be local folders or URLs such as s3://bucket/folder.
    """
    level = logging.INFO if verbose else logging.WARNING
    if log_format is not None:
        context.with_resource(_in_environment(VARIABLE, log_format))
    log_to_stderr(level)


@contextmanager
def _in_environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for a command and the processes that it starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


for _command in (
    build,
    plan,
    encode,
    swap,
    annotate,
    train,
    recipe,
    status,
    stats,
    verify,
    show,
    report,
    compare,
    copy,
    export,
    import_command,
    retire,
    fold,
    gc,
    encoders,
    demo,
):
    cli.add_command(_command)
    if _command not in (demo, encoders):
        storage_flag(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    _open_standard_streams()
    # As Ctrl-C, also while modules are imported; runs and Ray have handlers of their own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = run(arguments)
    if code == STOPPED and arguments is None and "ray" in sys.modules:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End the process without taking the interpreter apart under threads of Ray.

    Stopped while it starts, Ray 2.60 at times ended with signal 11 there.
    """
    atexit._run_exitfuncs()  # Ray's ends the processes that it has started
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _open_standard_streams() -> None:
    """Give closed ones (``2>&-``) a place: else the next file opened would be taken for them."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r"))


def run(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code of one command, with errors told on stderr."""
    try:
        result = cli.main(args=arguments, prog_name="latentcache", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except click.ClickException as error:
        told = answered(error) if isinstance(error, click.NoSuchOption) else error
        if logs_are_json():
            say_error(told.format_message(), exit_code=told.exit_code)
        else:
            told.show()
        return told.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _tell("stopped; run the same command again to go on", STOPPED)
    except (LatentCacheError, OSError) as error:
        return _tell(sentence_of(error) + _of_rank(), exit_code_of(error))
    except Exception as error:  # noqa: BLE001  the last place to say something helpful
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def sentence_of(error: Exception) -> str:
    """Return what a person is told of an error."""
    if isinstance(error, LatentCacheError) or not isinstance(error, OSError):
        return str(error)
    what = error.strerror or str(error)
    if not what:
        return f"{type(error).__name__} without a reason; run it again, with -v for what led to it"
    # A sentence of the system begins small; a name that it begins with keeps its spelling.
    if what[:1].isupper() and what[1:2].islower():
        what = what[0].lower() + what[1:]
    return f"{what}: {os.fsdecode(error.filename)}" if error.filename else what


def _of_rank() -> str:
    """Return which of several ranks speaks, where torchrun has started them."""
    rank = os.environ.get("RANK", "0")
    return f" (rank {rank})" if rank != "0" else ""


def exit_code_of(error: Exception) -> int:
    """Return the exit code that an error ends the process with."""
    if isinstance(error, ConfigError):
        return WRONG_USAGE
    if isinstance(error, QuarantineLimitError):
        return DAMAGED
    return STOPPED if type(error).__name__ == "RunStoppedError" else FAILED


def _unexpected(error: Exception) -> int:
    absent = missing_package(error)
    if absent is not None:
        return _tell(str(absent), WRONG_USAGE)
    if logs_are_json():
        say(str(error), event="traceback", level="error", traceback=traceback.format_exc())
    else:
        traceback.print_exc()
    return _tell(
        f"this should not happen: please report it with the lines above and "
        f"the version, latentcache {__version__}",
        FAILED,
    )


def _tell(sentence: str, code: int) -> int:
    if code == STOPPED:
        say(sentence, event="stopped", level="warning", exit_code=code)
    else:
        say_error(sentence, exit_code=code)
    return code
