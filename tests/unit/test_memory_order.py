# SPDX-License-Identifier: MIT
"""Barriers of each architecture, as far as they are to be seen from Python."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cffi import FFI

from kwalk.arch.aarch64 import memory_order


@pytest.mark.parametrize("barrier", [memory_order.acquire, memory_order.release])
def test_arm64_posts_a_semaphore_then_takes_it(
    barrier: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    pair = "semaphore", lambda at: calls.append(f"post {at}"), lambda at: calls.append(f"take {at}")
    monkeypatch.setattr(memory_order, "_semaphore", lambda: pair)
    barrier()
    assert calls == ["post semaphore", "take semaphore"]


def test_arm64_semaphore_is_empty_behind_a_barrier() -> None:
    memory_order.acquire()
    semaphore, post, take = memory_order._semaphore()
    assert take(semaphore) == -1
    assert post(semaphore) == take(semaphore) == 0


def test_arm64_barrier_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """``sem_trywait()`` promises nothing where it takes nothing."""
    monkeypatch.setattr(memory_order, "_semaphore", lambda: ("", lambda at: 0, lambda at: -1))
    with pytest.raises(RuntimeError):
        memory_order.acquire()


def test_arm64_barriers_of_threads_do_not_take_from_each_other() -> None:
    failed: list[BaseException] = []

    def many() -> None:
        try:
            for _ in range(2000):
                memory_order.release()
        except RuntimeError as error:
            failed.append(error)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_arm64_declarations_are_those_of_the_c_library(tmp_path: Path) -> None:
    cdef = Path(memory_order.__file__).with_name("libc.cdef.h").read_text()
    ffi = FFI()
    ffi.cdef(cdef)
    functions = cdef[cdef.index("int sem_init") :]
    (tmp_path / "check.c").write_text(
        f"#include <semaphore.h>\n{functions}\n"
        f'_Static_assert(sizeof(sem_t) <= {ffi.sizeof("sem_t")}, "");\n'
        f'_Static_assert(_Alignof(sem_t) <= {ffi.alignof("sem_t")}, "");\n'
    )
    subprocess.run(["gcc", "-fsyntax-only", "-Werror", tmp_path / "check.c"], check=True)


def test_x86_64_loads_no_library_for_its_barriers() -> None:
    code = (
        "import sys, kwalk.arch\n"
        "x86 = kwalk.arch.ARCHITECTURES['x86_64']\n"
        "x86.acquire(), x86.release()\n"
        "print('_cffi_backend' in sys.modules, 'kwalk.arch.aarch64._abi' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False False\n"
