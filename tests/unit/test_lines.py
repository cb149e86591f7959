# SPDX-License-Identifier: MIT
"""Lines of the source and inlined functions, from a small ELF file built for the purpose."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from converted import report
from recorded import FACTS, profile

from kwalk.api.profile import Profile
from kwalk.cli.main import main
from kwalk.errors import KwalkError, NotSupported
from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count, Frame, Stack
from kwalk.recording.reader import read
from kwalk.recording.writer import RecordingWriter
from kwalk.symbolize import lines, vmlinux
from kwalk.symbolize.lines import add_lines
from kwalk.symbolize.vmlinux import SourceLocation

SOURCE = """\
__asm__(".globl _text\\n.set _text, outer - 0x100");
volatile int sink;
__attribute__((noinline, noclone)) void traced(void) { sink++; }
static inline __attribute__((always_inline)) void inner(void)
{
    traced();
    sink++;
}
static inline __attribute__((always_inline)) void middle(void)
{
    inner();
    sink++;
}
__attribute__((noinline, noclone)) void outer(void)
{
    middle();
    sink++;
}
__attribute__((noinline, noclone, noreturn)) static void never(void) { for (;;) sink++; }
__attribute__((noinline, noclone)) void last(void)
{
    never();
}
int main(int argc, char **argv)
{
    outer();
    if (argc > 99)
        last();
    return 0;
}
static inline __attribute__((always_inline)) void touch(void) { sink++; }
__attribute__((noinline, noclone)) void first(void)
{
    touch();
}
"""
# Where the recorded kernel was loaded, by KASLR.
TEXT = 0xFFFFFFFF93400000
TOOLS = ("llvm-symbolizer", "addr2line")


class Program:
    """The ELF file: where its functions lie, and the return addresses of calls in it."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        source = path.parent / "arch/x86/kernel/x.c"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(SOURCE)
        # Any order of code will do, but no jumps in place of calls.
        flags = (
            "-O2",
            "-no-pie",
            "-fno-pie",
            "-fno-optimize-sibling-calls",
            "-fcf-protection=none",
        )
        command = ["gcc", *flags, *(options or ("-g",)), "-o", str(path), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        listing = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True)
        rows = [line.split() for line in listing.stdout.splitlines()]
        self.symbols = {row[2]: int(row[0], 16) for row in rows if len(row) == 3}
        code = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", str(path)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        # Where a call returns to: behind its 5 bytes.
        calls = re.findall(r"^ *([0-9a-f]+):\s+call +[0-9a-f]+ <(\w+)>", code, re.MULTILINE)
        self.calls = {name: int(at, 16) + 5 for at, name in calls}

    def frame(self, name: str, callee: str = "") -> Frame:
        """A frame of this function, at its entry, or where it called another one."""
        at = self.calls[callee] if callee else self.symbols[name]
        address = at - self.symbols["_text"] + TEXT
        return Frame(name, at - self.symbols[name], "", address)

    def recorded(self, *extra: Frame) -> Profile:
        """A profile of a stack in it."""
        frames = (
            self.frame("traced"), self.frame("outer", "traced"), self.frame("main", "outer"),
            *extra,
        )  # fmt: skip
        found = profile(Count(Stack(tuple(f.address for f in frames), frames=frames), 3))
        found.facts = FACTS | {"text": TEXT, "kernel_version": "#1 SMP x"}
        return found


needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("gcc", "nm", "objdump"))), reason="gcc or binutils is missing"
)
pytestmark = needs_tools


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("elf") / "vmlinux")


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the programs that look lines up; the only one that there is."""
    name: str = request.param
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(vmlinux, "_LOOKUP", {name: vmlinux._LOOKUP[name]})
    return name


def rows(found: ProfileData) -> list[tuple[str, str, bool]]:
    (count,) = found
    return [(f.name, f.source, f.inlined) for f in count.stack.frames]


X = "arch/x86/kernel/x.c"


def test_frames_have_lines_and_what_was_inlined(program: Program, tool: str) -> None:
    found = add_lines(program.recorded(), str(program.path))
    assert rows(found) == [
        ("traced", f"{X}:3", False),
        ("inner", f"{X}:6", True),
        ("middle", f"{X}:11", True),
        ("outer", f"{X}:16", False),
        ("main", f"{X}:26", False),
    ]
    (count,) = found
    assert count.count == 3
    assert count.stack.addresses == tuple(f.address for f in count.stack.frames)
    assert found.summary.notes == [f"source lines: 3 of 3 kernel addresses, from {program.path}"]


def test_call_that_never_returns_has_the_line_of_its_caller(program: Program, tool: str) -> None:
    """Behind it begins the next function."""
    found = add_lines(program.recorded(program.frame("last", "never")), str(program.path))
    assert rows(found)[-1] == ("last", f"{X}:22", False)


def test_function_entry_has_no_inlined_frames(program: Program, tool: str) -> None:
    """Though its first instruction be one of a function inlined into it."""
    frames = (program.frame("first"), program.frame("main", "outer"))
    (inside, function) = vmlinux.places(str(program.path), [program.symbols["first"]]).popitem()[1]
    assert (inside.function, function.function) == ("touch", "first")
    found = program.recorded()
    found.counts = [Count(Stack(tuple(f.address for f in frames), frames=frames), 1)]
    assert rows(add_lines(found, str(program.path)))[:1] == [("first", f"{X}:34", False)]


def test_modules_stay_as_they_are(program: Program, tool: str) -> None:
    module = Frame("ovl_open", 0x10, "overlay", TEXT + 0x110)
    unknown = Frame("", 0, "", TEXT + 0x111)
    found = add_lines(program.recorded(module, unknown), str(program.path))
    assert [f for f in found.counts[0].stack.frames if f.address >= module.address][-2:] == [
        module, unknown
    ]  # fmt: skip


def test_tracepoint_first_address_is_a_return_address(program: Program, tool: str) -> None:
    frames = (program.frame("main", "outer"),)
    found = program.recorded()
    found.counts = [Count(Stack((frames[0].address,), frames=frames), 1)]
    found.summary.unit = "events"
    call = 1 + SOURCE.split("\n").index("    outer();")
    assert rows(add_lines(found, str(program.path))) == [("main", f"{X}:{call}", False)]
    # The instruction behind the call, where a sample would be, is of the next line.
    found.summary.unit = "samples"
    assert rows(add_lines(found, str(program.path))) == [("main", f"{X}:{call + 1}", False)]


def test_equal_stacks_stay_one_object(program: Program) -> None:
    found = program.recorded()
    found.counts = [*found.counts, *found.counts]
    first, second = add_lines(found, str(program.path))
    assert first.stack is second.stack


@pytest.mark.parametrize("name", ["-X", "--help", "@options", "-", "a b,c", "sub/-X"])
def test_name_of_the_file_is_no_option_of_the_tools(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, name: str
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(program.path, name)
    Path("options").write_text("--help")
    wanted = add_lines(program.recorded(), str(program.path))
    found = add_lines(program.recorded(), name)
    assert [count.stack.frames for count in found] == [count.stack.frames for count in wanted]
    assert any(frame.source for count in found for frame in count.stack.frames)


def test_vmlinux_of_another_kernel_is_refused(program: Program, tmp_path: Path) -> None:
    """It has the same functions, elsewhere."""
    found = program.recorded()
    moved = found.counts[0].stack.frames[1]._replace(address=found.counts[0].stack.addresses[1] + 8)
    frames = (found.counts[0].stack.frames[0], moved)
    found.counts = [Count(Stack((1, 2), frames=frames), 1)]
    with pytest.raises(KwalkError) as error:
        add_lines(found, str(program.path))
    at = program.symbols["outer"] - program.symbols["_text"]
    assert (
        f"is of another kernel: 1 of 2 recorded functions lies elsewhere, such as outer at "
        f"_text+{at:#x}, recorded at _text+{at + 8:#x}"
    ) in str(error.value)
    assert "6.12.107, #1 SMP x" in error.value.hint


def test_vmlinux_without_the_functions_is_refused(program: Program) -> None:
    found = program.recorded()
    frames = tuple(f._replace(name=f"other_{f.name}") for f in found.counts[0].stack.frames)
    found.counts = [Count(Stack((1, 2, 3), frames=frames), 1)]
    with pytest.raises(KwalkError, match="lacks 3 of 3 recorded functions, such as other_main"):
        add_lines(found, str(program.path))


def test_vmlinux_without_debug_information_is_refused(tmp_path: Path, tool: str) -> None:
    plain = Program(tmp_path / "vmlinux", "-g0")
    with pytest.raises(KwalkError, match="has no debug information") as error:
        add_lines(plain.recorded(), str(plain.path))
    assert "dbg" in error.value.hint


def test_stripped_vmlinux_is_refused(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "stripped"
    subprocess.run(["strip", "-o", str(path), str(program.path)], check=True)
    with pytest.raises(KwalkError, match="has no symbols"):
        add_lines(program.recorded(), str(path))


def test_file_that_is_no_elf_is_refused(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(b"MZ" + bytes(100))
    with pytest.raises(KwalkError, match="is not an ELF file") as error:
        add_lines(program.recorded(), str(path))
    assert "vmlinuz" in error.value.hint
    path.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(KwalkError, match="cannot be read"):
        add_lines(program.recorded(), str(path))
    with pytest.raises(KwalkError, match="No such file"):
        add_lines(program.recorded(), str(tmp_path / "nowhere"))


def test_recording_without_the_text_address_is_refused(program: Program) -> None:
    found = program.recorded()
    del found.facts["text"]
    with pytest.raises(KwalkError, match="the recording lacks the start address"):
        add_lines(found, str(program.path))


def test_merge_of_several_boots_is_refused(program: Program) -> None:
    one, other = program.recorded(), program.recorded()
    other.facts["text"] += 1 << 21
    with pytest.raises(KwalkError, match="merges several boots") as caught:
        add_lines(one + other, str(program.path))
    assert "one recording at a time" in caught.value.hint
    merged = add_lines(one + program.recorded(), str(program.path))
    assert [count.count for count in merged] == [6]


def test_missing_binutils_are_named(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotSupported, match="neither nm nor llvm-nm is installed") as error:
        add_lines(program.recorded(), str(program.path))
    assert "binutils" in error.value.hint


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "0x10\nf\nx.c:3\n0x20\ng\n??:0\n",
            {16: [SourceLocation("f", "x.c:3")], 32: [SourceLocation("g", "")]},
        ),
        ("0x10\nf\n/a b/x.c:3 (discriminator 2)\n", {16: [SourceLocation("f", "/a b/x.c:3")]}),
        ("0x10\n??\n??:0\n", {16: [SourceLocation("??", "")]}),
        ("0x10\nf\nx.c:?\n", {16: [SourceLocation("f", "")]}),
        (
            "0x10\nin\ny.h:7\nf\nx.c:3\n\n",
            {16: [SourceLocation("in", "y.h:7"), SourceLocation("f", "x.c:3")]},
        ),
        ("", {}),
    ],
)
def test_addr2line_output_is_parsed(text: str, wanted: dict[int, list[SourceLocation]]) -> None:
    assert vmlinux._parsed(text.split("\n")) == wanted


@pytest.mark.parametrize(
    "folder",
    ["", "/build/linux-6.12/", "debian/build/build_amd64_none_amd64/", "/a/../b/", "/x/arch/b/"],
)
def test_sources_begin_at_the_top_of_the_tree(folder: str) -> None:
    paths = ["arch/x86/entry/common.c:47", "net/core/dev.c:1", "./kernel/softirq.c:2"]
    found = lines._relative([folder + path for path in paths] + ["/usr/include/x.h:3", ""])
    assert list(found.values()) == [
        *("arch/x86/entry/common.c:47", "net/core/dev.c:1", "kernel/softirq.c:2"),
        *("/usr/include/x.h:3", ""),
    ]


def saved(found: ProfileData) -> bytes:
    data = bytearray()
    RecordingWriter(data.extend, found.facts).end(found.counts, 1.0, found.summary)
    return bytes(data)


def test_formats_show_them(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(saved(program.recorded()))

    def shown(name: str) -> str:
        command = [sys.executable, "-m", "kwalk", "report", str(path), "--format", name]
        done = subprocess.run(
            [*command, "--lines", str(program.path)], capture_output=True, text=True, check=True
        )
        return done.stdout

    text = shown("text")
    assert f"\n    inner (inlined)  {X}:6\n    middle (inlined)  {X}:11\n    outer+0x" in text
    assert "note: source lines: 3 of 3" in text
    frames = json.loads(shown("json"))["stacks"][0]["frames"]
    assert [frame.get("source") for frame in frames] == [f"{X}:{n}" for n in (3, 6, 11, 16, 26)]
    assert [frame.get("inlined") for frame in frames] == [None, True, True, None, None]
    assert shown("folded") == "main;outer;middle_[i];inner_[i];traced 3\n"
    assert f"main {X}:26;outer {X}:16;middle (inlined) {X}:11;" in shown("csv")
    assert '"name":"inner (inlined)"' in shown("speedscope")


def test_report_command_says_what_is_wrong(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(saved(program.recorded()))
    assert main(["report", str(path), "--lines", str(path)]) == 1
    assert "is not an ELF file" in capsys.readouterr().err


def test_recordings_do_not_hold_them(program: Program) -> None:
    """Their format is as it was."""
    found = program.recorded()
    lined = add_lines(found, str(program.path))
    again = read(io.BytesIO(saved(replace(lined, timeline=found.timeline))), "x")
    assert {frame.source for count in again for frame in count.stack.frames} == {""}
    assert saved(again) == saved(replace(again, counts=list(again.counts)))


def test_reports_are_the_same_without(program: Program) -> None:
    plain = program.recorded()
    for name in ("text", "json", "folded", "csv", "pprof", "speedscope"):
        assert b"inlined" not in report(name, plain)
