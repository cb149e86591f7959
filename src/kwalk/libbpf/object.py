# SPDX-License-Identifier: MIT
"""A BPF object file: open, size its maps, set its constants, load, attach, close."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from kwalk.libbpf import LibbpfError, check, check_pointer, ffi, lib

LOG_SIZE = 1 << 20


class Map:
    """A map of a loaded object, accessed with plain bytes."""

    def __init__(self, handle: Any, name: str) -> None:
        self._handle = handle
        self.name = name

    @property
    def fd(self) -> int:
        """File descriptor; valid once the object is loaded."""
        return int(lib().bpf_map__fd(self._handle))

    def resize(self, max_entries: int | None = None, value_size: int | None = None) -> None:
        """Set the number of entries or the size of a value in bytes, before loading."""
        if max_entries is not None:
            check(
                lib().bpf_map__set_max_entries(self._handle, max_entries),
                f"cannot give map {self.name} {max_entries} entries",
            )
        if value_size is not None:
            check(
                lib().bpf_map__set_value_size(self._handle, value_size),
                f"cannot give map {self.name} values of {value_size} bytes",
            )

    def preset(self, data: bytes) -> None:
        """Set the initial contents of a global-data map, before loading."""
        size = ffi().new("size_t *")
        start = lib().bpf_map__initial_value(self._handle, size)
        ffi().memmove(check_pointer(start, f"map {self.name} has no memory"), data, len(data))

    def lookup(self, key: bytes, size: int) -> bytes | None:
        """Return the ``size`` bytes stored under ``key``, or None."""
        value = ffi().new("char[]", size)
        result = lib().bpf_map_lookup_elem(self.fd, key, value)
        if result == -2:
            return None
        check(result, f"cannot read map {self.name}")
        return bytes(ffi().buffer(value, size))

    def update(self, key: bytes, value: bytes) -> None:
        """Store ``value`` under ``key``."""
        check(lib().bpf_map_update_elem(self.fd, key, value, 0), f"cannot write map {self.name}")

    def delete(self, key: bytes) -> None:
        """Remove ``key``; it is no error if it is gone already."""
        result = lib().bpf_map_delete_elem(self.fd, key)
        if result != -2:
            check(result, f"cannot delete from map {self.name}")

    def each_key(self, size: int = 4) -> Iterator[bytes]:
        """Iterate over keys of ``size`` bytes; the current one may be deleted meanwhile."""
        key, following = ffi().NULL, ffi().new("char[]", size)
        while lib().bpf_map_get_next_key(self.fd, key, following) == 0:
            found = bytes(ffi().buffer(following))
            yield found
            key = ffi().new("char[]", found)


class Object:
    """One BPF object; use it in a ``with`` so that nothing stays in the kernel.

    :param image: The ELF file's bytes.
    :raises LibbpfError: from every method, with the verifier's log after a failed load.
    """

    def __init__(self, image: bytes) -> None:
        self._image = ffi().new("char[]", image)
        self._logs: dict[str, Any] = {}
        self._links: list[Any] = []
        self._handle = check_pointer(
            lib().bpf_object__open_mem(self._image, len(image), ffi().NULL),
            "libbpf cannot read kwalk's BPF object",
        )

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _program(self, name: str) -> Any:
        return check_pointer(
            lib().bpf_object__find_program_by_name(self._handle, name.encode()),
            f"kwalk's BPF object has no program {name}",
        )

    def map(self, name: str) -> Map:
        """Return the map ``name``; global data is in ``.rodata`` and ``.bss``."""
        handle = lib().bpf_object__find_map_by_name(self._handle, name.encode())
        return Map(check_pointer(handle, f"kwalk's BPF object has no map {name}"), name)

    def choose(self, wanted: dict[str, str | None]) -> None:
        """Load only the programs in ``wanted``: name -> function that fentry attaches to."""
        program = lib().bpf_object__next_program(self._handle, ffi().NULL)
        while program != ffi().NULL:
            lib().bpf_program__set_autoload(program, False)
            program = lib().bpf_object__next_program(self._handle, program)
        for name, target in wanted.items():
            program = self._program(name)
            lib().bpf_program__set_autoload(program, True)
            self._logs[name] = ffi().new("char[]", LOG_SIZE)
            lib().bpf_program__set_log_buf(program, self._logs[name], LOG_SIZE)
            if target is not None:
                check(
                    lib().bpf_program__set_attach_target(program, 0, target.encode()),
                    f"the kernel's BTF has no function {target} for fentry",
                )

    def load(self) -> None:
        """Load maps and chosen programs into the kernel."""
        result = lib().bpf_object__load(self._handle)
        if result < 0:
            log = "".join(ffi().string(buffer).decode() for buffer in self._logs.values())
            raise LibbpfError("the kernel refuses kwalk's BPF program", -result, log)
        self._logs.clear()

    def program_fd(self, name: str) -> int:
        """Return the file descriptor of a loaded program."""
        return int(check(lib().bpf_program__fd(self._program(name)), f"program {name}"))

    def program_info(self, name: str) -> bytes:
        """Return the kernel's ``struct bpf_prog_info`` (as much of it as this kernel fills)."""
        return object_info(self.program_fd(name), 256)

    def attach_kprobe(
        self, name: str, function: str, offset: int = 0, returns: bool = False
    ) -> None:
        """Attach a program by kprobe at ``function`` + ``offset`` bytes, or to its returns."""
        opts = ffi().new("struct bpf_kprobe_opts *")
        opts.sz = ffi().sizeof("struct bpf_kprobe_opts")
        opts.offset = offset
        opts.retprobe = returns
        link = lib().bpf_program__attach_kprobe_opts(self._program(name), function.encode(), opts)
        self._links.append(check_pointer(link, f"cannot attach a kprobe to {function}"))

    def attach_trace(self, name: str, function: str) -> None:
        """Attach a fentry program to the target given to ``choose``."""
        link = lib().bpf_program__attach_trace(self._program(name))
        self._links.append(check_pointer(link, f"cannot attach fentry to {function}"))

    def link_info(self) -> bytes:
        """Return ``struct bpf_link_info`` of the first link (as much as this kernel fills)."""
        return object_info(lib().bpf_link__fd(self._links[0]), 128)

    def run(self, name: str, context: bytes) -> tuple[int, bytes]:
        """Run a loaded ``syscall`` program once; return its result and the context after it."""
        data = ffi().new("char[]", context)
        opts = ffi().new("struct bpf_test_run_opts *")
        opts.sz = ffi().sizeof("struct bpf_test_run_opts")
        opts.ctx_in = data
        opts.ctx_size_in = len(context)
        result = lib().bpf_prog_test_run_opts(self.program_fd(name), opts)
        check(result, f"cannot run program {name}")
        code = struct.unpack("i", struct.pack("I", opts.retval))[0]
        return code, bytes(ffi().buffer(data, len(context)))

    def detach(self) -> None:
        """Remove every probe; programs and maps stay until ``close``."""
        while self._links:
            lib().bpf_link__destroy(self._links.pop())

    def close(self) -> None:
        """Detach and free everything; further calls do nothing."""
        self.detach()
        if self._handle is not None:
            lib().bpf_object__close(self._handle)
            self._handle = None


def object_info(fd: int, size: int) -> bytes:
    """Return the info struct of a program, map or link, at most ``size`` bytes."""
    info = ffi().new("char[]", size)
    length = ffi().new("__u32 *", size)
    check(lib().bpf_obj_get_info_by_fd(fd, info, length), "cannot read an object's info")
    return bytes(ffi().buffer(info, min(size, length[0])))
