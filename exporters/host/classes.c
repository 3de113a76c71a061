/* SPDX-License-Identifier: Apache-2.0 */
/* classes.c: the table of host collectors, in the order of the page. */
#include "exporters/host/collectors.h"
#include "exporters/host/host.h"

const struct host_class *const host_classes[] = {
    &host_cpu,      &host_stat,      &host_loadavg,    &host_meminfo,   &host_vmstat,
    &host_pressure, &host_diskstats, &host_filesystem, &host_netdev,    &host_netstat,
    &host_sockstat, &host_softnet,   &host_udp_queues, &host_conntrack, &host_filefd,
    &host_time,     &host_timex,     &host_uname,      &host_os,        &host_systemd,
    &host_netclass, &host_textfile,  &host_newest,     &host_cgroup,
};
const size_t host_class_count = sizeof(host_classes) / sizeof(host_classes[0]);
