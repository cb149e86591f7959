# SPDX-License-Identifier: MIT
"""libbpf.cdef.h says what the real headers say, and uses nothing newer than libbpf 1.0.

Nothing checks cffi's ABI mode at run time, so a C compiler does it here: functions are declared
a second time after the real headers (which must not conflict), and the layout that cffi computed
for each struct is compared with the headers' by static assertions. Newer headers may have longer
structs. This needs no Python.h, which cffi's own API mode would.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cffi import FFI

from kwalk import libbpf

HEADERS = "\n".join(
    f"#include <{name}.h>"
    for name in ("stdbool", "stddef", "unistd", "bpf/libbpf", "bpf/bpf", "bpf/btf")
)
# Where the cdef knowingly differs: cffi has no va_list (kwalk passes NULL for the callback),
# the options of bpf_object__open_mem() are not declared (kwalk passes NULL for them too), and an
# enum is passed as the integer that it is.
EXCEPTIONS = (
    ("typedef int (*libbpf_print_fn_t)(int level, const char *fmt, void *args);\n", ""),
    ("obj_buf_sz, const void *opts)", "obj_buf_sz, const struct bpf_object_open_opts *opts)"),
    ("bpf_enable_stats(unsigned int type)", "bpf_enable_stats(enum bpf_stats_type type)"),
    ("bpf_prog_load(int prog_type,", "bpf_prog_load(enum bpf_prog_type prog_type,"),
    (
        "set_type(struct bpf_program *prog, int type)",
        "set_type(struct bpf_program *prog, enum bpf_prog_type type)",
    ),
    (
        "set_expected_attach_type(struct bpf_program *prog, int type)",
        "set_expected_attach_type(struct bpf_program *prog, enum bpf_attach_type type)",
    ),
)
# What newer headers declare in another way that is the same to who calls: as of libbpf 1.5.
OLDER = "const void *bpf_map__initial_value(struct bpf_map *map, size_t *psize);"
NEWER = "void *bpf_map__initial_value(const struct bpf_map *map, size_t *psize);"

Gcc = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cdef() -> str:
    return Path(libbpf.__file__).with_name("libbpf.cdef.h").read_text()


def functions(cdef: str) -> list[str]:
    ffi = FFI()
    ffi.cdef(cdef)
    return dir(ffi.dlopen(None))


def layout_checks(cdef: str) -> str:
    """Static assertions that the headers' structs begin as cffi lays them out."""
    ffi = FFI()
    ffi.cdef(cdef)
    lines = []
    for name in re.findall(r"^struct (\w+) \{", cdef, re.MULTILINE):
        struct = f"struct {name}"
        lines.append(f'_Static_assert(sizeof({struct}) >= {ffi.sizeof(struct)}, "{struct}");')
        for member, field in ffi.typeof(struct).fields:
            theirs, ours = (f"((struct {tag} *)0)->{member}" for tag in (name, f"cdef_{name}"))
            same = f"__builtin_types_compatible_p(__typeof__({theirs}), __typeof__({ours}))"
            place = f"offsetof({struct}, {member}) == {field.offset}"
            lines += [f'_Static_assert({test}, "{struct}: {member}");' for test in (place, same)]
    return "\n".join(lines)


def source(cdef: str, headers: str) -> str:
    """C text that compiles if and only if the cdef agrees with the headers."""
    declarations = re.sub(r"^struct (\w+) \{", r"struct cdef_\1 {", cdef, flags=re.MULTILINE)
    for ours, theirs in EXCEPTIONS:
        assert ours in declarations, f"the exception {ours!r} is no longer needed"
        declarations = declarations.replace(ours, theirs)
    # Each must be known before the cdef declares it once more.
    known = "".join(f"(const void *)&{name}, " for name in functions(cdef))
    size = (
        '_Static_assert(sizeof(enum bpf_stats_type) == sizeof(unsigned int), "bpf_enable_stats");'
    )
    parts = [headers, f"const void *known[] = {{{known}}};", declarations, size]
    return "\n".join([*parts, layout_checks(cdef), ""])


