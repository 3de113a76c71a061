/* SPDX-License-Identifier: Apache-2.0 */
/* encode.h: raw bytes to the inside of a JSON string, at memory speed, repaired to valid UTF-8.
 * '"', '\\' and control bytes are escaped; each maximal ill-formed part of a UTF-8 sequence
 * (Unicode 15, table 3-7) becomes U+FFFD. Everything else is copied. No allocation, no state,
 * thread safe. */
#ifndef CORE_ENCODE_H
#define CORE_ENCODE_H

#include <stdbool.h>
#include <stddef.h>

struct buffer;

/* A byte of input becomes at most these bytes of output ("\u0000"). */
#define ENCODE_GROWTH_MAX 6

struct encode_result {
    size_t taken;   /* bytes of input done; always ends at a character's border */
    size_t written; /* bytes of output */
    bool repaired;  /* at least one U+FFFD stands for bytes that were no UTF-8 */
};

/* Encodes as much of `text` as fits into `out_max` bytes: a result with `taken` == `size` is all.
 * The cut depends on the bytes and on `out_max` alone. `out_max` of at least 6 always makes
 * progress. */
struct encode_result encode_json(char *out, size_t out_max, const char *text, size_t size);

/* Appends `text` as a whole JSON string with its quotes. */
void encode_json_string(struct buffer *out, const char *text, size_t size);

#endif
