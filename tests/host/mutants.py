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

from arm64.mutants import MUTANTS as ARM64_MUTANTS
from built import ARCHITECTURES, HERE, ROOT, test_files

# File below bpf/, text that occurs there once, replacement.
MUTANTS = [
    ("arch/x86/step", "return sp <= old_sp && old_sp - sp < kw_stack_size();", "return false;"),
    ("unwind/state", "return s->signal ? s->ip : s->ip - 1;", "return s->ip;"),
    ("arch/x86/step", "if (!s->partial)\n\t\t\t\ts->earlier = s->regs;", "s->earlier = 0;"),
    ("arch/x86/step", "s->signal = kw_rule_signal(rule);", "s->signal = 0;"),
    ("arch/x86/step", "if (cfa - old_sp > kw_stack_size())", "if (cfa - old_sp > KW_NEAR)"),
    ("arch/x86/fp", "s->sp = bp + 16;", "s->sp = bp + 8;"),
    ("arch/x86/fp", "cfg.stack_padding -\n", "0 -\n"),
    ("arch/x86/orc", "frame = type - 2;", "frame = type - 1;"),
    ("arch/x86/orc", "since_7_1 = 0x54076832900ULL", "since_7_1 = 0x54076823900ULL"),
    ("arch/x86/orc", "signal = frame != KW_FRAME_CALL;", "signal = 0;"),
    ("arch/x86/orc", "at.last = pair >> 32;", "at.last = (__u32)pair;"),
    ("arch/x86/orc", "at->first = mid + 1;", "at->first = mid + 2;"),
    ("arch/x86/orc", "kw_rule_vmlinux(original - (ip - place))", "kw_rule_vmlinux(original)"),
    ("arch/x86/step", "node->bp_at = parent->bp_at - kw_rule_cfa_off(parent->rule);",
     "node->bp_at = parent->bp_at + kw_rule_cfa_off(parent->rule);"),
    ("arch/x86/step", "node->bp_at = 8 + kw_rule_bp_off(parent->rule);",
     "node->bp_at = 8 - kw_rule_bp_off(parent->rule);"),
    ("cct/arrive", "(s->source != KW_SOURCE_IMAGE && node->delta != s->code)", "false"),
    ("cct/arrive", "node->kind = KW_NODE_STALE;\n\t\tat = 0;", "node->kind = KW_NODE_STALE;"),
    ("cct/arrive", "if (node->depth >= cfg.max_frames)", "if (node->depth > cfg.max_frames)"),
    ("arch/x86/walk", "w->bp_from = *slot + child->bp_at;", "w->bp_from = 0;"),
    ("arch/x86/walk", "node->hint = at;\n\t\t\t\tnode = child;", "node = child;"),
    ("cct/tree", "if (__sync_val_compare_and_swap(head, old, at) == old)",
     "if (__sync_val_compare_and_swap(head, old, at) != ~0u)"),
    ("cct/tree", "__sync_lock_test_and_set(&node->count, 0);", ";"),
    ("cct/tree", "if (index >= cfg.nodes)\n\t\treturn 0;", "if (index > cfg.nodes)\n\t\treturn 0;"),
    ("cct/tree", "node->ip == ip && node->parent == parent", "node->ip == ip"),
    ("cct/tree", "if (x >> 32 > chance)", "if (x >> 33 > chance)"),
    ("cct/tree", "kw_at(nodes, at)->depth = 0;", "kw_at(nodes, at)->depth = 1;"),
    ("trace/key", "slot->node == node && slot->ids", "slot->ids"),
    ("trace/key", "slot->ids == ids && slot->comm[0]", "slot->comm[0]"),
    ("trace/key", "slot->comm[0] == comm[0] &&", ""),
    ("trace/key", "slots->slot[0].nth = slots->slot[1].nth = 0;", ";"),
    ("trace/key", "slots->slot[1].nth < slots->slot[0].nth", "0"),
    ("trace/key", "mark |= KW_MARK_ANEW;", ";"),
    ("trace/key", "if (nth > KW_KEYS)", "if (nth > KW_KEYS + 1)"),
    ("trace/event", "record->key = kw_key_number(nth);", "record->key = kw_key_number(nth) + 1;"),
    ("trace/event", "difference->other = event->other;", "difference->other = event->node;"),
    ("unwind/hook", "real != cfg.rethook && cookie", "cookie"),
    ("unwind/hook", "search.left = current + 1;", "search.left = current;"),
    ("unwind/hook", "words = kw_load(s->at + top * 8) & 1023;",
     "words = kw_load(s->at + top * 8);"),
    ("unwind/hook", "ip - cfg.hook_first <= cfg.hook_span", "ip - cfg.hook_first < cfg.hook_span"),
    ("unwind/latch", "shift = sequence & 1 ?", "shift = sequence & 2 ?"),
    ("unwind/latch", "kw_load(s->node + s->end) + 1;", "kw_load(s->node + s->end);"),
    ("unwind/latch", "(__u32)kw_load_field(root, struct latch_tree_root, seq) != sequence",
     "false"),
    ("unwind/text", "s->at == s->head;\n\tif", "!s->at;\n\tif"),
    ("unwind/text", "? cfg.ftrace_regs_caller\n\t\t       : cfg.ftrace_caller;",
     "? cfg.ftrace_caller\n\t\t       : cfg.ftrace_regs_caller;"),
    ("arch/x86/entry", "return kw_is_entry(func + 1, ip);", "return kw_is_entry(func, ip);"),
    ("arch/x86/entry", "if (ip < KW_KERNEL_TEXT)\n\t\treturn KW_STEP_UNKNOWN;", ""),
    ("arch/x86/entry", "KW_EV_JUMPED;\n\treturn kw_start_entry(w, frame + 8, frame);",
     "KW_EV_JUMPED;\n\treturn kw_start_entry(w, frame + 16, frame);"),
    ("arch/x86/entry", "&w->ctx;\n\n\treturn kw_start_entry(w, frame + 8, frame);",
     "&w->ctx;\n\n\treturn kw_start_entry(w, frame, frame);"),
    ("arch/x86/entry", "w->s.bp = kw_ctx_fp(ctx);", "w->s.bp = 0;"),
    ("arch/x86/entry", "KW_CFA_SP, 16, KW_BP_CFA, -16,", "KW_CFA_SP, 8, KW_BP_CFA, -16,"),
    ("arch/x86/entry", "*ip = kw_recover(*ip, kw_hook_cookie(&w->s));", ";"),
    ("arch/x86/regs", "kw_load_reg(regs, cs) & 3;", "false;"),
    ("arch/x86/regs", "return kw_load_reg(regs, ip);", "return kw_load_reg(regs, ip) - 1;"),
    ("arch/x86/regs", "return kw_load_reg(regs, sp);", "return kw_load_reg(regs, bp);"),
    ("arch/x86/regs", "return kw_load_reg(regs, bp);", "return kw_load_reg(regs, sp);"),
    ("arch/x86/regs", "kw_ctx_sp(ctx) ((ctx)->sp)", "kw_ctx_sp(ctx) ((ctx)->bp)"),
    ("arch/x86/regs", "kw_ctx_fp(ctx) ((ctx)->bp)", "kw_ctx_fp(ctx) ((ctx)->sp)"),
    ("arch/x86/regs", "return word;", "return word & ~1ULL;"),
    ("arch/x86/fp", "return kw_load_by(typed, w->s.sp - 8);", "return kw_load_by(typed, w->s.sp);"),
    ("arch/x86/step", "return s->sp - 8;", "return s->sp;"),
    ("arch/x86/step", "s->stacked = 1;", "s->stacked = 0;"),
    ("arch/x86/step", "s->source = KW_SOURCE_ONCE;", "s->source = KW_SOURCE_IMAGE;"),
    ("arch/x86/step", "if (kw_unwinder() == KW_UNWIND_ORC)\n\t\tkw_read_frame(w, node);", ""),
    ("cct/fp", "if (node->kind == KW_NODE_LAST && kw_last_frame(&w->s))\n\t\treturn KW_STEP_END;",
     ""),
    ("trace/start", "s->stacked = s->ip != kw_ctx_ip(ctx);", "s->stacked = 0;"),
    ("trace/hit", "mark &= ~(1ULL << 63);", ""),
    ("trace/hit", "control.distrust = 1;", ""),
    ("trace/hit", "cpu->walked.hits++;\n\tif (special", "if (special"),
    ("trace/hit", "c->lost_efault++;", "c->lost_other++;"),
    ("trace/hit", "kw_at(nodes, event.node)->cut++;", "kw_at(nodes, event.node)->count++;"),
    ("trace/hit", "bpf_ktime_get_ns() - start;", "bpf_ktime_get_ns();"),
    ("trace/hit", "if (++cpu->walked.hits > cfg.self_check) {",
     "if (++cpu->walked.hits >= cfg.self_check) {"),
    ("trace/hit", "cpu->hot.context = (__u64)ctx;", ""),
    ("trace/hit", "cpu->hot.unassisted++;", ""),
    ("trace/hit", "cpu->hot.resume = 0;", ""),
    ("trace/hit", "cpu->hot.missed++;", ""),
    ("trace/hit", "w->flags = known >> 32;", ""),
    ("trace/hit", "if (cfg.special && kw_filtered())\n\t\t\treturn 0;", ""),
    ("trace/hit", "if (hot)\n\t\t\tkw_at(nodes, event.node)->count++;", ""),
    ("arch/x86/entry", "hot->shift = 1;", ""),
    ("arch/x86/entry", "if (hot)\n\t\thot->returns = 0;", ""),
    ("trace/filter", "kw_gate()->filtered++;", ""),
    ("trace/filter", "number & 63) & 1;", "number & 31) & 1;"),
    ("trace/filter", "task->pid == number && kw_in_set", "kw_in_set"),
    ("trace/filter", "if (i && i >= cfg.cgroups)", "if (i && i > cfg.cgroups)"),
    ("trace/group", "ip = KW_NO_ADDRESS | (group.bits + i & KW_GROUP_BITS);",
     "ip = KW_NO_ADDRESS | group.bits;"),
    ("trace/group", "node->value[0] == group->value[0] && ", ""),
    ("trace/group", "group->value[1] |= KW_NUMBERLESS_NAME;", ""),
    ("trace/group", "kw_at(nodes, leaf)->group = at;\n\treturn at;", "return leaf;"),
    ("trace/number", "< level ||", "<= level ||"),
    ("trace/event", "over >= KW_SECOND", "over > KW_SECOND"),
    ("trace/ring", "c->lost_ring_busy++;\n\telse\n\t\tc->lost_ring_full++;",
     "c->lost_ring_full++;\n\telse\n\t\tc->lost_ring_busy++;"),
    ("trace/event", "record->pid = ids;", "record->pid = ids >> 32;"),
    ("trace/event", "record->other = event->other;", "record->other = 0;"),
    ("trace/helper", "if (!known->count++ &&", "if (known->count++ &&"),
    ("trace/helper", "bpf_get_stackid(ctx, &stacks_b, 0);", "bpf_get_stackid(ctx, &stacks_a, 0);"),
    ("trace/verify", "return sc->walk.flags & KW_EV_TRUNCATED;", "return true;"),
    ("trace/verify", "hits <= cfg.self_check", "hits < cfg.self_check"),
    ("arch/x86/entry", "kw_place_rule(cfg.func) != kw_place_rule(cfg.func + 1)", "true"),
    ("trace/facts", "ask->from += ask->nr;", "ask->from = ask->nr;"),
    ("trace/hit", "if (c && preempted == kw_preemptions())",
     "if (c && preempted != ~0ULL)"),
    ("trace/verify", "if (verdict == KW_DIFFERENT)\n\t\tverdict = kw_compare_again(ctx, sc);", ""),
    ("trace/verify", "if (!kw_ask_kernel(ctx, sc))\n\t\treturn KW_NOT_COMPARED;",
     "if (!kw_ask_kernel(ctx, sc))\n\t\treturn KW_DIFFERENT;"),
    ("cct/tree", "(nested ? cfg.first_part : 0)", "(nested ? 0 : 0)"),
    ("trace/hit", "if (!kw_load_int(active[0]))\n\t\treturn false;", ""),
    ("trace/hit", "return !active[1] || kw_load_int(active[1]);", "return true;"),
    ("trace/hit", "return !active[1] || kw_load_int", "return kw_load_int"),
    ("unwind/load", "return kw_member(kw_cast(addr, struct upid), nr);",
     "return (__u8)kw_member(kw_cast(addr, struct upid), nr);"),
    ("cct/walk", "return !(at & 7) && kw_on", "return !(at & 1) && kw_on"),
    ("cct/walk", "return !(at & 7) && kw_on_task_stack(sp, at)", "return !(at & 7)"),
    ("unwind/state", "&& !(sp - stack <= size && at < sp)", ""),
]  # fmt: skip

