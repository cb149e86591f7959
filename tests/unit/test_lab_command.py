# SPDX-License-Identifier: MIT
"""The options of ``kwalk lab``, and what it prints."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import kwalk.lab
from kwalk.cli.commands.lab import command
from kwalk.cli.main import main
from kwalk.lab import MachineOptions, kernels, offered, userland


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[MachineOptions, list[str]]]:
    """Take the place of the machine; return what it was asked to do."""
    calls: list[tuple[MachineOptions, list[str]]] = []

    def run(options: MachineOptions, argv: list[str]) -> int:
        calls.append((options, argv))
        return 7

    monkeypatch.setattr(kwalk.lab, "run", run)
    return calls


def test_defaults(seen: list[tuple[MachineOptions, list[str]]]) -> None:
    assert main(["lab", "run", "--", "true"]) == 7
    options, argv = seen[0]
    assert argv == ["true"]
    assert (options.kernel, options.memory, options.timeout) == ("debian-13", "2G", None)
    assert options.cpus in (1, 2)
    assert not options.icount
    assert not options.parallel


def test_parallel_option_reaches_the_machine(seen: list[tuple[MachineOptions, list[str]]]) -> None:
    assert main(["lab", "run", "--cpus", "4", "--parallel", "--", "true"]) == 7
    assert (seen[0][0].cpus, seen[0][0].parallel) == (4, True)


def test_icount_does_not_go_with_parallel(
    seen: list[tuple[MachineOptions, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "run", "--icount", "--parallel", "--", "true"]) == 2
    assert "--icount emulates one CPU" in capsys.readouterr().err
    assert not seen


def test_run_options_reach_the_machine(seen: list[tuple[MachineOptions, list[str]]]) -> None:
    words = "--kernel ./k --modules /m --cpus 3 --memory 512M --icount --timeout 2.5 --out o"
    words += " --cpu-model max,sve=off"
    argv = ["sh", "-c", "x", "--", "--out", "y"]
    assert main(["lab", "run", *words.split(), "--append", "a=b c", "--verbose", "--", *argv]) == 7
    assert seen == [
        (
            MachineOptions(
                kernel="./k",
                modules=Path("/m"),
                cpus=3,
                memory="512M",
                icount=True,
                cpu_model="max,sve=off",
                timeout=2.5,
                out=Path("o"),
                append="a=b c",
                verbose=True,
            ),
            argv,
        )
    ]


@pytest.mark.parametrize(
    "words",
    [
        "run",
        "run --",
        "run --memory 3X -- true",
        "run --memory 2g -- true",
        "run --memory 0G -- true",
        "run --memory 64M -- true",
        "run --memory -1G -- true",
        "run --cpus 0 -- true",
        "run --cpus two -- true",
        "run --cpu-model -max -- true",
        "run --cpu-model a/b -- true",
        "run --timeout 0 -- true",
        "run --timeout soon -- true",
        "run --timeout nan -- true",
        "run --timeout inf -- true",
        "fetch",
        "fetch debian-99",
        "nmi --count 0",
        "nmi --count two",
        "nmi --interval 0",
        "nmi --interval nan",
        "unknown",
        "",
    ],
)
def test_bad_command_lines_are_usage_errors(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["lab", *words.split()])
    assert caught.value.code == 2
    assert "usage: kwalk lab" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--out /", "--out /tmp/..", "--kernel fp --modules /m"])
def test_options_that_do_not_fit(
    words: str, seen: list[tuple[MachineOptions, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "run", *words.split(), "--", "true"]) == 2
    assert capsys.readouterr().err.startswith("kwalk: ")
    assert seen == []


def test_unknown_kernel_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda _: "/bin/true")
    assert main(["lab", "run", "--kernel", "nonsense", "--", "true"]) == 2
    assert "no kernel named 'nonsense'" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["loop", "nowhere"])
def test_out_that_is_a_link_to_itself_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/bin/true")
    kernel = kernels.Kernel("k", "6.1", tmp_path / "vmlinuz", None, None)
    monkeypatch.setattr(kernels, "find", lambda *_: kernel)
    (tmp_path / "loop").symlink_to(target)
    assert main(["lab", "run", "--out", str(tmp_path / "loop"), "--", "true"]) == 1
    assert "cannot be made: it is a link that leads nowhere" in capsys.readouterr().err


def test_kernels_are_listed_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path))
    monkeypatch.delenv("KWALK_KERNELS", raising=False)
    monkeypatch.setattr(offered, "__file__", str(tmp_path / "a/b/c/offered.py"))
    folder = tmp_path / "kernels" / "debian-13"
    folder.mkdir(parents=True)
    (folder / "config").write_text("CONFIG_UNWINDER_ORC=y\n")
    (folder / "i").touch()
    (folder / "m").mkdir()
    (folder / "m" / "modules.dep").touch()
    release = "6.12.107+a-rather-long-name-amd64"
    facts = {"release": release, "image": "i", "modules": "m", "config": "config"}
    (folder / "kernel.json").write_text(json.dumps(facts))
    assert main(["lab", "kernels"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["debian-13"] == ["debian-13", "x86_64", release, "orc", "yes", "Debian", "trixie"]
    assert rows["debian-12"][1:] == ["x86_64", "-", "orc", "no", "Debian", "bookworm"]
    assert rows["debian-sid-arm64"][1:] == [
        "aarch64",
        "-",
        "frame",
        "pointer",
        "no",
        "Debian",
        "sid",
    ]
    assert rows["fp"][1:] == ["x86_64", "-", "frame", "pointer", "no", "KWALK_KERNELS"]
    assert rows["ubuntu-26.04"][1:3] == ["x86_64", "-"]
    assert rows["ubuntu-26.04"][3:] == ["frame", "pointer", "no", "Ubuntu", "resolute"]
    assert list(rows)[1:] == list(kernels.NAMES)


def test_fetching_a_foreign_kernel_fetches_its_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched: list[str] = []

    def find(name: str) -> kernels.Kernel:
        platform = kernels.platform_of(name)
        return kernels.Kernel(name, "6.1", tmp_path, None, None, platform)

    monkeypatch.setattr("kwalk.lab.platforms._HERE", "x86_64")
    monkeypatch.setattr(kernels, "find", find)
    monkeypatch.setattr(userland, "find", lambda platform: fetched.append(platform.debian))
    assert main(["lab", "fetch", "debian-12", "debian-12-arm64"]) == 0
    assert fetched == ["arm64"]
    assert capsys.readouterr().out == "debian-12: 6.1\ndebian-12-arm64: 6.1\n"


def test_sigterm_becomes_an_exit_that_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[bool] = []

    def find(_name: str) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(kernels, "find", find)
    with pytest.raises(SystemExit) as caught:
        main(["lab", "fetch", "fp"])
    assert (caught.value.code, cleaned) == (143, [True])
    assert signal.getsignal(signal.SIGTERM) == before
    assert command is not None
