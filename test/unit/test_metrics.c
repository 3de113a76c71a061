/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics registry and both forms of its page. */
#include "core/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "test/unit/unit.h"

#define TEST_METRICS(METRIC)                                                                       \
    METRIC(EVENTS, COUNTER, "t_events_total", "input", "Events, with \\ and \"quotes\".")          \
    METRIC(BYTES, COUNTER, "t_read_bytes_total", "", "Bytes.")                                     \
    METRIC(FILES, GAUGE, "t_files", "input,state", "Files.")                                       \
    METRIC(LATENCY, HISTOGRAM, "t_latency_seconds", "topic", "Latency.")                           \
    METRIC(UNUSED, GAUGE, "t_unused", "", "Never has a series.")                                   \
    METRIC(NOTE, INFO, "t_note_info", "a,b,c", "Three labels.")

enum { TEST_METRICS(METRIC_SYMBOL) FAMILY_COUNT };
static const struct metric_family families[] = {TEST_METRICS(METRIC_FAMILY)};

static struct metrics *
make(void)
{
    struct metrics *metrics = NULL;
    struct err err;
    assert_true(metrics_new(&metrics, families, FAMILY_COUNT, &err));
    metrics_about(metrics, "test", "9.9.9");
    return metrics;
}

/* The page from our first family up to what changes from process to process. */
static const char *
page_of(struct metrics *metrics, enum metric_page page, struct buffer *out)
{
    buffer_clear(out);
    metrics_render(metrics, page, out);
    assert_false(out->failed);
    char *text = out->bytes;
    (void)buffer_string(out);
    char *process = strstr(text, "# HELP process_");
    assert_non_null(process);
    *process = '\0';
    char *start = strstr(text, "# HELP t_");
    return start != NULL ? start : process;
}

static void
fill(struct metrics *metrics)
{
    static const double bounds[] = {0.5, 1, 10};
    metrics_buckets(metrics, LATENCY, bounds, 3);
    metrics_add(metrics, metrics_series(metrics, EVENTS, "nginx", NULL), UINT64_MAX);
    metrics_add(metrics, metrics_series(metrics, EVENTS, "a\\b\"c\nd", NULL), 3);
    metrics_set(metrics, metrics_series(metrics, BYTES, NULL), 12);
    metrics_set(metrics, metrics_series(metrics, FILES, "nginx", "open", NULL), 0.1);
    metrics_set(metrics, metrics_series(metrics, FILES, "nginx", "lost", NULL), -INFINITY);
    metric latency = metrics_series(metrics, LATENCY, "logs", NULL);
    metrics_observe(metrics, latency, 0.5);
    metrics_observe(metrics, latency, 0.75);
    metrics_observe(metrics, latency, 100);
    metrics_set(metrics, metrics_series(metrics, NOTE, "x", "", "z", NULL), 1);
}

static void
the_text_page_is_as_prometheus_wants_it(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    struct buffer out;
    buffer_init(&out, 1 << 20);
    fill(metrics);
    metrics_publish(metrics);
    assert_string_equal(page_of(metrics, METRIC_PAGE_TEXT, &out),
                        "# HELP t_events_total Events, with \\\\ and \"quotes\".\n"
                        "# TYPE t_events_total counter\n"
                        "t_events_total{input=\"nginx\"} 18446744073709551615\n"
                        "t_events_total{input=\"a\\\\b\\\"c\\nd\"} 3\n"
                        "# HELP t_read_bytes_total Bytes.\n"
                        "# TYPE t_read_bytes_total counter\n"
                        "t_read_bytes_total 12\n"
                        "# HELP t_files Files.\n"
                        "# TYPE t_files gauge\n"
                        "t_files{input=\"nginx\",state=\"open\"} 0.1\n"
                        "t_files{input=\"nginx\",state=\"lost\"} -Inf\n"
                        "# HELP t_latency_seconds Latency.\n"
                        "# TYPE t_latency_seconds histogram\n"
                        "t_latency_seconds_bucket{topic=\"logs\",le=\"0.5\"} 1\n"
                        "t_latency_seconds_bucket{topic=\"logs\",le=\"1.0\"} 2\n"
                        "t_latency_seconds_bucket{topic=\"logs\",le=\"10.0\"} 2\n"
                        "t_latency_seconds_bucket{topic=\"logs\",le=\"+Inf\"} 3\n"
                        "t_latency_seconds_sum{topic=\"logs\"} 101.25\n"
                        "t_latency_seconds_count{topic=\"logs\"} 3\n"
                        "# HELP t_note_info Three labels.\n"
                        "# TYPE t_note_info gauge\n"
                        "t_note_info{a=\"x\",b=\"\",c=\"z\"} 1\n");
    buffer_done(&out);
    metrics_free(metrics);
}

