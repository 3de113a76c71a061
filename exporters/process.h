/* SPDX-License-Identifier: Apache-2.0 */
/* process.h: a target whose rounds run in a process of its own, so that a library that aborts there
 * costs one round, and one that never returns too.
 *
 *     the target's thread ── order: "a round, within 10 s" ──►  process_main(): open, collect
 *                         ◄── answer: error text, page ───────
 *
 * The process is this program once more (/proc/self/exe), so that it shares no thread, lock or
 * descriptor with the rest; it has one socket, and the configuration comes through it. It begins
 * with a round and ends when it dies, does not answer in time, or the program or the target's
 * thread ends. What it writes to stderr is kept as news. One thread at a time; nothing here
 * logs. */
#ifndef EXPORTERS_PROCESS_H
#define EXPORTERS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define PROCESS_VERB "--collector-process" /* argv[1] of such a process; main() asks for it first */

struct options;
struct page;
struct process;
struct remote_call;
struct remote_class;

/* What is known of it. */
struct process_state {
    uint64_t ends;           /* how often it ended by itself or was ended because it hung */
    uint64_t news_count;     /* changes when there is news */
    char news[ERR_TEXT_MAX]; /* how it ended, or what it wrote to stderr */
    uint64_t cpu_ns;         /* of all processes of this target, with all their threads */
    uint64_t resident_bytes; /* after the last round; 0: none runs */
};

/* `target` is for people who look at the list of processes. Copies what it needs of `loaded`. */
bool process_new(struct process **out, const struct remote_class *class, size_t index,
                 const char *target, size_t series_max, const struct options *loaded,
                 struct err *err) MUST_CHECK;
void process_free(struct process *process); /* ends it; NULL is fine */

/* One round. False: no page came, and `err` says why; the next round starts the process again, at
 * once or, if it never lived through a round, after a while. One that died between two rounds is
 * replaced before the second. `*fine` is what collect() returned, and `err` is its then. */
bool process_round(struct process *process, const struct remote_call *call, struct page *page,
                   bool *fine, struct err *err) MUST_CHECK;
void process_look(struct process *process, struct process_state *out);

/* The process itself: serves rounds until the other end is gone. The exit status of the program. */
int process_main(const struct remote_class *const *classes, size_t class_count);

#endif
