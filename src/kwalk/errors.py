# SPDX-License-Identifier: MIT
"""Errors that end a command with one message; only ``main`` prints them."""

import errno

# Message for open()'s ValueError (a null byte, or a character that the file system's encoding
# lacks): Python's own differs between versions.
NO_NAME = "no file can have that name"


class KwalkError(Exception):
    """Failure at run time (exit code 1).

    :param what: One sentence on the failure and its cause, without a final full stop.
    :param hint: A whole sentence on the next step.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  {self.hint}" if self.hint else self.what


class CommandEnded(KwalkError):
    """The command to run and trace was ended by a signal before it ran."""


class UsageError(KwalkError):
    """Invalid request, by a command line or a program (exit code 2)."""

    exit_code = 2


class OutputError(KwalkError):
    """Write error on an output, other than that its reader has gone.

    :param path: Path of the file; "" for standard output.
    """

    def __init__(self, error: OSError, path: str = "") -> None:
        reason = error.strerror or str(error)
        hint = "Make room where standard output goes, or send it elsewhere, and start again."
        if error.errno == errno.EFBIG:
            reason, hint = _too_large(reason)
        elif not path and error.errno == errno.EBADF:
            reason, hint = "it is closed", "Leave standard output open, or send it to a file."
        super().__init__(
            f"{path or 'the output'} cannot be written: {reason}",
            _elsewhere(error) if path and error.errno != errno.EFBIG else hint,
        )


def _too_large(reason: str) -> tuple[str, str]:
    """Return reason and hint for EFBIG: the process's limit, or else the file system's."""
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most == resource.RLIM_INFINITY:
        return reason, "The file system holds no larger files: give a file on another one."
    return (
        f"{reason}: this process's files are limited to {most:,} bytes (RLIMIT_FSIZE, `ulimit -f`)",
        "Raise that limit, `ulimit -f unlimited`, in the shell or service that starts kwalk.",
    )


def _elsewhere(error: OSError) -> str:
    """Return the hint for a file that cannot be written."""
    if error.errno == errno.ENOENT:
        return "Make the folder first, or give a file in an existing one."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Give a file where you may write."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Give a file where there is room."
    return "Give another file."


class NotSupported(KwalkError):
    """This machine or kernel lacks a necessary feature (exit code 1)."""
