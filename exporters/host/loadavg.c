/* SPDX-License-Identifier: Apache-2.0 */
/* loadavg.c: the three load averages of /proc/loadavg. */
#include "exporters/host/collectors.h"
#include "exporters/host/kept.h"
#include "exporters/host/source.h"
#include "exporters/page.h"

bool
loadavg_parse(struct scan text, struct page *page, struct err *err)
{
    static const char *const names[][2] = {
        {"node_load1", "1m load average."},
        {"node_load5", "5m load average."},
        {"node_load15", "15m load average."},
    };
    double values[3];
    for (size_t i = 0; i < 3; i++) {
        struct scan word;
        if (!scan_word(&text, &word) || !scan_is_double(word, &values[i]))
            return err_set(err, ERR_RETRY, 0, "/proc/loadavg has no three load averages");
    }
    for (size_t i = 0; i < 3; i++)
        page_gauge(page, names[i][0], names[i][1], values[i]);
    return true;
}

static bool
loadavg_open(void **out, const struct host_options *options, struct err *err)
{
    return source_open(out, options->proc, "loadavg", loadavg_parse, err);
}

const struct host_class host_loadavg = {"loadavg", loadavg_open, source_collect, source_close};
