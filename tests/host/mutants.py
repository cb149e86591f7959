# SPDX-License-Identifier: MIT
"""Mutation test: break bpf/ in many ways, one at a time; tests/host must notice each.

mutants.py [WORD]...    try the mutants whose file or text has one of the words; all without
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from built import HERE, ROOT

# File, text that occurs there once, replacement.
MUTANTS = [
    ("step", "return sp <= old_sp && old_sp - sp < kw_stack_size();", "return false;"),
    ("step", "return s->signal ? s->ip : s->ip - 1;", "return s->ip;"),
    ("step", "if (!s->partial)\n\t\t\t\ts->earlier = s->regs;", "s->earlier = 0;"),
    ("step", "s->signal = kw_rule_signal(rule);", "s->signal = 0;"),
    ("step", "if (cfa - old_sp > kw_stack_size())", "if (cfa - old_sp > KW_NEAR)"),
    ("step", "s->sp = bp + 16;", "s->sp = bp + 8;"),
    ("step", "cfg.stack_padding -\n", "0 -\n"),
    ("rule", "frame = type - 2;", "frame = type - 1;"),
    ("rule", "since_7_1 = 0x54076832900ULL", "since_7_1 = 0x54076823900ULL"),
    ("rule", "signal = frame != KW_FRAME_CALL;", "signal = 0;"),
    ("rule", "at.last = pair >> 32;", "at.last = (__u32)pair;"),
    ("rule", "at->first = mid + 1;", "at->first = mid + 2;"),
    ("rule", "kw_rule_vmlinux(original - (ip - place))", "kw_rule_vmlinux(original)"),
    ("arrive", "node->bp_at = parent->bp_at - kw_rule_cfa_off(parent->rule);",
     "node->bp_at = parent->bp_at + kw_rule_cfa_off(parent->rule);"),
    ("arrive", "node->bp_at = 8 + kw_rule_bp_off(parent->rule);",
     "node->bp_at = 8 - kw_rule_bp_off(parent->rule);"),
    ("arrive", "(s->source != KW_SOURCE_IMAGE && node->delta != s->code)", "false"),
    ("arrive", "node->kind = KW_NODE_STALE;\n\t\tat = 0;", "node->kind = KW_NODE_STALE;"),
    ("arrive", "if (node->depth >= cfg.max_frames)", "if (node->depth > cfg.max_frames)"),
    ("walk", "w->bp_from = *slot + child->bp_at;", "w->bp_from = 0;"),
    ("walk", "node->hint = at;\n\t\t\t\tnode = child;", "node = child;"),
    ("tree", "if (__sync_val_compare_and_swap(head, old, at) == old)",
     "if (__sync_val_compare_and_swap(head, old, at) != ~0u)"),
    ("tree", "if (index >= cfg.nodes)\n\t\treturn 0;", "if (index > cfg.nodes)\n\t\treturn 0;"),
    ("tree", "node->ip == ip && node->parent == parent", "node->ip == ip"),
    ("tree", "if (x >> 32 > chance)", "if (x >> 33 > chance)"),
    ("tree", "kw_at(nodes, at)->depth = 0;", "kw_at(nodes, at)->depth = 1;"),
    ("hook", "real != cfg.rethook && kw_load_field", "kw_load_field"),
    ("hook", "search.left = current + 1;", "search.left = current;"),
    ("hook", "words = kw_load(s->at + top * 8) & 1023;", "words = kw_load(s->at + top * 8);"),
    ("hook", "ip - cfg.hook_first <= cfg.hook_span", "ip - cfg.hook_first < cfg.hook_span"),
    ("latch", "shift = sequence & 1 ?", "shift = sequence & 2 ?"),
    ("latch", "kw_load(s->node + s->end) + 1;", "kw_load(s->node + s->end);"),
    ("latch", "(__u32)kw_load_field(root, struct latch_tree_root, seq) != sequence", "false"),
    ("text", "s->at == s->head;\n\tif", "!s->at;\n\tif"),
    ("text", "? cfg.ftrace_regs_caller\n\t\t       : cfg.ftrace_caller;",
     "? cfg.ftrace_caller\n\t\t       : cfg.ftrace_regs_caller;"),
    ("entry", "return kw_is_entry(func + 1, ip);", "return kw_is_entry(func, ip);"),
    ("entry", "if (ip < KW_KERNEL_TEXT)\n\t\treturn KW_STEP_UNKNOWN;", ""),
    ("entry", "return kw_start_entry(w, frame + 8, frame);\n}\n\n/*\n * A tracepoint",
     "return kw_start_entry(w, frame + 16, frame);\n}\n\n/*\n * A tracepoint"),
    ("entry", "s->stacked = s->ip != ctx->ip;", "s->stacked = 0;"),
    ("hit", "mark &= ~(1ULL << 63);", ""),
    ("hit", "control.distrust = 1;", ""),
    ("hit", "cpu->walked.hits++;\n\tif (special", "if (special"),
    ("hit", "c->lost_efault++;", "c->lost_other++;"),
    ("hit", "kw_at(nodes, event.node)->cut++;", "kw_at(nodes, event.node)->count++;"),
    ("hit", "bpf_ktime_get_ns() - start;", "bpf_ktime_get_ns();"),
    ("filter", "kw_gate()->filtered++;", ""),
    ("filter", "number & 63) & 1;", "number & 31) & 1;"),
    ("filter", "task->pid == number && kw_in_set", "kw_in_set"),
    ("filter", "if (i && i >= cfg.cgroups)", "if (i && i > cfg.cgroups)"),
    ("group", "ip = KW_NO_ADDRESS | (group.bits + i & KW_GROUP_BITS);",
     "ip = KW_NO_ADDRESS | group.bits;"),
    ("group", "node->value[0] == group->value[0] && ", ""),
    ("group", "group->value[1] |= KW_NUMBERLESS_NAME;", ""),
    ("group", "kw_at(nodes, leaf)->group = at;\n\treturn at;", "return leaf;"),
    ("number", "< level ||", "<= level ||"),
    ("event", "over >= KW_SECOND", "over > KW_SECOND"),
    ("event", "c->lost_ring_busy++;\n\telse\n\t\tc->lost_ring_full++;",
     "c->lost_ring_full++;\n\telse\n\t\tc->lost_ring_busy++;"),
    ("event", "record->pid = ids;", "record->pid = ids >> 32;"),
    ("event", "record->other = event->other;", "record->other = 0;"),
    ("helper", "if (!known->count++ &&", "if (known->count++ &&"),
    ("helper", "bpf_get_stackid(ctx, &stacks_b, 0);", "bpf_get_stackid(ctx, &stacks_a, 0);"),
    ("verify", "return sc->walk.flags & KW_EV_TRUNCATED;", "return true;"),
    ("verify", "hits <= cfg.self_check", "hits < cfg.self_check"),
    ("verify", "kw_place_rule(cfg.func) != kw_place_rule(cfg.func + 1)", "true"),
    ("facts", "ask->from += ask->nr;", "ask->from = ask->nr;"),
]  # fmt: skip

# Tests that are likely to notice a mutant, to be run first.
WHERE = {
    **dict.fromkeys(("step", "rule", "walk"), "walk starts"),
    **dict.fromkeys(("arrive", "text", "latch"), "code walk"),
    **dict.fromkeys(("tree", "group", "number"), "context_tree groups results"),
    **dict.fromkeys(("hit", "verify"), "verdicts results context_tree"),
    **dict.fromkeys(("event", "helper"), "results"),
    "hook": "walk",
    "entry": "starts",
    "filter": "wanted",
    "facts": "facts",
}


def survives(file: str, old: str, new: str, folder: Path) -> bool:
    """Return whether the tests still pass."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "bpf", folder / "bpf")
    source = folder / "bpf" / f"{file}.bpf.h"
    text = source.read_text()
    assert text.count(old) == 1, f"{file}: {text.count(old)} times: {old}"
    source.write_text(text.replace(old, new))
    command = [sys.executable, str(HERE / "run.py"), "--bpf", str(folder / "bpf")]
    rest = [
        "--out",
        str(folder / "out"),
        "--way",
        "gcc",
        "-x",
        "--deselect",
        "tests/host/test_headers.py",
    ]
    first = [str(HERE / f"test_{name}.py") for name in WHERE[file].split()]
    others = sorted(str(path) for path in HERE.glob("test_*.py"))
    rest += [*first, *(path for path in others if path not in first)]
    done = subprocess.run([*command, *rest], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stdout.splitlines() + done.stderr.splitlines()
        why = [line for line in said if line.startswith(("FAILED", "Fatal", "ERROR"))]
        print(f"  by {(why or said[-1:])[0][:110]}")
    return done.returncode == 0


def main() -> int:
    """Try the mutants; return how many survive."""
    words = sys.argv[1:]
    chosen = [m for m in MUTANTS if not words or any(word in " ".join(m) for word in words)]
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        for file, old, new in chosen:
            before, after = (" ".join(text.split()) for text in (old, new))
            print(f"{file}: {before} -> {after or 'nothing'}", flush=True)
            if survives(file, old, new, Path(folder) / "mutant"):
                alive += 1
                print("  LIVES")
    print(f"{len(chosen) - alive} of {len(chosen)} mutants died")
    return alive


if __name__ == "__main__":
    sys.exit(main())
