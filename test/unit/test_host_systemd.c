/* SPDX-License-Identifier: Apache-2.0 */
/* The systemd collector against a bus of our own that answers as systemd does. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "exporters/host/collectors.h"
#include "exporters/page.h"
#include "test/unit/unit.h"

struct fake {
    int listener;
    pthread_t thread;
    char root[64], socket[128];
};

static int
answer_property(sd_bus_message *message)
{
    const char *interface;
    const char *name;
    int result = sd_bus_message_read(message, "ss", &interface, &name);
    if (result < 0)
        return result;
    if (strcmp(name, "NRestarts") == 0)
        return sd_bus_reply_method_return(message, "v", "u", 7U);
    if (strcmp(name, "LastTriggerUSec") == 0)
        return sd_bus_reply_method_return(message, "v", "t", UINT64_C(1700000000500000));
    if (strcmp(name, "SystemState") == 0)
        return sd_bus_reply_method_return(message, "v", "s", "degraded");
    if (strcmp(name, "Version") == 0)
        return sd_bus_reply_method_return(message, "v", "s", "252.39-1~deb12u1");
    return sd_bus_reply_method_return(message, "v", "s", "notify");
}

static int
answer_units(sd_bus_message *message)
{
    static const char *const units[][3] = {
        {"kafka.service", "loaded", "active"},     {"broken.service", "loaded", "failed"},
        {"gone.service", "not-found", "inactive"}, {"backup.timer", "loaded", "active"},
        {"dev-vda.device", "loaded", "active"},
    };
    sd_bus_message *reply = NULL;
    int result = sd_bus_message_new_method_return(message, &reply);
    if (result >= 0)
        result = sd_bus_message_open_container(reply, 'a', "(ssssssouso)");
    for (size_t i = 0; result >= 0 && i < sizeof(units) / sizeof(units[0]); i++)
        result = sd_bus_message_append(reply, "(ssssssouso)", units[i][0], "About it", units[i][1],
                                       units[i][2], "running", "", "/unit", 0U, "", "/");
    if (result >= 0)
        result = sd_bus_message_close_container(reply);
    if (result >= 0)
        result = sd_bus_send(NULL, reply, NULL);
    (void)sd_bus_message_unref(reply);
    return result;
}

static int
on_message(sd_bus_message *message, void *context, sd_bus_error *error)
{
    (void)context;
    (void)error;
    int result = 0;
    if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus", "Hello"))
        result = sd_bus_reply_method_return(message, "s", ":1.1");
    else if (sd_bus_message_is_method_call(message, NULL, "ListUnits"))
        result = answer_units(message);
    else if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus.Properties", "Get"))
        result = answer_property(message);
    return result < 0 ? result : 1;
}

/* Serves one connection until it is closed. */
static void *
serve(void *argument)
{
    struct fake *fake = argument;
    sd_bus *bus = NULL;
    sd_id128_t id = {.bytes = {1}};
    int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || sd_bus_new(&bus) < 0)
        return NULL;
    if (sd_bus_set_fd(bus, fd, fd) >= 0 && sd_bus_set_server(bus, 1, id) >= 0 &&
        sd_bus_set_anonymous(bus, 1) >= 0 && sd_bus_add_filter(bus, NULL, on_message, NULL) >= 0 &&
        sd_bus_start(bus) >= 0)
        for (int result = 0; result >= 0;) {
            result = sd_bus_process(bus, NULL);
            if (result == 0)
                result = sd_bus_wait(bus, UINT64_MAX);
        }
    (void)sd_bus_close_unref(bus);
    return NULL;
}

static void
start(struct fake *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[128];
    static const char *const folders[] = {"run", "run/dbus"};
    memcpy(fake->root, "/tmp/tailrace-bus-XXXXXX", 25);
    assert_non_null(mkdtemp(fake->root));
    for (size_t i = 0; i < 2; i++) {
        assert_true(snprintf(path, sizeof(path), "%s/%s", fake->root, folders[i]) > 0);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_true(snprintf(fake->socket, sizeof(fake->socket), "%s/run/dbus/system_bus_socket",
                         fake->root) > 0);
    memcpy(address.sun_path, fake->socket, strlen(fake->socket) + 1);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fake->listener >= 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->listener, 1), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, serve, fake), 0);
}

