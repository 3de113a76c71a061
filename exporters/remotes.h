/* SPDX-License-Identifier: Apache-2.0 */
/* remotes.h: the remote lane: one thread per target, which refreshes its page in the background.
 * Any thread may look; what it sees is the page of one finished round. A target that does not come
 * back keeps its last page for three of its intervals, then its series are gone. */
#ifndef EXPORTERS_REMOTES_H
#define EXPORTERS_REMOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/remote.h"

struct buffer;
struct exporter_options;
struct health;
struct left_out;
struct page;
struct remotes;

/* What is known of a target. */
struct remote_state {
    const char *collector;
    const char *target;
    bool refreshed;          /* at least once */
    bool success;            /* of the last round */
    bool shown;              /* its page is served */
    double age_seconds;      /* of the page */
    double duration_seconds; /* of the last round */
    double cpu_seconds;      /* of all rounds, of the target's own thread */
    uint64_t refreshes, failures;
    size_t series;
    char error[ERR_TEXT_MAX]; /* "" or why the last round was none */
};

/* `health`, which may be NULL, hears for each collector whether a target cannot be read. */
bool remotes_new(struct remotes **out, const struct exporter_options *options, size_t series_max,
                 struct left_out *left_out, struct health *health, struct err *err) MUST_CHECK;
bool remotes_start(struct remotes *remotes, struct err *err) MUST_CHECK;
/* Stops the threads, waiting at most some seconds for each. NULL is fine. */
void remotes_free(struct remotes *remotes);

size_t remotes_count(const struct remotes *remotes);
void remotes_state(struct remotes *remotes, size_t index, struct remote_state *out);
size_t remotes_class(const struct remotes *remotes, size_t index); /* in remote_classes */

/* Locks the pages of the targets whose class is `wanted` (NULL: all), at most `max`; then
 * remotes_unlock(). */
size_t remotes_lock(struct remotes *remotes, const bool *wanted, const struct page **pages,
                    size_t max);
void remotes_unlock(struct remotes *remotes);

/* For `check --connect`: one round of every target, on this thread, not started ones; absences as
 * for page_absent(). */
void remotes_round(struct remotes *remotes, struct buffer *absences);

#endif
