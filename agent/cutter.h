/* SPDX-License-Identifier: Apache-2.0 */
/* cutter.h: where one event ends and the next begins. Pure: decided by the bytes and the limit
 * alone, so that the same file is cut into the same events however its bytes arrive; the event's
 * id depends on it.
 *
 * A line whose escaped text has more than `part_max` bytes comes in parts, each as long as fits,
 * cut at a character's border; the last part ends at the '\n'. No state, thread safe. */
#ifndef AGENT_CUTTER_H
#define AGENT_CUTTER_H

#include <stdbool.h>
#include <stddef.h>

enum cut_result {
    CUT_EVENT, /* `out` holds the escaped text */
    CUT_EMPTY, /* nothing to ship: an empty line, or the '\n' right behind a part */
    CUT_MORE,  /* no decision before more bytes of the file are here */
    CUT_ROOM,  /* the event does not fit into `out_max` */
};

struct cut_event {
    size_t size;    /* raw bytes of the event, without the '\n' */
    size_t taken;   /* bytes to go on behind: `size`, plus 1 for the '\n' */
    size_t escaped; /* bytes written to `out` */
    bool part;      /* not a whole line */
    bool repaired;  /* invalid UTF-8 was replaced */
};

/* `mid_line`: the byte before `bytes` is no '\n' (and there is one). `ends`: the last byte of
 * `bytes` ends a line although it is no '\n' (a cut that was decided before). */
enum cut_result cutter_next(const char *bytes, size_t size, bool mid_line, bool ends,
                            size_t part_max, char *out, size_t out_max, struct cut_event *event);

#endif
