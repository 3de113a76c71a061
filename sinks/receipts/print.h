/* SPDX-License-Identifier: Apache-2.0 */
/* print.h: what an audit found, for people and for programs. Nothing here talks to anybody. */
#ifndef SINKS_RECEIPTS_PRINT_H
#define SINKS_RECEIPTS_PRINT_H

#include <stdbool.h>

#include "sinks/receipts/proof.h"

struct buffer;

void print_life(struct buffer *out, const struct life *life, const struct verdict *verdict);
void print_life_json(struct buffer *out, const struct life *life, const struct verdict *verdict);

struct audit_totals {
    uint64_t files, fine_files, receipts;
    struct verdict sum;
};
void totals_add(struct audit_totals *totals, const struct life *life,
                const struct verdict *verdict);
void print_totals(struct buffer *out, const struct audit_totals *totals);

#endif
