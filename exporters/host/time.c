/* SPDX-License-Identifier: Apache-2.0 */
/* time.c: the wall clock, its zone and its source. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "exporters/host/collectors.h"
#include "exporters/host/kept.h"
#include "exporters/page.h"

#define SOURCES_MAX 16 /* clocksource0 …; there is one on every machine we know */

struct clock_source {
    struct kept current, available;
};
struct times {
    struct clock_source sources[SOURCES_MAX];
    size_t count; /* opened so far */
};

/* One sample for each word of the file. False: it is not there. */
static bool
put_words(struct page *page, struct kept *kept, size_t index)
{
    struct scan text;
    struct scan word;
    struct err err;
    char device[8];
    if (!kept_read(kept, &text, &err))
        return false;
    (void)snprintf(device, sizeof(device), "%zu", index % 100);
    while (scan_word(&text, &word)) {
        page_begin(page);
        page_label_size(page, "clocksource", word.at, word.size);
        page_label(page, "device", device);
        page_uint(page, 1);
    }
    return true;
}

static bool
time_collect(void *self, struct page *page, struct err *err)
{
    struct times *times = self;
    struct timespec now;
    struct tm local;
    (void)err;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    page_gauge(page, "node_time_seconds", "System time in seconds since epoch (1970).",
               (double)now.tv_sec + (double)now.tv_nsec / 1e9);
    if (localtime_r(&now.tv_sec, &local) != NULL) {
        page_family(page, "node_time_zone_offset_seconds", PAGE_GAUGE,
                    "System time zone offset in seconds.");
        page_begin(page);
        page_label(page, "time_zone", local.tm_zone);
        page_int(page, local.tm_gmtoff);
    }
    page_family(page, "node_time_clocksource_available_info", PAGE_GAUGE,
                "Available clocksources read from '/sys/devices/system/clocksource'.");
    size_t found = 0;
    while (found < times->count && put_words(page, &times->sources[found].available, found))
        found++;
    page_family(page, "node_time_clocksource_current_info", PAGE_GAUGE,
                "Current clocksource read from '/sys/devices/system/clocksource'.");
    for (size_t i = 0; i < found; i++)
        (void)put_words(page, &times->sources[i].current, i);
    if (found == 0)
        page_absent(page, "node_time_clocksource_*_info", "/sys names no clock source");
    return true;
}

static void
time_close(void *self)
{
    struct times *times = self;
    if (times == NULL)
        return;
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        kept_done(&times->sources[i].current);
        kept_done(&times->sources[i].available);
    }
    free(times);
}

/* Sources are there from boot on. */
static bool
time_open(void **out, const struct host_options *options, struct err *err)
{
    struct times *times = calloc(1, sizeof(*times));
    if (times == NULL)
        return err_set(err, ERR_STOP, 0, "cannot watch the clock: out of memory");
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        struct scan text;
        struct err absent;
        char path[96];
        int size = snprintf(path, sizeof(path),
                            "devices/system/clocksource/clocksource%zu/available_clocksource", i);
        bool fine = size > 0 && kept_init(&times->sources[i].available, options->sys, path, err);
        size = snprintf(path, sizeof(path),
                        "devices/system/clocksource/clocksource%zu/current_clocksource", i);
        if (!fine || size < 0 || !kept_init(&times->sources[i].current, options->sys, path, err)) {
            time_close(times);
            return false;
        }
        if (!kept_read(&times->sources[i].available, &text, &absent))
            break;
        times->count++;
    }
    *out = times;
    return true;
}

const struct host_class host_time = {"time", time_open, time_collect, time_close};
