/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of real servers, recorded in test/fixtures/bulk, and answers that must not be
 * believed. */
#include "test/unit/unit.h"

#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>

#include "sinks/elasticsearch/answer.h"
#include "sinks/elasticsearch/body.h"
#include "sinks/elasticsearch/outcome.h"

#define ITEMS_MAX 8

static const char *const servers[] = {"elasticsearch-7.17.29", "elasticsearch-8.19.21",
                                      "elasticsearch-9.1.7", "opensearch-2.19.1",
                                      "opensearch-3.3.2"};
#define SERVER_COUNT (sizeof(servers) / sizeof(servers[0]))

struct reading {
    struct answer *answer;
    struct output_item items[ITEMS_MAX];
    struct err err;
    bool believed;
};

static void
read_text(struct reading *reading, size_t item_count, int status, const char *text, size_t size,
          size_t step)
{
    *reading = (struct reading){0};
    assert_true(answer_new(&reading->answer, &reading->err));
    assert_true(answer_begin(reading->answer, reading->items, item_count));
    for (size_t i = 0; i < size; i += step)
        assert_true(answer_feed(reading->answer, text + i, size - i < step ? size - i : step));
    reading->believed = answer_end(reading->answer, status, &reading->err);
}

static void
read_file(struct reading *reading, const char *server, const char *name, size_t item_count,
          int status, size_t step)
{
    char path[512];
    int written = snprintf(path, sizeof(path), "%s/bulk/%s/%s.json", FIXTURES, server, name);
    assert_true(written > 0 && (size_t)written < sizeof(path));
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    static char text[65536];
    size_t size = fread(text, 1, sizeof(text), file);
    (void)fclose(file);
    read_text(reading, item_count, status, text, size, step);
}

static void
mixed_bulk_of_each_server_is_sorted(void **state)
{
    (void)state;
    for (size_t i = 0; i < SERVER_COUNT; i++) {
        for (size_t step = 1; step < 5000; step = step * 7 + 1) {
            struct reading reading;
            read_file(&reading, servers[i], "bulk-mixed-409-400", 3, 200, step);
            assert_true(reading.believed);
            assert_int_equal(reading.items[0].outcome, OUTPUT_INDEXED);
            assert_null(reading.items[0].reason);
            assert_int_equal(reading.items[1].outcome, OUTPUT_DUPLICATE);
            assert_int_equal(reading.items[2].outcome, OUTPUT_DOCUMENT);
            assert_int_equal(reading.items[2].status, 400);
            assert_non_null(strstr(reading.items[2].reason, "parsing_exception: "));
            assert_non_null(strstr(reading.items[2].reason, "failed to parse field [n]"));
            answer_free(reading.answer);
        }
    }
}

static void
refusals_of_an_index_are_never_blamed_on_the_document(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t items;
    } cases[] = {
        {"bulk-blocked", 3},
        {"bulk-no-autocreate", 1},
        {"bulk-bad-index-name", 1},
        {"bulk-missing-pipeline", 1},
    };
    for (size_t i = 0; i < SERVER_COUNT; i++) {
        for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
            struct reading reading;
            read_file(&reading, servers[i], cases[c].name, cases[c].items, 200, 100);
            assert_true(reading.believed);
            for (size_t item = 0; item < cases[c].items; item++)
                assert_int_equal(reading.items[item].outcome, OUTPUT_INDEX_FAULT);
            answer_free(reading.answer);
        }
    }
    struct reading reading;
    read_file(&reading, "opensearch-2.19.1", "bulk-blocked-write", 1, 200, 100);
    assert_int_equal(reading.items[0].outcome, OUTPUT_INDEX_FAULT);
    answer_free(reading.answer);
}

/* Elasticsearch 7.17 of the recordings has no data streams. */
static void
data_streams_refuse_the_route_or_the_document(void **state)
{
    (void)state;
    for (size_t i = 1; i < SERVER_COUNT; i++) {
        struct reading reading;
        read_file(&reading, servers[i], "ds-bulk-index-op", 1, 200, 100);
        assert_true(reading.believed);
        assert_int_equal(reading.items[0].outcome, OUTPUT_INDEX_FAULT);
        answer_free(reading.answer);
        read_file(&reading, servers[i], "ds-bulk-no-timestamp", 1, 200, 100);
        assert_true(reading.believed);
        assert_int_equal(reading.items[0].outcome, OUTPUT_DOCUMENT);
        answer_free(reading.answer);
    }
}

