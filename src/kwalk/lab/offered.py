# SPDX-License-Identifier: MIT
"""Kernels as files in the folder of KWALK_KERNELS, or in the project's own folder."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kwalk.errors import KwalkError
from kwalk.lab.progress import step

#: Kernel name -> glob pattern of its image.
PATTERNS = {
    "fp": "vmlinuz-*-fp",
    "ubuntu-24.04": "vmlinuz-6.8.0-*-generic",
    "ubuntu-26.04": "vmlinuz-7.0.0-*-generic",
}
_ARCHIVES = ("tar.gz", "tar.xz")


@dataclass(frozen=True)
class Offer:
    """A kernel's files in a folder.

    :ivar image: ``vmlinuz-<release>``.
    :ivar archive: ``modules-<release>.tar.gz`` or ``.tar.xz``; unpacks to ``<release>/``.
    :ivar config: ``config-<release>``; None if missing.
    """

    image: Path
    archive: Path
    config: Path | None

    def stamp(self) -> str:
        """Return a hash of the files' metadata, as the cache key of their copy."""
        digest = hashlib.sha256()
        for path in (self.image, self.archive, *([self.config] if self.config else [])):
            status = path.stat()
            facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            digest.update(f"{path} {facts}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def copy(self, root: Path) -> None:
        """Copy the files below ``root``, to ``boot`` and ``lib/modules``.

        :raises KwalkError: if the archive is damaged, or has paths outside of it.
        """
        (root / "boot").mkdir()
        with step(f"copying {self.image.name} from {self.image.parent}"):
            _unpack(self.archive, root / "lib" / "modules")
            for file in (self.image, self.config):
                if file:
                    shutil.copyfile(file, root / "boot" / file.name)


def find(name: str) -> Offer | None:
    """Return a named kernel's files; KWALK_KERNELS takes precedence. None if there are none."""
    if name not in PATTERNS:
        return None
    for folder in _folders():
        for image in sorted(folder.glob(PATTERNS[name]), reverse=True):
            release = image.name.removeprefix("vmlinuz-")
            archives = [folder / f"modules-{release}.{kind}" for kind in _ARCHIVES]
            config = folder / f"config-{release}"
            if there := [archive for archive in archives if archive.exists()]:
                return Offer(image, there[0], config if config.exists() else None)
    return None


def hint(name: str) -> str:
    """Return a hint how to provide a named kernel."""
    image = PATTERNS[name]
    archive = image.replace("vmlinuz", "modules")
    return f"Set KWALK_KERNELS to the folder that holds {image} and {archive}.tar.gz or .tar.xz."


def _folders() -> Iterator[Path]:
    """Yield the folders to search; never below the working directory, which is not trusted."""
    if own := os.environ.get("KWALK_KERNELS"):
        yield Path(own).absolute()
    source = Path(__file__).parents[2]
    project = source.parent
    if source.name == "src" and (project / "pyproject.toml").exists():
        yield project.parent / "shared" / "kernels"


def _unpack(archive: Path, target: Path) -> None:
    """Unpack files and folders, but not links, such as those to a kernel's source."""
    target.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise KwalkError(
                        f"{archive} contains {member.name!r}, a path outside of it",
                        "It is not an archive of kernel modules: make it anew.",
                    )
                if member.isdir():
                    (target / name).mkdir(parents=True, exist_ok=True)
                elif member.isfile() and (data := tar.extractfile(member)):
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    with (target / name).open("wb") as file:
                        shutil.copyfileobj(data, file)
    except (tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise KwalkError(
            f"{archive} cannot be unpacked: {error}", "It is damaged: copy or make it anew."
        ) from error
