/* SPDX-License-Identifier: Apache-2.0 */
/* remote_lane.h: the remote lane: one thread per target, which refreshes its page in the
 * background. Any thread may look; what it sees is the page of one finished round. A target that
 * does not come back keeps its last page for three of its intervals, then its series are gone. */
#ifndef EXPORTERS_REMOTE_LANE_H
#define EXPORTERS_REMOTE_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/process.h"
#include "exporters/remote.h"

struct buffer;
struct exporter_options;
struct health;
struct left_out;
struct options;
struct page;
struct remote_lane;

/* What is known of a target. */
struct remote_state {
    const char *collector;
    const char *target;
    bool refreshed;          /* at least once */
    bool success;            /* of the last round */
    bool has_page;           /* of this or an earlier round */
    bool shown;              /* it is served */
    double age_seconds;      /* of the page */
    double duration_seconds; /* of the last round */
    double cpu_seconds;      /* of all rounds, of the target's own thread and processes */
    uint64_t refreshes, failures;
    size_t series;
    char error[ERR_TEXT_MAX]; /* "" or why the last round was none */
    bool has_process;
    struct process_state process;
};

/* `health`, which may be NULL, hears for each collector whether a target cannot be read. */
bool remote_lane_new(struct remote_lane **out, const struct exporter_options *options,
                     size_t series_max, struct left_out *left_out, struct health *health,
                     struct err *err) MUST_CHECK;
/* `loaded` is the configuration of remote_lane_new(), for the targets' own processes. */
bool remote_lane_start(struct remote_lane *remotes, const struct options *loaded,
                       struct err *err) MUST_CHECK;
/* Stops the threads, waiting some seconds at most. False: one is still in its round; then what it
 * uses, the options too, must stay until the process ends. NULL is fine. */
bool remote_lane_free(struct remote_lane *remotes);

size_t remote_lane_count(const struct remote_lane *remotes);
void remote_lane_state(struct remote_lane *remotes, size_t index, struct remote_state *out);
size_t remote_lane_class(const struct remote_lane *remotes, size_t index); /* in remote_classes */

/* Locks the pages of the targets whose class is `wanted` (NULL: all), at most `max`; then
 * remote_lane_unlock(). */
size_t remote_lane_lock(struct remote_lane *remotes, const bool *wanted, const struct page **pages,
                        size_t max);
void remote_lane_unlock(struct remote_lane *remotes);

/* For `check --connect`: one round of a target, on this thread and in this process, not started
 * ones; absences as for page_absent(). Its page, borrowed until the next round; NULL: none. */
const struct page *remote_lane_round(struct remote_lane *remotes, size_t index,
                                     struct buffer *absences);

#endif
