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

from kwalk.lab import kernels

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


ARM64 = """
set -e
uname -m
"$0/python" -c 'import platform, sys; print(sys.prefix, platform.machine())'
"$0/python" -m pytest --version
"$0/kwalk" --version
"$0/python" -c 'from kwalk.libbpf import lib; lib()'
redis-server --save "" --daemonize yes >/dev/null
until redis-cli ping 2>/dev/null; do sleep 0.1; done
bpftool prog show >/dev/null
ping -c 1 127.0.0.1 >/dev/null
modprobe dummy numdummies=1; ip link show dummy0 >/dev/null
for program in addr2line awk bash dmesg find gzip mount nice ps sed setpriv sysctl tar taskset; do
    command -v "$program" >/dev/null
done
"$0/kwalk" lab nmi || echo "no NMI: $?"
"""


@pytest.mark.skipif(not shutil.which("qemu-system-aarch64"), reason="no QEMU for arm64")
@pytest.mark.parametrize("kernel", kernels.ARM64_SUITES)
def test_environment_and_programs_work_on_arm64(kernel: str) -> None:
    done = lab("bash", "-c", ARM64, str(KWALK.parent), kernel=kernel)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["aarch64", f"{sys.prefix} aarch64"]
    assert lines[2].startswith("pytest ")
    assert lines[3].startswith("kwalk ")
    assert lines[-2:] == ["PONG", "no NMI: 1"]
    assert "QEMU cannot inject an NMI there" in done.stderr


@pytest.mark.skipif(not shutil.which("qemu-system-aarch64"), reason="no QEMU for arm64")
def test_program_of_the_host_does_not_run_on_arm64(tmp_path: Path) -> None:
    """It is at its path, but of another architecture: neither missing, nor run by accident."""
    shutil.copy("/bin/true", tmp_path / "program")
    script = 'grep -c "CPU part.*0xd08" /proc/cpuinfo; "$0"'
    named = {"kernel": "debian-13-arm64", "cpu-model": "cortex-a72", "cpus": "1"}
    done = lab("bash", "-c", script, str(tmp_path / "program"), **named)
    assert (done.returncode, done.stdout) == (126, "1\n")
    assert "Exec format error" in done.stderr


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