static void
whole_requests_that_are_refused_decide_for_all_items(void **state)
{
    (void)state;
    for (size_t i = 0; i < SERVER_COUNT; i++) {
        struct reading reading;
        read_file(&reading, servers[i], "bulk-malformed", 2, 400, 100);
        assert_false(reading.believed);
        assert_int_equal(reading.items[0].outcome, OUTPUT_UNKNOWN);
        assert_int_equal(reading.items[1].outcome, OUTPUT_UNKNOWN);
        assert_non_null(strstr(reading.items[1].reason, "must be terminated by a newline"));
        answer_free(reading.answer);
        read_file(&reading, servers[i], "bulk-wrong-content-type", 1, 406, 100);
        assert_false(reading.believed);
        assert_int_equal(reading.items[0].outcome, OUTPUT_SERVER_FAULT);
        assert_non_null(strstr(reading.err.text, "is not supported"));
        answer_free(reading.answer);
    }
    struct reading reading;
    read_file(&reading, "elasticsearch-8.19.21", "bulk-too-large", 2, 413, 100);
    assert_false(reading.believed);
    assert_int_equal(reading.items[1].outcome, OUTPUT_TOO_LARGE);
    answer_free(reading.answer);
}

static void
answer_with_another_number_of_items_is_not_believed(void **state)
{
    (void)state;
    for (size_t items = 1; items <= 5; items++) {
        struct reading reading;
        read_file(&reading, "elasticsearch-9.1.7", "bulk-mixed-409-400", items, 200, 64);
        assert_int_equal(reading.believed, items == 3);
        if (items != 3)
            for (size_t i = 0; i < items; i++)
                assert_int_equal(reading.items[i].outcome, OUTPUT_SERVER_FAULT);
        answer_free(reading.answer);
    }
}

static void
answer_cut_anywhere_is_not_believed(void **state)
{
    (void)state;
    static const char whole[] = "{\"errors\":false,\"items\":[{\"create\":{\"status\":201}},"
                                "{\"create\":{\"status\":201}}]}";
    for (size_t size = 0; size < sizeof(whole) - 1; size++) {
        struct reading reading;
        read_text(&reading, 2, 200, whole, size, 10);
        assert_false(reading.believed);
        assert_int_equal(reading.items[0].outcome, OUTPUT_SERVER_FAULT);
        answer_free(reading.answer);
    }
    struct reading reading;
    read_text(&reading, 2, 200, whole, sizeof(whole) - 1, 10);
    assert_true(reading.believed);
    answer_free(reading.answer);
}

#define CREATED "{\"create\":{\"status\":201}}"
#define FULL "{\"create\":{\"status\":429,\"error\":{\"type\":\"e\",\"reason\":\"r\"}}}"

/* Fed byte by byte, all goes through the parser; in larger pieces, items of the common form do
 * not. */
