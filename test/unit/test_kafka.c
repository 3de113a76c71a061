/* SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka.h"

#include <stdlib.h>

#include "core/buffer.h"
#include "test/unit/unit.h"

static const struct kafka_property fixed[] = {
    {"acks", "all", "it carries the promise that nothing is lost"},
    {"message.timeout.ms", "0", "it carries the promise that nothing is lost"},
    {"compression.type", NULL, "use kafka.compression"},
};

static int
forget_environment(void **state)
{
    (void)state;
    (void)unsetenv("KAFKA_BOOTSTRAP_SERVERS");
    (void)unsetenv("KAFKA_SECURITY_PROTOCOL");
    return 0;
}

static void
good_servers_pass(void **state)
{
    (void)state;
    struct err err;
    assert_true(kafka_check_servers("localhost:9092", &err));
    assert_true(kafka_check_servers("b-1:9094,b-2:9094 , 10.0.0.1:65535", &err));
    assert_true(kafka_check_servers("[::1]:9092", &err));
    assert_true(kafka_check_servers("SSL://b-1:9094", &err));
}

static void
each_bad_server_is_named_with_its_fault(void **state)
{
    (void)state;
    static const struct {
        const char *servers;
        const char *in_text;
    } cases[] = {
        {"b-1:9094,b-2:9094:9094", "'b-2:9094:9094' in the bootstrap servers has two ports"},
        {"localhost", "'localhost' in the bootstrap servers has no port; write localhost:9092"},
        {"localhost:", "bad port"},
        {"localhost:0", "bad port"},
        {"localhost:70000", "bad port"},
        {"localhost:9092x", "bad port"},
        {":9092", "no host"},
        {"", "empty entry"},
        {"a:1,,b:2", "empty entry"},
        {"a:1,", "empty entry"},
        {"a b:1", "no host and port"},
        {"http://a/b:1", "no host and port"},
        {"SSL://", "no host"},
        {"::1:9092", "two ports"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        assert_false(kafka_check_servers(cases[i].servers, &err));
        assert_int_equal(err.action, ERR_CONFIG);
        if (strstr(err.text, cases[i].in_text) == NULL)
            fail_msg("'%s' gives: %s", cases[i].servers, err.text);
    }
}

static void
the_environment_wins_and_is_named_when_wrong(void **state)
{
    (void)state;
    struct kafka_common_options options = {.bootstrap_servers = "localhost:9092", .client_id = ""};
    struct kafka_settings settings;
    struct err err;
    (void)setenv("KAFKA_BOOTSTRAP_SERVERS", "b-1:9094", 1);
    (void)setenv("KAFKA_SECURITY_PROTOCOL", "SSL", 1);
    assert_true(kafka_settings_init(&settings, &options, &err));
    assert_string_equal(settings.bootstrap_servers, "b-1:9094");
    assert_string_equal(settings.security_protocol, "ssl");
    assert_true(settings.servers_from_environment);
    assert_true(settings.protocol_from_environment);

    (void)setenv("KAFKA_SECURITY_PROTOCOL", "TLS", 1);
    assert_false(kafka_settings_init(&settings, &options, &err));
    assert_non_null(strstr(err.text, "KAFKA_SECURITY_PROTOCOL"));
    (void)setenv("KAFKA_BOOTSTRAP_SERVERS", "b-1", 1);
    assert_false(kafka_settings_init(&settings, &options, &err));
    assert_non_null(strstr(err.text, "KAFKA_BOOTSTRAP_SERVERS"));
}

static void
properties_pass_through_but_not_those_with_a_guarantee(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *in_text;
    } cases[] = {
        {"linger.ms", "50", NULL},
        {"ssl.ca.location", "/tmp/ca.pem", NULL},
        {"acks", "1", "nothing is lost"},
        {"request.required.acks", "1", "nothing is lost"},
        {"delivery.timeout.ms", "1", "nothing is lost"},
        {"compression.codec", "gzip", "use kafka.compression"},
        {"metadata.broker.list", "x:1", "use kafka.bootstrap_servers"},
        {"lingerms", "50", "No such configuration property"},
        {"linger.ms", "soon", "linger.ms"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct option_pair pair = {.key = cases[i].name, .value = cases[i].value};
        struct kafka_common_options options = {
            .bootstrap_servers = "localhost:9092",
            .client_id = "",
            .properties = {.items = &pair, .count = 1},
        };
        rd_kafka_conf_t *conf = NULL;
        struct err err = {0};
        bool made = kafka_conf_new(&conf, &options, "tailrace-test", fixed, 3, &err);
        assert_int_equal(made, cases[i].in_text == NULL);
        if (made)
            rd_kafka_conf_destroy(conf);
        else if (cases[i].in_text != NULL && strstr(err.text, cases[i].in_text) == NULL)
            fail_msg("'%s' gives: %s", cases[i].name, err.text);
    }
}

/* Is there a trap with this word in it? */
static bool
names_trap(int version, enum kafka_role role, const char *word)
{
    size_t at = 0;
    const char *trap;
    while ((trap = kafka_version_trap(version, role, &at)) != NULL)
        if (strstr(trap, word) != NULL)
            return true;
    return false;
}

static void
traps_are_named_for_old_versions_only(void **state)
{
    (void)state;
    assert_true(names_trap(0x020002ff, KAFKA_PRODUCER, "idempotent"));
    assert_false(names_trap(0x020002ff, KAFKA_PRODUCER, "cooperative rebalance"));
    assert_true(names_trap(0x020002ff, KAFKA_CONSUMER, "cooperative rebalance"));
    assert_true(names_trap(0x020002ff, KAFKA_CONSUMER, "SCRAM"));
    assert_false(names_trap(0x021000ff, KAFKA_PRODUCER, ""));
    assert_false(names_trap(0x021000ff, KAFKA_CONSUMER, ""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_servers_pass),
        cmocka_unit_test(each_bad_server_is_named_with_its_fault),
        cmocka_unit_test_setup(the_environment_wins_and_is_named_when_wrong, forget_environment),
        cmocka_unit_test_setup(properties_pass_through_but_not_those_with_a_guarantee,
                               forget_environment),
        cmocka_unit_test(traps_are_named_for_old_versions_only),
    };
    return cmocka_run_group_tests(tests, NULL, forget_environment);
}
