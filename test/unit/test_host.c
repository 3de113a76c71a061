/* SPDX-License-Identifier: Apache-2.0 */
/* The host collectors on trees of /proc and /sys of other machines (test/fixtures/host): the
 * page is the golden one. TAILRACE_GOLDEN=write writes it anew, for a look at the difference in
 * git. */
#include "exporters/host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "exporters/host/collectors.h"
#include "exporters/host/cpu.h"
#include "exporters/host/lane.h"
#include "exporters/host/scan.h"
#include "exporters/host/textfile.h"
#include "exporters/options.h"
#include "exporters/page.h"
#include "test/unit/unit.h"

#define TREES FIXTURES "/host"
#define TEXT_MAX (4U << 20)

static struct options *
load(const char *yaml)
{
    struct options *loaded;
    struct err err;
    if (!options_parse(&loaded, &exporter_options_schema, "test.yaml", yaml, strlen(yaml), &err))
        fail_msg("%s", err.text);
    return loaded;
}

/* The host page with these options, in the text format; absences too when asked for. */
static void
render(const char *yaml, struct buffer *out, struct buffer *absences)
{
    struct options *loaded = load(yaml);
    const struct exporter_options *options = options_root(loaded);
    struct host_lane *lane;
    const struct page *pages[64];
    struct err err;
    if (!host_lane_new(&lane, &options->host, 100000, NULL, &err))
        fail_msg("%s", err.text);
    if (absences != NULL)
        host_lane_want_absences(lane, absences);
    host_lane_scrape(lane, NULL, clock_monotonic_ms() + 60000);
    size_t count = host_lane_pages(lane, pages, 64);
    assert_true(count > 0);
    page_render(pages, count, METRIC_PAGE_TEXT, NULL, out);
    assert_false(out->failed);
    assert_true(host_lane_free(lane));
    options_free(loaded);
}

