/* SPDX-License-Identifier: Apache-2.0 */
/* state_load.h: what the bytes of a journal mean. The form of the records is agent/journal.h's;
 * their fields are written by agent/state.c and read here, nowhere else. */
#ifndef AGENT_STATE_LOAD_H
#define AGENT_STATE_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/generation.h"
#include "core/err.h"

struct state_report;

#define STATE_FORMAT 2       /* 1: no count of inputs, no zeros behind the records */
#define STATE_STEP_SIZE 4096 /* the size of a journal is a multiple of it: else it was cut */
#define STATE_INPUT_TEXT_MAX 160
#define STATE_PATH_TEXT_MAX 4096

enum state_record {
    RECORD_HEADER = 1, /* format, machine, file system, number of inputs; first and repeated */
    RECORD_GENERATION,
    RECORD_PROGRESS,
    RECORD_CUT,
    RECORD_FORGET,
    RECORD_INPUT,
    RECORD_TIME, /* wall clock, whether the owner stopped in order, and of which boot it was */
    RECORD_PARTS,
    RECORD_DAYS, /* all day marks of a generation, as they stand in its own record, too */
    RECORD_OWED =
        11, /* what is delivered and not receipted, agent/receipt.h; 10 was in its place */
};

struct seen_input {
    char *name;
    struct seen_input *next;
};

/* What a journal says beside the generations. */
struct state_found {
    struct seen_input *inputs;
    uint64_t machine, file_system;
    uint64_t boot;         /* of the last write; 0: not told */
    uint64_t inputs_named; /* by the last header */
    uint64_t format;       /* 0: no header was found */
    size_t whole;          /* end of the last whole record */
};

/* ERR_STOP: no memory; ERR_CONFIG: a newer format. Damage is passed over and reported. */
bool state_load(const void *bytes, size_t size, struct catalog *catalog, struct state_found *found,
                struct state_report *report, struct err *err) MUST_CHECK;
void state_found_done(struct state_found *found);

bool seen_input_find(const struct seen_input *inputs, const char *name);
bool seen_input_add(struct seen_input **inputs, const char *name); /* false: no memory */

#endif