def compared(gcc: Gcc, cdef: str, headers: str = HEADERS) -> subprocess.CompletedProcess[str]:
    """Compile the cdef with the headers, as they are of old and of late; return the better try."""
    texts = (cdef, cdef.replace(OLDER, NEWER))
    tries = [gcc(source(text, headers), "-fsyntax-only") for text in texts]
    return min(tries, key=lambda built: (built.returncode, len(built.stderr)))


def declaring(declaration: str) -> str:
    """The real headers, but with this declaration of ``bpf_map__initial_value()``."""
    name = "bpf_map__initial_value"
    return f"#define {name} other\n{HEADERS}\n#undef {name}\n{declaration}"


def test_declarations_agree_with_the_headers(cdef: str, gcc: Gcc) -> None:
    built = compared(gcc, cdef)
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("declaration", [OLDER, NEWER])
def test_declarations_agree_with_older_and_newer_headers(
    cdef: str, gcc: Gcc, declaration: str
) -> None:
    built = compared(gcc, cdef, declaring(declaration))
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize(
    "declaration",
    [
        NEWER.replace("size_t *", "__u32 *"),
        NEWER.replace("void *bpf", "int bpf"),
        OLDER.replace("*psize", "*psize, int flags"),
    ],
)
def test_headers_that_have_changed_in_earnest_are_noticed(
    cdef: str, gcc: Gcc, declaration: str
) -> None:
    built = compared(gcc, cdef, declaring(declaration))
    assert built.returncode != 0
    assert "conflicting types for 'bpf_map__initial_value'" in plain(built.stderr)


def plain(text: str) -> str:
    """What gcc says, with the quotes of ASCII."""
    return text.replace("\u2018", "'").replace("\u2019", "'")


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ("int bpf_link__fd(const struct bpf_link *", "int bpf_link__fd(void *", "conflicting"),
        ("const void *value, __u64 flags", "const void *value, __u32 flags", "conflicting"),
        ("const void *key, void *next_key", "void *key, void *next_key", "conflicting"),
        ("size_t *psize", "__u32 *psize", "conflicting"),
        ("__u32 libbpf_minor_version(", "__u64 libbpf_minor_version(", "conflicting"),
        ("*attach_func_name);", "*attach_func_name, int flags);", "conflicting"),
        ("bpf_link__destroy(", "bpf_link__destroy_it(", "undeclared"),
        ("size_t offset;\n\tbool retprobe;", "bool retprobe;\n\tsize_t offset;", "opts: offset"),
        ("\t__u64 bpf_cookie;", "\tlong long bpf_cookie;", "opts: bpf_cookie"),
        ("\t__u32 retval;\n", "", "opts: repeat"),
        ("\tvoid *ctx_out;", "\tconst void *ctx_out;", "opts: ctx_out"),
        ("\t__u32 batch_size;", "\t__u32 batch_size;\n\t__u64 more;", "no member named"),
    ],
)
def test_wrong_declaration_is_noticed(
    cdef: str, gcc: Gcc, right: str, wrong: str, error: str
) -> None:
    assert cdef.count(right) == 1
    built = compared(gcc, cdef.replace(right, wrong))
    assert built.returncode != 0
    assert error in built.stderr


def test_oldest_supported_libbpf_has_every_function(cdef: str, gcc: Gcc) -> None:
    library = Path(gcc("", "-print-file-name=libbpf.so.1").stdout.strip()).resolve()
    nm = shutil.which("nm")
    assert nm, "it comes with gcc"
    listing = subprocess.run(
        [nm, "-D", "--with-symbol-versions", library], capture_output=True, text=True, check=True
    ).stdout
    versions = {"syscall": "0"} | dict(
        re.findall(r" T (\w+)@@LIBBPF_([\d.]+)$", listing, re.MULTILINE)
    )
    for name in functions(cdef):
        version = tuple(int(part) for part in versions[name].split("."))
        assert version <= (*libbpf.OLDEST, 0), f"{name} is of libbpf {versions[name]}"
