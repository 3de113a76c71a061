/* SPDX-License-Identifier: Apache-2.0 */
/* netclass.c: what network interfaces are, from the small files of /sys/class/net/<interface>. Each
 * file stays open; an interface that is gone takes its files along. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exporters/host/collectors.h"
#include "exporters/host/filter.h"
#include "exporters/host/scan.h"
#include "exporters/page.h"

#define VALUE_SIZE 512 /* of a file; an alias has at most 256 bytes */
#define INTERFACES_MAX 10000
#define KEPT_MAX 64 /* interfaces whose files stay open: 24 descriptors each */

enum unit { DECIMAL, HEXADECIMAL, MEGABITS };
static const struct {
    const char *file, *name;
    enum page_type type;
    enum unit unit;
} numbers[] = {
    {"addr_assign_type", "address_assign_type", PAGE_GAUGE, DECIMAL},
    {"carrier", "carrier", PAGE_GAUGE, DECIMAL},
    {"carrier_changes", "carrier_changes_total", PAGE_COUNTER, DECIMAL},
    {"carrier_up_count", "carrier_up_changes_total", PAGE_COUNTER, DECIMAL},
    {"carrier_down_count", "carrier_down_changes_total", PAGE_COUNTER, DECIMAL},
    {"dev_id", "device_id", PAGE_GAUGE, HEXADECIMAL},
    {"dormant", "dormant", PAGE_GAUGE, DECIMAL},
    {"flags", "flags", PAGE_GAUGE, HEXADECIMAL},
    {"ifindex", "iface_id", PAGE_GAUGE, DECIMAL},
    {"iflink", "iface_link", PAGE_GAUGE, DECIMAL},
    {"link_mode", "iface_link_mode", PAGE_GAUGE, DECIMAL},
    {"mtu", "mtu_bytes", PAGE_GAUGE, DECIMAL},
    {"name_assign_type", "name_assign_type", PAGE_GAUGE, DECIMAL},
    {"netdev_group", "net_dev_group", PAGE_GAUGE, DECIMAL},
    {"speed", "speed_bytes", PAGE_GAUGE, MEGABITS},
    {"tx_queue_len", "transmit_queue_length", PAGE_GAUGE, DECIMAL},
    {"type", "protocol_type", PAGE_GAUGE, DECIMAL},
};
#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

enum { TEXT_ADDRESS, TEXT_BROADCAST, TEXT_DUPLEX, TEXT_IFALIAS, TEXT_OPERSTATE, TEXTS };
static const char *const texts[TEXTS] = {"address", "broadcast", "duplex", "ifalias", "operstate"};
#define FILES (NUMBERS + TEXTS)

struct interface {
    char *name;
    int fds[FILES]; /* -1: not open */
    bool present;   /* in this round */
    bool has[NUMBERS];
    int64_t values[NUMBERS];
    char words[TEXTS][VALUE_SIZE];
};

struct netclass {
    char *folder;
    struct filter *filter;
    struct interface **interfaces; /* in the order of their names */
    size_t count;
};

static void
interface_free(struct interface *interface)
{
    if (interface == NULL)
        return;
    for (size_t i = 0; i < FILES; i++)
        if (interface->fds[i] >= 0)
            (void)close(interface->fds[i]);
    free(interface->name);
    free(interface);
}

/* The file's content without its newline; false when it cannot be read, as `speed` of what is
 * down. */
static bool
read_file(int *fd, int folder, const char *name, char out[VALUE_SIZE], bool keep)
{
    if (*fd < 0)
        *fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return false;
    ssize_t size = pread(*fd, out, VALUE_SIZE - 1, 0);
    if (!keep || (size < 0 && errno == ENODEV)) {
        (void)close(*fd);
        *fd = -1;
    }
    if (size < 0)
        return false;
    struct scan text = {out, (size_t)size};
    scan_trim(&text);
    memmove(out, text.at, text.size);
    out[text.size] = '\0';
    return true;
}

static void
read_interface(struct netclass *netclass, struct interface *interface, int folder)
{
    bool keep = netclass->count <= KEPT_MAX;
    char text[VALUE_SIZE];
    for (size_t i = 0; i < NUMBERS; i++) {
        struct scan word;
        uint64_t value = 0;
        bool negative = false;
        interface->has[i] = read_file(&interface->fds[i], folder, numbers[i].file, text, keep);
        if (!interface->has[i])
            continue;
        word = scan_of(text);
        if (word.size > 0 && word.at[0] == '-') {
            negative = true;
            scan_skip(&word, 1);
        }
        interface->has[i] =
            scan_is_number(word, numbers[i].unit == HEXADECIMAL ? 16 : 10, &value) &&
            value <= INT64_MAX / 125000;
        interface->values[i] = negative ? -(int64_t)value : (int64_t)value;
        if (numbers[i].unit == MEGABITS)
            interface->values[i] *= 125000;
    }
    for (size_t i = 0; i < TEXTS; i++)
        if (!read_file(&interface->fds[NUMBERS + i], folder, texts[i], interface->words[i], keep))
            interface->words[i][0] = '\0';
}

