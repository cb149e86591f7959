# SPDX-License-Identifier: MIT
"""libbpf bindings in cffi's out-of-line ABI mode: no compiler or header needed at run time."""

from __future__ import annotations

import os
from errno import ENOSPC
from functools import cache
from typing import Any

from kwalk.errors import KwalkError, NotSupported
from kwalk.kernel import shortage

OLDEST = (1, 0)
LIBRARY = "libbpf.so.1"
_INSTALL = "Install libbpf 1.0 or newer (Debian and Ubuntu: libbpf1, Fedora and RHEL: libbpf)."


ENOTSUPP = 524  # include/linux/errno.h: the kernel's own, of which libc knows nothing


def _told(errno: int) -> str:
    return "Operation is not supported" if errno == ENOTSUPP else os.strerror(errno)


class LibbpfError(KwalkError):
    """Failed libbpf call.

    :param what: The failed operation.
    :param errno: Positive error number.
    :param log: The verifier's log; "" if there is none.
    :ivar hint: The resource limit behind the error, if there is one.
    """

    def __init__(self, what: str, errno: int, log: str = "") -> None:
        super().__init__(f"{what}: {_told(errno)} (errno {errno})", shortage.hint(errno))
        self.errno = errno
        self.log = log

    def after(self, attached: int, places: int) -> LibbpfError:
        """Add to the message how many of several functions were attached, and return the error."""
        if places > 1:
            self.what += f", with {attached:,} of {places:,} functions attached to"
        return self

    @property
    def is_shortage(self) -> bool:
        """Whether a resource limit of the machine caused the error.

        ENOSPC with a log is the verifier's: its log did not fit (kernel/bpf/verifier.c).
        """
        return self.errno in shortage.SHORT and not (self.log and self.errno == ENOSPC)


@cache
def lib() -> Any:
    """Return the loaded library; its own messages are off, ``check`` raises its errors.

    :raises NotSupported: if it is missing or older than ``OLDEST``.
    """
    try:
        from kwalk.libbpf._abi import ffi
    except ImportError as error:
        _check_shortage(error)
        raise NotSupported(
            f"kwalk's libbpf binding cannot be imported ({error})",
            "It is made when kwalk is built: install a wheel, or run `make venv` in the sources.",
        ) from None
    name = os.environ.get("KWALK_LIBBPF", LIBRARY)
    try:
        library: Any = ffi.dlopen(name)
        version = library.libbpf_major_version(), library.libbpf_minor_version()
    except (OSError, AttributeError, ffi.error) as error:
        _check_shortage(error)
        raise NotSupported(f"{name} cannot be loaded ({error})", _INSTALL) from None
    if version < OLDEST:
        raise NotSupported(f"{name} is version {version[0]}.{version[1]}, too old", _INSTALL)
    library.libbpf_set_print(ffi.NULL)
    return library


def _check_shortage(error: BaseException) -> None:
    if number := shortage.of(error):
        what = f"{LIBRARY} cannot be loaded: {os.strerror(number)}"
        raise shortage.Shortage(what, shortage.hint(number)) from None


@cache
def ffi() -> Any:
    """Return the cffi FFI object of ``lib()``."""
    from kwalk.libbpf._abi import ffi as made

    return made


def system_call(number: int, *arguments: object) -> int:
    """Make a system call; return its result, -1 with errno in ``ffi().errno``.

    :param arguments: Integers, or pointers of cffi.
    """
    words = [ffi().cast("long", each) if isinstance(each, int) else each for each in arguments]
    return int(lib().syscall(number, *words))


def check(result: int, what: str) -> int:
    """Return a call's result; raise LibbpfError if it is negative (-errno)."""
    if result < 0:
        raise LibbpfError(what, -result)
    return result


def check_pointer(pointer: Any, what: str) -> Any:
    """Return a call's pointer; raise LibbpfError from errno if it is NULL."""
    if pointer == ffi().NULL:
        raise LibbpfError(what, ffi().errno or 22)
    return pointer