static void
plain_items_are_counted_as_the_parser_would_count_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool believed;
    } cases[] = {
        {"{\"items\":[" CREATED "," CREATED "," CREATED "," CREATED "]}", true},
        {"{\"items\":[" FULL "," CREATED "," CREATED "," FULL "]}", true},
        {"{\"items\":[" CREATED "," FULL "," CREATED "," CREATED "],\"errors\":true}", true},
        {" {\"items\" : [ " CREATED " ," CREATED "," CREATED " , " CREATED " ] } ", true},
        {"{\"items\":[" CREATED "," CREATED "," CREATED "]}", false},
        {"{\"items\":[" CREATED "," CREATED "," CREATED "," CREATED "," CREATED "]}", false},
        {"{\"items\":[" CREATED "," CREATED "," CREATED "," CREATED, false},
        {"{\"items\":[" CREATED "," CREATED "," CREATED "," CREATED "]", false},
        {"{\"items\":[" CREATED "," CREATED "," CREATED "," CREATED ",]}", false},
        {"{\"items\":[," CREATED "," CREATED "," CREATED "," CREATED "]}", false},
        {"{\"items\":[" CREATED ",," CREATED "," CREATED "," CREATED "]}", false},
        {"{\"items\":[" CREATED " " CREATED "," CREATED "," CREATED "]}", false},
        {"{\"items\":[" CREATED CREATED "," CREATED "," CREATED "]}", false},
        {"{\"items\":[" CREATED "]," CREATED "," CREATED "," CREATED "}", false},
        {"{\"items\":{\"x\":" CREATED "," CREATED "," CREATED "," CREATED "}}", false},
        {"{\"x\":[" CREATED "," CREATED "," CREATED "," CREATED "]}", false},
        {"{\"items\":[{\"create\":{\"status\":400,\"error\":{\"type\":\"t\",\"x\":[{}," CREATED
         "," CREATED "]}}}," CREATED "," CREATED "," CREATED "]}",
         true},
        {"{\"items\":[{\"create\":{\"status\":400,\"error\":{\"reason\":\"},{\"create\":"
         "{\"status\":201}}\"}}}," CREATED "," CREATED "," CREATED "]}",
         false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t size = strlen(cases[i].text);
        struct reading parsed;
        read_text(&parsed, 4, 200, cases[i].text, size, 1);
        assert_int_equal(parsed.believed, cases[i].believed);
        for (size_t step = 2; step <= size; step++) {
            struct reading counted;
            read_text(&counted, 4, 200, cases[i].text, size, step);
            assert_int_equal(counted.believed, cases[i].believed);
            for (size_t item = 0; item < 4; item++) {
                assert_int_equal(counted.items[item].status, parsed.items[item].status);
                assert_int_equal(counted.items[item].outcome, parsed.items[item].outcome);
                assert_int_equal(counted.items[item].reason == NULL,
                                 parsed.items[item].reason == NULL);
            }
            answer_free(counted.answer);
        }
        answer_free(parsed.answer);
    }
}

/* What follows `head` does not end. How much of it is taken? */
static size_t
feed_without_end(const char *head, const char *rest)
{
    struct output_item items[2] = {{0}};
    struct answer *answer;
    struct err err;
    assert_true(answer_new(&answer, &err));
    assert_true(answer_begin(answer, items, 2));
    assert_true(answer_feed(answer, head, strlen(head)));
    char block[4096];
    size_t block_size = 0;
    while (block_size + strlen(rest) <= sizeof(block)) {
        memcpy(block + block_size, rest, strlen(rest));
        block_size += strlen(rest);
    }
    size_t size = 0;
    while (size < ((size_t)1 << 30) && answer_feed(answer, block, block_size))
        size += block_size;
    assert_false(answer_end(answer, 200, &err));
    assert_int_equal(items[0].outcome, OUTPUT_SERVER_FAULT);
    answer_free(answer);
    return size;
}

static void
answer_without_end_is_left_after_a_megabyte(void **state)
{
    (void)state;
    size_t limit = ANSWER_VALUE_SIZE_MAX + 2 * ANSWER_ITEM_SIZE_MAX;
    assert_in_range(feed_without_end("{\"items\":[{\"create\":{\"error\":\"", "x"), 1, limit);
    assert_in_range(feed_without_end("{\"errors\":", "        "), 1, limit);
    assert_in_range(feed_without_end("{\"x\":[1", ",1"), 1, limit);
    assert_in_range(feed_without_end("{\"items\":[{}", ",{\"create\":{\"status\":201}}"), 1, limit);
    assert_in_range(feed_without_end("<html>", "<p>sorry</p>"), 1, limit);
}

static void
pages_of_proxies_are_quoted_not_parsed(void **state)
{
    (void)state;
    static const char page[] = "<html>\n<head><title>502 Bad Gateway</title>";
    struct reading reading;
    read_text(&reading, 1, 502, page, sizeof(page) - 1, 5);
    assert_false(reading.believed);
    assert_int_equal(reading.items[0].outcome, OUTPUT_SERVER_FAULT);
    assert_non_null(strstr(reading.err.text, "HTTP 502: <html> <head>"));
    answer_free(reading.answer);
    read_text(&reading, 1, 200, page, sizeof(page) - 1, 5);
    assert_false(reading.believed);
    assert_int_equal(reading.items[0].outcome, OUTPUT_SERVER_FAULT);
    answer_free(reading.answer);
    read_text(&reading, 1, 413, page, sizeof(page) - 1, 5);
    assert_int_equal(reading.items[0].outcome, OUTPUT_TOO_LARGE);
    answer_free(reading.answer);
}