static int
by_name(const void *a, const void *b)
{
    const struct interface *const *left = a;
    const struct interface *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static struct interface *
find(struct netclass *netclass, const char *name)
{
    for (size_t i = 0; i < netclass->count; i++)
        if (strcmp(netclass->interfaces[i]->name, name) == 0)
            return netclass->interfaces[i];
    struct interface **interfaces =
        realloc(netclass->interfaces, (netclass->count + 1) * sizeof(struct interface *));
    struct interface *interface = calloc(1, sizeof(*interface));
    if (interfaces != NULL)
        netclass->interfaces = interfaces;
    if (interface != NULL)
        interface->name = strdup(name);
    if (interfaces == NULL || interface == NULL || interface->name == NULL) {
        free(interface);
        return NULL;
    }
    for (size_t i = 0; i < FILES; i++)
        interface->fds[i] = -1;
    netclass->interfaces[netclass->count++] = interface;
    return interface;
}

/* Reads what there is now, and forgets what is gone. */
static bool
read_all(struct netclass *netclass, struct err *err)
{
    DIR *folder = opendir(netclass->folder);
    if (folder == NULL)
        return err_errno(err, errno == ENOENT ? ERR_REJECT : ERR_RETRY, errno, "open '%s'",
                         netclass->folder);
    for (size_t i = 0; i < netclass->count; i++)
        netclass->interfaces[i]->present = false;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.' || filter_matches(netclass->filter, scan_of(entry->d_name)) ||
            netclass->count == INTERFACES_MAX)
            continue;
        int fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            continue; /* bonding_masters is a file */
        struct interface *interface = find(netclass, entry->d_name);
        if (interface != NULL) {
            interface->present = true;
            read_interface(netclass, interface, fd);
        }
        (void)close(fd);
    }
    (void)closedir(folder);
    size_t kept = 0;
    for (size_t i = 0; i < netclass->count; i++) {
        if (netclass->interfaces[i]->present)
            netclass->interfaces[kept++] = netclass->interfaces[i];
        else
            interface_free(netclass->interfaces[i]);
    }
    netclass->count = kept;
    if (kept > 0)
        qsort(netclass->interfaces, kept, sizeof(struct interface *), by_name);
    return true;
}

static void
put_info(const struct netclass *netclass, struct page *page)
{
    page_family(page, "node_network_up", PAGE_GAUGE,
                "Value is 1 if operstate is 'up', 0 otherwise.");
    for (size_t i = 0; i < netclass->count; i++) {
        page_begin(page);
        page_label(page, "device", netclass->interfaces[i]->name);
        page_uint(page, strcmp(netclass->interfaces[i]->words[TEXT_OPERSTATE], "up") == 0);
    }
    page_family(page, "node_network_info", PAGE_GAUGE,
                "Non-numeric data from /sys/class/net/<iface>, value is always 1.");
    for (size_t i = 0; i < netclass->count; i++) {
        page_begin(page);
        page_label(page, "device", netclass->interfaces[i]->name);
        for (size_t text = 0; text < TEXTS; text++)
            page_label(page, texts[text], netclass->interfaces[i]->words[text]);
        page_uint(page, 1);
    }
}

static bool
netclass_collect(void *self, struct page *page, struct err *err)
{
    struct netclass *netclass = self;
    if (!read_all(netclass, err))
        return false;
    put_info(netclass, page);
    for (size_t number = 0; number < NUMBERS; number++) {
        char name[64];
        char help[96];
        bool any = false;
        if (snprintf(name, sizeof(name), "node_network_%s", numbers[number].name) < 0 ||
            snprintf(help, sizeof(help), "Network device property: %s", numbers[number].name) < 0)
            continue;
        page_family(page, name, numbers[number].type, help);
        for (size_t i = 0; i < netclass->count; i++) {
            if (!netclass->interfaces[i]->has[number])
                continue;
            page_begin(page);
            page_label(page, "device", netclass->interfaces[i]->name);
            page_int(page, netclass->interfaces[i]->values[number]);
            any = true;
        }
        if (!any)
            page_absent(page, name, "no interface has a %s in %s", numbers[number].file,
                        netclass->folder);
    }
    return true;
}

static void
netclass_close(void *self)
{
    struct netclass *netclass = self;
    if (netclass == NULL)
        return;
    for (size_t i = 0; i < netclass->count; i++)
        interface_free(netclass->interfaces[i]);
    free(netclass->interfaces);
    filter_free(netclass->filter);
    free(netclass->folder);
    free(netclass);
}

static bool
netclass_open(void **out, const struct host_options *options, struct err *err)
{
    struct netclass *netclass = calloc(1, sizeof(*netclass));
    if (netclass == NULL || asprintf(&netclass->folder, "%s/class/net", options->sys) < 0) {
        free(netclass);
        return err_set(err, ERR_STOP, 0, "cannot watch the interfaces: out of memory");
    }
    if (filter_new(&netclass->filter, "host.network_exclude", options->network_exclude, err)) {
        *out = netclass;
        return true;
    }
    netclass_close(netclass);
    return false;
}

const struct host_class host_netclass = {"netclass", netclass_open, netclass_collect,
                                         netclass_close};
