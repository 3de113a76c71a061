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
#include "exporters/probe/fetch.h"

struct probe {
    const struct exporter_probe_options *options;
};

static bool
check_address(const struct exporter_probe_options *probe, struct err *err)
{
    char host[256];
    char port[8];
    if (probe->tcp[0] != '\0' || probe->tls[0] != '\0')
        return dial_split(probe->tcp[0] != '\0' ? probe->tcp : probe->tls, host, port, err);
    if (strncmp(probe->http, "http://", 7) == 0 || strncmp(probe->http, "https://", 8) == 0)
        return true;
    return err_set(err, ERR_CONFIG, 0, "'%.200s' is no URL; begin it with http:// or https://",
                   probe->http);
}

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
        if (!check_address(probe, err))
            return err_wrap(err, "%s:%u", probe->place.file, probe->place.line);
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

/* Asks what the probe names. */
static bool
ask(const struct exporter_probe_options *options, const struct remote_call *call,
    struct fetch_result *result, struct err *err)
{
    char url[512];
    if (options->tcp[0] != '\0')
        return dial_tcp(options->tcp, call, err);
    struct fetch fetch = {.url = options->http, .ca_file = options->ca_file};
    if (options->tls[0] != '\0') {
        int size = snprintf(url, sizeof(url), "https://%s", options->tls);
        if (size < 0 || (size_t)size >= sizeof(url))
            return err_set(err, ERR_RETRY, 0, "'%.200s' is too long", options->tls);
        fetch.url = url;
        fetch.handshake = true;
    }
    return fetch_url(&fetch, call, result, err);
}

static bool
collect_probe(void *self, const struct remote_call *call, struct page *page, struct err *err)
{
    struct probe *probe = self;
    const char *name = probe->options->name;
    struct fetch_result result = {0};
    uint64_t began_ns = clock_monotonic_ns();
    bool fine = ask(probe->options, call, &result, err);
    double seconds = (double)(clock_monotonic_ns() - began_ns) / 1e9;
    page_family(page, "tailrace_probe_success", PAGE_GAUGE, "Whether the probe was answered.");
    page_sample(page, fine, "probe", name, NULL);
    page_family(page, "tailrace_probe_duration_seconds", PAGE_GAUGE,
                "How long the probe took, answered or not.");
    page_sample(page, seconds, "probe", name, NULL);
    if (result.status > 0) {
        page_family(page, "tailrace_probe_http_status_code", PAGE_GAUGE,
                    "Status of the HTTP answer.");
        page_sample(page, (double)result.status, "probe", name, NULL);
    }
    if (result.expiry > 0) {
        page_family(page, "tailrace_probe_tls_expiry_timestamp_seconds", PAGE_GAUGE,
                    "When the first certificate of the chain is over.");
        page_sample(page, (double)result.expiry, "probe", name, NULL);
    }
    return fine;
}

const struct remote_class probe_remote = {
    .name = "probe",
    .count = count_probes,
    .open = open_probe,
    .collect = collect_probe,
    .close = free,
};
