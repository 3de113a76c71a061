/* SPDX-License-Identifier: Apache-2.0 */
/* netstat.c: counters of the protocols, from /proc/net/netstat, snmp and snmp6. */
#include <stdio.h>
#include <string.h>

#include "exporters/host/collectors.h"
#include "exporters/host/several.h"
#include "exporters/page.h"

#define NAME_SIZE 128

/* node_exporter's choice, ^(.*_(InErrors|InErrs)|Ip_Forwarding|…)$, as a list; '*' at the end
 * stands for anything. */
static bool
is_wanted(struct scan protocol, struct scan field)
{
    static const char *const wanted[][2] = {
        {"*", "InErrors"},         {"*", "InErrs"},
        {"Ip", "Forwarding"},      {"Ip6", "InOctets"},
        {"Ip6", "OutOctets"},      {"IpExt", "InOctets"},
        {"IpExt", "OutOctets"},    {"Icmp", "InMsgs"},
        {"Icmp", "OutMsgs"},       {"Icmp6", "InMsgs"},
        {"Icmp6", "OutMsgs"},      {"TcpExt", "Listen*"},
        {"TcpExt", "Syncookies*"}, {"TcpExt", "TCPSynRetrans"},
        {"TcpExt", "TCPTimeouts"}, {"Tcp", "ActiveOpens"},
        {"Tcp", "InSegs"},         {"Tcp", "OutSegs"},
        {"Tcp", "OutRsts"},        {"Tcp", "PassiveOpens"},
        {"Tcp", "RetransSegs"},    {"Tcp", "CurrEstab"},
        {"Udp", "InDatagrams"},    {"Udp", "OutDatagrams"},
        {"Udp", "NoPorts"},        {"Udp", "RcvbufErrors"},
        {"Udp", "SndbufErrors"},   {"Udp6", "InDatagrams"},
        {"Udp6", "OutDatagrams"},  {"Udp6", "NoPorts"},
        {"Udp6", "RcvbufErrors"},  {"Udp6", "SndbufErrors"},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        const char *name = wanted[i][1];
        size_t size = strlen(name);
        if (wanted[i][0][0] != '*' && !scan_equals(protocol, wanted[i][0]))
            continue;
        if (name[size - 1] == '*' ? field.size >= size - 1 && memcmp(field.at, name, size - 1) == 0
                                  : scan_equals(field, name))
            return true;
    }
    return false;
}

static void
put(struct page *page, struct scan protocol, struct scan field, int64_t value)
{
    char name[NAME_SIZE];
    char help[NAME_SIZE];
    if (protocol.size + field.size > NAME_SIZE / 2 || !is_wanted(protocol, field))
        return;
    if (snprintf(name, sizeof(name), "node_netstat_%.*s_%.*s", (int)protocol.size, protocol.at,
                 (int)field.size, field.at) < 0 ||
        snprintf(help, sizeof(help), "Statistic %.*s%.*s.", (int)protocol.size, protocol.at,
                 (int)field.size, field.at) < 0)
        return;
    page_family(page, name, PAGE_UNTYPED, help);
    page_begin(page);
    page_int(page, value);
}

/* Pairs of lines: "Tcp: InSegs OutSegs" and "Tcp: 5 6". */
bool
netstat_parse(struct scan text, struct page *page, struct err *err)
{
    struct scan names;
    struct scan values;
    size_t pairs = 0;
    while (scan_line(&text, &names) && scan_line(&text, &values)) {
        struct scan protocol;
        struct scan again;
        struct scan field;
        int64_t value;
        if (!scan_until(&names, ':', &protocol) || !scan_until(&values, ':', &again) ||
            protocol.size != again.size || memcmp(protocol.at, again.at, again.size) != 0)
            return err_set(err, ERR_RETRY, 0, "names and values of /proc/net do not match");
        pairs++;
        while (scan_word(&names, &field) && scan_signed(&values, &value))
            put(page, protocol, field, value);
    }
    return pairs > 0 || err_set(err, ERR_RETRY, 0, "/proc/net names no counter");
}

/* "Ip6InReceives  5": the protocol ends with the 6. */
bool
netstat_parse6(struct scan text, struct page *page, struct err *err)
{
    struct scan line;
    (void)err;
    while (scan_line(&text, &line)) {
        struct scan field;
        int64_t value;
        if (!scan_word(&line, &field) || !scan_signed(&line, &value))
            continue;
        const char *six = memchr(field.at, '6', field.size);
        if (six == NULL)
            continue;
        struct scan protocol = {field.at, (size_t)(six - field.at) + 1};
        scan_skip(&field, protocol.size);
        put(page, protocol, field, value);
    }
    return true;
}

static bool
netstat_open(void **out, const struct host_options *options, struct err *err)
{
    static const struct several_file files[] = {
        {"net/netstat", netstat_parse, "node_netstat_TcpExt_*", "no extended counters"},
        {"net/snmp", netstat_parse, "node_netstat_Tcp_*", "no counters of IPv4"},
        {"net/snmp6", netstat_parse6, "node_netstat_Ip6_*", "IPv6 is switched off"},
    };
    return several_open(out, options->proc, files, 3, err);
}

const struct host_class host_netstat = {"netstat", netstat_open, several_collect, several_close};
