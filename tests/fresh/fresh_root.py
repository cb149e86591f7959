# SPDX-License-Identifier: MIT
"""Run README's commands on a fresh root of Debian, as on a machine where nothing is installed.

Usage, as root: ``python tests/fresh/fresh_root.py trixie [TARGET...]``, by default ``demo`` and
``test``. debootstrap makes the root from the archive that this machine's apt is set up for, below
``build/fresh``; the commit that is checked out is cloned into it. All runs in a mount namespace of
its own, so nothing stays mounted, however it ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import commit
from kwalk.errors import KwalkError
from kwalk.lab import debian, kernels

ROOT = commit.ROOT
PACKAGES = "make,git,ca-certificates"
INSIDE = "root/kwalk"
# Of this machine, for proxies and certificates; all else is as root finds it after a login.
PASSED = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
)
_DATES = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# In a mount namespace: the machine's devices, and the root as one's own.
ENTER = """
set -e
mount --make-rprivate /
for folder in proc sys dev; do mount --rbind "/$folder" "$0/$folder"; done
exec chroot "$0" env -i "$@"
"""


def made(suite: str, folder: Path) -> None:
    """Make the root with debootstrap."""
    uri = debian.machines_own().uri
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(folder), uri]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    # debootstrap makes no /etc/hosts, which Debian's installer and containers have.
    names = ["/etc/resolv.conf", "/etc/hosts", str(CERTIFICATES)]
    for name in filter(os.path.exists, names):
        (folder / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, folder / name.lstrip("/"))
    # Where the machine's mirror is a snapshot, its index may be older than it says it may be.
    asked = ["apt-config", "dump", *_DATES]
    dates = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    (folder / "etc/apt/apt.conf.d/90dates").write_text(dates)
    words = ["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder / INSIDE)]
    subprocess.run(words, check=True)
    words = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    words = ["git", "checkout", "-q", "--detach", head.strip()]
    subprocess.run(words, cwd=folder / INSIDE, check=True)
    own = Path(os.environ.get("KWALK_KERNELS") or ROOT.parent / "shared" / "kernels")
    if own.is_dir():
        shutil.copytree(own, folder / "root" / "shared" / "kernels")


def run(folder: Path, target: str) -> bool:
    """Run one target of the Makefile in the root, and tell whether it passed."""
    names = {name for word in PASSED for name in (word, word.lower())}
    env = {name: os.environ[name] for name in sorted(names) if name in os.environ}
    env |= {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    pairs = [f"{name}={value}" for name, value in env.items()]
    script = f"cd /{INSIDE} && exec make {target}"
    started = time.monotonic()
    words = ["unshare", "--mount", "sh", "-c", ENTER, str(folder), *pairs, "sh", "-c", script]
    code = subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode
    seconds = time.monotonic() - started
    verdict = "passed" if code == 0 else f"FAILED with exit code {code}"
    print(f"make {target} {verdict} after {seconds:.0f} s", flush=True)
    return code == 0


def main() -> int:
    """Make the root and run the targets; exit code 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=kernels.SUITES.values())
    parser.add_argument("targets", nargs="*", default=["demo", "test"])
    parser.add_argument("--keep", action="store_true", help="do not remove the root at the end")
    args = parser.parse_args()
    if missing := [tool for tool in ("debootstrap", "unshare") if not shutil.which(tool)]:
        print(f"{missing[0]} is not on this machine: install it by apt-get", file=sys.stderr)
        return 1
    folder = ROOT / "build" / "fresh" / args.suite
    print(f"a fresh root of Debian {args.suite}, commit {commit.name()}", flush=True)
    try:
        made(args.suite, folder)
    except (KwalkError, subprocess.CalledProcessError) as error:
        print(f"the root cannot be made: {error}", file=sys.stderr)
        return 1
    passed = [run(folder, target) for target in args.targets]
    if not args.keep:
        shutil.rmtree(folder)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