static void
the_openmetrics_page_names_families_and_units_its_own_way(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    struct buffer out;
    buffer_init(&out, 1 << 20);
    fill(metrics);
    metrics_publish(metrics);
    const char *page = page_of(metrics, METRIC_PAGE_OPENMETRICS, &out);
    assert_non_null(strstr(page, "# HELP t_events Events, with \\\\ and \\\"quotes\\\".\n"
                                 "# TYPE t_events counter\n"
                                 "t_events_total{input=\"nginx\"} 18446744073709551615\n"));
    assert_non_null(strstr(page, "# TYPE t_read_bytes counter\n# UNIT t_read_bytes bytes\n"
                                 "t_read_bytes_total 12\n"));
    assert_non_null(strstr(page, "# TYPE t_latency_seconds histogram\n"
                                 "# UNIT t_latency_seconds seconds\n"));
    buffer_clear(&out);
    metrics_render(metrics, METRIC_PAGE_OPENMETRICS, &out);
    assert_memory_equal(out.bytes + out.size - 6, "# EOF\n", 6);
    buffer_done(&out);
    metrics_free(metrics);
}

static void
every_page_names_the_build_and_the_process(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    struct buffer out;
    buffer_init(&out, 1 << 20);
    metrics_render(metrics, METRIC_PAGE_TEXT, &out);
    const char *page = buffer_string(&out);
    assert_non_null(strstr(page, "tailrace_build_info{program=\"test\",version=\"" TAILRACE_VERSION
                                 "\",librdkafka=\"9.9.9\"} 1\n"));
    static const char *const names[] = {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char sample[64];
        assert_true(snprintf(sample, sizeof(sample), "\n%s ", names[i]) > 0);
        const char *found = strstr(page, sample);
        if (found == NULL || !(strtod(found + strlen(sample), NULL) > 0))
            fail_msg("no sound %s on the page", names[i]);
    }
    buffer_done(&out);
    metrics_free(metrics);
}

static void
a_page_shows_one_publish_and_nothing_later(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    struct buffer out;
    buffer_init(&out, 1 << 20);
    metric bytes = metrics_series(metrics, BYTES, NULL);
    metric gone = metrics_series(metrics, FILES, "a", "b", NULL);
    assert_string_equal(page_of(metrics, METRIC_PAGE_TEXT, &out), "");
    metrics_add(metrics, bytes, 1);
    metrics_set(metrics, gone, 7);
    metrics_publish(metrics);
    metrics_add(metrics, bytes, 1);
    metrics_remove(metrics, gone);
    metric other = metrics_series(metrics, FILES, "c", "d", NULL);
    metrics_set(metrics, other, 8);
    assert_string_equal(page_of(metrics, METRIC_PAGE_TEXT, &out),
                        "# HELP t_read_bytes_total Bytes.\n# TYPE t_read_bytes_total counter\n"
                        "t_read_bytes_total 1\n"
                        "# HELP t_files Files.\n# TYPE t_files gauge\n"
                        "t_files{input=\"a\",state=\"b\"} 7\n");
    metrics_publish(metrics);
    const char *page = page_of(metrics, METRIC_PAGE_TEXT, &out);
    assert_non_null(strstr(page, "t_read_bytes_total 2\n"));
    assert_non_null(strstr(page, "t_files{input=\"c\",state=\"d\"} 8\n"));
    assert_null(strstr(page, "input=\"a\""));
    buffer_done(&out);
    metrics_free(metrics);
}

