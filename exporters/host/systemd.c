/* SPDX-License-Identifier: Apache-2.0 */
/* systemd.c: states of systemd's units, asked for over the system bus, whose connection is kept. A
 * call may take half a second; a bus that does not answer at all is given up by the host lane.
 * Without host.units: the state of every loaded unit but devices, mounts, scopes, slices and
 * targets. With it: of the named ones, and how often services were restarted, which is one call
 * for each. */
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#include "core/hash.h"
#include "exporters/host/collectors.h"
#include "exporters/host/scan.h"
#include "exporters/page.h"

#define CALL_TIMEOUT_US 500000
#define UNITS_MAX 10000
#define NAME "org.freedesktop.systemd1"
#define PATH "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"

static const char *const states[] = {"active", "activating", "deactivating", "inactive", "failed"};
#define STATES (sizeof(states) / sizeof(states[0]))

/* A unit of this round; the texts are in the bus message. */
struct unit {
    const char *name, *active, *path;
};

/* The type of a service never changes while it is loaded: "simple", "notify", … */
struct service_type {
    char *name; /* owned */
    char type[32];
    UT_hash_handle hh;
};

struct systemd {
    const struct host_options *options;
    bool named; /* host.units names some */
    char *socket;
    sd_bus *bus; /* NULL: not connected */
    struct unit *units;
    size_t count;
    uint64_t totals[STATES];
    struct service_type *types; /* by name */
};

static bool
fail(struct systemd *systemd, int number, const char *what, struct err *err)
{
    systemd->bus = sd_bus_close_unref(systemd->bus); /* a new one next time */
    return err_errno(err, ERR_RETRY, -number, "%s on the system bus", what);
}

static bool
connect_bus(struct systemd *systemd, struct err *err)
{
    struct stat about;
    char address[PATH_MAX + 32];
    if (systemd->bus != NULL)
        return true;
    if (stat(systemd->socket, &about) != 0)
        return err_set(err, ERR_REJECT, errno, "there is no system bus at '%s'", systemd->socket);
    int size = snprintf(address, sizeof(address), "unix:path=%s", systemd->socket);
    if (size < 0 || (size_t)size >= sizeof(address))
        return err_set(err, ERR_RETRY, 0, "the path of the system bus is too long");
    int result = sd_bus_new(&systemd->bus);
    if (result >= 0)
        result = sd_bus_set_address(systemd->bus, address);
    if (result >= 0)
        result = sd_bus_set_bus_client(systemd->bus, 1);
    if (result >= 0)
        result = sd_bus_set_method_call_timeout(systemd->bus, CALL_TIMEOUT_US);
    if (result >= 0)
        result = sd_bus_start(systemd->bus);
    return result >= 0 || fail(systemd, result, "connect to systemd", err);
}

/* What to show of all units. */
static bool
is_wanted(const struct systemd *systemd, const char *name, const char *load_state)
{
    static const char *const left_out[] = {"automount", "device", "mount",
                                           "scope",     "slice",  "target"};
    if (strcmp(load_state, "loaded") != 0)
        return false;
    const struct option_texts *units = &systemd->options->units;
    for (size_t i = 0; systemd->named && i < units->count; i++)
        if (fnmatch(units->items[i], name, 0) == 0)
            return true;
    if (systemd->named)
        return false;
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof(left_out) / sizeof(left_out[0]); i++)
        if (strcmp(dot + 1, left_out[i]) == 0)
            return false;
    return dot != NULL;
}

static size_t
state_index(const char *state)
{
    size_t i = 0;
    while (i < STATES && strcmp(states[i], state) != 0)
        i++;
    return i;
}

/* Fills units and totals from the answer, which must outlive them. */
static int
read_units(struct systemd *systemd, sd_bus_message *message)
{
    systemd->count = 0;
    memset(systemd->totals, 0, sizeof(systemd->totals));
    int result = sd_bus_message_enter_container(message, 'a', "(ssssssouso)");
    while (result > 0) {
        struct unit unit;
        const char *description;
        const char *load;
        const char *sub;
        const char *followed;
        const char *job_type;
        const char *job_path;
        uint32_t job;
        result = sd_bus_message_read(message, "(ssssssouso)", &unit.name, &description, &load,
                                     &unit.active, &sub, &followed, &unit.path, &job, &job_type,
                                     &job_path);
        if (result <= 0)
            break;
        size_t state = state_index(unit.active);
        if (state < STATES)
            systemd->totals[state]++;
        if (systemd->count < UNITS_MAX && is_wanted(systemd, unit.name, load))
            systemd->units[systemd->count++] = unit;
    }
    return result;
}

/* ---- properties of one unit ---- */

static const char *
service_type(struct systemd *systemd, const struct unit *unit)
{
    struct service_type *known;
    size_t size = strlen(unit->name);
    HASH_FIND(hh, systemd->types, unit->name, size, known);
    if (known != NULL)
        return known->type;
    char *type = NULL;
    if (sd_bus_get_property_string(systemd->bus, NAME, unit->path, NAME ".Service", "Type", NULL,
                                   &type) < 0)
        return "";
    known = calloc(1, sizeof(*known));
    if (known != NULL)
        known->name = strdup(unit->name);
    if (known == NULL || known->name == NULL) {
        free(known);
        free(type);
        return "";
    }
    (void)snprintf(known->type, sizeof(known->type), "%.31s", type);
    free(type);
    HASH_ADD_KEYPTR(hh, systemd->types, known->name, size, known);
    if (!HASH_ADDED(hh, known)) {
        free(known->name);
        free(known);
        return "";
    }
    return known->type;
}

