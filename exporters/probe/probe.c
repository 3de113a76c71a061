/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c: see probe.h. */
#include "exporters/probe/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "exporters/options.h"
#include "exporters/page.h"
#include "exporters/probe/dial.h"

struct probe {
    const struct exporter_probe_options *options;
};

bool
probe_check(const struct exporter_options *options, struct err *err)
{
    for (size_t i = 0; i < options->probe_count; i++) {
        const struct exporter_probe_options *probe = &options->probes[i];
        int kinds = (probe->tcp[0] != '\0') + (probe->http[0] != '\0') + (probe->tls[0] != '\0');
        if (kinds != 1)
            return err_set(err, ERR_CONFIG, 0,
                           "%s:%u: the probe '%.60s' must name one of tcp, "
                           "http and tls",
                           probe->place.file, probe->place.line, probe->name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(options->probes[k].name, probe->name) == 0)
                return err_set(err, ERR_CONFIG, 0, "%s:%u: there is a probe '%.60s' already",
                               probe->place.file, probe->place.line, probe->name);
    }
    return true;
}

static size_t
count_probes(const struct exporter_options *options)
{
    return options->probe_count;
}

static bool
open_probe(void **out, const struct exporter_options *options, size_t index,
           struct remote_about *about, struct err *err)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    if (probe == NULL)
        return err_set(err, ERR_STOP, 0, "cannot start a probe: out of memory");
    probe->options = &options->probes[index];
    about->interval_ms = probe->options->interval;
    about->timeout_ms = probe->options->timeout;
    (void)snprintf(about->target, sizeof(about->target), "%s", probe->options->name);
    *out = probe;
    return true;
}

static bool
collect_probe(void *self, const struct remote_call *call, struct page *page, struct err *err)
{
    struct probe *probe = self;
    uint64_t began_ns = clock_monotonic_ns();
    bool fine = dial_tcp(probe->options->tcp, call, err);
    double seconds = (double)(clock_monotonic_ns() - began_ns) / 1e9;
    page_family(page, "tailrace_probe_success", PAGE_GAUGE, "Whether the probe was answered.");
    page_sample(page, fine, "probe", probe->options->name, NULL);
    page_family(page, "tailrace_probe_duration_seconds", PAGE_GAUGE,
                "How long the probe took, answered or not.");
    page_sample(page, seconds, "probe", probe->options->name, NULL);
    return fine;
}

const struct remote_class probe_remote = {
    .name = "probe",
    .count = count_probes,
    .open = open_probe,
    .collect = collect_probe,
    .close = free,
};
