/* SPDX-License-Identifier: Apache-2.0 */
/* lane.h: the host lane: its collectors, read at each scrape on one helper thread. One that
 * hangs is left out and left alone until it comes back; the others go on. The exporter has one,
 * and the agent where host.enabled is set. One thread at a time scrapes and looks. */
#ifndef EXPORTERS_HOST_LANE_H
#define EXPORTERS_HOST_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/host/host.h"

struct host_lane;
struct left_out;
struct page;

/* What a scrape found of one collector. */
struct host_state {
    const char *name;
    bool enabled; /* by the options */
    bool asked;   /* in the last scrape */
    bool success; /* of it */
    bool absent;  /* no success because this host has no such thing */
    bool hung;    /* a thread waits in it */
    double seconds;
    double cpu_seconds;       /* of all its rounds */
    char error[ERR_TEXT_MAX]; /* "" or why it was no success */
};

/* Names in the options that are no collector are ERR_CONFIG. */
bool host_lane_check(const struct host_options *options, struct err *err) MUST_CHECK;
/* `left_out` may be NULL. */
bool host_lane_new(struct host_lane **out, const struct host_options *options, size_t series_max,
                   struct left_out *left_out, struct err *err) MUST_CHECK;
/* False: a collector hangs; then what it uses, the options too, must stay until the process ends.
 * NULL is fine. */
bool host_lane_free(struct host_lane *lane);

/* Reads the collectors for which `wanted` (host_class_count of them, NULL: all) is true. */
void host_lane_scrape(struct host_lane *lane, const bool *wanted, uint64_t deadline_ms);

/* Of the last scrape: its pages, at most `max`; borrowed until the next one. */
size_t host_lane_pages(const struct host_lane *lane, const struct page **pages, size_t max);
void host_lane_state(const struct host_lane *lane, size_t index, struct host_state *out);
/* Appends "family\treason\n" of what cannot be shown, from now on, for `check`. */
void host_lane_want_absences(struct host_lane *lane, struct buffer *out);
/* Writes node_scrape_collector_* of the collectors that were asked. */
void host_lane_put(const struct host_lane *lane, struct page *page);

#endif
