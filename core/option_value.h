/* SPDX-License-Identifier: Apache-2.0 */
/* option_value.h: from the text of one value to the value. No state, thread safe (but for the
 * environment, which nobody changes while a configuration is read). */
#ifndef CORE_OPTION_VALUE_H
#define CORE_OPTION_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct buffer;
struct option;

/* Reads a scalar value of `option` into `member`: every kind but TEXTS, MAP and TEXT. Errors have
 * no place and end a sentence that names the option: "is 'lots', …". `shown` is what may be
 * printed. */
bool option_value_read(const struct option *option, const char *text, const char *shown,
                       void *member, struct err *err) MUST_CHECK;

/* Appends `text` with ${NAME}, ${NAME:-default} and $$ replaced. `*secret` becomes true when a
 * variable whose name says so had a part in it: then `out` must not be printed. */
bool option_value_expand(const char *text, struct buffer *out, bool *secret,
                         struct err *err) MUST_CHECK;

/* What a person may see of a value: one line, cut at a character's border. */
#define OPTION_SHOWN_SIZE 84
void option_value_show(const char *text, char out[OPTION_SHOWN_SIZE]);

/* Appends the words of "a|b|c" as "a, b or c". */
void option_words_list(const char *words, struct buffer *out);

#endif