# Tests that are likely to notice a mutant, to be run first; arch/ ones are in each
# architecture's folder.
WHERE = {
    **dict.fromkeys(("arch/x86/step", "arch/x86/orc", "arch/x86/walk"), "walk arch/steps starts"),
    **dict.fromkeys(("arch/x86/fp", "arch/x86/regs", "cct/fp", "unwind/state"), "walk starts"),
    **dict.fromkeys(("cct/arrive", "unwind/text", "unwind/latch"), "code walk arch/texts"),
    **dict.fromkeys(("arch/arm64/fp", "arch/arm64/step", "arch/arm64/walk"), "walk arch/records"),
    **dict.fromkeys(("arch/arm64/entry", "arch/arm64/regs"), "arch/entries starts walk"),
    "cct/walk": "walk arch/records",
    **dict.fromkeys(("cct/tree", "trace/group", "trace/number"), "context_tree groups results"),
    **dict.fromkeys(
        ("trace/hit", "trace/verify"), "hot_modes verdicts arch/excuses results context_tree nested"
    ),
    **dict.fromkeys(("trace/event", "trace/helper", "trace/key", "trace/ring"), "results keys"),
    "unwind/hook": "walk",
    "unwind/load": "nested",
    "arch/x86/entry": "starts arch/entries verdicts arch/excuses hot_modes",
    "trace/start": "starts",
    "trace/filter": "wanted",
    "trace/facts": "facts arch/formats",
}