static void
values_in_foreign_places_do_not_count(void **state)
{
    (void)state;
    static const char text[] =
        "{\"took\":99999999999999999999,\"status\":500,\"items\":[{\"create\":{\"_shards\":"
        "{\"status\":500,\"error\":{\"type\":\"x\"}},\"status\":201,\"error\":null}},"
        "{\"create\":{\"error\":{\"caused_by\":{\"type\":\"inner\",\"reason\":\"inner\"},"
        "\"type\":\"mapper_parsing_exception\",\"reason\":\"outer\"},\"status\":400}}],\"x\":[["
        "1]]"
        "}";
    struct reading reading;
    read_text(&reading, 2, 200, text, sizeof(text) - 1, 3);
    assert_true(reading.believed);
    assert_int_equal(reading.items[0].outcome, OUTPUT_INDEXED);
    assert_string_equal(reading.items[1].reason, "mapper_parsing_exception: outer: inner");
    answer_free(reading.answer);
}

/* As Elasticsearch 7.17 with security says it: objects in the root cause. */
static void
refused_login_is_told_in_its_own_words(void **state)
{
    (void)state;
    static const char text[] =
        "{\"error\":{\"root_cause\":[{\"type\":\"x\",\"reason\":\"y\",\"header\":{\"a\":[\"b\"]}}],"
        "\"type\":\"security_exception\",\"reason\":\"unable to "
        "authenticate\",\"header\":{\"a\":[]}},"
        "\"status\":401}";
    struct reading reading;
    read_text(&reading, 2, 401, text, sizeof(text) - 1, 7);
    assert_false(reading.believed);
    assert_string_equal(reading.err.text, "security_exception: unable to authenticate (HTTP 401)");
    assert_int_equal(reading.items[1].outcome, OUTPUT_SERVER_FAULT);
    answer_free(reading.answer);
    read_text(&reading, 2, 403, text, sizeof(text) - 1, 7);
    assert_int_equal(reading.items[1].outcome, OUTPUT_INDEX_FAULT);
    answer_free(reading.answer);
}

static void
full_queues_are_retried_by_item_and_hopeless_sizes_are_split(void **state)
{
    (void)state;
    assert_int_equal(outcome_of_item(429, "es_rejected_execution_exception", "x"), OUTPUT_RETRY);
    assert_int_equal(outcome_of_item(429, "rejected_execution_exception", "x"), OUTPUT_RETRY);
    assert_int_equal(outcome_of_item(429, "circuit_breaking_exception", "x"), OUTPUT_RETRY);
    assert_int_equal(outcome_of_item(429, "cluster_block_exception", "x"), OUTPUT_INDEX_FAULT);
    assert_int_equal(outcome_of_item(503, "unavailable_shards_exception", ""), OUTPUT_INDEX_FAULT);
    assert_int_equal(outcome_of_item(500, "null_pointer_exception", ""), OUTPUT_UNKNOWN);
    assert_int_equal(outcome_of_item(409, "something_else", ""), OUTPUT_UNKNOWN);
    assert_int_equal(outcome_of_item(0, "", ""), OUTPUT_UNKNOWN);
    assert_int_equal(outcome_of_request(429, "es_rejected_execution_exception",
                                        "rejected execution of coordinating operation "
                                        "[coordinating_operation_bytes=10, "
                                        "max_coordinating_and_primary_bytes=53687091]"),
                     OUTPUT_RETRY);
    assert_int_equal(outcome_of_request(429, "es_rejected_execution_exception",
                                        "rejected execution of coordinating operation "
                                        "[coordinating_operation_bytes=54215758, "
                                        "max_coordinating_and_primary_bytes=53687091]"),
                     OUTPUT_TOO_LARGE);
    assert_int_equal(
        outcome_of_request(429, "circuit_breaking_exception", "[parent] Data too large"),
        OUTPUT_RETRY_SMALLER);
    assert_int_equal(outcome_of_item(503, "circuit_breaking_exception", ""), OUTPUT_RETRY);
    assert_int_equal(outcome_of_request(400, "media_type_header_exception", ""),
                     OUTPUT_SERVER_FAULT);
    assert_int_equal(outcome_of_request(401, "security_exception", ""), OUTPUT_SERVER_FAULT);
    assert_int_equal(outcome_of_request(404, "", ""), OUTPUT_SERVER_FAULT);
    assert_int_equal(outcome_of_request(301, "", ""), OUTPUT_SERVER_FAULT);
}

