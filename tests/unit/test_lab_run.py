# SPDX-License-Identifier: MIT
"""Running a command: streams, times and errors, with a stand-in for QEMU that runs it here."""

from __future__ import annotations

import ast
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.errors import KwalkError, NotSupported, OutputError
from kwalk.lab import MachineOptions, initramfs, kernels, kvm, machine, qemu, run, userland
from kwalk.lab.kernels import Kernel
from kwalk.lab.platforms import ARM64, PLATFORMS, X86_64, Platform, native
from kwalk.lab.streams import ConsoleLog, Control, GuestOutput, LineSplitter
from kwalk.lab.watch import Watch
from kwalk.lab.writer import PatientWriter
from waiting import wait_for

TOKEN = b"abcab"


@given(st.lists(st.sampled_from([b"a", b"ab", b"abc", b"abcabc", b"x", b"\0\xff"])), st.data())
def test_output_is_whole_however_it_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    text = b"".join(parts)
    whole = text + TOKEN
    got: list[bytes] = []
    output = GuestOutput(TOKEN, got.append)
    while whole and not output.ended:
        size = data.draw(st.integers(1, len(whole)))
        output.feed(whole[:size])
        whole = whole[size:]
    output.finish()
    # The real token is random; here the text may hold it, and then the stream ends there.
    assert b"".join(got) + (TOKEN + whole if output.ended else b"") == text + TOKEN


def test_output_is_not_held_back_needlessly() -> None:
    got: list[bytes] = []
    output = GuestOutput(TOKEN, got.append)
    output.feed(b"hello ab")
    assert got == [b"hello "]
    output.feed(b"x")
    assert got == [b"hello ", b"abx"]
    output.feed(b"abc")
    output.finish()
    assert b"".join(got) == b"hello abxabc"
    assert not output.ended


def test_control_lines_may_come_in_pieces() -> None:
    control = Control()
    for piece in (b"rea", b"dy\nex", b"it 1", b"7\n"):
        assert control.code is None
        control.feed(piece)
    assert (control.ready, control.code) == (True, 17)


def test_console_lines_are_cleaned_and_bounded() -> None:
    console = ConsoleLog()
    console.feed(b"\x1b[2Jfirst\r\n\r\n" + b"".join(b"line %d\n" % n for n in range(1000)) + b"end")
    lines = console.lines()
    assert lines[-2:] == ["line 999", "end"]
    assert len(lines) < 500


@given(st.lists(st.binary(max_size=40)), st.integers(1, 20))
def test_lines_are_those_of_the_whole_less_what_is_too_long(
    pieces: list[bytes], longest: int
) -> None:
    lines = LineSplitter(longest)
    found = [line for piece in pieces for line in lines.feed(piece)]
    *whole, rest = b"".join(pieces).split(b"\n")
    assert found == [line[-longest:] for line in whole]
    assert lines.rest == rest[-longest:]


@pytest.mark.parametrize("port", [ConsoleLog(), Control(), LineSplitter()])
def test_line_without_an_end_takes_no_more_time_the_longer_it_is(
    port: ConsoleLog | Control | LineSplitter,
) -> None:
    start = time.process_time()
    for _ in range(300_000):
        port.feed(b"xx")
    assert time.process_time() - start < 5


ENDS = ["", "abc", "-1", "+1", "256", "1 2", "1_0", "\u0663", "9" * 5000, "0x1", "1.0", " 1"]


@pytest.mark.parametrize("value", ENDS)
def test_exit_code_that_is_none_is_told(value: str) -> None:
    control = Control()
    with pytest.raises(KwalkError, match="in place of an exit code"):
        control.feed(f"exit {value}\n".encode())
    assert control.code is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(qemu.SOCKETS),
            st.one_of(
                st.binary(max_size=30),
                st.sampled_from([b"ready\n", b"exit 0\n", b"exit ", b"\n", TOKEN, b"[" * 9000]),
            ),
        ),
        max_size=12,
    )
)
def test_watch_takes_whatever_a_guest_writes(pieces: list[tuple[str, bytes]]) -> None:
    with ExitStack() as stack:
        pairs = {name: socket.socketpair() for name in qemu.SOCKETS}
        for pair in pairs.values():
            stack.enter_context(pair[0])
            stack.enter_context(pair[1])
        writers = [PatientWriter(io.BytesIO()) for _ in range(2)]
        for writer in writers:
            stack.callback(writer.close)
        process = subprocess.Popen(["true"], stderr=subprocess.PIPE)
        stack.enter_context(process)
        watch = Watch(
            {name: ours for name, (ours, _) in pairs.items()}, TOKEN, writers[0], writers[1]
        )
        for name, data in pieces:
            pairs[name][1].send(data)
        for _, theirs in pairs.values():
            theirs.close()
        code, told = 0, ""
        try:
            code = watch.until_the_end(process, 5, 5)
        except KwalkError as error:
            told = error.what
        assert 0 <= code <= 255
        assert told.replace("\n", "").isprintable()


