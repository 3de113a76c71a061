/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c: see serve.h. */
#include "exporters/host/serve.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/metrics.h"
#include "exporters/host/lane.h"
#include "exporters/page.h"

#define SERIES_MAX 10000     /* of one family: there are no remote targets here */
#define TIMEOUT_DEFAULT_S 10 /* Prometheus' own default */
#define TIMEOUT_MAX_S 600
#define ANSWER_TIME_S 0.5 /* of the scrape's time, for the way back */

struct host_serve {
    struct host_lane *lane;
    struct metrics *metrics;
    struct page own;
    const struct page **pages; /* one of each collector, and `own` */
};

bool
host_serve_new(struct host_serve **out, const struct host_options *options, struct metrics *metrics,
               struct err *err)
{
    struct host_serve *serve = calloc(1, sizeof(*serve));
    if (serve == NULL)
        return err_set(err, ERR_STOP, 0, "cannot show the host: out of memory");
    *out = serve;
    serve->metrics = metrics;
    page_init(&serve->own, SERIES_MAX);
    serve->pages = calloc(host_class_count + 1, sizeof(const struct page *));
    if (serve->pages == NULL)
        return err_set(err, ERR_STOP, 0, "cannot show the host: out of memory");
    return host_lane_new(&serve->lane, options, SERIES_MAX, NULL, err);
}

void
host_serve_free(struct host_serve *serve)
{
    if (serve == NULL)
        return;
    (void)host_lane_free(serve->lane); /* the program ends: what hangs may keep what it has */
    page_done(&serve->own);
    free(serve->pages);
    free(serve);
}

uint64_t
host_serve_deadline_ms(const struct http_request *request)
{
    const char *header = http_header(request, "X-Prometheus-Scrape-Timeout-Seconds");
    char *end;
    double seconds = strtod(header, &end);
    if (end == header || !(seconds > 0))
        seconds = TIMEOUT_DEFAULT_S;
    if (seconds > TIMEOUT_MAX_S)
        seconds = TIMEOUT_MAX_S;
    seconds = seconds > 2 * ANSWER_TIME_S ? seconds - ANSWER_TIME_S : seconds / 2;
    return clock_monotonic_ms() + (uint64_t)(seconds * 1000);
}

void
host_serve_metrics(void *context, const struct http_request *request,
                   struct http_response *response)
{
    struct host_serve *serve = context;
    enum metric_page form = http_metrics_form(request, &response->content_type);
    host_lane_scrape(serve->lane, NULL, host_serve_deadline_ms(request));
    size_t count = host_lane_pages(serve->lane, serve->pages, host_class_count);
    page_clear(&serve->own);
    host_lane_put(serve->lane, &serve->own);
    page_end(&serve->own);
    serve->pages[count++] = &serve->own;
    page_render(serve->pages, count, form, NULL, &response->body);
    metrics_render(serve->metrics, form, &response->body);
}