static void
a_series_is_found_again_and_a_removed_one_starts_at_zero(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    metric one = metrics_series(metrics, FILES, "a", "b", NULL);
    metric two = metrics_series(metrics, FILES, "b", "a", NULL);
    metric three = metrics_series(metrics, FILES, "c", "a", NULL);
    assert_int_not_equal(one, two);
    assert_int_equal(metrics_series(metrics, FILES, "a", "b", NULL), one);
    metrics_set(metrics, two, 5);
    metrics_remove(metrics, three);
    metrics_remove(metrics, two);
    assert_int_equal(metrics_series(metrics, FILES, "a", "b", NULL), one);
    metric again = metrics_series(metrics, FILES, "b", "a", NULL);
    assert_true(metrics_value(metrics, again) == 0);
    metrics_set(metrics, one, 2.5);
    metrics_add(metrics, one, 1);
    assert_true(metrics_value(metrics, one) == 3.5);
    metric histogram = metrics_series(metrics, LATENCY, "x", NULL);
    metrics_observe(metrics, histogram, 3);
    metrics_observe(metrics, histogram, 1e9);
    assert_true(metrics_value(metrics, histogram) == 2);
    metric counter = metrics_series(metrics, BYTES, NULL);
    metrics_set(metrics, counter, 9);
    metrics_set(metrics, counter, -1);
    metrics_set(metrics, counter, NAN);
    assert_true(metrics_value(metrics, counter) == 9);
    metrics_free(metrics);
}

static void
labels_that_run_wild_are_cut_off_and_harmless(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    for (int i = 0; i < 10000; i++) {
        char name[16];
        assert_true(snprintf(name, sizeof(name), "%d", i) > 0);
        assert_int_not_equal(metrics_series(metrics, EVENTS, name, NULL), METRIC_NONE);
    }
    assert_int_equal(metrics_series(metrics, EVENTS, "one more", NULL), METRIC_NONE);
    metrics_add(metrics, METRIC_NONE, 1);
    metrics_set(metrics, METRIC_NONE, 1);
    metrics_observe(metrics, METRIC_NONE, 1);
    metrics_remove(metrics, METRIC_NONE);
    assert_true(metrics_value(metrics, METRIC_NONE) == 0);
    assert_int_not_equal(metrics_series(metrics, FILES, "other", "family", NULL), METRIC_NONE);
    metrics_remove(metrics, metrics_series(metrics, EVENTS, "77", NULL));
    assert_int_not_equal(metrics_series(metrics, EVENTS, "one more", NULL), METRIC_NONE);
    metrics_free(metrics);
}

