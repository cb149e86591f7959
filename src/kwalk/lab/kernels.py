# SPDX-License-Identifier: MIT
"""Kernels that the lab can boot: names, sources, files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kwalk.errors import KwalkError, UsageError
from kwalk.lab import cache, debian, offered, ubuntu
from kwalk.lab.progress import step
from kwalk.support.text import plural

DEFAULT = "debian-13"
SUITES = {
    "debian-11": "bullseye",
    "debian-12": "bookworm",
    "debian-13": "trixie",
    "debian-sid": "sid",
}
UBUNTU = {"ubuntu-24.04": "noble", "ubuntu-26.04": "resolute"}
FRAME_POINTER = "fp"
NAMES = (*SUITES, *UBUNTU, FRAME_POINTER)

# Metapackages that depend on a suite's current kernel.
_START = "linux-image-amd64"
_UBUNTU_START = "linux-image-generic"
_VERSION_AT = 0x20E  # boot protocol header: where the bzImage keeps its version, less 0x200
# Strict, because the release becomes a part of paths.
_RELEASE = re.compile(r"[0-9A-Za-z][\w.+~-]{0,127}", re.ASCII)
_UNWINDERS = {"ORC": "orc", "FRAME_POINTER": "frame pointer"}


@dataclass(frozen=True)
class Kernel:
    """Bootable kernel.

    :ivar name: The user's name of it.
    :ivar release: Output of ``uname -r``.
    :ivar image: The bzImage.
    :ivar modules: Its ``lib/modules/<release>`` folder; None if all necessary drivers are built in.
    :ivar config: Its build configuration; None if unknown.
    """

    name: str
    release: str
    image: Path
    modules: Path | None
    config: Path | None

    @property
    def unwinder(self) -> str:
        """The kernel's own unwinder: ``orc``, ``frame pointer``, or ``-`` if unknown."""
        text = self.config.read_text(encoding="ascii", errors="replace") if self.config else ""
        lines = set(text.splitlines())
        chosen = (_UNWINDERS[key] for key in _UNWINDERS if f"CONFIG_UNWINDER_{key}=y" in lines)
        return next(chosen, "-")


def image_release(image: Path) -> str:
    """Return the release in a bzImage's header (Documentation/arch/x86/boot.rst).

    :raises UsageError: if the file is not a bzImage.
    """
    try:
        with image.open("rb") as file:
            head = file.read(0x10000)
    except OSError as error:
        raise UsageError(f"the kernel {image} cannot be read: {error.strerror}") from error
    start = int.from_bytes(head[_VERSION_AT : _VERSION_AT + 2], "little") + 0x200
    words = head[start:].partition(b"\0")[0].decode("ascii", "replace").split()
    if head[0x202:0x206] != b"HdrS" or not words or not _RELEASE.fullmatch(words[0]):
        raise UsageError(f"{image} is not an x86 kernel image (bzImage)")
    return words[0]


def find(name: str, modules: Path | None = None) -> Kernel:
    """Return a kernel, fetching it into the cache if necessary.

    :param name: One of :data:`NAMES`, or the path of a bzImage.
    :param modules: The ``lib/modules`` folder of an image given by its path.
    :raises UsageError: if the name is not known.
    :raises KwalkError: if the kernel is not available.
    """
    if name in NAMES:
        return cached(name) or fetch(name)
    if "/" not in name and not Path(name).exists():
        raise UsageError(
            f"there is no kernel named {name!r}",
            f"Known are {', '.join(NAMES)}, or the path of a vmlinuz.",
        )
    image = Path(name).absolute()
    release = image_release(image)
    return Kernel(name, release, image, _modules_near(image, release, modules), _config_near(image))


def cached(name: str) -> Kernel | None:
    """Return a named kernel if the cache has all of it, else None.

    A copy from a folder of kernels counts only if the folder's files have not changed since.
    """
    root = _place(name)
    return _read(name, root) if root else None


def _place(name: str) -> Path | None:
    """Return a named kernel's folder in the cache; None if no source has the kernel."""
    folder = cache.folder("kernels")
    if offer := offered.find(name):
        return folder / f"{name}-{offer.stamp()}"
    return folder / name if name in SUITES or name in UBUNTU else None


def _read(name: str, root: Path) -> Kernel | None:
    """Return the kernel below ``root``; None if it is missing or damaged."""
    try:
        facts = json.loads((root / "kernel.json").read_text(encoding="utf-8"))
        release, image, modules = (str(facts[key]) for key in ("release", "image", "modules"))
        config = root / str(facts["config"]) if facts["config"] else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    kernel = Kernel(name, release, root / image, root / modules, config)
    parts = [path for path in (kernel.image, kernel.modules, config) if path]
    try:
        inside = all(path.resolve(strict=True).is_relative_to(root.resolve()) for path in parts)
    except (OSError, ValueError, RuntimeError):
        return None
    # modules.dep: depmod has run.
    whole = inside and kernel.image.is_file() and (root / modules / "modules.dep").is_file()
    return kernel if whole and _RELEASE.fullmatch(release) else None