static void
body_has_an_action_and_a_value_line_for_each_item(void **state)
{
    (void)state;
    struct output_item items[] = {
        {.index = "logs", .id = "a1", .id_size = 2, .value = "{\"m\":1}", .value_size = 7},
        {.index = "logs", .id = "a2", .id_size = 2, .value = "{}", .value_size = 2},
        {.index = "other", .id = "a3", .id_size = 2, .value = "{}", .value_size = 2},
    };
    struct output_bulk bulk = {.items = items, .item_count = 3};
    static const char expected[] = "{\"create\":{\"_id\":\"a1\"}}\n{\"m\":1}\n"
                                   "{\"create\":{\"_id\":\"a2\"}}\n{}\n"
                                   "{\"create\":{\"_id\":\"a3\",\"_index\":\"other\"}}\n{}\n";
    size_t size = sizeof(expected) - 1;
    assert_int_equal(body_size(&bulk), size);
    for (size_t room = 1; room <= size + 1; room++) {
        struct body_cursor cursor;
        char body[sizeof(expected)] = "";
        size_t at = 0;
        body_rewind(&cursor, &bulk);
        for (size_t got; (got = body_read(&cursor, body + at, room)) > 0; at += got) {
            assert_true(got <= room);
            assert_true(at + got <= size);
        }
        assert_string_equal(body, expected);
        assert_int_equal(body_read(&cursor, body, room), 0);
    }
}

static void
zipped_body_unpacks_to_the_plain_one(void **state)
{
    (void)state;
    struct output_item items[] = {
        {.index = "logs", .id = "a1", .id_size = 2, .value = "{\"m\":1}", .value_size = 7},
        {.index = "logs", .id = "a2", .id_size = 2, .value = "{}", .value_size = 2},
    };
    struct output_bulk bulk = {.items = items, .item_count = 2};
    struct body_zipper zipper;
    struct buffer packed;
    struct err err;
    buffer_init(&packed, BODY_SIZE_MAX);
    assert_true(body_zipper_init(&zipper, &err));
    for (int round = 0; round < 2; round++) {
        char text[256] = "";
        size_t size;
        assert_true(body_zip(&zipper, &bulk, &packed, &err));
        struct libdeflate_decompressor *inflate = libdeflate_alloc_decompressor();
        assert_non_null(inflate);
        assert_int_equal(libdeflate_gzip_decompress(inflate, packed.bytes, packed.size, text,
                                                    sizeof(text) - 1, &size),
                         LIBDEFLATE_SUCCESS);
        libdeflate_free_decompressor(inflate);
        assert_int_equal(size, body_size(&bulk));
        assert_string_equal(text, "{\"create\":{\"_id\":\"a1\"}}\n{\"m\":1}\n"
                                  "{\"create\":{\"_id\":\"a2\"}}\n{}\n");
    }
    buffer_done(&packed);
    body_zipper_done(&zipper);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_bulk_of_each_server_is_sorted),
        cmocka_unit_test(refusals_of_an_index_are_never_blamed_on_the_document),
        cmocka_unit_test(data_streams_refuse_the_route_or_the_document),
        cmocka_unit_test(whole_requests_that_are_refused_decide_for_all_items),
        cmocka_unit_test(answer_with_another_number_of_items_is_not_believed),
        cmocka_unit_test(answer_cut_anywhere_is_not_believed),
        cmocka_unit_test(plain_items_are_counted_as_the_parser_would_count_them),
        cmocka_unit_test(answer_without_end_is_left_after_a_megabyte),
        cmocka_unit_test(pages_of_proxies_are_quoted_not_parsed),
        cmocka_unit_test(values_in_foreign_places_do_not_count),
        cmocka_unit_test(refused_login_is_told_in_its_own_words),
        cmocka_unit_test(full_queues_are_retried_by_item_and_hopeless_sizes_are_split),
        cmocka_unit_test(body_has_an_action_and_a_value_line_for_each_item),
        cmocka_unit_test(zipped_body_unpacks_to_the_plain_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
