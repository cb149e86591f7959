# SPDX-License-Identifier: MIT
"""Errors that end a command with one clear message; only ``main`` prints them."""

import errno

# Why ValueError: a null byte, or a character that the file system's encoding lacks. Python's own
# words for it differ from version to version.
NO_NAME = "no file can have that name"


class KwalkError(Exception):
    """Something failed at run time (exit code 1).

    :param what: What failed and why, one sentence without a final full stop.
    :param hint: What to do next, a whole sentence.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  {self.hint}" if self.hint else self.what


class UsageError(KwalkError):
    """Something is asked for that cannot be, by a command line or a program (exit code 2)."""

    exit_code = 2


class OutputError(KwalkError):
    """What is written to takes no more, for another reason than a reader that has gone.

    :param error: The reason.
    :param path: Of the file; "" is standard output.
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
    """Return why a file cannot grow, and what to do: by the process's limit, else the system's."""
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most == resource.RLIM_INFINITY:
        return reason, "The file system holds no larger files: give a file on another one."
    return (
        f"{reason}: files of this process may have {most:,} bytes (RLIMIT_FSIZE, `ulimit -f`)",
        "Raise that limit, `ulimit -f unlimited`, in the shell or service that starts kwalk.",
    )


def _elsewhere(error: OSError) -> str:
    """Return what to do where a file cannot be written."""
    if error.errno == errno.ENOENT:
        return "Make the folder first, or give a file in one that is there."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Give a file where you may write."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Give a file where there is room."
    return "Give another file."


class NotSupported(KwalkError):
    """This machine or kernel does not offer what is needed (exit code 1)."""
