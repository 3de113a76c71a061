/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include "sinks/document.h"
#include "sinks/rotate.h"
#include "sinks/route.h"

#define NOW_MS INT64_C(1795241520123) /* 2026-11-21T06:12:00.123Z */
#define TODAY ((int32_t)(NOW_MS / ROTATE_DAY_MS))

static int32_t
day(const char *value)
{
    return rotate_day(value, strlen(value), NOW_MS);
}

static void
day_is_that_of_the_events_own_time(void **state)
{
    (void)state;
    assert_int_equal(day("{\"@timestamp\":\"2026-11-21T06:12:00.123Z\"}"), TODAY);
    assert_int_equal(day("{\"@timestamp\":\"2026-11-20T23:59:59.999Z\",\"a\":1}"), TODAY - 1);
    assert_int_equal(day(" { \"@timestamp\" : \"2026-11-20T23:59:59Z\"}"), TODAY - 1);
    assert_int_equal(day("{\"@timestamp\":\"2025-11-21T00:00:00.000Z\"}"), TODAY - 365);
    assert_int_equal(day("{\"@timestamp\":\"2026-11-21T00:30:00.000+01:00\"}"), TODAY - 1);
    assert_int_equal(day("{\"@timestamp\":\"2026-11-22T05:00:00.000Z\"}"), TODAY + 1);
}

static void
implausible_time_counts_as_that_of_the_record(void **state)
{
    (void)state;
    assert_int_equal(day("{\"@timestamp\":\"2099-01-01T00:00:00.000Z\"}"), TODAY);
    assert_int_equal(day("{\"@timestamp\":\"1969-12-31T23:00:00.000Z\"}"), TODAY);
    assert_int_equal(day("{\"@timestamp\":\"yesterday\"}"), TODAY);
    assert_int_equal(day("{\"@timestamp\":\"2026-11-2"), TODAY);
    assert_int_equal(day("{\"a\":1}"), TODAY);
    assert_int_equal(day(""), TODAY);
    assert_int_equal(rotate_day("{\"@timestamp\":\"2099-01-01T00:00:00.000Z\"}", 42, -1), 47117);
}

static void
names_of_days_are_read_back_and_no_others(void **state)
{
    (void)state;
    char name[ROTATE_NAME_SIZE];
    int32_t found = 0;
    rotate_name(name, "logs", TODAY);
    assert_string_equal(name, "logs-2026.11.21");
    assert_true(rotate_read_name(name, "logs", &found));
    assert_int_equal(found, TODAY);
    static const char *const others[] = {
        "logs-app-2026.11.21", "logs-2026.11.31", "logs-2026.02.30",
        "logs-2026-11-21",     "logs-2026.11.2",  "logs",
        "logs-2026.11.211",    "log-2026.11.21",  "logs-1969.12.31",
        "logs-+026.11.21",     "logs-",           "logs-2026.13.01",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(rotate_read_name(others[i], "logs", &found));
}

/* 40 documents of 20 days, one after the other. */
static void
bulk_holds_few_days_and_the_order_of_the_others_stays(void **state)
{
    (void)state;
    static struct document documents[40];
    struct route route = {.topic = "t", .index = "i", .daily = true};
    for (int i = 0; i < 40; i++) {
        documents[i] =
            (struct document){.value_size = 10, .id_size = 1, .day = i % 20, .offset = i};
        route_add(&route, &documents[i], 1000);
    }
    struct route_limits limits = {.bytes = 1000000, .interval_ms = 1000};
    int last[20];
    memset(last, -1, sizeof(last));
    size_t sent = 0;
    for (size_t bulk = 0; bulk < 3; bulk++) {
        struct document_list list;
        assert_true(bulk == 0 || route_wants_bulk(&route, &limits, 1001));
        route_fill_bulk(&route, &limits, &list, 1001);
        assert_int_equal(list.count, bulk < 2 ? ROUTE_DAYS_MAX * 2 : 8);
        struct document *document;
        while ((document = document_list_pop(&list)) != NULL) {
            assert_true(document->offset > last[document->day]);
            last[document->day] = (int)document->offset;
            sent++;
        }
    }
    assert_int_equal(sent, 40);
    assert_int_equal(route.fresh.count, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(day_is_that_of_the_events_own_time),
        cmocka_unit_test(implausible_time_counts_as_that_of_the_record),
        cmocka_unit_test(names_of_days_are_read_back_and_no_others),
        cmocka_unit_test(bulk_holds_few_days_and_the_order_of_the_others_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