/* What differs from run to run: sizes of this machine's file systems, times of the checkout. */
static bool
is_variable(const char *line)
{
    static const char *const names[] = {
        "node_filesystem_size_bytes{",  "node_filesystem_free_bytes{",
        "node_filesystem_avail_bytes{", "node_filesystem_files{",
        "node_filesystem_files_free{",  "node_textfile_mtime_seconds{",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(line, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Without what differs from machine to machine: values of the file system, and where the trees
 * are. */
static void
append_stable(struct buffer *out, char *text)
{
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        const char *place = strstr(line, TREES);
        if (place != NULL)
            buffer_format(out, "%.*sTREES%s\n", (int)(place - line), line, place + strlen(TREES));
        else if (!is_variable(line))
            buffer_format(out, "%s\n", line);
    }
}

static void
check_golden(const char *tree, const char *page)
{
    char path[512];
    assert_true(snprintf(path, sizeof(path), "%s/%s.prom", TREES, tree) > 0);
    const char *write = getenv("TAILRACE_GOLDEN");
    FILE *file = fopen(path, write != NULL ? "w" : "r");
    assert_non_null(file);
    if (write != NULL) {
        assert_true(fputs(page, file) >= 0);
        assert_int_equal(fclose(file), 0);
        return;
    }
    char *golden = calloc(1, TEXT_MAX);
    assert_non_null(golden);
    size_t size = fread(golden, 1, TEXT_MAX - 1, file);
    assert_int_equal(fclose(file), 0);
    assert_true(size > 0);
    /* The first line that differs says more than two pages do. */
    const char *left = golden;
    const char *right = page;
    while (*left != '\0' || *right != '\0') {
        size_t left_size = strcspn(left, "\n");
        size_t right_size = strcspn(right, "\n");
        if (left_size != right_size || memcmp(left, right, left_size) != 0)
            fail_msg("%s: expected '%.*s', the page has '%.*s'", tree, (int)left_size, left,
                     (int)right_size, right);
        left += left_size + (left[left_size] == '\n');
        right += right_size + (right[right_size] == '\n');
    }
    free(golden);
}

static void
check_tree(const char *tree, const char *more)
{
    char yaml[2048];
    struct buffer page;
    struct buffer stable;
    buffer_init(&page, TEXT_MAX);
    buffer_init(&stable, TEXT_MAX);
    assert_true(snprintf(yaml, sizeof(yaml),
                         "host:\n  proc: %s/%s/proc\n  sys: %s/%s/sys\n  root: %s/%s/root\n"
                         "  timeout: 60s\n  mount_timeout: 60s\n"
                         "  exclude: [uname, time, timex, systemd]\n%s",
                         TREES, tree, TREES, tree, TREES, tree, more) > 0);
    render(yaml, &page, NULL);
    char *text = strdup(buffer_string(&page));
    assert_non_null(text);
    append_stable(&stable, text);
    check_golden(tree, buffer_string(&stable));
    free(text);
    buffer_done(&page);
    buffer_done(&stable);
}

static void
page_of_a_virtual_machine_is_as_before(void **state)
{
    (void)state;
    check_tree("vm", "  textfile_directories: [/textfiles]\n");
}

static void
page_of_many_processors_with_gaps_is_as_before(void **state)
{
    (void)state;
    check_tree("many-cpus", "");
}

static void
page_of_an_old_kernel_is_as_before(void **state)
{
    (void)state;
    check_tree("old-kernel", "");
}

static void
units_of_control_groups_of_version_1_are_shown(void **state)
{
    (void)state;
    check_tree("cgroup-v1", "  units: [kafka.service]\n");
}

static void
units_of_a_host_are_seen_from_a_container(void **state)
{
    (void)state;
    check_tree("container", "  units: [kafka.service, \"spark@*\", kubepods.slice/pod1]\n");
}

/* ---- single parsers ---- */

static void
counters_of_a_processor_do_not_run_backwards(void **state)
{
    (void)state;
    struct cpu_table table = {0};
    struct err err;
    assert_true(cpu_read(scan_of("cpu0 10 0 5 1000 50 0 0 0 0 0\n"), &table, &err));
    assert_true(cpu_read(scan_of("cpu0 11 0 5 990 40 0 0 0 0 0\n"), &table, &err));
    assert_int_equal(table.cpus[0].ticks[CPU_IDLE], 1000);
    assert_int_equal(table.cpus[0].ticks[0], 11);
    /* Taken out and put back: the kernel counts from zero. */
    assert_true(cpu_read(scan_of("cpu0 1 0 0 20 0 0 0 0 0 0\n"), &table, &err));
    assert_int_equal(table.cpus[0].ticks[CPU_IDLE], 20);
    assert_int_equal(table.cpus[0].ticks[0], 1);
    free(table.cpus);
}

static void
processor_that_is_taken_out_leaves_the_page(void **state)
{
    (void)state;
    struct cpu_table table = {0};
    struct page page;
    struct err err;
    page_init(&page, 1000);
    assert_true(cpu_read(scan_of("cpu0 1 1 1 1\ncpu1 2 2 2 2\n"), &table, &err));
    assert_true(cpu_read(scan_of("cpu1 3 3 3 3\n"), &table, &err));
    cpu_put(&table, &page);
    page_end(&page);
    const char *text = buffer_string(&page.samples);
    assert_null(strstr(text, "cpu=\"0\""));
    assert_non_null(strstr(text, "cpu=\"1\",mode=\"user\"} 0.03\n"));
    page_done(&page);
    free(table.cpus);
}

static void
texts_that_are_no_such_file_are_refused(void **state)
{
    (void)state;
    bool (*const parsers[])(struct scan, struct page *, struct err *) = {
        conntrack_parse_count, conntrack_parse_limit, conntrack_parse_stat, filefd_parse,
        loadavg_parse,         meminfo_parse,         netstat_parse,        os_parse,
        pressure_parse_cpu,    pressure_parse_io,     pressure_parse_irq,   pressure_parse_memory,
        sockstat_parse,        softnet_parse,         stat_parse,           vmstat_parse,
    };
    for (size_t i = 0; i < sizeof(parsers) / sizeof(parsers[0]); i++) {
        struct page page;
        struct err err = {.action = ERR_NONE};
        page_init(&page, 1000);
        assert_false(parsers[i](scan_of("?\nwhat is this\n"), &page, &err));
        assert_int_equal(err.action, ERR_RETRY);
        assert_false(parsers[i](scan_of(""), &page, &err));
        page_end(&page);
        assert_int_equal(page.samples.size, 0);
        page_done(&page);
    }
}

static void
bad_line_of_a_text_file_is_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"a 1\nb\n", "f:2: this is no number"},
        {"a{x=\"1\" 2\n", "f:1: the labels are broken"},
        {"a{x=1} 2\n", "f:1: the labels are broken"},
        {"a{x=\"1\"y=\"2\"} 2\n", "f:1: the labels are broken"},
        {"a{x=\"1\n", "f:1: the labels are broken"},
        {"a{\n", "f:1: the labels are broken"},
        {"a 1 1395066363000\n", "f:1: timestamps are not supported"},
        {"a 0x10\n", "f:1: this is no number"},
        {"{} 1\n", "f:1: this is no sample"},
        {"# TYPE a enum\n", "f:1: an unknown type of metric"},
        {"# TYPE a\n", "f:1: a TYPE line without a type"},
        {"# HELP 9a x\n", "f:1: this is no name of a family"},
        {"a{x=\"\xff\"} 1\n", "f:1: this is no UTF-8"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err;
        assert_false(textfile_parse(scan_of(bad[i][0]), "f", NULL, &err));
        assert_string_equal(err.text, bad[i][1]);
    }
    struct err err;
    assert_true(textfile_parse(scan_of("#\n# a comment\n\n a{} +Inf\nb{ x = \"1\" , } NaN\n"), "f",
                               NULL, &err));
}

