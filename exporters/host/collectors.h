/* SPDX-License-Identifier: Apache-2.0 */
/* collectors.h: the host collectors, one file each, and what their pure parsers write. */
#ifndef EXPORTERS_HOST_COLLECTORS_H
#define EXPORTERS_HOST_COLLECTORS_H

#include "core/attributes.h"
#include "exporters/host/host.h"

struct scan;

extern const struct host_class host_cgroup, host_conntrack, host_cpu, host_diskstats, host_filefd,
    host_filesystem, host_loadavg, host_meminfo, host_netclass, host_netdev, host_netstat,
    host_newest, host_os, host_pressure, host_sockstat, host_softnet, host_stat, host_systemd,
    host_textfile, host_time, host_timex, host_udp_queues, host_uname, host_vmstat;

/* Each: text in, families out. False with ERR_RETRY when the text is not what it should be. */
bool conntrack_parse_count(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool conntrack_parse_limit(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool conntrack_parse_stat(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool filefd_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool loadavg_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool meminfo_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool netstat_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool netstat_parse6(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool os_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool pressure_parse_cpu(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool pressure_parse_io(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool pressure_parse_irq(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool pressure_parse_memory(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool sockstat_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool softnet_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool stat_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool udp_queues_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool udp_queues_parse6(struct scan text, struct page *page, struct err *err) MUST_CHECK;
bool vmstat_parse(struct scan text, struct page *page, struct err *err) MUST_CHECK;

#endif
