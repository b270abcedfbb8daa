"""Turns what a command raises into one line on standard error and an exit code."""

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.output import say


class CommandError(Exception):
    """A command can't do what it was asked; the message is for the person who asked."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.BAD_INPUT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ReportingGroup(TyperGroup):
    """The root of all commands."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # typer keeps the type of its context to itself
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output (`head`) has gone: nothing is wrong, and nothing more can be written.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.DONE) from None
        except Exception as error:
            reported = _report(_sole_cause(error))
            if reported is None:
                raise
            message, exit_code = reported
            say(f"lorax-batch: {message}", err=True)
            raise typer.Exit(exit_code) from error


def _sole_cause(error: Exception) -> Exception:
    """Return what a task group wrapped, when it is one thing."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _report(error: Exception) -> tuple[str, ExitCode] | None:
    """Return what to say and how to exit; None for what is none of the user's doing."""
    from lorax_batch_client import errors

    if isinstance(error, CommandError):
        return str(error), error.exit_code
    if isinstance(error, errors.UnavailableError):
        hint = "is it running (`lorax-batch serve`), and is --target or LORAX_BATCH_TARGET right?"
        return (f"{error}; {hint}" if not error.reason else str(error)), ExitCode.UNREACHABLE
    if isinstance(error, errors.TimedOutError | errors.BrokenStreamError):
        return str(error), ExitCode.UNREACHABLE
    if isinstance(error, errors.ServiceError | errors.ChecksumMismatchError | errors.ResourceExhaustedError):
        return str(error), ExitCode.FAILED
    if isinstance(error, errors.ClientError):
        return str(error), ExitCode.BAD_INPUT
    if type(error).__name__ == "ConfigurationError":  # of the scheduler, which a client command never imports
        return str(error), ExitCode.BAD_INPUT
    if isinstance(error, UnicodeEncodeError):  # Python passes bytes that are not UTF-8 on as lone surrogates
        return f"{error.object[:60]!r} is not UTF-8, which everything here must be", ExitCode.BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", ExitCode.BAD_INPUT
    return None
