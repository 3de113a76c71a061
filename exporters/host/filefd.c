/* SPDX-License-Identifier: Apache-2.0 */
/* filefd.c: open files of the whole host, from /proc/sys/fs/file-nr. */
#include "exporters/host/collectors.h"
#include "exporters/host/source.h"
#include "exporters/page.h"

bool
filefd_parse(struct scan text, struct page *page, struct err *err)
{
    uint64_t allocated;
    uint64_t unused;
    struct scan word;
    double maximum; /* up to 2^63: as node_exporter shows it */
    if (!scan_number(&text, &allocated) || !scan_number(&text, &unused) ||
        !scan_word(&text, &word) || !scan_is_double(word, &maximum))
        return err_set(err, ERR_RETRY, 0, "/proc/sys/fs/file-nr has no three numbers");
    page_family(page, "node_filefd_allocated", PAGE_GAUGE,
                "File descriptor statistics: allocated.");
    page_begin(page);
    page_uint(page, allocated);
    page_gauge(page, "node_filefd_maximum", "File descriptor statistics: maximum.", maximum);
    return true;
}

static bool
filefd_open(void **out, const struct host_options *options, struct err *err)
{
    return source_open(out, options->proc, "sys/fs/file-nr", filefd_parse, err);
}

const struct host_class host_filefd = {"filefd", filefd_open, source_collect, source_close};
