/* SPDX-License-Identifier: Apache-2.0 */
/* scrape.c: see scrape.h. */
#include "exporters/scrape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/bounds.h"
#include "core/metrics.h"
#include "exporters/host/lane.h"
#include "exporters/host/serve.h"
#include "exporters/left_out.h"
#include "exporters/pack.h"
#include "exporters/page.h"
#include "exporters/remote_lane.h"

#define NAMES_MAX 64          /* collectors in a query */
#define OWN_SERIES_MAX 100000 /* of the frame: some per collector and target */

struct scrape {
    struct scrape_parts parts;
    const struct page **pages; /* room for one of each collector and target, and the frame's */
    size_t page_max;
    struct page own;
    struct buffer text; /* of an answer: all but the large families */
    bool *host_wanted;
    bool *remote_wanted;
};

bool
scrape_new(struct scrape **out, const struct scrape_parts *parts, struct err *err)
{
    struct scrape *scrape = calloc(1, sizeof(*scrape));
    if (scrape == NULL)
        return err_set(err, ERR_STOP, 0, "cannot make the metrics page: out of memory");
    *out = scrape;
    scrape->parts = *parts;
    scrape->page_max = host_class_count + remote_lane_count(parts->remotes) + 1;
    scrape->pages = calloc(scrape->page_max, sizeof(const struct page *));
    scrape->host_wanted = calloc(host_class_count, sizeof(bool));
    scrape->remote_wanted = calloc(remote_class_count, sizeof(bool));
    page_init(&scrape->own, OWN_SERIES_MAX);
    buffer_init(&scrape->text, HTTP_BODY_MAX);
    return (scrape->pages != NULL && scrape->host_wanted != NULL &&
            scrape->remote_wanted != NULL) ||
           err_set(err, ERR_STOP, 0, "cannot make the metrics page: out of memory");
}

void
scrape_free(struct scrape *scrape)
{
    if (scrape == NULL)
        return;
    free(scrape->pages);
    buffer_done(&scrape->text);
    free(scrape->host_wanted);
    free(scrape->remote_wanted);
    page_done(&scrape->own);
    free(scrape);
}

/* ---- what is asked for ---- */

static bool
set_wanted(struct scrape *scrape, const char *name, bool wanted)
{
    for (size_t i = 0; i < host_class_count; i++)
        if (strcmp(host_classes[i]->name, name) == 0) {
            scrape->host_wanted[i] = wanted;
            return true;
        }
    for (size_t i = 0; i < remote_class_count; i++)
        if (strcmp(remote_classes[i]->name, name) == 0) {
            scrape->remote_wanted[i] = wanted;
            return true;
        }
    return false;
}

/* False, and the answer says why: an unknown name, or both lists at once. */
static bool
choose(struct scrape *scrape, const struct http_request *request, struct http_response *response)
{
    const char *collect[NAMES_MAX];
    const char *exclude[NAMES_MAX];
    size_t collect_count = http_query_all(request, "collect[]", collect, NAMES_MAX);
    size_t exclude_count = http_query_all(request, "exclude[]", exclude, NAMES_MAX);
    for (size_t i = 0; i < host_class_count; i++)
        scrape->host_wanted[i] = collect_count == 0;
    for (size_t i = 0; i < remote_class_count; i++)
        scrape->remote_wanted[i] = collect_count == 0;
    response->status = 400;
    if (collect_count > 0 && exclude_count > 0) {
        buffer_text(&response->body, "collect[] and exclude[] cannot be combined\n");
        return false;
    }
    size_t count = collect_count > 0 ? collect_count : exclude_count;
    for (size_t i = 0; i < count; i++) {
        const char *name = collect_count > 0 ? collect[i] : exclude[i];
        if (set_wanted(scrape, name, collect_count > 0))
            continue;
        buffer_format(&response->body, "there is no collector '%.100s'\n", name);
        return false;
    }
    response->status = 200;
    return true;
}

/* ---- what the frame says ---- */

static void
put_host(struct scrape *scrape)
{
    struct page *own = &scrape->own;
    struct host_state state;
    static const char *const heads[][2] = {
        {"tailrace_exporter_collector_success", "Whether the collector was read in this scrape."},
        {"tailrace_exporter_collector_duration_seconds", "How long it took in this scrape."},
        {"tailrace_exporter_collector_hung",
         "Whether a thread waits in it: it is left out until it comes back."},
        {"tailrace_exporter_collector_cpu_seconds_total", "Processor time of its own."},
    };
    for (size_t family = 0; family < sizeof(heads) / sizeof(heads[0]); family++) {
        page_family(own, heads[family][0], family == 3 ? PAGE_COUNTER : PAGE_GAUGE,
                    heads[family][1]);
        for (size_t i = 0; i < host_class_count; i++) {
            host_lane_state(scrape->parts.host, i, &state);
            double values[] = {state.success, state.seconds, state.hung, state.cpu_seconds};
            if (state.asked)
                page_sample(own, values[family], "collector", state.name, NULL);
        }
    }
    host_lane_put(scrape->parts.host, own);
}

