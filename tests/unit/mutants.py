# SPDX-License-Identifier: MIT
"""Break src/kwalk in many ways, one at a time: tests/unit, or tests/host, must notice each of them.

mutants.py [WORD]...    those whose module, text or tests have one of the words; all without
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HOST = ROOT / "tests" / "host"

# A module, text that it has once, text in its place, and the test files that must fail; host/ ones
# are in tests/host.
MUTANTS = [
    ("decode/stacks", "frames[1:2] != [caller]", "frames[1:2] == [caller]", "stacks"),
    ("decode/stacks", "cut or used >= full", "cut or used > full", "stacks"),
    ("decode/contexts", "_CALLER_UNKNOWN else mark | _NOT_JUMPED", "_CALLER_UNKNOWN else mark",
     "contexts"),
    ("decode/counts", "weight * number // (node.ended + node.cut)", "weight", "counts"),
    ("decode/counts", "count.count + (count.calls - count.count) * factor", "count.calls * factor",
     "counts"),
    ("decode/counts", "self._names.setdefault(group.number, group)", "group", "counts"),
    ("decode/groups", "cgroups.paths() | self._paths", "self._paths | cgroups.paths()", "counts"),
    ("decode/records", "== NO_NUMBER else pid", "== NO_NUMBER else tgid", "records"),
    ("decode/short", "self._calls = self._calls.copy()", "pass", "short"),
    ("decode/short", "self.render = None", "pass", "short"),
    ("decode/short", "key // KEYS", "0", "short capture"),
    ("decode/short", "(at + 1 for at in places)", "(at for at in places)", "short capture"),
    ("report/stream_once", "self._hidden -= places.keys()", "pass", "report_stream_once"),
    ("report/stream_once", "min(places.get(stack, at), at)", "at", "report_stream_once"),
    ("report/stream_once", "self._even &= len(line) == self._BYTES", "pass", "report_stream_once"),
    ("decode/unwound", "& SECOND_MAP) != bool(idle)", "& SECOND_MAP) == bool(idle)", "capture"),
    ("decode/unwound", 'None, "stack_gone"', 'None, "no_entry_frame"', "capture"),
    ("decode/walked", "if stack.truncated or stack.fallback:", "if stack.fallback:", "capture"),
    ("decode/verify", ">= SHOWN", "> SHOWN", "decode_verify"),
    ("model/builder", "extend(_raised(more.counts, row))", "extend(more.counts)", "builder merge"),
    ("model/builder", "counts=_moved(self._timeline.counts, places)",
     "counts=self._timeline.counts", "builder merge"),
    ("model/builder", "start + end for end in more.ends", "end for end in more.ends", "merge"),
    ("model/builder", "self._counts[row] += count", "self._counts[row] = count", "builder merge"),
    ("model/builder", "before is None else before) + calls", "before is None else before)",
     "builder merge"),
    ("model/merge", "total.fallback += ledger.fallback", "total.fallback += ledger.truncated",
     "merge"),
    ("model/merge", "if len(known) == len(summaries) else None", "if known else None", "merge"),
    ("model/merge", "tree.used / max(tree.size, 1)", "tree.used", "merge"),
    ("model/narrow", "number / count.count", "1.0", "merge"),
    ("model/narrow", "start <= sum(times) / 2 < end", "start <= times[0] < end", "merge"),
    ("model/narrow", 'lose("other_groups"', 'lose("other_callers"', "merge"),
    ("model/narrow", "time - begins[first]", "time - begins[0]", "merge"),
    ("model/profile", "default=0)) < 0:", "default=0)) < -2:", "saving merge"),
    ("model/stack", "frame[:3] + frame[4:] if", "frame if", "merge"),
    ("model/stack_filter", "self._names(stack)[1:])", "self._names(stack))", "stack_filter"),
    ("model/stack_filter", "enumerate(every, 1)", "enumerate(every)", "stack_filter"),
    ("model/stack_filter", "stack.truncated and end is None", "stack.truncated", "stack_filter"),
    ("model/stack_filter", "- same if same else None", "- same", "stack_filter"),
    ("model/ledger", "self.fallback += number * stack.fallback",
     "self.fallback += number * stack.truncated", "capture"),
    ("model/ledger", "max(self.hits, self.recorded", "min(self.hits, self.recorded",
     "foreign_ledgers"),
    ("model/ledger", "if cause in NOT_WANTED", "if cause in NARROWED", "report_summary counts"),
    ("model/comparison", "HELPER_LACKS if True in missed", "HELPER_LACKS if True not in missed",
     "model_comparison"),
    ("model/comparison", "manual.truncated and begin == end", "begin == end", "model_comparison"),
    ("recording/reader", "totals[key] += number", "totals[key] = number", "recording"),
    ("recording/codec", "min(columns[1]) < 0", "min(columns[1]) < -1", "recording"),
    ("recording/node_tree", "if depths[parent] == MAX_DEPTH:", "if depths[parent] > MAX_DEPTH:",
     "hostile_recordings"),
    ("recording/writer", "count.count - self._before.get(key, 0)", "count.count", "recording"),
    ("recording/writer", "not number and not scaled", "not number", "recording"),
    ("recording/codec", "TRUNCATED, FALLBACK = 1, 2", "TRUNCATED, FALLBACK = 2, 1",
     "recording_format"),
    ("recording/codec", 'data["seconds"] = summary.seconds', 'data.setdefault("seconds", 0.0)',
     "recording saving"),
    ("recording/agreement", "hot.taken + hot.missed <= hits", "hot.taken <= hits",
     "foreign_ledgers"),
    ("recording/agreement", "summary.ledger.hits if whole else MOST", "summary.ledger.hits",
     "foreign_ledgers"),
    ("recording/agreement", "nested.taken - nested.twice <= hits", "True", "foreign_ledgers"),
    ("recording/agreement", 'close("unmatched")', 'close("not_recorded")', "foreign_ledgers"),
    ("recording/agreement", "(whole and found.balance)", "found.balance", "recording"),
    ("recording/blocks", "size -= len(piece)", "size -= min(size, 1 << 20)", "recording"),
    ("recording/replay", "sums[index] += number", "sums[index] = number", "saving"),
    ("recording/replay", "self._fallback.__getitem__", "self._truncated.__getitem__", "saving"),
    ("recording/size_limits", "(len(frame.name) + len(frame.module))", "len(frame.name)",
     "hostile_recordings"),
    ("recording/size_limits", "UNPACKED_EACH * (self._packed + packed)",
     "UNPACKED_EACH * self._packed", "hostile_recordings saving"),
    ("transport/context_tree", "index % PER_CPU > 1", "index % PER_CPU > 0", "context_tree"),
    ("transport/context_tree", "_U64.unpack_from, self", "_U32.unpack_from, self", "context_tree"),
    ("transport/context_tree", "self._acquire()", "pass", "host/tree_order"),
    ("transport/ring", "self._producer[0]\n        acquire()", "self._producer[0]", "ring_order"),
    ("transport/ring", "number:\n                    acquire()", "number:", "ring_order"),
    ("transport/ring", "start:end]\n                    release()", "start:end]", "ring_order"),
    ("transport/ring", "finally:\n            release()", "finally:", "ring_order"),
    ("transport/context_tree", "round(chance * (1 << 32)) - 1", "round(chance * (1 << 32))",
     "context_tree"),
    ("arch/aarch64/memory_order", "post(semaphore) or take(semaphore)",
     "take(semaphore) or post(semaphore)", "memory_order"),
    ("transport/ring",
     "start:end]\n                    release()\n                    self._consumer[0] = position",
     "start:end]", "ring"),
    ("transport/counters", "int(end[-1]) + 1)", "int(end[-1]))", "counters"),
    ("transport/counters", "_PERF_EVENT: 48, _KPROBE_MULTI: 32",
     "_PERF_EVENT: 32, _KPROBE_MULTI: 48", "counters"),
    ("transport/stack_maps", '["active_map"] = 1 - idle', '["active_map"] = idle', "stack_maps"),
    ("transport/filter_maps", "bits[number // 8] |= 1", "bits[number // 8] = 1", "filters"),
    ("probe/attach", "(many and not target.module) or", "many or", "attach"),
    (
        "probe/attach_multi",
        "sum(map(len, waiting)) - len(refused)",
        "sum(map(len, waiting))",
        "attach",
    ),
    ("libbpf/object", "if function in ENDLESS:", "if False:", "attach"),
    ("probe/probe", "links and by_kprobe", "links and self.by_kprobe", "probe"),
    ("probe/attach_multi", "elif target.module:", "elif False:", "attach"),
    ("probe/attach_multi", "or _by_alias(target, symbols, btf)", "", "attach"),
    ("probe/beside", '"first_part": level * possible_cpus()', '"first_part": 0', "nested probe"),
    ("libbpf/btf", "arguments > _MOST_ARGUMENTS", "arguments >= _MOST_ARGUMENTS", "libbpf_btf"),
    ("libbpf/btf", "in _NAMES_AND_QUALIFIERS:", "in ():", "libbpf_btf"),
    ("probe/selection", "key=lambda target: target.address", "key=lambda target: target.name",
     "selection"),
    ("probe/selection", "targets.setdefault(target.traced, target)",
     "targets[target.traced] = target", "selection"),
    ("probe/target", "start <= symbol.address < end", "start <= symbol.address <= end", "target"),
    ("probe/target", 'int(digits, 16 if digits.startswith("0x") else 10)', "int(digits, 16)",
     "target"),
    ("probe/diagnose", "not in (errno.EPERM, errno.EACCES)", "not in (errno.EPERM,)", "diagnose"),
    ("arch/x86_64/layout", "ftrace_sites=(0, 4)", "ftrace_sites=(0,)", "ftrace_sites"),
    ("probe/translate", "if pid == tgid:", "if True:", "namespaces"),
    ("probe/doctor", "works = trial.fired == trial.calls", "works = bool(trial.fired)", "doctor"),
    ("options/validate", "0 <= start < end", "0 <= start <= end", "merge"),
    ("options/validate", " or (isinstance(value, bool) and not truth)", "", "library"),
    ("options/validate", "0 <= value < 1 << 32", "0 <= value <= 1 << 32", "library"),
    ("options/validate", "not 0 < value < 1", "not 0 <= value < 1", "library"),
    ("options/filters", "_COMM_BYTES = 16", "_COMM_BYTES = 15", "filters"),
    ("options/keywords", "return 1 / sample", "return 1 - 1 / sample", "options library"),
    ("report/diff/compare", "before.seconds and after.seconds else", "after.seconds else", "diff"),
    ("report/diff/compare", "in dict.fromkeys(stack.names)", "in stack.names", "diff"),
    ("report/diff/chance", "abs(off) - 0.5", "abs(off)", "chance"),
    ("report/diff/chance", "off * part * (1 - part / 3)", "0.0", "chance"),
    ("report/diff/common", "> _LENGTHS * lengths[0]", "> lengths[0]", "diff_reports"),
    ("report/diff/change", "after - before if certain else 0", "after - before", "diff"),
    ("report/calltree", "(-item[1].total, item[0])", "(item[1].total, item[0])", "flame"),
    ("report/formats/pprof", "(total, taken) if", "(taken, total) if", "format_pprof"),
    ("report/formats/speedscope", "weights.get(place, 0) + calls", "calls",
     "format_speedscope"),
    ("report/formats/csv_", "{calls / total", "{count / total", "format_csv"),
    ("report/formats/perfetto", "found.starts[interval] * 1e9", "found.ends[interval] * 1e9",
     "format_perfetto"),
    ("report/perfetto/tracks", "calls / (end - start) if", "calls if", "format_perfetto"),
    ("report/formats/tree", "self._whole = profile.calls", "self._whole = top.total",
     "format_tree frame_limits"),
    ("report/calltree", "(-node.total, node.name)", "(node.total, node.name)", "format_tree"),
    ("report/calltree", "node.own += calls", "node.own = calls", "format_tree"),
    ("report/count", "list(whole_calls(shown))", "shown.numbers", "report_count"),
    ("report/count", "sum(Counts.of(counts).calls) / seconds",
     "sum(Counts.of(counts).numbers) / seconds", "report_count"),
    ("report/summary", ' - {"output_closed"}', "", "report_summary"),
    ("report/summary", "verify and verify.every and verify.mismatches",
     "verify and verify.mismatches", "report_summary"),
    ("report/top_n", "build(rarest_first=False)", "build()", "formats"),
    ("report/calls", "math.floor(total + _fraction(0.5))", "math.floor(total)", "report_calls"),
    ("report/calls", "append(upto - given[index])", "append(upto)", "report_calls format_json"),
    ("report/calls", "self.number / (self.end - self.start)", "self.number / self.end", "flame"),
    ("report/compare/text", "= helper.each / manual.each", "= manual.each / helper.each",
     "report_compare"),
    ("report/stream", "(who.tgid, who.pid)", "(who.pid, who.tgid)", "report_stream"),
    ("report/frame_limits", "self._frames -= len(path) - there", "self._frames -= len(path)",
     "frame_limits"),
    ("report/outline", "key=lambda node: -weight(node)", "key=weight", "outline"),
    ("symbolize/symbolizer", "self._name(address, address - 1, code)",
     "self._name(address, address, code)", "symbolizer"),
    ("symbolize/dynamic_code", "reversed(self._codes.items())", "self._codes.items()",
     "dynamic_code"),
    ("symbolize/lines", "not frame.offset else frame.address - 1",
     "not frame.offset else frame.address", "lines"),
    ("engine/budget", "AIM * budget * busy - floor", "budget * busy - floor", "budget"),
    ("engine/budget", "system + irq + softirq)", "system + irq)", "budget"),
    ("engine/budget", "hits * call_ns + taken_ns", "taken_ns", "budget"),
    ("engine/traced_command", 'found[0] not in "ZX"', "True", "traced_command"),
    ("engine/reader", "ledger.hits += number", "pass", "capture"),
    ("engine/reader", "out and self._ledger.recorded + out == tree.hits()", "out", "counts"),
    ("kernel/kallsyms", "own.address > other.address", "own.address < other.address", "kallsyms"),
    ("kernel/kallsyms", "bisect.bisect_left(addresses, addresses[index])", "index", "kallsyms"),
    ("insn", "-(1 << 31) <= signed < 1 << 31", "-(1 << 32) <= signed < 1 << 32", "insn"),
    ("insn", "_WORD >> 1 else insn.imm", "_WORD >> 2 else insn.imm", "insn"),
    ("insn", "- number - 1 if insn.target", "- number if insn.target", "insn"),
    ("insn", "-(1 << 15) <= off < 1 << 15", "-(1 << 15) <= off <= 1 << 15", "insn"),
    ("insn", "value >> 32 & (_WORD - 1)", "0", "insn"),
    ("insn", "_SIZES = {4: 0x00, 8: 0x18}", "_SIZES = {4: 0x18, 8: 0x00}", "insn"),
    ("insn", "_MAP_FD, _MAP_VALUE, _BTF_ID = 1, 2", "_MAP_FD, _MAP_VALUE, _BTF_ID = 2, 1", "insn"),
    ("insn", "GE = 0x35", "GE = 0x25", "insn"),
    ("libbpf/program", "registers >> 4 == _KFUNC", "registers >> 4", "libbpf_program"),
    ("libbpf/program", "len(info) < _ATTACH_AT + 8", "len(info) < _ATTACH_AT", "libbpf_program"),
    ("libbpf/program", "opts.attach_btf_id = kind.function_id", "pass", "libbpf_program"),
    ("hot/paths", "hits - self._hits.get(leaf, 0)", "hits", "hot_paths"),
    ("hot/paths", "node.parent if node.kind == NodeKind.GROUP else offset", "offset", "hot_paths"),
    ("hot/paths", ' or node["source"] != Source.IMAGE', "", "hot_paths"),
    ("hot/paths", "self._nodes.setdefault(key, {})[cpu] = leaf", "self._nodes[key] = {cpu: leaf}",
     "hot_paths"),
    ("hot/paths", "(() if of_others else tuple(frames))", "tuple(frames)", "hot_paths"),
    ("hot/paths", "self.total = sum(since.values())", "self.total = 0", "hot_paths"),
    ("hot/paths", "taken >= SHARE * total", "taken > total", "hot_paths"),
    ("hot/paths", "len(chosen) == MOST_STACKS", "len(chosen) > MOST_STACKS", "hot_paths"),
    ("hot/paths", "(frame.ip, frame.interrupted))", "(frame.ip, f.interrupted))", "hot_paths"),
    ("hot/paths", "key=lambda caller: -caller.weight", "key=lambda caller: caller.weight",
     "hot_paths"),
    ("hot/program", "if start.fentry and not start.returns", "if not start.fentry",
     "host/hot_modes"),
    ("hot/program", 'asm.jump_if(Jump.EQ, Reg.R1, 0, "miss")', "pass", "host/hot"),
    ("hot/program", "asm.alu(Alu.ADD, Reg.R1, 1)", "asm.alu(Alu.ADD, Reg.R1, 2)", "host/hot"),
    ("hot/program", "asm.mov(Reg.R7, HOT_MISS)", "asm.mov(Reg.R7, HOT_MISS << 6)", "host/hot"),
    ("hot/maker", "missed <= MISSES * hits", "missed < MISSES * hits", "hot_maker"),
    ("hot/maker", "missed > IN_VAIN * max(hits, FEW)", "missed > hits", "hot_maker"),
    ("hot/maker", "kept.append(path)", "kept = [path]", "hot_maker"),
    ("hot/maker", "keys <= self._made and start == self._made_of", "keys <= self._made",
     "hot_maker"),
    ("hot/maker", "if path.key not in self._refused", "", "hot_maker"),
    ("hot/maker", "max(wait, _REST * took)", "wait", "hot_maker"),
    ("hot/maker", 'return not self._probe.config["slow"]', "return True", "hot_maker"),
    ("hot/maker", "wait = self._waits.pop(0)", "pass", "hot_maker"),
    ("hot/maker", "if not self._before.hits:\n            wait", "if False:\n            wait",
     "hot_maker"),
    ("hot/entry_counters", "cpu = since.index(max(since))", "cpu = 0", "hot_maker"),
    ("hot/maker", "self._waits, self._why = 0, [VAIN_SECONDS], why", "self._why = 0, why",
     "hot_maker"),
    ("hot/entry_counters", "not any(found)", "not found[0]", "hot_maker"),
    ("hot/entry_counters", "not any(found)", "False", "hot_maker"),
    ("hot/entry_counters", "_begun(rows[cpu]), _begun(self._tree.hot(cpu))",
     "rows[cpu], self._tree.hot(cpu)", "hot_maker"),
    ("hot/entry_counters", "found != again or", "", "hot_maker"),
    ("hot/code", "self._symbols.lookup(address - 1)", "self._symbols.lookup(address)",
     "hot_maker"),
    ("hot/code", "symbol is None or symbol.module", "symbol is None", "hot_maker"),
    ("probe/function_code", 'return b"" if code else data[:size]', "return data[:size]",
     "hot_maker"),
    ("arch/x86_64/static_frame", "prologue.end() <= offset", "True", "static_frame"),
    ("arch/x86_64/static_frame", " and not _WRITES.search(code)", "", "static_frame"),
    ("arch/x86_64/static_frame", "for op in (1, 2, 3, 4, 6)", "for op in (1, 2, 3, 6)",
     "static_frame"),
    ("arch/x86_64/static_frame", "if not rex & 1", "if rex == 0x48", "static_frame"),
    ("arch/x86_64/static_frame", "for rex in range(0x48, 0x50) if not rex & 4",
     "for rex in range(0x48, 0x50) if not rex & 6", "static_frame"),
    ("arch/x86_64/static_frame", "for mod in range(4)", "for mod in range(1, 4)", "static_frame"),
    ("arch/x86_64/static_frame", r"\x8b\x8d\x63", r"\x8b\x63", "static_frame"),
    ("arch/x86_64/static_frame", r'rb"[\xbc\x94]",', r'rb"[\xbc]",', "static_frame"),
    ("arch/aarch64/static_frame", "!= 1 or any(map(changes_sp, words))", "!= 1",
     "arm_static_frame"),
    ("arch/aarch64/static_frame", "_SET_FP)}) != 1 or", "_SET_FP)}) < 1 or",
     "arm_static_frame"),
    ("arch/aarch64/static_frame", "call = offset - 4", "call = offset", "arm_static_frame"),
    ("arch/aarch64/static_frame", "return added != _ZR", "return True", "arm_static_frame"),
    ("arch/aarch64/static_frame", "and not _is(word, _ANDS)", "", "arm_static_frame"),
    ("arch/aarch64/static_frame", "base in (_SP, _FP)", "True", "arm_static_frame"),
    ("arch/aarch64/static_frame", " and word >> 31", "", "arm_static_frame"),
    ("arch/aarch64/static_frame", "(0xFFA0F000, 0x04205000)", "(0xFFE0F000, 0x04205000)",
     "arm_static_frame"),
    ("arch/x86_64/hot_tables", "asm.jump_if(Jump.GE, Reg.R3, NEAR, miss)", "pass", "host/hot_near"),
    ("arch/x86_64/hot_start", "ENTRY_BYTES + 1, miss)", "0, miss)",
     "host/hot_modes"),
    ("arch/x86_64/hot_tables", "rule.bp == SavedBp.BP and rule.cfa != Cfa.BP_DEREF", "False",
     "host/hot"),
    ("arch/hot_follower", "if not needed or bp.base != Reg.R6", "if True", "host/hot"),
    ("arch/x86_64/hot_records", "asm.jump_if(Jump.NE, Reg.R1, top - state.sp, other)", "pass",
     "host/hot_near"),
    ("arch/hot_records", "bool(frame.delta) and not frame.interrupted and",
     "bool(frame.delta) and", "host/hot_near host/hot"),
    ("arch/hot_records", "constant and self.kernel.static_frame(frame.ip)", "constant",
     "host/hot_near"),
    ("arch/hot_records", "asm.jump_if(Jump.SET, Reg.R1, 1, self.target.miss)", "pass",
     "host/hot_near"),
    ("arch/read_words", "asm.jump_if(Jump.GE, Reg.R2, end - off, whole)",
     "asm.jump(whole)", "host/hot"),
    ("support/text", "one if number == 1", "one if number <= 1", "text"),
    ("support/printable", 'text.replace("\\r\\n", "\\n")', "text", "printable"),
    ("support/outlet", "moved = now if taken else moved", "moved = moved", "outlet"),
    ("support/atomic_file", "0o600 if self._private else 0o777", "0o777", "atomic_file"),
    ("tui/model", "(-row.rate, -row.calls)", "(row.rate, -row.calls)", "tui_model"),
    ("tui/rows", "if rate > values[at]:", "if True:", "tui_model"),
    ("cli/stopper", "now > self._asked + _ONE_SIGNAL_SECONDS", "now >= self._asked", "interrupts"),
    ("bench/audit", "outside = calls() - first - during", "outside = calls() - during",
     "bench_experiment"),
    ("bench/audit", "quiet.wait(running)\n        start", "start", "bench_experiment"),
    ("bench/audit", "stats.per_event(others, ", "stats.per_event({}, ", "bench_experiment"),
    ("bench/experiment", "at_rest = quiet.wait(running)\n            if",
     "at_rest = True\n            if", "bench_experiment"),
    ("bench/results", "self.calls - self.outcome.delivered - (self.outcome.lost or 0)",
     "self.calls - self.outcome.delivered", "bench_experiment bench_table"),
    ("bench/results", "return max(0, self.calls", "return (self.calls", "bench_experiment"),
    ("bench/quiet", "min(_POLLING_SHARE, _SPREAD * min(shares))", "_SPREAD * min(shares)",
     "bench_quiet"),
    ("bench/quiet", "if len(shares) < _WINDOWS:", "if not shares:", "bench_quiet"),
    ("bench/empty", "runs + sum(kernel_misses(self._object, self._program, link).values())", "runs",
     "bench_empty"),
    ("bench/empty", 'function.rpartition(":")[2]', "function", "bench_empty"),
    ("bench/peers", "sum(said) + sum(without)", "sum(said)", "bench_peers"),
    ("bench/peers", "if bool(frame) is whole", "if True", "bench_peers"),
    ("bench/peers", 'find("stackcount-bpfcc", "stackcount", folder=self._folder)',
     'find("stackcount-bpfcc", "stackcount")', "bench_peers"),
    ("bench/ftrace", "lost if known else None", "lost", "bench_peers"),
    ("bench/ftrace", 'if "[DISABLED]" not in line', "", "bench_peers"),
    ("bench/own", "if delivered != ledger.recorded:", "if False:", "bench_tools"),
    ("bench/methods", "if not folders[label].is_dir():", "if False:", "bench_command"),
    ("bench/ftrace", "kprobes(self._function) > self._kprobes", "False", "bench_peers"),
    ("lab/peers", 'if versions(target / "bin") == wanted:', "if target.exists():", "lab_peers"),
    ("lab/peers", 'if not versions(target / "bin"):', "if True:", "lab_peers"),
    ("lab/peers", 'if not (folder / "root" / part).exists():', "if False:", "lab_peers"),
    ("report/bench/calls", "if timed and row.account and row.account.outcome.lost == 0:",
     "if False:", "bench_reports"),
    ("report/bench/calls", "account.outcome if account else row.runs[-1].outcome",
     "row.runs[-1].outcome", "bench_reports"),
]  # fmt: skip


def run(files: Iterable[str], folder: Path) -> str:
    """Run test files on the code in ``folder``; return the first line of failure, "" for none."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    env = {
        "PYTHONPATH": str(folder / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "examples"),
    }
    paths = [test_file(name) for name in files]
    for place in (HERE, HOST):
        own = [path for path in paths if path.parent == place]
        if own and (why := _run(own, command, env)):
            return why
    return ""


