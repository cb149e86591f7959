# SPDX-License-Identifier: MIT
"""The lab from the host's side, with real machines: ``make test-all PARTS=lab``."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
KWALK = Path(sys.prefix) / "bin" / "kwalk"
LEAVE = """
set -e
cd "$0"
cat there; echo more >>there
echo new >file; chown 1000:1000 file; chmod 4755 file; cat file
mkdir -p folder/inner; chmod 1777 folder
ln -s ../file folder/back; cat folder/back
ln -s /etc/passwd absolute; ln -s ../../x up
mknod device c 1 3; mkfifo pipe
cp -a file copy; mv copy moved; ln file hard
dd if=/dev/zero of=big bs=64k count=32 2>/dev/null
cp /bin/true folder/tool
printf '#!/bin/sh\\n' >set-uid-of-the-host
stat -c '%a %u' file
"""


def lab(*words: str, **options: str) -> subprocess.CompletedProcess[str]:
    named = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = [str(KWALK), "lab", "run", *named, "--", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="no QEMU")
def test_guest_files_in_out_become_plain_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "there").write_text("old\n")
    (out / "set-uid-of-the-host").write_text("mine")
    (out / "set-uid-of-the-host").chmod(0o4755)
    before = os.umask(0o022)
    try:
        done = lab("sh", "-c", LEAVE, str(out), out=str(out))
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    # In the guest they were what it had made them.
    assert done.stdout == "old\nnew\nnew\n4755 1000\n"
    assert "4 in all" in done.stderr
    found = {path.relative_to(out).as_posix(): path.lstat() for path in out.rglob("*")}
    kept = ["there", "file", "moved", "hard", "big", "folder", "folder/inner", "folder/back"]
    assert sorted(found) == sorted([*kept, "folder/tool", "set-uid-of-the-host"])
    assert {status.st_uid for status in found.values()} == {os.geteuid()}
    assert not any(status.st_mode & 0o7000 for status in found.values())
    assert stat.S_IMODE(found["file"].st_mode) == stat.S_IMODE(found["moved"].st_mode) == 0o755
    assert stat.S_ISLNK(found["folder/back"].st_mode)
    assert (out / "folder" / "back").read_text() == "new\n"
    assert (out / "there").read_text() == "old\nmore\n"
    assert (out / "big").stat().st_size == 32 << 16
    assert os.access(out / "folder" / "tool", os.X_OK)
    assert not any(os.listxattr(out / name, follow_symlinks=False) for name in found)
