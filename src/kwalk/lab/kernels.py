# SPDX-License-Identifier: MIT
"""Kernels that the lab can boot: names, sources, files."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kwalk.errors import KwalkError, UsageError
from kwalk.lab import cache, debian, images, offered, ubuntu
from kwalk.lab.platforms import ARM64, X86_64, Platform, is_release, native
from kwalk.lab.progress import step
from kwalk.support.text import plural

DEFAULT = "debian-13-arm64" if native() is ARM64 else "debian-13"
SUITES = {
    "debian-11": "bullseye",
    "debian-12": "bookworm",
    "debian-13": "trixie",
    "debian-sid": "sid",
}
ARM64_SUITES = {
    "debian-12-arm64": "bookworm",
    "debian-13-arm64": "trixie",
    "debian-sid-arm64": "sid",
}
UBUNTU = {"ubuntu-24.04": "noble", "ubuntu-26.04": "resolute"}
FRAME_POINTER = "fp"
NAMES = (*SUITES, *ARM64_SUITES, *UBUNTU, FRAME_POINTER)

_DEBIAN = SUITES | ARM64_SUITES
# Metapackages that depend on a suite's current kernel.
_START = "linux-image-{}"
_UBUNTU_START = "linux-image-generic"
_UNWINDERS = {"ORC": "orc", "FRAME_POINTER": "frame pointer"}


@dataclass(frozen=True)
class Kernel:
    """Bootable kernel.

    :ivar name: The user's name of it.
    :ivar release: Output of ``uname -r``.
    :ivar image: The bzImage, or arm64's Image.
    :ivar modules: Its ``lib/modules/<release>`` folder; None if all necessary drivers are built in.
    :ivar config: Its build configuration; None if unknown.
    :ivar platform: Its architecture.
    """

    name: str
    release: str
    image: Path
    modules: Path | None
    config: Path | None
    platform: Platform = X86_64

    @property
    def unwinder(self) -> str:
        """The kernel's own unwinder: ``orc``, ``frame pointer``, or ``-`` if unknown."""
        if self.platform.unwinder:
            return self.platform.unwinder
        text = self.config.read_text(encoding="ascii", errors="replace") if self.config else ""
        lines = set(text.splitlines())
        chosen = (_UNWINDERS[key] for key in _UNWINDERS if f"CONFIG_UNWINDER_{key}=y" in lines)
        return next(chosen, "-")


def platform_of(name: str) -> Platform:
    """Return the architecture of a kernel, without fetching it.

    :param name: The same name as for :func:`find`.
    :raises UsageError: if the name is not known.
    """
    if name in NAMES:
        return ARM64 if name in ARM64_SUITES else X86_64
    return images.identify(_image(name))[0]


def find(name: str, modules: Path | None = None) -> Kernel:
    """Return a kernel, fetching it into the cache if necessary.

    :param name: One of :data:`NAMES`, or the path of a kernel image.
    :param modules: The ``lib/modules`` folder of an image given by its path.
    :raises UsageError: if the name is not known.
    :raises KwalkError: if the kernel is not available.
    """
    if name in NAMES:
        return cached(name) or fetch(name)
    image = _image(name)
    platform, release = images.identify(image)
    folder = images.modules_near(image, release, modules)
    return Kernel(name, release, image, folder, images.config_near(image), platform)


def _image(name: str) -> Path:
    """Return the image of a kernel given by its path."""
    if "/" not in name and not Path(name).exists():
        raise UsageError(
            f"there is no kernel named {name!r}",
            f"Known are {', '.join(NAMES)}, or the path of a vmlinuz.",
        )
    return Path(name).absolute()


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
    return folder / name if name in _DEBIAN or name in UBUNTU else None


def _read(name: str, root: Path) -> Kernel | None:
    """Return the kernel below ``root``; None if it is missing or damaged."""
    try:
        facts = json.loads((root / "kernel.json").read_text(encoding="utf-8"))
        release, image, modules = (str(facts[key]) for key in ("release", "image", "modules"))
        config = root / str(facts["config"]) if facts["config"] else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    kernel = Kernel(name, release, root / image, root / modules, config, platform_of(name))
    parts = [path for path in (kernel.image, kernel.modules, config) if path]
    try:
        inside = all(path.resolve(strict=True).is_relative_to(root.resolve()) for path in parts)
    except (OSError, ValueError, RuntimeError):
        return None
    # modules.dep: depmod has run.
    whole = inside and kernel.image.is_file() and (root / modules / "modules.dep").is_file()
    return kernel if whole and is_release(release) else None


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
    known = _UNWINDERS["ORC" if name in SUITES else "FRAME_POINTER"]
    return platform_of(name).unwinder or known


def source(name: str) -> str:
    """Return a short description of a named kernel's source."""
    if offer := offered.find(name):
        return str(offer.image.parent)
    if name in UBUNTU:
        return f"Ubuntu {UBUNTU[name]}"
    return f"Debian {_DEBIAN[name]}" if name in _DEBIAN else "KWALK_KERNELS"


def _fill(name: str, root: Path) -> dict[str, str]:
    """Put a kernel's files below ``root``; return its packages (name -> version), if any."""
    if offer := offered.find(name):
        offer.copy(root)
        return {}
    if name in _DEBIAN:
        architecture = platform_of(name).debian
        packages = debian.suite(_DEBIAN[name], architecture=architecture)
        return _from_packages(packages, _START.format(architecture), root)
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