def test_file(name: str) -> Path:
    """Return the file of a name in ``MUTANTS``."""
    folder, _, last = name.rpartition("/")
    return (HOST if folder else HERE) / f"test_{last}.py"


def _run(files: list[Path], command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        [*command, *map(str, files)],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):  # killed, or nothing was tested
        raise SystemExit(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert bool(failed) == bool(done.returncode), done.stdout
    return failed[0] if failed else ""


def failure(module: str, old: str, new: str, files: str, folder: Path) -> str:
    """Return the line of the first test that fails with the mutant; "" if all pass."""
    source = folder / "src" / "kwalk" / f"{module}.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{module}: {text.count(old)} times: {old}"
    source.write_text(text.replace(old, new), encoding="utf-8")
    try:
        return run(files.split(), folder)
    finally:
        source.write_text(text, encoding="utf-8")


def main() -> int:
    """Try them; return how many live."""
    words = sys.argv[1:]
    chosen = [m for m in MUTANTS if not words or any(word in " ".join(m) for word in words)]
    alive = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", folder / "src", ignore=ignored)
        if why := run(sorted({file for m in chosen for file in m[3].split()}), folder):
            raise SystemExit(f"without any mutant: {why}")
        for module, old, new, files in chosen:
            before, after = (" ".join(text.split()) for text in (old, new))
            print(f"{module}: {before} -> {after or 'nothing'}", flush=True)
            why = failure(module, old, new, files, folder)
            alive += not why
            print(f"  by {why[:110]}" if why else "  LIVES", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutants died")
    return alive


if __name__ == "__main__":
    sys.exit(main())
