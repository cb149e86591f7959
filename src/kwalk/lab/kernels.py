# SPDX-License-Identifier: MIT
"""The kernels that the lab can boot: their names, where they come from, what they hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kwalk.errors import KwalkError, UsageError
from kwalk.lab import cache, debian
from kwalk.lab.progress import step
from kwalk.words import plural

DEFAULT = "debian-13"
SUITES = {
    "debian-11": "bullseye",
    "debian-12": "bookworm",
    "debian-13": "trixie",
    "debian-sid": "sid",
}
FRAME_POINTER = "fp"
NAMES = (*SUITES, FRAME_POINTER)

_START = "linux-image-amd64"
_VERSION_AT = 0x20E  # boot protocol header: where the bzImage keeps its version, less 0x200
_UNWINDERS = {"ORC": "orc", "FRAME_POINTER": "frame pointer"}


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted.

    :ivar name: As the user gave it.
    :ivar release: What ``uname -r`` prints.
    :ivar image: The bzImage.
    :ivar modules: Its ``lib/modules/<release>`` folder, None where all that is needed is built in.
    :ivar config: Its configuration, None where unknown.
    """

    name: str
    release: str
    image: Path
    modules: Path | None
    config: Path | None

    @property
    def unwinder(self) -> str:
        """How the kernel unwinds its stacks: ``orc``, ``frame pointer``, or ``-`` if unknown."""
        text = self.config.read_text(encoding="ascii", errors="replace") if self.config else ""
        lines = set(text.splitlines())
        chosen = (_UNWINDERS[key] for key in _UNWINDERS if f"CONFIG_UNWINDER_{key}=y" in lines)
        return next(chosen, "-")


def image_release(image: Path) -> str:
    """Return the release that a bzImage says it is (Documentation/arch/x86/boot.rst).

    :raises UsageError: The file is not a bzImage.
    """
    try:
        with image.open("rb") as file:
            head = file.read(0x10000)
    except OSError as error:
        raise UsageError(f"the kernel {image} cannot be read: {error.strerror}") from error
    start = int.from_bytes(head[_VERSION_AT : _VERSION_AT + 2], "little") + 0x200
    words = head[start:].partition(b"\0")[0].decode("ascii", "replace").split()
    if head[0x202:0x206] != b"HdrS" or not words:
        raise UsageError(f"{image} is not an x86 kernel image (bzImage)")
    return words[0]


def find(name: str, modules: Path | None = None) -> Kernel:
    """Return the kernel of that name, fetched into the cache if it is not there yet.

    :param name: One of :data:`NAMES`, or the path of a bzImage.
    :param modules: The ``lib/modules`` folder that belongs to an image given by its path.
    :raises UsageError: The name is not known.
    :raises KwalkError: The kernel cannot be had.
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
    """Return a named kernel if the cache holds it."""
    root = cache.folder("kernels") / name
    try:
        facts = json.loads((root / "kernel.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    config = facts["config"] and root / facts["config"]
    return Kernel(name, facts["release"], root / facts["image"], root / facts["modules"], config)


def fetch(name: str) -> Kernel:
    """Put a named kernel into the cache, unless another process just did.

    :raises KwalkError: It cannot be had.
    """
    target = cache.folder("kernels") / name
    with cache.locked(target):
        if kernel := cached(name):
            return kernel
        shutil.rmtree(target, ignore_errors=True)
        with cache.building(target) as root:
            packages = _from_project(root) if name == FRAME_POINTER else _from_debian(name, root)
            facts = _inspect(name, root)
            text = json.dumps({**facts, "packages": packages}, indent=1)
            (root / "kernel.json").write_text(text, encoding="utf-8")
    kernel = cached(name)
    assert kernel is not None
    return kernel


def expected_unwinder(name: str) -> str:
    """Say how a named kernel that is not in the cache is known to unwind its stacks."""
    return _UNWINDERS["FRAME_POINTER" if name == FRAME_POINTER else "ORC"]


def source(name: str) -> str:
    """Say in a few words where a named kernel comes from."""
    return f"Debian {SUITES[name]}" if name in SUITES else "shared/kernels"


def _from_debian(name: str, root: Path) -> dict[str, str]:
    with debian.suite(SUITES[name]) as suite:
        packages = suite.kernel_packages(_START)
        files = [package for package in packages if package != _START]
        with step(f"downloading {', '.join(files)}"):
            suite.unpack(files, root)
    return packages


def _from_project(root: Path) -> dict[str, str]:
    """Copy the kernel with frame pointers from the folder that holds it."""
    for folder in _project_folders():
        for image in sorted(folder.glob("vmlinuz-*-fp")):
            release = image.name.removeprefix("vmlinuz-")
            archive = folder / f"modules-{release}.tar.gz"
            if not archive.exists():
                continue
            (root / "boot").mkdir()
            (root / "lib/modules").mkdir(parents=True)
            with step(f"copying {image.name} from {folder}"), tarfile.open(archive) as tar:
                # Python 3.11.2, Debian 12's, has no filters yet; the archive is the project's own.
                safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                tar.extractall(root / "lib/modules", **safe)  # type: ignore[arg-type]
                for file in (image, folder / f"config-{release}"):
                    if file.exists():
                        shutil.copyfile(file, root / "boot" / file.name)
            return {}
    raise KwalkError(
        "the kernel with frame pointers is neither in the cache nor in a folder shared/kernels "
        "beside the project",
        "Set KWALK_KERNELS to the folder that holds vmlinuz-*-fp and modules-*-fp.tar.gz.",
    )


def _project_folders() -> Iterator[Path]:
    if own := os.environ.get("KWALK_KERNELS"):
        yield Path(own)
    for start in (Path.cwd(), Path(__file__)):
        for parent in (start, *start.parents):
            yield parent / "shared" / "kernels"


def _inspect(name: str, root: Path) -> dict[str, str | None]:
    """Index the modules of an unpacked kernel and return its parts, as paths below ``root``."""
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
    """Find the modules of an image that was given by its path."""
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
