/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of collectors: samples, the budget, and how several become one. */
#include "exporters/page.h"

#include <math.h>
#include <stdio.h>

#include "test/unit/unit.h"

static void
check_value(double value, const char *text)
{
    struct page page;
    char line[64];
    page_init(&page, 10);
    page_gauge(&page, "g", "", value);
    page_end(&page);
    assert_true(snprintf(line, sizeof(line), "g %s\n", text) > 0);
    assert_string_equal(buffer_string(&page.samples), line);
    page_done(&page);
}

static void
numbers_read_back_as_the_same_number(void **state)
{
    (void)state;
    check_value(0, "0");
    check_value(-17, "-17");
    check_value(0.1, "0.1");
    check_value(1e15, "1000000000000000");
    check_value(1e300, "1e+300");
    check_value(1.0 / 3, "0.3333333333333333");
    check_value(NAN, "NaN");
    check_value(-INFINITY, "-Inf");
    check_value(INFINITY, "+Inf");
}

static void
fixed_decimals_are_exact_and_short(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        unsigned decimals;
        const char *text;
    } cases[] = {
        {12345, 2, "c 123.45\n"}, {12340, 2, "c 123.4\n"},
        {12300, 2, "c 123\n"},    {5, 3, "c 0.005\n"},
        {0, 6, "c 0\n"},          {UINT64_MAX, 0, "c 18446744073709551615\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct page page;
        page_init(&page, 10);
        page_family(&page, "c", PAGE_COUNTER, "");
        page_begin(&page);
        page_fixed(&page, cases[i].value, cases[i].decimals);
        page_end(&page);
        assert_string_equal(buffer_string(&page.samples), cases[i].text);
        page_done(&page);
    }
}

static void
labels_are_escaped_and_repaired(void **state)
{
    (void)state;
    struct page page;
    page_init(&page, 10);
    page_family(&page, "g", PAGE_GAUGE, "");
    page_sample(&page, 1, "a", "x\"y\\z\nw", "b", "\xc3\xa9\xff\xe0\x80\x01", NULL);
    page_end(&page);
    assert_string_equal(buffer_string(&page.samples),
                        "g{a=\"x\\\"y\\\\z\\nw\",b=\"\xc3\xa9????\"} 1\n");
    page_done(&page);
}

static void
series_above_the_budget_are_counted(void **state)
{
    (void)state;
    struct page page;
    page_init(&page, 2);
    page_family(&page, "a", PAGE_GAUGE, "");
    for (int i = 0; i < 5; i++)
        page_sample(&page, i, "n", "x", NULL);
    page_line(&page, "a 7", 3);
    page_family(&page, "b", PAGE_GAUGE, "");
    page_sample(&page, 9, NULL);
    page_end(&page);
    assert_string_equal(buffer_string(&page.samples), "a{n=\"x\"} 0\na{n=\"x\"} 1\nb 9\n");
    assert_int_equal(page.families[0].left_out, 4);
    assert_int_equal(page.families[1].left_out, 0);
    page_done(&page);
}

static void
pages_become_one_with_each_family_in_one_place(void **state)
{
    (void)state;
    struct page left;
    struct page right;
    struct buffer out;
    const struct page *pages[] = {&left, &right};
    page_init(&left, 10);
    page_init(&right, 10);
    buffer_init(&out, 10000);
    page_counter(&left, "x_total", "Line one\nand \\ \"two\".", 1);
    page_gauge(&left, "empty", "No samples follow.", 0);
    page_clear(&left);
    page_counter(&left, "x_total", "Line one\nand \\ \"two\".", 1);
    page_family(&left, "none", PAGE_GAUGE, "Has no samples.");
    page_gauge(&right, "y", "Y.", 2);
    page_family(&right, "x_total", PAGE_COUNTER, "Another help.");
    page_sample(&right, 3, "target", "b", NULL);
    page_family(&right, "u", PAGE_UNTYPED, "U.");
    page_sample(&right, 4, NULL);
    page_family(&right, "intr", PAGE_COUNTER, "No _total.");
    page_sample(&right, 5, NULL);
    page_end(&left);
    page_end(&right);
    page_render(pages, 2, METRIC_PAGE_TEXT, NULL, &out);
    assert_string_equal(buffer_string(&out),
                        "# HELP x_total Line one\\nand \\\\ \"two\".\n# TYPE x_total counter\n"
                        "x_total 1\nx_total{target=\"b\"} 3\n"
                        "# HELP y Y.\n# TYPE y gauge\ny 2\n"
                        "# HELP u U.\n# TYPE u untyped\nu 4\n"
                        "# HELP intr No _total.\n# TYPE intr counter\nintr 5\n");
    buffer_clear(&out);
    page_render(pages, 2, METRIC_PAGE_OPENMETRICS, NULL, &out);
    assert_string_equal(buffer_string(&out),
                        "# HELP x Line one\\nand \\\\ \\\"two\\\".\n# TYPE x counter\n"
                        "x_total 1\nx_total{target=\"b\"} 3\n"
                        "# HELP y Y.\n# TYPE y gauge\ny 2\n"
                        "# HELP u U.\n# TYPE u unknown\nu 4\n"
                        "# HELP intr No _total.\n# TYPE intr unknown\nintr 5\n");
    page_done(&left);
    page_done(&right);
    buffer_done(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_back_as_the_same_number),
        cmocka_unit_test(fixed_decimals_are_exact_and_short),
        cmocka_unit_test(labels_are_escaped_and_repaired),
        cmocka_unit_test(series_above_the_budget_are_counted),
        cmocka_unit_test(pages_become_one_with_each_family_in_one_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