static void
check_says_why_a_family_is_not_there(void **state)
{
    (void)state;
    char yaml[1024];
    struct buffer page;
    struct buffer absences;
    buffer_init(&page, TEXT_MAX);
    buffer_init(&absences, TEXT_MAX);
    assert_true(snprintf(yaml, sizeof(yaml),
                         "host:\n  proc: %s/old-kernel/proc\n  sys: %s/old-kernel/sys\n"
                         "  root: %s/old-kernel/root\n  exclude: [systemd]\n",
                         TREES, TREES, TREES) > 0);
    render(yaml, &page, &absences);
    const char *text = buffer_string(&absences);
    assert_non_null(strstr(text, "node_pressure_cpu_*\tthe kernel does not measure pressure"));
    assert_non_null(strstr(text, "node_disk_discards_completed_total\tthis kernel does not count"));
    assert_non_null(strstr(text, "node_sockstat_TCP6_*\tIPv6 is switched off"));
    assert_non_null(strstr(text, "tailrace_unit_*\thost.units names no unit"));
    buffer_done(&page);
    buffer_done(&absences);
}

/* Only what collect() may do to a tree that changes under it. */
static void
file_that_vanishes_costs_its_own_collector(void **state)
{
    (void)state;
    char folder[] = "/tmp/tailrace-host-XXXXXX";
    char path[128];
    char yaml[512];
    struct err err;
    struct host_lane *lane;
    struct host_state found;
    const struct page *pages[64];
    assert_non_null(mkdtemp(folder));
    assert_true(snprintf(path, sizeof(path), "%s/loadavg", folder) > 0);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("1 2 3 4/5 6\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_true(snprintf(yaml, sizeof(yaml), "host: {proc: %s, collectors: [loadavg, meminfo]}\n",
                         folder) > 0);
    struct options *loaded = load(yaml);
    const struct exporter_options *options = options_root(loaded);
    assert_true(host_lane_new(&lane, &options->host, 1000, NULL, &err));
    for (int round = 0; round < 2; round++) {
        host_lane_scrape(lane, NULL, clock_monotonic_ms() + 60000);
        assert_int_equal(host_lane_pages(lane, pages, 64), 2);
        assert_int_equal(pages[0]->family_count, 3);
        for (size_t i = 0; i < host_class_count; i++) {
            host_lane_state(lane, i, &found);
            if (strcmp(found.name, "loadavg") == 0)
                assert_true(found.success);
            if (strcmp(found.name, "meminfo") == 0) {
                assert_true(found.absent);
                assert_non_null(strstr(found.error, "No such file"));
            }
        }
        /* A kept file of /proc stays readable; a new line at its end does not matter. */
        file = fopen(path, "a");
        assert_non_null(file);
        assert_true(fputs("and a new line\n", file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    assert_true(host_lane_free(lane));
    options_free(loaded);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void
names_of_collectors_are_checked(void **state)
{
    (void)state;
    struct err err;
    struct options *loaded = load("host: {collectors: [cpu], exclude: [meminfos]}\n");
    const struct exporter_options *options = options_root(loaded);
    assert_false(host_lane_check(&options->host, &err));
    assert_non_null(strstr(err.text, "'meminfos', which is no collector; did you mean 'meminfo'?"));
    options_free(loaded);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_of_a_virtual_machine_is_as_before),
        cmocka_unit_test(page_of_many_processors_with_gaps_is_as_before),
        cmocka_unit_test(page_of_an_old_kernel_is_as_before),
        cmocka_unit_test(units_of_control_groups_of_version_1_are_shown),
        cmocka_unit_test(units_of_a_host_are_seen_from_a_container),
        cmocka_unit_test(counters_of_a_processor_do_not_run_backwards),
        cmocka_unit_test(processor_that_is_taken_out_leaves_the_page),
        cmocka_unit_test(texts_that_are_no_such_file_are_refused),
        cmocka_unit_test(bad_line_of_a_text_file_is_named),
        cmocka_unit_test(check_says_why_a_family_is_not_there),
        cmocka_unit_test(file_that_vanishes_costs_its_own_collector),
        cmocka_unit_test(names_of_collectors_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
