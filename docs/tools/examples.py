# SPDX-License-Identifier: MIT
"""Examples of the commands, for the reference and the man pages: a test parses them all."""

from __future__ import annotations

EXAMPLES: dict[str, list[tuple[str, str]]] = {
    "kwalk count": [
        ("kwalk count ip_rcv", "Until Ctrl-C; the hottest stack comes last."),
        ("kwalk ip_rcv --top 3", "The same, with the three hottest stacks only."),
        ("kwalk count 'tcp_*' --duration 10", "All functions that match, for ten seconds."),
        ("kwalk count vfs_read --per comm", "How often by tasks of each name."),
        ("kwalk count tcp_sendmsg -- curl example.org", "What a command does."),
    ],
    "kwalk stream": [
        ("kwalk stream vfs_read --count 5", "The next five calls."),
        ("kwalk stream ip_rcv --format json", "An object a line, the ledger last."),
        ("kwalk stream ip_rcv --verify", "Every stack is compared with the kernel's own."),
    ],
    "kwalk record": [
        ("kwalk record ip_rcv --duration 60 -o rx.rec", "A minute, by the second, into a file."),
        ("kwalk record ip_rcv -o - | kwalk report -", "Through a pipe."),
    ],
    "kwalk report": [
        ("kwalk report rx.rec", "As text."),
        ("kwalk report rx.rec -o rx.folded", "For tools that draw flame graphs."),
    ],
    "kwalk info": [("kwalk info rx.rec", "Where it comes from, what is in it, what is not.")],
    "kwalk bench": [
        ("kwalk bench ip_rcv", "What redis loses by it, by each method."),
        (
            "kwalk bench ip_rcv --methods none,manual,perf@new --tools new=linux/tools/perf",
            "Another perf than that of PATH.",
        ),
        ("kwalk bench vfs_read --runs 3 --html cost.html -- make", "What make loses by it."),
    ],
    "kwalk functions": [
        ("kwalk functions 'tcp_*'", "All that match, and why some can't be traced."),
    ],
    "kwalk doctor": [("kwalk doctor ip_rcv", "Whether ip_rcv can be traced here, and how.")],
    "kwalk completion": [("kwalk completion bash", "What bash needs, on standard output.")],
    "kwalk lab": [
        ("kwalk lab run -- kwalk doctor", "In a virtual machine with Debian 13's kernel."),
        ("kwalk lab run --kernel debian-12 --out out -- kwalk record ip_rcv -o out/rx.rec",
         "Keep what the command writes below one folder."),
    ],
    "bpf_get_stack_test": [("bpf_get_stack_test --manual ip_rcv", "By the walk of kwalk's own.")],
}  # fmt: skip
