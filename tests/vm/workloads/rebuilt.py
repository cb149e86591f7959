# SPDX-License-Identifier: MIT
"""Modules that are built here: one after another in the same place, with functions that moved.

Built by gcc and ld with no more of the kernel than its headers (``kwalk lab headers``). The table
for the unwinder, which a whole build has objtool make, is written by hand: a frame pointer makes it
simple. Only what is the same in every build needs the headers, which take gcc seconds.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import headers

CALLS = 100  # of each function for one word written to ``parameters/go``

# What calls the functions of every build.
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
# ORC of Linux 6.1 (struct orc_entry): at a function's entry the return address is at SP; behind the
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
    """Return where the headers of debian-12 are; None if nobody has fetched them.

    ``tests/matrix.py`` fetches them before it boots the kernel.
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

        :param functions: Their definitions, in the order in which they are to lie in memory.
        :param outermost: The one that is called from outside.
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
    """Return the functions of one build of ``kwt``: ``kwt_outer`` calls ``kwt_mid`` and that
    ``kwt_target``, which calls int_sqrt(); others lie between them."""
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
    """Have the module call its functions."""
    Path(f"/sys/module/{name}/parameters/{name}_go").write_text("1")
