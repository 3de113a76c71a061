/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "exporters/kafka/assignment.h"
#include "exporters/kafka/brokers.h"

struct told {
    char text[200];
};

static void
tell(void *context, const char *topic, size_t partitions)
{
    struct told *told = context;
    size_t at = strlen(told->text);
    (void)snprintf(told->text + at, sizeof(told->text) - at, "%s:%zu ", topic, partitions);
}

/* Version 1, two topics, user data: as Java's client writes it. */
static const char assignment[] = "\x00\x01\x00\x00\x00\x02"
                                 "\x00\x02kx\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x05"
                                 "\x00\x03log\x00\x00\x00\x01\x00\x00\x00\x07"
                                 "\xff\xff\xff\xff";
#define ASSIGNMENT_TOPICS_SIZE (sizeof(assignment) - 1 - 4)

static void
an_assignment_tells_topics_and_how_many_partitions(void **state)
{
    (void)state;
    struct told told = {""};
    assert_true(assignment_read(assignment, sizeof(assignment) - 1, tell, &told));
    assert_string_equal(told.text, "kx:2 log:1 ");
}

static void
a_damaged_assignment_is_refused_and_never_read_beyond(void **state)
{
    (void)state;
    for (size_t size = 0; size < ASSIGNMENT_TOPICS_SIZE; size++) {
        char *bytes = malloc(size == 0 ? 1 : size); /* ASan sees a byte too many */
        assert_non_null(bytes);
        memcpy(bytes, assignment, size);
        struct told told = {""};
        assert_false(assignment_read(bytes, size, tell, &told));
        free(bytes);
    }
    struct told told = {""};
    assert_false(assignment_read("\x00\x01\x00\x00\x00\x01\x7f\xff", 8, tell, &told));
    assert_false(
        assignment_read("\x00\x01\x00\x00\x00\x01\x00\x01k\x7f\xff\xff\xff", 13, tell, &told));
    assert_string_equal(told.text, "");
}

/* Cut down from what librdkafka 2.0.2 tells. */
static const char statistics[] =
    "{\"name\":\"x\",\"brokers\":{"
    "\"127.0.0.1:9092/bootstrap\":{\"nodeid\":-1,\"state\":\"UP\"},"
    "\"127.0.0.1:9092/1\":{\"nodeid\":1,\"state\":\"UP\",\"txerrs\":2,\"req_timeouts\":1,"
    "\"rtt\":{\"avg\":900,\"p50\":500,\"p99\":2500,\"cnt\":7},"
    "\"throttle\":{\"avg\":20,\"cnt\":7}},"
    "\"127.0.0.1:9093/2\":{\"nodeid\":2,\"state\":\"CONNECT\",\"txerrs\":0,\"req_timeouts\":0,"
    "\"rtt\":{\"avg\":0,\"p50\":0,\"p99\":0,\"cnt\":0},\"throttle\":{\"avg\":0,\"cnt\":0}}}}";

static void
statistics_tell_of_brokers_and_not_of_bootstrap_addresses(void **state)
{
    (void)state;
    struct brokers brokers = {0};
    assert_true(brokers_read(&brokers, statistics, sizeof(statistics) - 1));
    assert_int_equal(brokers.count, 2);
    assert_int_equal(brokers.items[0].id, 1);
    assert_float_equal(brokers.items[0].rtt_p50_s, 0.0005, 1e-9);
    assert_float_equal(brokers.items[0].rtt_p99_s, 0.0025, 1e-9);
    assert_float_equal(brokers.items[0].throttle_s, 0.02, 1e-9);
    assert_int_equal(brokers.items[0].errors, 2);
    assert_int_equal(brokers.items[0].timeouts, 1);
    assert_string_equal(brokers.items[0].state, "UP");
    assert_true(brokers.items[1].rtt_p50_s < 0); /* nothing was asked: no figure, not 0 */
    brokers_done(&brokers);
}

static void
figures_that_make_no_sense_are_not_known(void **state)
{
    (void)state;
    static const char odd[] = "{\"brokers\":{\"a\":{\"nodeid\":4294967297},\"b\":{\"nodeid\":3,"
                              "\"txerrs\":1e300,\"req_timeouts\":-1,\"state\":1,"
                              "\"rtt\":{\"p50\":1e999,\"cnt\":1},\"throttle\":{\"avg\":[]}}}}";
    struct brokers brokers = {0};
    assert_true(brokers_read(&brokers, odd, sizeof(odd) - 1));
    assert_int_equal(brokers.count, 1);
    assert_int_equal(brokers.items[0].id, 3);
    assert_true(brokers.items[0].rtt_p50_s == -1); /* not 1e999 */
    assert_true(brokers.items[0].rtt_p99_s == -1); /* not there: -1, not a millionth of it */
    assert_true(brokers.items[0].throttle_s == -1);
    assert_int_equal(brokers.items[0].errors, 0);
    assert_int_equal(brokers.items[0].timeouts, 0);
    assert_string_equal(brokers.items[0].state, "");
    brokers_done(&brokers);
}

static void
what_are_no_statistics_leaves_the_last_ones(void **state)
{
    (void)state;
    struct brokers brokers = {0};
    assert_true(brokers_read(&brokers, statistics, sizeof(statistics) - 1));
    assert_false(brokers_read(&brokers, "{\"brokers\":[", 12));
    assert_false(brokers_read(&brokers, "[]", 2));
    assert_int_equal(brokers.count, 2);
    brokers_done(&brokers);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_assignment_tells_topics_and_how_many_partitions),
        cmocka_unit_test(a_damaged_assignment_is_refused_and_never_read_beyond),
        cmocka_unit_test(statistics_tell_of_brokers_and_not_of_bootstrap_addresses),
        cmocka_unit_test(figures_that_make_no_sense_are_not_known),
        cmocka_unit_test(what_are_no_statistics_leaves_the_last_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
