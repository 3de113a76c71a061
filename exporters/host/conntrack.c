/* SPDX-License-Identifier: Apache-2.0 */
/* conntrack.c: how full the table of tracked connections is, and what went wrong in it. */
#include "exporters/host/collectors.h"
#include "exporters/host/several.h"
#include "exporters/page.h"

static bool
put_number(struct scan text, struct page *page, const char *name, const char *help, struct err *err)
{
    uint64_t value;
    if (!scan_number(&text, &value))
        return err_set(err, ERR_RETRY, 0, "%s: its file has no number", name);
    page_family(page, name, PAGE_GAUGE, help);
    page_begin(page);
    page_uint(page, value);
    return true;
}

bool
conntrack_parse_count(struct scan text, struct page *page, struct err *err)
{
    return put_number(text, page, "node_nf_conntrack_entries",
                      "Number of currently allocated flow entries for connection tracking.", err);
}

bool
conntrack_parse_limit(struct scan text, struct page *page, struct err *err)
{
    return put_number(text, page, "node_nf_conntrack_entries_limit",
                      "Maximum size of connection tracking table.", err);
}

/* The sum over all processors of the column of this name; columns have moved between kernels. */
static bool
sum_column(struct scan text, const char *name, uint64_t *out)
{
    struct scan line;
    struct scan word;
    size_t column = 0;
    bool found = false;
    if (!scan_line(&text, &line))
        return false;
    while (!found && scan_word(&line, &word)) {
        found = scan_equals(word, name);
        column += !found;
    }
    *out = 0;
    while (found && scan_line(&text, &line)) {
        uint64_t value;
        size_t at = 0;
        while (scan_word(&line, &word) && at < column)
            at++;
        if (at == column && scan_is_number(word, 16, &value))
            *out += value;
    }
    return found;
}

bool
conntrack_parse_stat(struct scan text, struct page *page, struct err *err)
{
    static const char *const fields[][3] = {
        {"found", "node_nf_conntrack_stat_found",
         "Number of searched entries which were successful."},
        {"invalid", "node_nf_conntrack_stat_invalid",
         "Number of packets seen which can not be tracked."},
        {"ignore", "node_nf_conntrack_stat_ignore",
         "Number of packets seen which are already connected to a conntrack entry."},
        {"insert", "node_nf_conntrack_stat_insert", "Number of entries inserted into the list."},
        {"insert_failed", "node_nf_conntrack_stat_insert_failed",
         "Number of entries for which list insertion was attempted but failed."},
        {"drop", "node_nf_conntrack_stat_drop",
         "Number of packets dropped due to conntrack failure."},
        {"early_drop", "node_nf_conntrack_stat_early_drop",
         "Number of dropped conntrack entries to make room for new ones, if maximum table size was "
         "reached."},
        {"search_restart", "node_nf_conntrack_stat_search_restart",
         "Number of conntrack table lookups which had to be restarted due to hashtable resizes."},
    };
    size_t found = 0;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        uint64_t sum;
        if (!sum_column(text, fields[i][0], &sum))
            continue;
        page_family(page, fields[i][1], PAGE_GAUGE, fields[i][2]);
        page_begin(page);
        page_uint(page, sum);
        found++;
    }
    return found > 0 ||
           err_set(err, ERR_RETRY, 0, "/proc/net/stat/nf_conntrack has none of the known columns");
}

static bool
conntrack_open(void **out, const struct host_options *options, struct err *err)
{
    static const char absent[] = "connections are not tracked (module nf_conntrack)";
    static const struct several_file files[] = {
        {"sys/net/netfilter/nf_conntrack_count", conntrack_parse_count, "node_nf_conntrack_entries",
         absent},
        {"sys/net/netfilter/nf_conntrack_max", conntrack_parse_limit,
         "node_nf_conntrack_entries_limit", absent},
        {"net/stat/nf_conntrack", conntrack_parse_stat, "node_nf_conntrack_stat_*", absent},
    };
    return several_open(out, options->proc, files, 3, err);
}

const struct host_class host_conntrack = {"conntrack", conntrack_open, several_collect,
                                          several_close};
