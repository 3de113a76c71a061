/* SPDX-License-Identifier: Apache-2.0 */
/* collectors.h: the host collectors, one file each, and what their pure parsers write. */
#ifndef EXPORTERS_HOST_COLLECTORS_H
#define EXPORTERS_HOST_COLLECTORS_H

#include "core/attributes.h"
#include "exporters/host/host.h"

struct scan;

extern const struct host_class host_cpu, host_diskstats, host_filesystem, host_loadavg,
    host_meminfo, host_netdev, host_stat;

/* Each: text in, families out. False with ERR_RETRY when the text is not what it should be. */
bool loadavg_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool meminfo_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool stat_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;

#endif