def fetch(name: str) -> Kernel:
    """Put a named kernel into the cache, unless another process just did.

    :raises KwalkError: if it is not available.
    """
    target = _place(name)
    if target is None:
        raise KwalkError(
            "the kernel with frame pointers is neither in the folder of KWALK_KERNELS nor in "
            "shared/kernels beside the project's source",
            offered.hint(name),
        )
    with cache.locked(target):
        if kernel := _read(name, target):
            return kernel
        if target.exists():
            with step(f"the copy of {name} in the cache is damaged: making it anew"):
                shutil.rmtree(target)
        with cache.building(target) as root:
            packages = _fill(name, root)
            facts = _inspect(name, root)
            text = json.dumps({**facts, "packages": packages}, indent=1)
            (root / "kernel.json").write_text(text, encoding="utf-8")
    kernel = _read(name, target)
    assert kernel is not None
    return kernel


def expected_unwinder(name: str) -> str:
    """Return the unwinder that a named kernel is known to have, without fetching the kernel."""
    return _UNWINDERS["ORC" if name in SUITES else "FRAME_POINTER"]


def source(name: str) -> str:
    """Return a short description of a named kernel's source."""
    if offer := offered.find(name):
        return str(offer.image.parent)
    if name in UBUNTU:
        return f"Ubuntu {UBUNTU[name]}"
    return f"Debian {SUITES[name]}" if name in SUITES else "KWALK_KERNELS"


def _fill(name: str, root: Path) -> dict[str, str]:
    """Put a kernel's files below ``root``; return its packages (name -> version), if any."""
    if offer := offered.find(name):
        offer.copy(root)
        return {}
    if name in SUITES:
        return _from_packages(debian.suite(SUITES[name]), _START, root)
    try:
        return _from_packages(ubuntu.suite(UBUNTU[name]), _UBUNTU_START, root)
    except KwalkError as error:
        hint = f"Check the network, or have the kernel as files. {offered.hint(name)}"
        raise KwalkError(error.what, hint) from error


def _from_packages(
    packages: AbstractContextManager[debian.Suite], start: str, root: Path
) -> dict[str, str]:
    with packages as suite:
        versions = suite.kernel_packages(start)
        files = [package for package in versions if package != start]
        with step(f"downloading {', '.join(files)}"):
            suite.unpack(files, root)
    return versions


def _inspect(name: str, root: Path) -> dict[str, str | None]:
    """Index the modules of an unpacked kernel; return the contents of its kernel.json.

    The paths in it are relative to ``root``.
    """
    images = [*root.glob("boot/vmlinuz-*"), *root.glob("**/modules/*/vmlinuz")]
    folders = [path.parent for path in root.glob("**/lib/modules/*/modules.builtin")]
    if len(images) != 1 or len(folders) != 1:
        raise KwalkError(
            f"the packages of {name} hold {plural(len(images), 'kernel image')} and "
            f"{plural(len(folders), 'folder')} of modules, not one of each",
            "The packages may have changed: please report it.",
        )
    release = folders[0].name
    what = f"the modules of {name} cannot be indexed"
    try:
        words = ["depmod", "-b", str(folders[0].parents[2]), release]
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise KwalkError(f"{what}: depmod is not on this machine", "Install kmod.") from error
    except subprocess.CalledProcessError as error:
        raise KwalkError(f"{what}: {error.stderr.strip()}") from error
    configs = [*root.glob("boot/config-*"), *folders[0].glob("config")]
    return {
        "release": release,
        "image": str(images[0].relative_to(root)),
        "modules": str(folders[0].relative_to(root)),
        "config": str(configs[0].relative_to(root)) if configs else None,
    }


def _modules_near(image: Path, release: str, given: Path | None) -> Path | None:
    """Return the modules folder of an image given by its path; None if there is none near it."""
    starts = [given] if given else [image.parent, image.parent.parent, image.parent / "modules"]
    for start in starts:
        for place in (start, start / release, start / "lib/modules" / release):
            if (place / "modules.dep").exists():
                return place.absolute()
    if given:
        raise UsageError(
            f"{given} holds no modules of kernel {release}",
            "Give the folder that holds modules.dep, or a lib/modules folder with it.",
        )
    return None


def _config_near(image: Path) -> Path | None:
    suffix = re.sub(r"^(vmlinuz|bzImage)", "", image.name)
    for place in (image.with_name(f"config{suffix}"), image.with_name(".config")):
        if place.exists():
            return place
    return None
