# SPDX-License-Identifier: MIT
"""Completion as a shell asks for it: real bash, zsh and fish, by the script that kwalk prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import pytest

from kwalk.cli import completing
from kwalk.cli.parsers import COMMANDS, command_line
from kwalk.kernel import cgroups, tracefs
from kwalk.options import filter_names
from screen import Screen

KALLSYMS = b"""\
ffffffff81000000 T _text
ffffffff81000100 t __pfx_ip_rcv
ffffffff81000110 T ip_rcv
ffffffff81000200 t ip_rcv.cold
ffffffff81000300 D ip_rcv_data
ffffffff81000400 t ip_rcv_finish
ffffffff81000500 w ip_weak
ffffffffc0000000 t ovl_open\t[overlay]
ffffffffc0000100 t ip_set_init\t[ip_set]
"""
TRACEABLE = b"ip_rcv\nip_rcv_core\novl_open [overlay]\n"

Ask = Callable[[str], list[str]]
BIN = Path(sys.executable).parent
HEAVY = {
    "cffi",
    "_cffi_backend",
    "rich",
    "kwalk.libbpf",
    "kwalk.engine.capture",
    "kwalk.kernel.kallsyms",
}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that lists its symbols to everybody, and what can be traced to nobody."""
    monkeypatch.setattr(tracefs, "TRACING", tmp_path)
    monkeypatch.setattr(tracefs, "KALLSYMS", tmp_path / "kallsyms")
    (tmp_path / "kallsyms").write_bytes(KALLSYMS)
    return tmp_path


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        ("ip_r", ["ip_rcv", "ip_rcv_finish"]),
        ("ip_", ["ip_rcv", "ip_rcv_finish", "ip_set_init", "ip_weak"]),
        ("r:ip_rcv_", ["r:ip_rcv_finish"]),
        ("overlay:", ["overlay:ovl_open"]),
        ("r:overlay:ovl_o", ["r:overlay:ovl_open"]),
        ("ip_set:ip_r", []),
        ("p_rcv", []),
        ("ip.rcv", []),
        ("[", []),
        ("", []),
        ("r:", []),
    ],
)
def test_functions_by_their_beginning(kernel: Path, beginning: str, found: list[str]) -> None:
    assert tracefs.functions(beginning) == found


def test_traceable_functions_are_completed(kernel: Path) -> None:
    (kernel / "available_filter_functions").write_bytes(TRACEABLE)
    assert tracefs.functions("ip_r") == ["ip_rcv", "ip_rcv_core"]
    assert tracefs.functions("overlay:ovl") == ["overlay:ovl_open"]
    assert tracefs.functions("ip_w") == ["ip_weak"]


def test_empty_kernel_lists_complete_nothing(kernel: Path) -> None:
    (kernel / "kallsyms").unlink()
    assert tracefs.functions("ip_r") == []
    assert tracefs.tracepoints("t:") == []


def test_tracepoints(kernel: Path) -> None:
    (kernel / "available_events").write_text("sched:sched_switch\nsched:sched_waking\nnet:x\n")
    assert tracefs.tracepoints("t:sched:sched_s") == ["t:sched:sched_switch"]
    assert len(tracefs.tracepoints("t:")) == 3


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", **more}