static void
stop(struct fake *fake)
{
    char path[128];
    assert_int_equal(pthread_join(fake->thread, NULL), 0);
    assert_int_equal(close(fake->listener), 0);
    assert_int_equal(unlink(fake->socket), 0);
    assert_true(snprintf(path, sizeof(path), "%s/run/dbus", fake->root) > 0);
    assert_int_equal(rmdir(path), 0);
    path[strlen(path) - 5] = '\0';
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(fake->root), 0);
}

static void
collect(struct fake *fake, const struct option_texts *units, struct page *page)
{
    struct host_options options = {.root = fake->root, .units = *units};
    struct err err;
    void *self;
    assert_true(host_systemd.open(&self, &options, &err));
    for (int round = 0; round < 2; round++) { /* the connection is kept */
        page_clear(page);
        if (!host_systemd.collect(self, page, &err))
            fail_msg("%s", err.text);
        page_end(page);
    }
    host_systemd.close(self);
}

static void
expect(const struct page *page, const char *line)
{
    struct page copy = *page;
    if (strstr(buffer_string(&copy.samples), line) == NULL)
        fail_msg("'%s' is not in:\n%s", line, buffer_string(&copy.samples));
}

static void
states_of_loaded_units_are_shown(void **state)
{
    (void)state;
    struct fake fake;
    struct page page;
    const char *none[] = {""};
    struct option_texts units = {none, 1};
    page_init(&page, 1000);
    start(&fake);
    collect(&fake, &units, &page);
    stop(&fake);
    expect(&page,
           "node_systemd_unit_state{name=\"kafka.service\",state=\"active\",type=\"notify\"} "
           "1\n");
    expect(&page, "node_systemd_unit_state{name=\"broken.service\",state=\"failed\",type=\"notify\""
                  "} 1\n");
    expect(&page, "node_systemd_unit_state{name=\"backup.timer\",state=\"failed\",type=\"\"} 0\n");
    expect(&page, "node_systemd_units{state=\"active\"} 3\n");
    expect(&page, "node_systemd_units{state=\"inactive\"} 1\n");
    expect(&page, "node_systemd_timer_last_trigger_seconds{name=\"backup.timer\"} 1700000000.5\n");
    expect(&page, "node_systemd_system_running 0\n");
    expect(&page, "node_systemd_version{version=\"252.39-1~deb12u1\"} 252\n");
    const char *text = buffer_string(&page.samples);
    assert_null(strstr(text, "gone.service"));
    assert_null(strstr(text, "dev-vda.device"));
    assert_null(strstr(text, "restart"));
    page_done(&page);
}

static void
restarts_of_named_units_are_counted(void **state)
{
    (void)state;
    struct fake fake;
    struct page page;
    const char *names[] = {"kafka*"};
    struct option_texts units = {names, 1};
    page_init(&page, 1000);
    start(&fake);
    collect(&fake, &units, &page);
    stop(&fake);
    expect(&page, "node_systemd_service_restart_total{name=\"kafka.service\"} 7\n");
    assert_null(strstr(buffer_string(&page.samples), "broken.service"));
    page_done(&page);
}

static void
host_without_a_bus_is_no_fault(void **state)
{
    (void)state;
    struct host_options options = {.root = "/nonexistent"};
    struct page page;
    struct err err;
    void *self;
    page_init(&page, 1000);
    assert_true(host_systemd.open(&self, &options, &err));
    assert_false(host_systemd.collect(self, &page, &err));
    assert_int_equal(err.action, ERR_REJECT);
    host_systemd.close(self);
    page_done(&page);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_of_loaded_units_are_shown),
        cmocka_unit_test(restarts_of_named_units_are_counted),
        cmocka_unit_test(host_without_a_bus_is_no_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