static void
label_values_are_cut_and_repaired_to_utf8(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    struct buffer out;
    buffer_init(&out, 1 << 20);
    char topic[250];
    memset(topic, 'x', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    char longest[2000];
    for (size_t i = 0; i + 2 < sizeof(longest); i += 2)
        memcpy(longest + i, "\xC3\xBC", 3);
    metrics_set(metrics, metrics_series(metrics, FILES, topic, longest, NULL), 1);
    metrics_set(metrics, metrics_series(metrics, NOTE, longest, longest, longest, NULL), 1);
    metrics_set(metrics,
                metrics_series(metrics, FILES, "\xFF\xC3\x01z\xE2\x82", "\xE2\x82\xAC", NULL), 1);
    metrics_publish(metrics);
    const char *page = page_of(metrics, METRIC_PAGE_TEXT, &out);
    const char *found = strstr(page, topic); /* a topic's name is there whole */
    assert_non_null(found);
    const char *end = strchr(found, '}');
    assert_memory_equal(end - 3, "\xC3\xBC\"", 3);
    assert_non_null(strstr(page, "t_files{input=\"???z??\",state=\"\xE2\x82\xAC\"} 1\n"));
    assert_non_null(strstr(page, ",c=\"\xC3\xBC"));
    buffer_done(&out);
    metrics_free(metrics);
}

static void
numbers_read_back_as_they_were(void **state)
{
    (void)state;
    static const double values[] = {
        0, -0.0, 1.0 / 3, 1e300, 5e-324, 123456789012345680.0, 1.1, 1700000000.123};
    struct metrics *metrics = make();
    struct buffer out;
    buffer_init(&out, 1 << 20);
    metric files = metrics_series(metrics, FILES, "a", "b", NULL);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        metrics_set(metrics, files, values[i]);
        metrics_publish(metrics);
        const char *page = page_of(metrics, METRIC_PAGE_TEXT, &out);
        const char *sample = strstr(page, "} ");
        assert_true(strtod(sample + 2, NULL) == values[i]);
        assert_true(strlen(sample) <= 2 + 24 + 1);
    }
    metrics_set(metrics, files, NAN);
    metrics_publish(metrics);
    assert_non_null(strstr(page_of(metrics, METRIC_PAGE_TEXT, &out), "} NaN\n"));
    buffer_done(&out);
    metrics_free(metrics);
}

struct race {
    struct metrics *metrics;
    atomic_bool stop;
    atomic_uint pages;
};

/* Two counters that are equal at every publish must be equal on every page. */
static void *
read_pages(void *context)
{
    struct race *race = context;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    while (!atomic_load(&race->stop)) {
        const char *page = page_of(race->metrics, METRIC_PAGE_TEXT, &out);
        const char *a = strstr(page, "t_events_total{input=\"a\"} ");
        const char *b = strstr(page, "\nt_read_bytes_total ");
        ASSERT((a != NULL) == (b != NULL));
        if (a != NULL)
            ASSERT(strtoull(strchr(a, '}') + 2, NULL, 10) ==
                   strtoull(strchr(b, ' ') + 1, NULL, 10));
        atomic_fetch_add(&race->pages, 1);
    }
    buffer_done(&out);
    return NULL;
}

static void
pages_made_during_changes_are_consistent(void **state)
{
    (void)state;
    struct race race = {.metrics = make()};
    pthread_t readers[2];
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_pages, &race), 0);
    metric a = metrics_series(race.metrics, EVENTS, "a", NULL);
    metric b = metrics_series(race.metrics, BYTES, NULL);
    for (unsigned turn = 0; atomic_load(&race.pages) < 400; turn++) {
        char name[16];
        assert_true(snprintf(name, sizeof(name), "%u", turn % 50) > 0);
        metric passing = metrics_series(race.metrics, LATENCY, name, NULL);
        metrics_add(race.metrics, a, 1);
        metrics_observe(race.metrics, passing, turn);
        metrics_add(race.metrics, b, 1);
        if (turn % 3 == 0)
            metrics_remove(race.metrics, passing);
        metrics_publish(race.metrics);
    }
    atomic_store(&race.stop, true);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    metrics_free(race.metrics);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_page_is_as_prometheus_wants_it),
        cmocka_unit_test(the_openmetrics_page_names_families_and_units_its_own_way),
        cmocka_unit_test(every_page_names_the_build_and_the_process),
        cmocka_unit_test(a_page_shows_one_publish_and_nothing_later),
        cmocka_unit_test(a_series_is_found_again_and_a_removed_one_starts_at_zero),
        cmocka_unit_test(labels_that_run_wild_are_cut_off_and_harmless),
        cmocka_unit_test(label_values_are_cut_and_repaired_to_utf8),
        cmocka_unit_test(numbers_read_back_as_they_were),
        cmocka_unit_test(pages_made_during_changes_are_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