def needs(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed (Debian: apt-get install {shell})")


BASH = r"""
source <(kwalk completion bash)
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete kwalk
printf '%s\n' "${COMPREPLY[@]}"
"""


def bash(folder: Path) -> Ask:
    def ask(line: str) -> list[str]:
        words = ["bash", "--norc", "-c", BASH, "bash", line]
        done = run(words, folder, COMP_WORDBREAKS=" \t\n\"'><=;|&(:")
        return [word.strip() for word in done.splitlines() if word.strip()]

    return ask


def fish(folder: Path) -> Ask:
    def ask(line: str) -> list[str]:
        script = "kwalk completion fish | source; complete -C $argv[1]"
        done = run(["fish", "--no-config", "-c", script, line], folder, HOME=str(folder))
        return [word.split("\t")[0] for word in done.splitlines()]

    return ask


def run(words: list[str], folder: Path, **env: str) -> str:
    done = subprocess.run(
        words, env=environment(**env), cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


ZSH = r"""
autoload -U compinit; compinit -u -D
eval "$(kwalk completion zsh)"
compadd() {  # by which all of zsh's completion goes in the end
  local -a hits
  builtin compadd "$@"; local code=$?
  builtin compadd -O hits "$@"
  print -rl -- $hits >>offered
  return code
}
ask() { zle complete-word; print -r -- >>offered; mv offered answer; zle kill-buffer }
zle -N ask; bindkey "^X" ask
"""


class Zsh:
    """A zsh at a terminal, for it completes nowhere else."""

    def __init__(self, folder: Path) -> None:
        self._answer = folder / "answer"
        (folder / "setup").write_text(ZSH)

        def run() -> NoReturn:
            os.chdir(folder)
            os.execvpe("zsh", ["zsh", "-f", "-i"], environment(HOME=str(folder)))

        self.screen = Screen(run)
        self._wait("source ./setup; touch answer\n")

    def _wait(self, text: str) -> list[str]:
        """Type it, and wait for what comes of it."""
        self._answer.unlink(missing_ok=True)
        self.screen.press(text)
        self.screen.until(self._answer.exists, 60)
        return self._answer.read_text().replace("\\", "").split()

    def __call__(self, line: str) -> list[str]:
        return self._wait(f"{line}\x18")


@pytest.fixture(params=["bash", "zsh", "fish"])
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterable[Ask]:
    """What a shell offers behind a line."""
    needs(request.param)
    (tmp_path / "redis.rec").touch()
    (tmp_path / "folder").mkdir()
    if request.param == "zsh":
        zsh = Zsh(tmp_path)
        with zsh.screen:
            yield zsh
    else:
        yield {"bash": bash, "fish": fish}[request.param](tmp_path)


@pytest.mark.timeout(300)
def test_completion_works_in_each_shell(ask: Ask) -> None:
    first = ask("kwalk re")
    assert {"record", "report"} <= set(first)
    assert not {"count", "lab"} & set(first)
    assert "--method" in ask("kwalk count --me")
    assert "--method" in ask("kwalk ip_rcv --me")
    assert {"auto", "manual", "helper"} <= set(ask("kwalk stream --method "))
    assert {"text", "json"} <= set(ask("kwalk report --format "))
    assert "redis.rec" in ask("kwalk report redi")
    assert "redis.rec" in ask("kwalk report -o redi")
    assert "folder/" in ask("kwalk lab run --out fold")
    assert "debian-sid" in ask("kwalk lab run --kernel debian-s")
    assert "kernels" in ask("kwalk lab k")
    assert "redis.rec" in ask("kwalk count ip_rcv -- cat redi")
    assert "redis.rec" not in ask("kwalk count --top ")


@pytest.mark.timeout(300)
def test_completion_of_functions_works_in_each_shell(ask: Ask) -> None:
    symbols = tracefs.KALLSYMS.read_bytes() if tracefs.KALLSYMS.exists() else b""
    if not re.search(rb" T vfs_read\n", symbols):
        pytest.skip("this machine's kernel lists no symbols")
    assert "vfs_read" in ask("kwalk vfs_rea")
    assert "vfs_read" in ask("kwalk count vfs_rea")
    assert "vfs_read" in ask("kwalk count --verify vfs_rea")
    assert "vfs_read" in ask("kwalk count ip_rcv vfs_rea")
    assert "vfs_read" in ask("kwalk bench vfs_rea")


def bash_says(folder: Path, line: str) -> set[str]:
    needs("bash")
    return set(bash(folder)(line))


def test_completion_offers_every_command_and_option(tmp_path: Path) -> None:
    assert set(COMMANDS) == bash_says(tmp_path, "kwalk ")
    for name in COMMANDS:
        options = {
            spelling
            for option in command_line(name).each()
            for spelling in option.spellings
            if spelling.startswith("--")
        }
        assert options == bash_says(tmp_path, f"kwalk {name} --"), name


def test_values_of_a_list_are_completed_one_by_one(tmp_path: Path) -> None:
    assert "manual" in bash_says(tmp_path, "kwalk bench ip_rcv --methods man")
    assert "none,helper" in bash_says(tmp_path, "kwalk bench ip_rcv --methods none,hel")
    own = Path("/proc/self/comm").read_text().strip()
    assert f"x,{own}" in bash_says(tmp_path, f"kwalk count ip_rcv --comm x,{own[:3]}")


def test_cgroups_and_namespaces_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup/a/b").mkdir(parents=True)
    (tmp_path / "cgroup/a/cgroup.procs").touch()
    (tmp_path / "netns").mkdir()
    (tmp_path / "netns/blue").touch()
    monkeypatch.setattr(cgroups, "hierarchy", lambda: (tmp_path / "cgroup", 0))
    monkeypatch.setattr(filter_names, "NETNS", tmp_path / "netns")
    assert completing.groups("") == ["a"]
    assert completing.groups("a/") == ["a/b"]
    assert completing.groups("nowhere/") == []
    assert completing.namespaces("") == ["blue"]
    monkeypatch.setattr(filter_names, "NETNS", tmp_path / "none")
    assert completing.namespaces("") == []


def test_completion_of_a_function_imports_nothing_heavy(tmp_path: Path) -> None:
    line = "kwalk count vfs_re"
    env = environment(_ARGCOMPLETE="1", COMP_LINE=line, COMP_POINT=str(len(line)))
    env["_ARGCOMPLETE_STDOUT_FILENAME"] = str(tmp_path / "answer")
    words = [sys.executable, "-X", "importtime", "-m", "kwalk"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "kwalk.kernel.tracefs" in modules
    assert not HEAVY & modules


def test_completion_imports_no_slow_modules(tmp_path: Path) -> None:
    env = environment(_ARGCOMPLETE="1", COMP_LINE="kwalk count t", COMP_POINT="13")
    env["_ARGCOMPLETE_STDOUT_FILENAME"] = str(tmp_path / "answer")
    words = [sys.executable, "-X", "importtime", str(BIN / "kwalk")]
    done = subprocess.run(words, env=env, timeout=60, check=True, stderr=subprocess.PIPE, text=True)
    assert (tmp_path / "answer").read_text()
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "kwalk.cli.completing" in modules
    assert modules.isdisjoint({"cffi", "rich", "kwalk.libbpf", "kwalk.engine.capture", "kwalk.lab"})


def test_unknown_shell_is_a_usage_error(usage_error: Callable[..., str]) -> None:
    from kwalk.cli.main import main

    assert "'tcsh' is not one of " in usage_error(main, "completion", "tcsh")
