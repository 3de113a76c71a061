/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.c: see verbs.h. */
#include "exporters/verbs.h"

#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "exporters/host/lane.h"
#include "exporters/left_out.h"
#include "exporters/options.h"
#include "exporters/page.h"
#include "exporters/remote_lane.h"

#define REPORT_MAX (4U * 1024 * 1024)
#define DEADLINE_MS 60000

static void
print_families(const struct page *page)
{
    for (size_t i = 0; i < page->family_count; i++)
        if (page->families[i].series > 0)
            printf("  %s (%zu)\n", page_word(page, page->families[i].name),
                   page->families[i].series);
}

/* The lines of page_absent(). */
static void
print_absences(struct buffer *absences)
{
    const char *at = buffer_string(absences);
    while (*at != '\0') {
        size_t name = strcspn(at, "\t");
        size_t line = strcspn(at, "\n");
        printf("  not %.*s: %.*s\n", (int)name, at, (int)(line - name - 1), at + name + 1);
        at += line + 1;
    }
    buffer_clear(absences);
}

static void
check_host(struct host_lane *lane, struct buffer *absences, size_t *problems)
{
    bool wanted[64] = {false};
    const struct page *page;
    for (size_t i = 0; i < host_class_count; i++) {
        struct host_state state;
        wanted[i] = true;
        host_lane_scrape(lane, wanted, clock_monotonic_ms() + DEADLINE_MS);
        wanted[i] = false;
        host_lane_state(lane, i, &state);
        if (!state.enabled) {
            printf("host %s: switched off in the configuration\n", state.name);
            continue;
        }
        printf("host %s: %s%s\n", state.name, state.absent ? "not here: " : "",
               state.success ? "read" : state.error);
        *problems += !state.success && !state.absent;
        if (host_lane_pages(lane, &page, 1) == 1)
            print_families(page);
        print_absences(absences);
    }
}

static void
check_remotes(struct remote_lane *remotes, struct buffer *absences, size_t *problems)
{
    for (size_t i = 0; i < remote_lane_count(remotes); i++) {
        struct remote_state state;
        const struct page *page = remote_lane_round(remotes, i, absences);
        remote_lane_state(remotes, i, &state);
        printf("%s %s: %s\n", state.collector, state.target,
               state.success ? "answers" : state.error);
        *problems += !state.success;
        if (page != NULL)
            print_families(page);
        print_absences(absences);
    }
}

bool
verbs_check(const struct exporter_options *options, bool connect, bool *fine, struct err *err)
{
    struct host_lane *host = NULL;
    struct remote_lane *remotes = NULL;
    struct left_out *left_out = NULL;
    struct buffer absences;
    size_t series_max = (size_t)options->page.series_per_family;
    size_t problems = 0;
    buffer_init(&absences, REPORT_MAX);
    bool opened = left_out_new(&left_out, err) &&
                  host_lane_new(&host, &options->host, series_max, left_out, err) &&
                  remote_lane_new(&remotes, options, series_max, left_out, NULL, err);
    if (opened && connect) {
        host_lane_want_absences(host, &absences);
        if (options->host.enabled)
            check_host(host, &absences, &problems);
        else
            printf("host: off, host.enabled is false\n");
        check_remotes(remotes, &absences, &problems);
    }
    if (opened && problems == 0)
        printf("configuration OK\n");
    else if (opened)
        printf("NOT OK: %zu problem%s\n", problems, problems == 1 ? "" : "s");
    *fine = problems == 0;
    (void)remote_lane_free(remotes); /* its threads were never started */
    (void)host_lane_free(host);
    left_out_free(left_out);
    buffer_done(&absences);
    return opened;
}

void
verbs_print_reference(void)
{
    struct buffer text;
    buffer_init(&text, REPORT_MAX);
    options_reference(&exporter_options_schema, &text);
    (void)fputs(buffer_string(&text), stdout);
    buffer_done(&text);
}
