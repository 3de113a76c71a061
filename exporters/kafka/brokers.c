/* SPDX-License-Identifier: Apache-2.0 */
/* brokers.c: see brokers.h. */
#include "exporters/kafka/brokers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include "exporters/page.h"

#define NUMBER_MAX 9007199254740992.0 /* 2^53: up to here a double counts exactly */

/* A count below an object; -1: there is none, or it is none. */
static double
number_at(yajl_val object, const char *first, const char *second)
{
    const char *path[] = {first, second, NULL};
    yajl_val found = yajl_tree_get(object, path, yajl_t_number);
    double number = found == NULL ? -1 : YAJL_GET_DOUBLE(found);
    return number >= 0 && number <= NUMBER_MAX ? number : -1;
}

/* A figure of a window; -1: it is not known, or the window is empty. */
static double
seconds_at(yajl_val object, const char *window, const char *figure, double per_second)
{
    double number = number_at(object, window, figure);
    return number >= 0 && number_at(object, "rtt", "cnt") > 0 ? number / per_second : -1;
}

static bool
read_broker(struct broker_stats *out, yajl_val object)
{
    double id = number_at(object, "nodeid", NULL);
    if (id < 0 || id > INT32_MAX)
        return false; /* a bootstrap address, or the group coordinator */
    double errors = number_at(object, "txerrs", NULL);
    double timeouts = number_at(object, "req_timeouts", NULL);
    const char *state_path[] = {"state", NULL};
    yajl_val state = yajl_tree_get(object, state_path, yajl_t_string);
    *out = (struct broker_stats){
        .id = (int32_t)id,
        .rtt_p50_s = seconds_at(object, "rtt", "p50", 1e6),
        .rtt_p99_s = seconds_at(object, "rtt", "p99", 1e6),
        .throttle_s = seconds_at(object, "throttle", "avg", 1e3),
        .errors = errors < 0 ? 0 : (uint64_t)errors,
        .timeouts = timeouts < 0 ? 0 : (uint64_t)timeouts,
    };
    (void)snprintf(out->state, sizeof(out->state), "%s",
                   state == NULL ? "" : YAJL_GET_STRING(state));
    return true;
}

bool
brokers_read(struct brokers *brokers, const char *json, size_t size)
{
    char *text = strndup(json, size);
    yajl_val root = text == NULL ? NULL : yajl_tree_parse(text, NULL, 0);
    free(text);
    const char *path[] = {"brokers", NULL};
    yajl_val found = root == NULL ? NULL : yajl_tree_get(root, path, yajl_t_object);
    size_t named = found == NULL ? 0 : found->u.object.len;
    struct broker_stats *items = found == NULL ? NULL : calloc(named + 1, sizeof(*items));
    size_t count = 0;
    for (size_t i = 0; items != NULL && i < named; i++)
        count += read_broker(&items[count], found->u.object.values[i]) ? 1 : 0;
    yajl_tree_free(root);
    if (items == NULL)
        return false;
    free(brokers->items);
    brokers->items = items;
    brokers->count = count;
    return true;
}

void
brokers_done(struct brokers *brokers)
{
    free(brokers->items);
    *brokers = (struct brokers){0};
}

void
brokers_put(const struct brokers *brokers, struct page *page)
{
    for (size_t i = 0; i < brokers->count; i++) {
        const struct broker_stats *broker = &brokers->items[i];
        char id[16];
        (void)snprintf(id, sizeof(id), "%d", (int)broker->id);
        page_family(page, "tailrace_kafka_broker_round_trip_seconds", PAGE_SUMMARY,
                    "How long the broker took to answer this exporter, in the last interval.");
        if (broker->rtt_p50_s >= 0)
            page_sample(page, broker->rtt_p50_s, "broker", id, "quantile", "0.5", NULL);
        if (broker->rtt_p99_s >= 0)
            page_sample(page, broker->rtt_p99_s, "broker", id, "quantile", "0.99", NULL);
        page_family(page, "tailrace_kafka_broker_throttle_seconds", PAGE_GAUGE,
                    "How long the broker throttled this exporter's requests, on average.");
        if (broker->throttle_s >= 0)
            page_sample(page, broker->throttle_s, "broker", id, NULL);
        page_family(page, "tailrace_kafka_broker_connected", PAGE_GAUGE,
                    "Whether the exporter has a connection to the broker.");
        page_sample(page, strcmp(broker->state, "UP") == 0, "broker", id, NULL);
        page_family(page, "tailrace_kafka_broker_request_errors_total", PAGE_COUNTER,
                    "Requests of this exporter to the broker that failed or were not answered.");
        page_sample(page, (double)(broker->errors + broker->timeouts), "broker", id, NULL);
    }
}
