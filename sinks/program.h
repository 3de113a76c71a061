/* SPDX-License-Identifier: Apache-2.0 */
/* program.h: the parts of tailrace-sink in their order: signals, metrics, health, questions,
 * pipeline, pages. Nothing here logs. */
#ifndef SINKS_PROGRAM_H
#define SINKS_PROGRAM_H

#include <stdbool.h>

#include "core/ask.h"
#include "core/cli.h"
#include "core/err.h"
#include "core/health.h"
#include "core/http.h"
#include "core/metrics.h"
#include "sinks/options.h"
#include "sinks/pipeline.h"

/* Everything that lives as long as the process. */
struct program {
    struct cli cli;
    struct options *loaded;
    const struct sink_options *options;
    struct options *latest; /* of the last reload, NULL before */
    struct metrics *metrics;
    metric reload_fine, reload_time;
    struct health *health;
    struct ask *ask;
    struct http *http;
    struct pipeline *pipeline;
    int signal_fd; /* -1 to begin with */
    bool logging;  /* the log is where errors belong; before, they are for the person who waits */
    struct http_page pages[2];
};

/* Loads and checks a configuration file. */
bool program_load(struct options **out, const char *path, struct err *err) MUST_CHECK;

/* Opens all parts but the pages; `reload` is called for SIGHUP, with the program. */
bool program_open(struct program *program, bool once, void (*reload)(void *),
                  struct err *err) MUST_CHECK;
bool program_serve(struct program *program, struct err *err) MUST_CHECK; /* the HTTP endpoint */
void program_close(struct program *program);

void program_note_reload(struct program *program, bool fine);

#endif