# Takes QEMU's place: finds its ports on the command line and the job in the initramfs.
FAKE_QEMU = r"""#!{python}
import os, re, subprocess, sys, time
words = sys.argv[1:]
ports = dict(re.findall(r"socket,id=(\w+),fd=(\d+)", " ".join(words)))
data = open(words[words.index("-initrd") + 1], "rb").read()
token = re.search(rb"token=(\w+)", data)[1]
script = re.search(rb"cd [^\0]*", data)[0]
open("{log}", "a").write(repr(words) + "\n")
def say(name, data): os.write(int(ports[name]), data)
mode = os.environ.get("MODE", "")
end = time.monotonic() + 20
if "kvm" in words:
    if mode != "kvm works": sys.exit("no kvm today")
if mode == "refuse": sys.exit("bad memory size")
say("console", b"booting\n")
if mode == "hang": time.sleep(60)
def panic(why):
    say("console", b"[1.0] Kernel panic - not syncing: " + why + b"\n")
    sys.exit(0)
if mode == "panic early": panic(b"no root")
say("control", b"ready\n")
qmp = int(ports["qmp"])
if mode == "monitor":
    os.write(qmp, b'{"QMP": {}}\n')
    asked = b""
    say("monitor", b"nmi t\n")
    while asked.count(b"\n") < 2: asked += os.read(qmp, 999)
    os.write(qmp, b'{"return": {}}\n' * 2)
if mode == "nonsense": os.write(qmp, b"\xff[\n")
if mode == "closed": os.close(qmp)
if mode in ("nonsense", "closed"): say("monitor", b"nmi t\n")
if mode in ("monitor", "nonsense", "closed"): say("stdout", os.read(int(ports["monitor"]), 999))
while mode == "chatter" and time.monotonic() < end: say("stdout", b"more\n")
out = subprocess.run(["sh", "-c", script], stdin=-3, capture_output=True)
say("stdout", out.stdout); say("stderr", out.stderr)
if mode == "panic late": panic(b"oops")
if mode.startswith("control "): say("control", mode.encode()[8:] + b"\n")
say("control", b"exit %d\n" % (out.returncode if out.returncode >= 0 else 128 - out.returncode))
if mode != "no token": say("stdout", token); say("stderr", token)
time.sleep(60)
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the lab find the stand-in; return the log of its command lines."""
    (tmp_path / "bin").mkdir()
    for platform in PLATFORMS:
        tool = tmp_path / "bin" / platform.program
        tool.write_text(
            FAKE_QEMU.replace("{python}", sys.executable).replace("{log}", str(tmp_path / "log"))
        )
        tool.chmod(0o755)
    monkeypatch.setattr("kwalk.lab.platforms._HERE", "x86_64")
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MODE", raising=False)

    def find(name: str, _: Path | None) -> Kernel:
        platform = kernels.platform_of(name)
        return Kernel(name, "6.1", tmp_path / "vmlinuz", tmp_path, None, platform)

    monkeypatch.setattr(kernels, "find", find)
    monkeypatch.setattr(initramfs, "base", lambda *_: b"")
    monkeypatch.setattr(initramfs, "busybox", lambda: Path("busybox"))
    monkeypatch.setattr(qemu, "kvm_possible", lambda *_: False)
    return tmp_path / "log"


def lab(*command: str, **options: object) -> tuple[int, bytes, bytes]:
    out, err = io.BytesIO(), io.BytesIO()
    code = run(MachineOptions(**options), command, out, err)  # type: ignore[arg-type]
    return code, out.getvalue(), err.getvalue()


def test_streams_are_apart_and_the_code_comes_back(log: Path) -> None:
    assert lab("sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")


def test_bytes_are_unchanged(log: Path, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "data").write_bytes(data)
    assert lab("cat", str(tmp_path / "data")) == (0, data, b"")


def test_signal_becomes_128_and_its_number(log: Path) -> None:
    assert lab("sh", "-c", "kill -TERM $$")[0] == 128 + signal.SIGTERM