static bool
ends_with(const char *name, const char *end)
{
    size_t size = strlen(name);
    size_t end_size = strlen(end);
    return size > end_size && strcmp(name + size - end_size, end) == 0;
}

static void
put_states(struct systemd *systemd, struct page *page)
{
    page_family(page, "node_systemd_unit_state", PAGE_GAUGE, "Systemd unit");
    for (size_t i = 0; i < systemd->count; i++) {
        const struct unit *unit = &systemd->units[i];
        const char *type = ends_with(unit->name, ".service") ? service_type(systemd, unit) : "";
        for (size_t state = 0; state < STATES; state++) {
            page_begin(page);
            page_label(page, "name", unit->name);
            page_label(page, "state", states[state]);
            page_label(page, "type", type);
            page_uint(page, strcmp(unit->active, states[state]) == 0);
        }
    }
    page_family(page, "node_systemd_units", PAGE_GAUGE, "Summary of systemd unit states");
    for (size_t state = 0; state < STATES; state++) {
        page_begin(page);
        page_label(page, "state", states[state]);
        page_uint(page, systemd->totals[state]);
    }
}

static void
put_restarts(struct systemd *systemd, struct page *page)
{
    static const char name[] = "node_systemd_service_restart_total";
    if (!systemd->named) {
        page_absent(page, name, "host.units names no unit; it costs a call for each");
        return;
    }
    page_family(page, name, PAGE_COUNTER, "Service unit count of Restart triggers");
    for (size_t i = 0; i < systemd->count; i++) {
        uint32_t restarts;
        if (!ends_with(systemd->units[i].name, ".service") ||
            sd_bus_get_property_trivial(systemd->bus, NAME, systemd->units[i].path, NAME ".Service",
                                        "NRestarts", NULL, 'u', &restarts) < 0)
            continue;
        page_begin(page);
        page_label(page, "name", systemd->units[i].name);
        page_uint(page, restarts);
    }
}

static void
put_timers(struct systemd *systemd, struct page *page)
{
    page_family(page, "node_systemd_timer_last_trigger_seconds", PAGE_GAUGE,
                "Seconds since epoch of last trigger.");
    for (size_t i = 0; i < systemd->count; i++) {
        uint64_t microseconds;
        if (!ends_with(systemd->units[i].name, ".timer") ||
            sd_bus_get_property_trivial(systemd->bus, NAME, systemd->units[i].path, NAME ".Timer",
                                        "LastTriggerUSec", NULL, 't', &microseconds) < 0)
            continue;
        page_begin(page);
        page_label(page, "name", systemd->units[i].name);
        page_fixed(page, microseconds, 6);
    }
}

static void
put_system(struct systemd *systemd, struct page *page)
{
    char *text = NULL;
    if (sd_bus_get_property_string(systemd->bus, NAME, PATH, MANAGER, "SystemState", NULL, &text) >=
        0) {
        page_gauge(page, "node_systemd_system_running",
                   "Whether the system is operational (see 'systemctl is-system-running')",
                   strcmp(text, "running") == 0);
        free(text);
    }
    text = NULL;
    if (sd_bus_get_property_string(systemd->bus, NAME, PATH, MANAGER, "Version", NULL, &text) < 0)
        return;
    /* "252.39-1~deb12u1": the value is the first number, the label the whole. */
    struct scan version = {text, strspn(text, "0123456789")};
    uint64_t number;
    if (scan_is_number(version, 10, &number)) {
        page_family(page, "node_systemd_version", PAGE_GAUGE, "Detected systemd version");
        page_sample(page, (double)number, "version", text, NULL);
    }
    free(text);
}

static bool
systemd_collect(void *self, struct page *page, struct err *err)
{
    struct systemd *systemd = self;
    sd_bus_message *answer = NULL;
    if (!connect_bus(systemd, err))
        return false;
    int result =
        sd_bus_call_method(systemd->bus, NAME, PATH, MANAGER, "ListUnits", NULL, &answer, "");
    if (result >= 0)
        result = read_units(systemd, answer);
    if (result < 0) {
        (void)sd_bus_message_unref(answer);
        return fail(systemd, result, "list the units", err);
    }
    put_states(systemd, page);
    put_restarts(systemd, page);
    put_timers(systemd, page);
    put_system(systemd, page);
    systemd->count = 0;
    (void)sd_bus_message_unref(answer);
    return true;
}

static void
systemd_close(void *self)
{
    struct systemd *systemd = self;
    if (systemd == NULL)
        return;
    (void)sd_bus_close_unref(systemd->bus);
    struct service_type *type = systemd->types;
    HASH_CLEAR(hh, systemd->types); /* frees the table; its elements are still linked */
    while (type != NULL) {
        struct service_type *next = type->hh.next;
        free(type->name);
        free(type);
        type = next;
    }
    free(systemd->units);
    free(systemd->socket);
    free(systemd);
}

static bool
systemd_open(void **out, const struct host_options *options, struct err *err)
{
    struct systemd *systemd = calloc(1, sizeof(*systemd));
    if (systemd != NULL) {
        systemd->options = options;
        systemd->named = options->units.count > 0 && options->units.items[0][0] != '\0';
        systemd->units = calloc(UNITS_MAX, sizeof(*systemd->units));
        if (asprintf(&systemd->socket, "%s/run/dbus/system_bus_socket",
                     strcmp(options->root, "/") == 0 ? "" : options->root) < 0)
            systemd->socket = NULL;
    }
    if (systemd == NULL || systemd->units == NULL || systemd->socket == NULL) {
        systemd_close(systemd);
        return err_set(err, ERR_STOP, 0, "cannot watch systemd: out of memory");
    }
    *out = systemd;
    return true;
}

const struct host_class host_systemd = {"systemd", systemd_open, systemd_collect, systemd_close};
