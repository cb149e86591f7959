# SPDX-License-Identifier: MIT
"""Modules built here, to be loaded one after another at the same address, with moved functions.

They are built by gcc and ld with the kernel's headers only (``kwalk lab headers``). The ORC table,
made by objtool in a full build, is written by hand, which frame pointers make simple. Only the part
that is the same in every build needs the headers, which take gcc seconds.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import headers

CALLS = 100  # calls of each function for a word written to ``parameters/go``

# Caller of the functions, the same in every build.
_SHELL = """
#include <linux/module.h>
#define INCLUDE_VERMAGIC
#include <linux/vermagic.h>
MODULE_INFO(vermagic, VERMAGIC_STRING);
MODULE_INFO(name, KBUILD_MODNAME);
MODULE_LICENSE("GPL");
__visible struct module __this_module __section(".gnu.linkonce.this_module") = {
	.name = KBUILD_MODNAME,
	.arch = MODULE_ARCH_INIT,
};
int OUTERMOST(int x);
static int go(const char *val, const struct kernel_param *kp)
{
	int i;

	for (i = 0; i < CALLS; i++)
		OUTERMOST(i);
	return 0;
}
static const struct kernel_param_ops ops = { .set = go };
module_param_cb(go, &ops, NULL, 0200);
"""
_HEAD = """
static volatile int sink;
unsigned long int_sqrt(unsigned long x);
#define noinline __attribute__((noinline))
"""
# ORC of Linux 6.1 (struct orc_entry): at a function's entry the return address is at SP; after the
# call of ftrace, hence at all return addresses, there is a frame pointer.
_ORC = """
asm(".pushsection .orc_unwind_ip, \\"a\\"\\n.long NAME - ., NAME + 5 - .\\n.popsection\\n"
    ".pushsection .orc_unwind, \\"a\\"\\n.short 8, 0, 5, 16, -16, 0x14\\n.popsection");
"""
_FLAGS = (
    *(
        "-O2",
        "-std=gnu11",
        "-mcmodel=kernel",
        "-mno-red-zone",
        "-mno-sse",
        "-mno-mmx",
        "-mno-80387",
    ),
    *("-fno-pic", "-fno-pie", "-fno-stack-protector", "-fcf-protection=none", "-fno-common"),
    *("-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-strict-aliasing"),
    *(
        "-fno-optimize-sibling-calls",
        "-fno-ipa-icf",
        "-falign-functions=16",
        "-fno-reorder-functions",
    ),
    *("-fno-toplevel-reorder", "-pg", "-mfentry", "-mrecord-mcount", "-w"),
)
_INCLUDES = ("arch/x86/include", "arch/x86/include/generated", "include")
_UAPI = ("arch/x86/include/uapi", "arch/x86/include/generated/uapi", "include/uapi")


def kernel_headers() -> Path | None:
    """Return the folder of debian-12's headers; None if they are not in the cache.

    ``tests/matrix.py`` downloads them before it boots the kernel.
    """
    try:
        return headers.find("debian-12")
    except KwalkError:
        return None


class Builder:
    """Builds modules into a folder."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self._tree, self._folder = tree, folder
        self._shells: dict[tuple[str, str], Path] = {}

    def _compile(self, source: str, target: Path, *flags: str) -> Path:
        subprocess.run(
            ["gcc", "-x", "c", "-c", *_FLAGS, *flags, "-o", str(target), "-"],
            input=source, text=True, check=True,
        )  # fmt: skip
        return target

    def _shell(self, name: str, outermost: str) -> Path:
        if (name, outermost) not in self._shells:
            tree = self._tree
            include = [f"-I{tree / part}" for part in (*_INCLUDES, *_UAPI)]
            files = ("linux/compiler-version.h", "linux/kconfig.h", "linux/compiler_types.h")
            include += [
                word for file in files for word in ("-include", str(tree / "include" / file))
            ]
            self._shells[name, outermost] = self._compile(
                _SHELL + _ORC.replace("NAME", f"{name}_go"),
                self._folder / f"{name}.shell.o", "-nostdinc", *include,
                "-D__KERNEL__", "-DMODULE", "-DCC_USING_FENTRY", f"-DCALLS={CALLS}",
                f'-DKBUILD_MODNAME="{name}"', f'-DKBUILD_BASENAME="{name}"',
                f"-D__KBUILD_MODNAME=kmod_{name}", f"-DOUTERMOST={outermost}", f"-Dgo={name}_go",
            )  # fmt: skip
        return self._shells[name, outermost]

    def build(self, name: str, functions: Sequence[str], outermost: str) -> Path:
        """Return a module file.

        :param functions: Definitions of functions, in the order of their addresses.
        :param outermost: Name of the function that is called from outside.
        """
        source = _HEAD + "".join(f.split("{")[0].strip() + ";\n" for f in functions)
        names = [function.split("(")[0].split()[-1] for function in functions]
        source += "\n".join((*functions, *(_ORC.replace("NAME", each) for each in names)))
        parts = self._compile(source, self._folder / f"{name}.parts.o")
        module = self._folder / f"{name}.ko"
        shell = self._shell(name, outermost)
        subprocess.run(["ld", "-r", "-o", str(module), str(shell), str(parts)], check=True)
        return module


def shuffled(seed: int) -> list[str]:
    """Return the functions of a build of ``kwt``: ``kwt_outer`` calls ``kwt_mid``, that calls
    ``kwt_target``, that calls int_sqrt(); others lie between them.
    """
    order = random.Random(seed)
    functions = [
        "noinline int kwt_target(int x) { sink += int_sqrt(x); return sink; }",
        "noinline int kwt_mid(int x) { kwt_target(x); sink++; return kwt_pad_0(x); }",
        "noinline int kwt_outer(int x) { kwt_mid(x); return sink++; }",
    ]
    for number in range(4):
        body = "sink += x; " * order.randrange(1, 40)
        functions.append(f"noinline int kwt_pad_{number}(int x) {{ {body} return x; }}")
    order.shuffle(functions)
    return functions


def insert(module: Path) -> None:
    """Load a module file."""
    subprocess.run(["insmod", str(module)], check=True)


def remove(name: str) -> None:
    """Unload a module."""
    subprocess.run(["rmmod", name], check=True)


def go(name: str) -> None:
    """Make the module call its functions."""
    Path(f"/sys/module/{name}/parameters/{name}_go").write_text("1")