static double
remote_value(const struct remote_state *state, size_t family)
{
    switch (family) {
    case 0:
        return state->success;
    case 1:
        return state->has_page ? state->age_seconds : NAN;
    case 2:
        return state->duration_seconds;
    case 3:
        return (double)state->series;
    case 4:
        return (double)state->refreshes;
    case 5:
        return (double)state->failures;
    case 6:
        return state->cpu_seconds;
    case 7:
        return (double)state->process.ends;
    default:
        return (double)state->process.resident_bytes;
    }
}

static void
put_remotes(struct scrape *scrape)
{
    static const char *const heads[][2] = {
        {"tailrace_exporter_target_success", "Whether the target could be read in its last round."},
        {"tailrace_exporter_target_age_seconds", "Age of the target's series on this page."},
        {"tailrace_exporter_target_duration_seconds", "How long its last round took."},
        {"tailrace_exporter_target_series", "Series of its last round."},
        {"tailrace_exporter_target_refreshes_total", "Rounds that are over."},
        {"tailrace_exporter_target_failures_total", "Rounds in which it could not be read."},
        {"tailrace_exporter_target_cpu_seconds_total",
         "Processor time of the target's own thread and processes."},
        {"tailrace_exporter_target_process_ends_total",
         "Times the target's own process ended, or was ended because it did not answer."},
        {"tailrace_exporter_target_process_resident_memory_bytes",
         "Resident memory of the target's own process, which process_resident_memory_bytes does "
         "not have in it."},
    };
    struct remote_lane *remotes = scrape->parts.remotes;
    for (size_t family = 0; family < sizeof(heads) / sizeof(heads[0]); family++) {
        bool counter = family >= 4 && family <= 7;
        page_family(&scrape->own, heads[family][0], counter ? PAGE_COUNTER : PAGE_GAUGE,
                    heads[family][1]);
        for (size_t i = 0; i < remote_lane_count(remotes); i++) {
            struct remote_state state;
            if (!scrape->remote_wanted[remote_lane_class(remotes, i)])
                continue;
            remote_lane_state(remotes, i, &state);
            if (family >= 7 && !state.has_process)
                continue;
            page_sample(&scrape->own, remote_value(&state, family), "collector", state.collector,
                        "target", state.target, NULL);
        }
    }
}

static void
answer_packed(struct scrape *scrape, size_t count, enum metric_page form,
              struct http_response *response)
{
    struct buffer *rest = &scrape->text;
    struct pack_gzip packed;
    pack_gzip_begin(&packed, &response->body);
    page_render(scrape->pages, count, form, &packed.taker, rest);
    metrics_render(scrape->parts.metrics, form, rest);
    pack_gzip_end(&packed, rest->bytes, rest->size);
    response->packed = true;
    response->body.failed = response->body.failed || rest->failed;
}

static void
answer_plain(struct scrape *scrape, size_t count, enum metric_page form,
             struct http_response *response)
{
    struct buffer *rest = &scrape->text;
    struct pack_plain *plain;
    if (!pack_plain_new(&plain)) {
        response->body.failed = true; /* says that memory is short */
        return;
    }
    page_render(scrape->pages, count, form, pack_plain_taker(plain), rest);
    metrics_render(scrape->parts.metrics, form, rest);
    response->stream = pack_plain_end(plain, rest->bytes, rest->size);
    response->body.failed = response->stream == NULL || rest->failed;
}

void
scrape_serve(void *context, const struct http_request *request, struct http_response *response)
{
    struct scrape *scrape = context;
    if (!choose(scrape, request, response))
        return;
    enum metric_page form = http_metrics_form(request, &response->content_type);
    size_t count = 0;
    page_clear(&scrape->own);
    if (scrape->parts.host != NULL) {
        host_lane_scrape(scrape->parts.host, scrape->host_wanted, host_serve_deadline_ms(request));
        count = host_lane_pages(scrape->parts.host, scrape->pages, host_class_count);
        put_host(scrape);
    }
    put_remotes(scrape);
    left_out_put(scrape->parts.left_out, &scrape->own);
    page_end(&scrape->own);
    scrape->pages[count++] = &scrape->own;
    count += remote_lane_lock(scrape->parts.remotes, scrape->remote_wanted, scrape->pages + count,
                              scrape->page_max - count);
    buffer_clear(&scrape->text);
    if (http_takes_gzip(request))
        answer_packed(scrape, count, form, response);
    else
        answer_plain(scrape, count, form, response);
    remote_lane_unlock(scrape->parts.remotes);
}
