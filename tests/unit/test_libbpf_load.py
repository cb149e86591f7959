# SPDX-License-Identifier: MIT
"""A machine without libbpf, or with one too old, gets told so; errors carry the reason."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kwalk import libbpf
from kwalk.errors import NotSupported

# check_access() comes first and wants privileges, so the real command line starts behind it,
# on a kernel of two functions.
STREAM = (
    "import sys; from kwalk.engine import capture; from kwalk.cli import main as cli;"
    "from kwalk.kernel.kallsyms import Kallsyms;"
    "capture.check_access = lambda: None;"
    "kernel = b'ffffffff81000000 T ip_rcv\\nffffffff81001000 T bpf_loop\\n';"
    "capture.kallsyms_cache.read = lambda: Kallsyms(kernel);"
    "sys.exit(cli.main(['stream', 'ip_rcv']))"
)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """The library is loaded once per process; here every test loads its own."""
    libbpf.lib.cache_clear()
    yield
    libbpf.lib.cache_clear()


@pytest.fixture
def fake_library(
    gcc: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> Callable[..., Path]:
    """Build a shared library of that version, or one that does not tell."""

    def build(major: int, minor: int, told: str = "libbpf") -> Path:
        path = tmp_path / f"{told}.so"
        source = f"""
            unsigned int {told}_major_version(void) {{ return {major}; }}
            unsigned int {told}_minor_version(void) {{ return {minor}; }}
            int silenced;
            void *libbpf_set_print(void *fn) {{ silenced = !fn; return 0; }}
        """
        built = gcc(source, "-shared", "-fPIC", "-o", str(path))
        assert built.returncode == 0, built.stderr
        return path

    return build


@pytest.mark.parametrize("version", [(1, 0), (1, 7), (2, 0)])
def test_version_1_0_and_newer_are_taken_and_silenced(
    fake_library: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]
) -> None:
    path = fake_library(*version)
    monkeypatch.setenv("KWALK_LIBBPF", str(path))
    loaded = libbpf.lib()
    assert (loaded.libbpf_major_version(), loaded.libbpf_minor_version()) == version
    from cffi import FFI

    plain = FFI()
    plain.cdef("extern int silenced;")
    fake: Any = plain.dlopen(str(path))
    assert fake.silenced == 1


def test_missing_library_names_itself_and_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWALK_LIBBPF", "/nonexistent.so")
    with pytest.raises(NotSupported) as caught:
        libbpf.lib()
    assert "/nonexistent.so cannot be loaded" in str(caught.value)
    assert "Debian and Ubuntu: libbpf1, Fedora and RHEL: libbpf" in str(caught.value)


def test_old_library_is_refused(
    fake_library: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KWALK_LIBBPF", str(fake_library(0, 8)))
    with pytest.raises(NotSupported, match=r"is version 0\.8, too old\n.*libbpf 1\.0 or newer"):
        libbpf.lib()


def test_library_without_a_version_is_refused(
    fake_library: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KWALK_LIBBPF", str(fake_library(0, 5, told="unknown")))
    with pytest.raises(NotSupported, match=r"libbpf 1\.0 or newer"):
        libbpf.lib()


def test_missing_library_is_one_message_on_the_command_line(
    fake_library: Callable[..., Path],
    powerless_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    for path in (Path("/nonexistent.so"), fake_library(0, 8)):
        done = powerless_python("-c", STREAM, KWALK_LIBBPF=str(path))
        assert done.returncode == 1
        assert done.stdout == ""
        what, hint = done.stderr.splitlines()
        assert what.startswith(f"kwalk: {path} ")
        assert hint.startswith("  Install libbpf 1.0 or newer")


def test_failed_call_becomes_an_error_with_its_reason() -> None:
    assert libbpf.check(7, "cannot count") == 7
    with pytest.raises(libbpf.LibbpfError, match="cannot load: Permission denied") as caught:
        libbpf.check(-errno.EACCES, "cannot load")
    assert (caught.value.errno, caught.value.exit_code) == (errno.EACCES, 1)
    ffi = libbpf.ffi()
    ffi.errno = errno.ENOENT
    with pytest.raises(libbpf.LibbpfError, match="no program: No such file"):
        libbpf.check_pointer(ffi.NULL, "no program")
