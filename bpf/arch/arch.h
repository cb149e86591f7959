/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * arch.h: everything that an architecture has to provide, and a guide to porting kwalk.
 *
 * An architecture is a folder beside this file with the six headers listed below, and possibly
 * more that only these include (x86 has orc.bpf.h). They come in this order: each may use those
 * above it. Generic code includes them by the macros at the end and uses the members listed here,
 * nothing else; tests/host/test_seam.py compares the lists. Members are inline functions, unless
 * the list says otherwise. Addresses are __u64: 0 stands for none. Steps are enum kw_step of
 * unwind/state.bpf.h. "FUNC" is the traced function.
 *
 *
 * kernel.h: kernel types. Included by kernel.h, before its own types.
 *
 *   struct pt_regs
 *	Type. Saved registers, the context of kprobes; CO-RE finds the members.
 *	arch/ARCH/include/asm/ptrace.h
 *   struct mod_arch_specific
 *	Type. struct module.arch. arch/ARCH/include/asm/module.h
 *   KW_WORD_TYPE, KW_WORD_MEMBER
 *	Constants. A kernel structure and its first member, a 64-bit integer and no pointer: a typed
 *	load of any word goes through them. For kw_load_by() in unwind/load.bpf.h.
 *   KW_WINDOW_TYPE
 *	Constant. A kernel structure as large as a stack, of characters or integers: generated
 *	programs load the words of a stack as its members (src/kwalk/hot/). For kw_facts() in
 *	trace/facts.bpf.h.
 *   KW_KRETPROBE_LIST
 *	Constant. 1 where kretprobes may keep return addresses in a list of their own instead of
 *	rethook's, otherwise 0: CO-RE then looks for no types of it. For kw_kretprobe_address() in
 *	unwind/hook.bpf.h.
 *
 *
 * regs.bpf.h: registers and addresses. Uses unwind/load.bpf.h.
 *
 *   __u64 kw_code_address(__u64 word)
 *	The address that a saved return address stands for: without the signature that some CPUs
 *	put into its upper bits. For kw_walk_fp() in cct/walk.bpf.h. x86: the word itself.
 *   bool kw_user_regs(__u64 regs)
 *	Whether the struct pt_regs at an address was saved from user mode: user_mode() of
 *	arch/ARCH/include/asm/ptrace.h. For kw_in_user_mode() in trace/start.bpf.h.
 *   __u64 kw_regs_ip(__u64 regs), kw_regs_sp(__u64 regs), kw_regs_fp(__u64 regs)
 *	Instruction pointer, stack pointer and frame pointer of the struct pt_regs at an address.
 *	For kw_start_sample() in trace/start.bpf.h.
 *   kw_ctx_ip(ctx), kw_return_sp(ctx), kw_ctx_fp(ctx)
 *	Macros. The same of a program's context, struct pt_regs *, after FUNC's return: verifiers
 *	want loads at fixed offsets. The stack pointer may be any address from there to the caller's
 *	frame record, where tracers do not save it. For kw_start_return() in trace/start.bpf.h.
 *
 *
 * fp.bpf.h: frame records. Uses regs.bpf.h, unwind/.
 *
 * A record is {caller's frame pointer, return address}, where the frame pointer (kw_state.bp)
 * points to. kw_walk_fp() follows records by itself while they lie on one stack.
 *
 *   int kw_step_fp_any(struct kw_state *s)
 *	Not inlined. One step by frame pointers, as in the kernel's unwinder
 *	(arch/ARCH/kernel/unwind_frame.c or stacktrace.c), including registers that an exception
 *	left in a record's place: then kw_state.regs is their address, else 0. For
 *	kw_go_on_fp() in cct/fp.bpf.h.
 *   bool kw_last_frame(const struct kw_state *s)
 *	Whether s, the frame after the last call, is where a task's stack ends: nothing but user
 *	space's registers is above it. For kw_classify_fp() in cct/fp.bpf.h, kw_walk_fp().
 *   __u64 kw_first_return(const struct kw_walk *w, bool typed)
 *	Caller's address after a start that returned KW_STEP_FRAME; typed as of kw_load_by(). For
 *	kw_walk_fp().
 *   void kw_record_facts(struct kw_facts *facts)
 *	Sets regs_record, last_record and record_types, where exceptions leave a frame record in
 *	struct pt_regs. For kw_facts() in trace/facts.bpf.h.
 *
 *
 * step.bpf.h: from a frame to the next one. Uses fp.bpf.h, cct/fp.bpf.h, unwind/.
 *
 *   __u32 kw_unwinder(void)
 *	enum kw_unwinder: the one that the kernel was built with, as CO-RE tells. For
 *	trace/verify.bpf.h, trace/facts.bpf.h.
 *   __u64 kw_hook_cookie(const struct kw_state *s)
 *	What the kernel keeps with a return address that a tracer replaced, to find it again:
 *	kernel/trace/fgraph.c (retp), rethook.c (frame). x86: where the address stands. For
 *	kw_start_return() in trace/start.bpf.h.
 *   int kw_settle(struct kw_state *s)
 *	Not inlined. Makes a frame of the address that a step led to: undoes what tracers
 *	replaced (kw_recover() in unwind/hook.bpf.h), sets source and rule (any number that tells
 *	how to go on from code at ip; 0 if that needs none). KW_STEP_END where the kernel's
 *	unwinder takes the address for no code and stops. For kw_find_frame() in cct/arrive.bpf.h.
 *   bool kw_take_unlisted(struct kw_state *s)
 *	Whether FUNC's caller is a frame although kw_settle() ended there; sets source and rule.
 *	For kw_find_frame().
 *   void kw_classify(void *nodes, struct kw_node *node, const struct kw_walk *w)
 *	Sets kind, and what belongs to it, of a new node: enum kw_kind. w->s is its frame, w->node
 *	its parent. kw_classify_fp() where frame pointers are followed. For kw_add_frame() in
 *	cct/arrive.bpf.h.
 *   int kw_go_on(struct kw_walk *w, const struct kw_node *node)
 *	From a frame, in w->s, and its node to the next one, in w->s: KW_STEP_ARRIVED;
 *	KW_STEP_FRAME, unless w->to_end is set, where kw_walk() may go on from w->s by itself.
 *	kw_go_on_fp() does all but this last distinction where frame pointers are followed. For
 *	kw_arrive() in cct/arrive.bpf.h.
 *
 *
 * walk.bpf.h: the fast path. Uses step.bpf.h, cct/walk.bpf.h.
 *
 *   int kw_walk(struct kw_walk *w, void *nodes, int step, struct kw_node **end)
 *	Walks from the state that a start left in w to the end of the stack; *end becomes the node
 *	where it ends. step is the start's result; KW_STEP_UNKNOWN and KW_STEP_CUT are returned
 *	at once, with *end set. kw_walk_fp() where frame pointers are followed, once with a
 *	constant true and once with a constant false for cfg.typed_loads. For trace/hit.bpf.h.
 *
 *
 * entry.bpf.h: from the probe to FUNC's direct caller. Uses step.bpf.h.
 *
 * A start returns KW_STEP_ARRIVED if kw_state holds the caller, KW_STEP_FRAME if kw_first_return()
 * has the caller's address and w->bp_from (unless 0) points to the caller's frame pointer, or
 * KW_STEP_UNKNOWN to ask the kernel's unwinder. kw_state still holds the previous hit except for
 * regs and stacked, which are 0: a start with KW_STEP_ARRIVED sets ip, sp, bp, signal, earlier and
 * partial; w->bp_from is 0. For trace/start.bpf.h and trace/hit.bpf.h.
 *
 *   int kw_start_function(struct kw_walk *w, struct pt_regs *ctx)
 *	From a kprobe at FUNC's first instruction.
 *   int kw_start_inside(struct kw_state *s, struct pt_regs *ctx, __u64 regs)
 *	From a kprobe at another instruction, cfg.func; regs is ctx as a number.
 *   int kw_start_fentry(struct kw_walk *w, void *ctx, __u64 func, struct kw_hot *hot)
 *	From fentry or fexit, by the frame of their trampoline: arch_prepare_bpf_trampoline() of
 *	arch/ARCH/net/bpf_jit_comp*.c. Sets KW_EV_JUMPED where FUNC jumped to it, hence is in no
 *	stack of the kernel's.
 *   int kw_start_tracepoint(struct kw_walk *w)
 *	From the frame of a tracepoint's program, w->ctx (R10): build_prologue() of the same file.
 *   bool kw_jumped_caller(void *ctx, struct kw_walk *w, __u64 *ip)
 *	By fentry or fexit, whether FUNC jumped to the trampoline; then *ip becomes the address of
 *	FUNC's caller.
 *   bool kw_wrong_start(const __u64 *frames)
 *	Whether the kernel's unwinder, whose frames these are, started from a kprobe inside FUNC by
 *	the rule of another instruction. For trace/verify.bpf.h.
 *   bool kw_first_twice(const __u64 *frames)
 *	Whether the kernel's unwinder, whose first frames these are, found the first one twice:
 *	a tracepoint gave it registers (perf_arch_fetch_caller_regs()) whose frame record has
 *	their instruction pointer again. For trace/verify.bpf.h.
 *
 *
 * Besides: KW_ENTRY_BYTES of kwalk.h says how far behind FUNC's address a tracer's call may return
 * to. Members of struct kw_config that user space leaves 0 (orc, nmi_start, switch_start...) switch
 * off their features. hatch_build.py compiles an object for each architecture. The counterpart of
 * this folder in user space is src/kwalk/arch/; CONTRIBUTING.md, "Adding an architecture", has the
 * whole list.
 */
#ifndef KWALK_ARCH_H
#define KWALK_ARCH_H

#if defined(__TARGET_ARCH_x86)
#define KW_ARCH_KERNEL "arch/x86/kernel.h"
#define KW_ARCH_REGS   "arch/x86/regs.bpf.h"
#define KW_ARCH_FP     "arch/x86/fp.bpf.h"
#define KW_ARCH_STEP   "arch/x86/step.bpf.h"
#define KW_ARCH_WALK   "arch/x86/walk.bpf.h"
#define KW_ARCH_ENTRY  "arch/x86/entry.bpf.h"
#elif defined(__TARGET_ARCH_arm64)
#define KW_ARCH_KERNEL "arch/arm64/kernel.h"
#define KW_ARCH_REGS   "arch/arm64/regs.bpf.h"
#define KW_ARCH_FP     "arch/arm64/fp.bpf.h"
#define KW_ARCH_STEP   "arch/arm64/step.bpf.h"
#define KW_ARCH_WALK   "arch/arm64/walk.bpf.h"
#define KW_ARCH_ENTRY  "arch/arm64/entry.bpf.h"
#else
#error "kwalk has no code for this architecture: bpf/arch/arch.h lists what it takes"
#endif

#endif /* KWALK_ARCH_H */