def test_environment_and_folder_are_the_callers(log: Path, tmp_path: Path) -> None:
    env = {"TERM": "odd", "PATH": os.environ["PATH"]}
    code, out, _ = lab("sh", "-c", "pwd; env", env=env, cwd=tmp_path, kernel="fp")
    lines = out.decode().splitlines()
    assert lines[0] == str(tmp_path)
    assert {"TERM=odd", "HOME=/root", "KWALK_LAB=fp"} <= set(lines)
    assert code == 0


def test_out_is_made_and_shared_for_writing(log: Path, tmp_path: Path) -> None:
    lab("true", out=tmp_path / "a,b" / "out")
    assert (tmp_path / "a,b" / "out").is_dir()
    text = log.read_text()
    assert (
        f"local,id=out,security_model=mapped-xattr,multidevs=remap,path={tmp_path}/a,,b/out" in text
    )
    assert re.search(r"id=root,[^']*readonly=on", text)
    assert re.search(r"id=modules,[^']*readonly=on", text)


def test_out_that_cannot_be_made(log: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KwalkError, match="cannot be made"):
        lab("true", out=tmp_path / "file")


@pytest.mark.parametrize("mode", ["", "chatter"])
def test_command_that_overruns_its_time(
    log: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("MODE", mode)
    start = time.monotonic()
    with pytest.raises(KwalkError, match=r"longer than its 0\.3 s"):
        lab("sleep", "20", timeout=0.3)
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("mode", ["chatter", ""])
def test_command_overruns_its_time_while_nobody_reads(
    log: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Neither what it writes without end, nor what it has written and goes on running."""
    monkeypatch.setenv("MODE", mode)
    read, write = os.pipe()
    start = time.monotonic()
    with (
        open(read, "rb"),
        open(write, "wb", buffering=0) as stdout,
        pytest.raises(KwalkError, match=r"longer than its 1 s"),
    ):
        run(MachineOptions(timeout=1, verbose=True), ["sleep", "20"], stdout, stdout)
    assert time.monotonic() - start < 15


def test_reader_has_all_the_time_that_it_takes(
    log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kwalk.lab.watch._DRAIN_TIMEOUT", 0.5)
    data = os.urandom(3 << 20)
    (tmp_path / "data").write_bytes(data)
    read, write = os.pipe()
    got: list[bytes] = []

    def look() -> None:
        time.sleep(2)
        with open(read, "rb") as file:
            got.append(file.read())

    reader = threading.Thread(target=look)
    reader.start()
    with open(write, "wb", buffering=0) as stdout:
        code = run(MachineOptions(), ["cat", str(tmp_path / "data")], stdout, io.BytesIO())
    reader.join(30)
    assert (code, b"".join(got)) == (0, data)


def test_reader_that_has_gone_ends_the_run(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "chatter")
    read, write = os.pipe()
    os.close(read)
    start = time.monotonic()
    with open(write, "wb", buffering=0) as stdout, pytest.raises(BrokenPipeError):
        run(MachineOptions(), ["sleep", "20"], stdout, io.BytesIO())
    assert time.monotonic() - start < 15


def test_full_disk_ends_the_run(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "chatter")
    with open("/dev/full", "wb", buffering=0) as stdout, pytest.raises(OutputError):
        run(MachineOptions(), ["sleep", "20"], stdout, io.BytesIO())


@pytest.mark.parametrize("text", ["exit abc", "exit", "exit 256"])
def test_guest_that_writes_to_the_labs_port_is_told(
    log: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("MODE", f"control {text}")
    with pytest.raises(KwalkError, match="in place of an exit code"):
        lab("true")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("panic early", r"panicked before the command started: no root\n.*\n  \| booting"),
        ("panic late", "panicked while the command ran: oops"),
        ("refuse", "QEMU ended with exit code 1: bad memory size"),
    ],
)
def test_machine_that_ends_by_itself(
    log: Path, monkeypatch: pytest.MonkeyPatch, mode: str, message: str
) -> None:
    monkeypatch.setenv("MODE", mode)
    with pytest.raises(KwalkError, match=message):
        lab("true")


def test_machine_that_never_gets_there(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "hang")
    monkeypatch.setattr(machine, "BOOT_TIMEOUT", 4.0)
    with pytest.raises(KwalkError, match=r"did not start the command within 4 s\n.*\n  \| booting"):
        lab("true")


def test_lost_output_is_an_error(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "no token")
    monkeypatch.setattr("kwalk.lab.watch._DRAIN_TIMEOUT", 0.5)
    with pytest.raises(KwalkError, match="exit code 0, but its machine did not hand over"):
        lab("true")


def test_verbose_shows_the_console_on_stderr(log: Path) -> None:
    assert lab("echo", "hi", verbose=True) == (0, b"hi\n", b"booting\n")


@pytest.mark.parametrize(
    ("mode", "answer"),
    [
        ("monitor", b"t ok\n"),
        ("nonsense", b"t failed QEMU's monitor does not speak JSON\n"),
        ("closed", b"t failed QEMU"),
    ],
)
def test_nmi_is_answered_and_a_broken_monitor_breaks_nothing_else(
    log: Path, monkeypatch: pytest.MonkeyPatch, mode: str, answer: bytes
) -> None:
    monkeypatch.setenv("MODE", mode)
    code, out, err = lab("sh", "-c", "echo out; exit 3")
    assert (code, err) == (3, b"")
    assert out.startswith(answer)
    assert out.endswith(b"\nout\n")


def test_machine_is_gone_afterwards(log: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    lab("true")
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_killed_caller_takes_the_machine_along(log: Path, tmp_path: Path) -> None:
    """PR_SET_PDEATHSIG: nothing else can clean up after SIGKILL."""
    code = (
        "import sys\nfrom kwalk.lab.machine import _started\n"
        "with _started(['sleep', '300'], []) as process:\n"
        "    print(process.pid, flush=True)\n    sys.stdin.read()\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    caller.kill()
    caller.communicate()

    def gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    if not wait_for(gone, 10, 0.02):
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the machine outlived its caller")


def test_missing_qemu_names_the_package(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotSupported, match="not on this machine") as caught:
        lab("true")
    assert "qemu-system-x86" in caught.value.hint


def test_qemu_of_the_kernels_architecture_is_needed(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (log.parent / "bin" / ARM64.program).unlink()
    monkeypatch.setenv("PATH", f"{log.parent}/bin:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: name if name == X86_64.program else None)
    assert lab("true")[0] == 0
    with pytest.raises(NotSupported, match="qemu-system-aarch64 is not on this machine") as caught:
        lab("true", kernel="debian-13-arm64")
    assert "qemu-system-arm" in caught.value.hint


def test_foreign_kernel_gets_programs_of_its_own(
    log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(userland, "find", lambda platform: tmp_path / platform.debian)
    monkeypatch.setattr(qemu, "kvm_possible", lambda platform, _: platform is X86_64)
    code, out, _ = lab("sh", "-c", 'echo "$PATH $KWALK_LAB"', kernel="debian-13-arm64")
    (line,) = log.read_text().splitlines()
    words = ast.literal_eval(line)
    assert (
        f"local,id=userland,security_model=none,readonly=on,multidevs=remap,path={tmp_path}/arm64"
        in words
    )
    assert after(words, "-machine") == "virt,gic-version=3"
    assert after(words, "-accel") == "tcg,thread=single"
    assert (code, out.decode().split()[1]) == (0, "debian-13-arm64")
    assert "/usr/sbin:/usr/bin:/sbin:/bin" in out.decode()


def test_given_processor_is_emulated(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "kvm_possible", lambda *_: True)
    monkeypatch.setenv("MODE", "kvm works")
    lab("true", cpu_model="Nehalem,-sse4.2")
    assert "'-accel', 'tcg,thread=single', '-cpu', 'Nehalem,-sse4.2'" in log.read_text()


def test_kvm_that_fails_is_tried_once(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "kvm_possible", lambda *_: True)
    for _ in range(2):
        assert lab("echo", "x") == (0, b"x\n", b"")
    accels = re.findall(r"'-accel', '(\w+)", log.read_text())
    assert accels == ["kvm", "tcg", "tcg"]


def test_kvm_that_works_is_kept(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "kvm_possible", lambda *_: True)
    monkeypatch.setenv("MODE", "kvm works")
    lab("true")
    kvm.remember(works=False)  # a later failure must have another cause
    lab("true")
    lab("true", icount=True)
    accels = re.findall(r"'-accel', '([\w,=]+)", log.read_text())
    assert accels == ["kvm", "kvm", "tcg,thread=single"]


def words(**changes: object) -> list[str]:
    pair = socket.socketpair()
    with pair[0], pair[1]:
        ports = dict.fromkeys(qemu.SOCKETS, pair[0].fileno())
    settings = {
        "platform": X86_64,
        "image": Path("/k"),
        "initramfs": Path("/i"),
        "shares": {},
        "ports": ports,
    }
    return qemu.command_line(qemu.Machine(**(settings | changes)))  # type: ignore[arg-type]


def after(line: list[str], option: str) -> str:
    return line[line.index(option) + 1]


def test_icount_counts_instructions_on_one_cpu() -> None:
    line = words(icount=True, cpus=4, kvm=True, append="quiet=0")
    assert after(line, "-accel") == "tcg,thread=single"
    assert after(line, "-icount") == "shift=0,sleep=off"
    assert after(line, "-smp") == "1"
    assert "host" not in line
    assert after(line, "-append").endswith(" mitigations=off quiet=0")


def test_tcg_uses_threads_and_leaves_mitigations_alone() -> None:
    line = words(cpus=3, memory="512M")
    assert after(line, "-accel") == "tcg,thread=single"
    assert (after(line, "-smp"), after(line, "-m")) == ("3", "512M")
    assert "-icount" not in line
    assert "mitigations" not in after(line, "-append")
    assert "-no-reboot" in line
    assert {"panic=-1", "console=ttyS0", "no_timer_check"} <= set(after(line, "-append").split())


def test_parallel_option_gives_each_cpu_a_thread() -> None:
    assert after(words(cpus=2, parallel=True), "-accel") == "tcg,thread=multi"
    assert after(words(cpus=2, parallel=True, kvm=True), "-accel") == "kvm"


def test_monitor_is_a_socket_that_speaks_qmp() -> None:
    line = words()
    assert after(line, "-mon") == "chardev=qmp,mode=control"
    assert any(word.startswith("socket,id=qmp,fd=") for word in line)


def test_kvm_has_the_hosts_cpu() -> None:
    line = words(kvm=True)
    assert (after(line, "-accel"), after(line, "-cpu")) == ("kvm", "host")


def test_arm64_has_a_board_a_console_and_a_processor_of_its_own() -> None:
    line = words(platform=ARM64)
    assert line[0] == "qemu-system-aarch64"
    assert after(line, "-machine") == "virt,gic-version=3"
    assert after(line, "-cpu") == "max,pauth-impdef=on,sve=off"
    arguments = after(line, "-append").split()
    assert "console=ttyAMA0" in arguments
    assert "no_timer_check" not in arguments
    # All devices are on PCI, as on x86-64.
    generic = [word for word in words() if word.startswith("virt")]
    assert [word for word in line if word.startswith("virtio") or word in generic] == generic


def test_clock_of_arm64_counts_each_instruction() -> None:
    line = words(platform=ARM64, icount=True)
    assert after(line, "-cpu") == "max,pauth-impdef=on,sve=off,cntfrq=1000000000"
    line = words(platform=ARM64, icount=True, cpu_model="cortex-a72")
    assert after(line, "-cpu") == "cortex-a72,cntfrq=1000000000"
    assert after(words(icount=True, cpu_model="Nehalem"), "-cpu") == "Nehalem"


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_kvm_is_for_the_machines_own_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: Platform
) -> None:
    """arm64's /proc/cpuinfo does not say whether KVM may work."""
    monkeypatch.setattr("kwalk.lab.platforms._HERE", platform.name)
    (tmp_path / "kvm").touch()
    cpuinfo = "flags : vmx\n" if platform is X86_64 else "Features : fp asimd\n"
    able = [one for one in PLATFORMS if qemu.kvm_possible(one, cpuinfo, str(tmp_path / "kvm"))]
    assert able == [platform]
    assert native() is platform


def test_each_architecture_on_arm64() -> None:
    """With KVM the board's interrupt controller is the host's."""
    line = words(platform=ARM64, kvm=True)
    assert after(line, "-machine") == "virt,gic-version=host"
    assert (after(line, "-accel"), after(line, "-cpu")) == ("kvm", "host")
    foreign = words(platform=X86_64)
    assert foreign[0] == "qemu-system-x86_64"
    assert after(foreign, "-machine") == "q35"


@pytest.mark.parametrize(
    ("cpuinfo", "writable", "expected"),
    [
        ("flags\t\t: fpu vmx sse\n", True, True),
        ("flags\t\t: fpu svm\n", True, True),
        ("flags\t\t: fpu vmx\n", False, False),
        ("flags\t\t: fpu vmxnot\nmodel name\t: vmx\n", True, False),
        ("", True, False),
    ],
)
def test_kvm_needs_the_flag_and_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, writable: bool, expected: bool
) -> None:
    monkeypatch.setattr("kwalk.lab.platforms._HERE", "x86_64")
    device = tmp_path / "kvm"
    if writable:
        device.touch()
    assert qemu.kvm_possible(X86_64, cpuinfo, str(device)) is expected
