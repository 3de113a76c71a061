/* SPDX-License-Identifier: Apache-2.0 */
/* udp_queues.c: bytes that wait in UDP sockets, from /proc/net/udp and udp6. */
#include "exporters/host/collectors.h"
#include "exporters/host/several.h"
#include "exporters/page.h"

static bool
parse(struct scan text, const char *ip, struct page *page, struct err *err)
{
    uint64_t sent = 0;
    uint64_t received = 0;
    struct scan line;
    if (!scan_line(&text, &line)) /* the head */
        return err_set(err, ERR_RETRY, 0, "/proc/net/udp is empty");
    while (scan_line(&text, &line)) {
        struct scan word;
        struct scan left;
        uint64_t tx;
        uint64_t rx;
        bool whole = true;
        for (int i = 0; i < 5 && whole; i++) /* number, addresses, state, queues */
            whole = scan_word(&line, &word);
        if (!whole || !scan_until(&word, ':', &left) || !scan_is_number(left, 16, &tx) ||
            !scan_is_number(word, 16, &rx))
            continue;
        sent += tx;
        received += rx;
    }
    page_family(page, "node_udp_queues", PAGE_GAUGE,
                "Number of allocated memory in the kernel for UDP datagrams in bytes.");
    for (int i = 0; i < 2; i++) {
        page_begin(page);
        page_label(page, "ip", ip);
        page_label(page, "queue", i == 0 ? "tx" : "rx");
        page_uint(page, i == 0 ? sent : received);
    }
    return true;
}

bool
udp_queues_parse(struct scan text, struct page *page, struct err *err)
{
    return parse(text, "v4", page, err);
}

bool
udp_queues_parse6(struct scan text, struct page *page, struct err *err)
{
    return parse(text, "v6", page, err);
}

static bool
udp_queues_open(void **out, const struct host_options *options, struct err *err)
{
    static const struct several_file files[] = {
        {"net/udp", udp_queues_parse, "node_udp_queues{ip=\"v4\"}", "no UDP over IPv4"},
        {"net/udp6", udp_queues_parse6, "node_udp_queues{ip=\"v6\"}", "IPv6 is switched off"},
    };
    return several_open(out, options->proc, files, 2, err);
}

const struct host_class host_udp_queues = {"udp_queues", udp_queues_open, several_collect,
                                           several_close};
