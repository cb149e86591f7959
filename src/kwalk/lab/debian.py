# SPDX-License-Identifier: MIT
"""Download of packages from any suite of Debian or Ubuntu by the machine's apt, without installing.

apt runs with private lists, archives and sources below the cache folder, but reads the machine's
apt.conf for its proxies and mirrors.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import cache
from kwalk.lab.packaging import check_room, run
from kwalk.lab.progress import step
from kwalk.support.text import plural

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_AMD64 = "amd64"
_INDEX_BYTES = 150 << 20  # downloaded, uncompressed, and apt's cache of both
_NAMED = 4  # packages that a message names
_TARGET = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)"
# `dpkg -x` replaces a link such as bin -> usr/bin by a folder where a package has a folder bin.
_UNPACK = 'dpkg-deb --fsys-tarfile "$1" | tar -xp --keep-directory-symlink -C "$2"'
# linux-base-<version> holds a split kernel's configuration and list of built-in modules; plain
# linux-base is a package of scripts.
_FOLLOWED = re.compile(r"linux-(image|binary|modules|base-[0-9])")


def archive_uri(targets: str) -> str:
    """Return the URI of the Debian archive among the machine's package sources.

    :param targets: Output of ``apt-get indextargets``: URI, origin, label and component, separated
        by ``|``.
    :raises KwalkError: if no source is Debian's own.
    """
    for line in targets.splitlines():
        uri, _, rest = line.partition("|")
        if rest == "Debian|Debian|main":
            return uri
    raise KwalkError(
        "apt on this machine knows no source whose origin is Debian",
        "Run `apt-get update` with Debian's archive among apt's sources, or give `--kernel` the "
        "path of a kernel image.",
    )


def parse_stanza(text: str) -> dict[str, str]:
    """Return the fields of the first stanza in the output of ``apt-cache show``."""
    fields: dict[str, str] = {}
    for line in text.strip().splitlines():
        if not line:
            break
        name, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            fields[name] = value.strip()
    return fields


def kernel_dependencies(depends: str) -> list[str]:
    """Return the packages of a ``Depends`` field that contain a part of the kernel itself.

    Others, such as initramfs-tools, matter to an installed kernel only.
    """
    return [name for name in _names(depends) if _FOLLOWED.match(name)]


def _names(depends: str) -> list[str]:
    return [re.split(r"[ (:|]", item.strip())[0] for item in depends.split(",")]


def installed(simulation: str) -> dict[str, str]:
    """Return the packages in the output of ``apt-get install --simulate``: name -> version."""
    return dict(re.findall(r"^Inst (\S+) \((\S+)", simulation, re.MULTILINE))


@dataclass(frozen=True)
class PackageArchive:
    """Package archive.

    :ivar title: Name in messages, such as ``Debian``.
    :ivar keyring: Keys that must have signed the index; None accepts all keys that apt trusts.
    """

    title: str
    uri: str
    keyring: Path | None


def machines_own() -> PackageArchive:
    """Return the Debian archive among this machine's package sources.

    :raises KwalkError: if there is none.
    """
    what = "apt cannot list this machine's package sources"
    words = ["apt-get", "indextargets", "--format", _TARGET, "Created-By: Packages"]
    uri = archive_uri(run(words, what))
    return PackageArchive("Debian", uri, _KEYRING if _KEYRING.exists() else None)


class Suite:
    """One suite of an archive, with its package index.

    :param name: Code name, such as ``trixie``.
    :param root: apt's private folder.
    :param architecture: Debian's name of an architecture, such as ``arm64``.
    """

    def __init__(
        self, name: str, root: Path, source: PackageArchive, architecture: str = _AMD64
    ) -> None:
        self.name = name
        self.root = root
        self.source = source
        self.architecture = architecture

    def update(self) -> None:
        """Write the private sources.list and download the suite's index.

        :raises KwalkError: if the archive cannot be reached, its signature is not valid, or it has
            no packages of the architecture.
        """
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self.root / part).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        keyring = self.source.keyring
        signed = f" [signed-by={keyring}]" if keyring else ""
        line = f"deb{signed} {self.source.uri} {self.name} main\n"
        (self.root / "sources.list").write_text(line, encoding="ascii")
        what = f"the package index of {self.source.title} {self.name} cannot be read"
        check_room(self.root, _INDEX_BYTES, what)
        self._apt("apt-get", "update", "--error-on=any")
        # apt takes it for a success if the archive does not have the architecture at all.
        lists = self.root / "state" / "lists"
        if not any(lists.glob(f"*_binary-{self.architecture}_Packages*")):
            raise KwalkError(
                f"the archive of {self.source.title} that apt uses here has no packages for "
                f"{self.architecture} in {self.name}",
                "Add a mirror that has them to apt's sources, ahead of this one.",
            )

    def kernel_packages(self, start: str) -> dict[str, str]:
        """Return the packages that make up a kernel: name -> version.

        :param start: The package to begin at; its dependencies are followed.
        :raises KwalkError: if the suite lacks one of them.
        """
        versions: dict[str, str] = {}
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name in versions:
                continue
            fields = self._fields(name)
            versions[name] = fields.get("Version", "")
            waiting += kernel_dependencies(fields.get("Depends", ""))
        return versions

    def dependencies(self, package: str) -> list[str]:
        """Return the names of a package's dependencies, the first of alternatives.

        :raises KwalkError: if the suite lacks the package.
        """
        return _names(self._fields(package).get("Depends", ""))

    def installation(self, packages: Sequence[str]) -> dict[str, str]:
        """Return what an installation of packages on an empty system would need: name -> version.

        Recommended packages are left out.

        :raises KwalkError: if the suite lacks one of them, or they do not fit together.
        """
        words = ("install", "--simulate", "--no-install-recommends", *packages)
        return installed(self._apt("apt-get", *words))

    def _fields(self, package: str) -> dict[str, str]:
        return parse_stanza(self._apt("apt-cache", "show", "--no-all-versions", package))

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        """Download packages and unpack their files below ``target``.

        :raises KwalkError: if a download or dpkg fails, as on a full disk.
        """
        what = f"{', '.join(packages)} cannot be unpacked"
        if len(packages) > _NAMED:
            what = f"{plural(len(packages), 'package')} cannot be unpacked"
        check_room(target, self._bytes(packages), what)
        with tempfile.TemporaryDirectory(prefix="download.", dir=self.root) as folder:
            self._apt("apt-get", "download", *packages, cwd=Path(folder))
            for file in sorted(Path(folder).glob("*.deb")):
                words = ["sh", "-c", _UNPACK, "sh", str(file), str(target)]
                run(words, f"{file.name} cannot be unpacked")

    def _bytes(self, packages: Sequence[str]) -> int:
        """Return the space that packages take while they are unpacked."""
        text = self._apt("apt-cache", "show", "--no-all-versions", *packages)
        sizes = re.findall(r"^Size: (\d+)$", text, re.MULTILINE)
        unpacked = re.findall(r"^Installed-Size: (\d+)$", text, re.MULTILINE)  # KiB
        return sum(map(int, sizes)) + 1024 * sum(map(int, unpacked))

    def _apt(self, tool: str, *words: str, cwd: Path | None = None) -> str:
        settings = {
            "Dir::State": self.root / "state",
            "Dir::State::status": self.root / "status",
            "Dir::Cache": self.root / "cache",
            "Dir::Etc::sourcelist": self.root / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
            # The user _apt may have no access to the cache, which is below a home folder.
            "APT::Sandbox::User": "root",
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "30",
            "Acquire::https::Timeout": "30",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        suite = f"{self.source.title} {self.name} ({self.architecture})"
        what = f"`{tool} {' '.join(words)}` failed for {suite}"
        return run([tool, "-q", *options, *words], what, cwd)


@contextmanager
def suite(
    name: str,
    source: Callable[[], PackageArchive] = machines_own,
    architecture: str = _AMD64,
) -> Iterator[Suite]:
    """Yield a suite with a fresh index, locked against other processes.

    :param name: The suite's code name.
    :param source: Returns the suite's archive.
    :param architecture: Debian's name of the packages' architecture.
    :raises KwalkError: if the index cannot be downloaded.
    """
    foreign = "" if architecture == _AMD64 else f"-{architecture}"
    root = cache.folder("apt", f"{name}{foreign}")
    with cache.locked(root):
        one = Suite(name, root, source(), architecture)
        with step(f"reading the package index of {one.source.title} {name} ({architecture})"):
            one.update()
        yield one
