/* SPDX-License-Identifier: Apache-2.0 */
/* state.h: what must survive: the generations, how far each is committed, which inputs were
 * started once. The folder is described in agent/state_file.h, the records in agent/journal.h and
 * agent/state_load.h. All writing is done by a helper thread; the owner's thread only fills
 * memory, so a slow disk delays durability and nothing else. */
#ifndef AGENT_STATE_H
#define AGENT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/generation.h"
#include "core/err.h"

struct buffer;
struct state;

struct state_report {
    size_t generations;
    size_t damaged_bytes; /* passed over in `holes` places */
    size_t holes;
    bool cut;        /* it is shorter than it was written */
    bool clean;      /* the last owner stopped in order */
    bool foreign;    /* written on another host: identities were made anew */
    bool lost_power; /* the host did, or was reset, while the last owner ran */
    int64_t last_wall_ms;
};

/* Locks the folder (made when missing) and fills the catalog. ERR_RETRY: another process has it,
 * the text says which. */
bool state_open(struct state **out, const char *folder, struct catalog *catalog,
                struct state_report *report, struct err *err) MUST_CHECK;
/* Only reads, without the lock, for `state show` and `explain`. */
bool state_read(const char *folder, struct catalog *catalog, struct state_report *report,
                struct err *err) MUST_CHECK;
/* The same from the bytes of a journal; `foreign` is not judged. */
bool state_parse(const void *bytes, size_t size, struct catalog *catalog,
                 struct state_report *report, struct err *err) MUST_CHECK;
void state_free(struct state *state); /* NULL is fine; does not write */

/* Each adds to what the next sync writes. */
void state_put_generation(struct state *state, const struct generation *generation);
void state_put_progress(struct state *state, const struct generation *generation);
void state_put_cut(struct state *state, const struct generation *generation, uint64_t offset);
void state_put_parts(struct state *state, const struct generation *generation);
void state_put_days(struct state *state, const struct generation *generation);
/* What its receipts owe; it is in the generation's record and in each progress, too. */
void state_put_receipt(struct state *state, const struct generation *generation);
void state_forget(struct state *state, const struct generation *generation);
void state_put_input(struct state *state, const char *input);
bool state_input_seen(const struct state *state, const char *input);

/* Everything put before has a number up to this one; durable when state_durable() has reached
 * it. */
uint64_t state_sequence(const struct state *state);
uint64_t state_durable(const struct state *state);

/* Hands what was put to the helper when that is idle; compacts when it is worth it. */
void state_sync(struct state *state);
bool state_waits(const struct state *state); /* something was put and is not durable */

/* Readable when the helper is done. state_reap() takes note; false with the reason when it could
 * not write: nothing is lost from memory, the next state_sync() tries again. */
int state_fd(const struct state *state);
bool state_reap(struct state *state, struct err *err) MUST_CHECK;

/* Corrects the time of the last write, which else only grows. */
void state_set_wall(struct state *state, int64_t wall_ms);

/* The day on which what is read now is sent: never before one that the journal tells of, so that
 * what it tells of an earlier day stays true. -1: the clock was set back and the disk has not been
 * told: not before what was put is durable. */
int32_t state_day(const struct state *state, int64_t now_ms);

/* Writes all and a mark of the orderly stop; waits for the disk. */
bool state_stop(struct state *state, struct err *err) MUST_CHECK;
/* The same for a verb, which changes nothing about how the last agent stopped. */
bool state_save(struct state *state, struct err *err) MUST_CHECK;

size_t state_size(const struct state *state); /* bytes of the journal */

#endif