def survives(file: str, old: str, new: str, folder: Path) -> bool:
    """Return whether the tests still pass, for each architecture that has the file."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "bpf", folder / "bpf")
    source = folder / "bpf" / f"{file}.bpf.h"
    text = source.read_text()
    assert text.count(old) == 1, f"{file}: {text.count(old)} times: {old}"
    source.write_text(text.replace(old, new))
    archs = [arch for arch in ARCHITECTURES if file.startswith(f"arch/{arch}/")] or ARCHITECTURES
    if (file, old, new) in ARM64_MUTANTS:
        archs = ["arm64"]
    return not any(notices(arch, WHERE[file].split(), folder) for arch in archs)


def notices(arch: str, first: list[str], folder: Path) -> bool:
    """Return whether a test for an architecture fails with the ``bpf`` in a folder.

    :param first: Names of the tests to run first; those for other architectures are skipped.
    """
    command = [sys.executable, str(HERE / "run.py"), "--bpf", str(folder / "bpf")]
    command += ["--out", str(folder / "out"), "--way", "gcc", "--arch", arch, "-x"]
    command += ["--deselect", "tests/host/test_headers.py"]
    every = test_files(arch)
    likely = [HERE / name.replace("arch/", f"{arch}/test_") for name in first if "/" in name]
    likely += [HERE / f"test_{name}" for name in first if "/" not in name]
    likely = [path for path in (p.with_suffix(".py") for p in likely) if path in every]
    paths = [*likely, *(path for path in every if path not in likely)]
    command += map(str, paths)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stdout.splitlines() + done.stderr.splitlines()
        why = [line for line in said if line.startswith(("FAILED", "Fatal", "ERROR"))]
        print(f"  by {(why or said[-1:])[0][:110]}")
    return done.returncode != 0


def main() -> int:
    """Try the mutants; return how many survive."""
    words = sys.argv[1:]
    every = [*MUTANTS, *ARM64_MUTANTS]
    chosen = [m for m in every if not words or any(word in " ".join(m) for word in words)]
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
