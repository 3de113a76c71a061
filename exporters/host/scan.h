/* SPDX-License-Identifier: Apache-2.0 */
/* scan.h: reads the kernel's text files: lines, words, numbers. Borrows; never allocates. */
#ifndef EXPORTERS_HOST_SCAN_H
#define EXPORTERS_HOST_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text that is left, or a piece of it. */
struct scan {
    const char *at;
    size_t size;
};

struct scan scan_of(const char *text); /* of a string */

/* Takes the next line, without its end. False: none is left. */
bool scan_line(struct scan *text, struct scan *line);
/* Takes the next word between blanks and tabs. */
bool scan_word(struct scan *text, struct scan *word);
/* Takes what is before `end`, and `end`. False, and nothing taken, when there is none. */
bool scan_until(struct scan *text, char end, struct scan *piece);
/* Takes the next word, which must be a whole number (decimal) that fits. */
bool scan_number(struct scan *text, uint64_t *out);
/* The same below zero too. */
bool scan_signed(struct scan *text, int64_t *out);
/* A piece that is a number as a whole; 0x and base as for strtoull. */
bool scan_is_number(struct scan piece, int base, uint64_t *out);
/* A piece with decimals, as "0.25"; no exponent. */
bool scan_is_double(struct scan piece, double *out);

bool scan_equals(struct scan piece, const char *text);
bool scan_begins(struct scan piece, const char *text);
void scan_skip(struct scan *text, size_t size); /* at most what is left */
void scan_trim(struct scan *text);              /* blanks at both ends */
/* Copies as a string, cut to `room`. */
const char *scan_copy(struct scan piece, char *out, size_t room);

#endif
