/* SPDX-License-Identifier: Apache-2.0 */
/* lane.c: see lane.h. A post is one collector with its page. While it is hung its thread may write
 * to all of it, so the lane looks at a post's results only when the crew says that it is done. */
#include "exporters/host/lane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "exporters/crew.h"
#include "exporters/left_out.h"
#include "exporters/page.h"

#define NAMES_MAX 64 /* collectors, for the message about an unknown one */

struct post {
    const struct host_class *class;
    void *self; /* NULL: not enabled */
    struct crew_job job;
    struct page page;
    struct err err;
    bool fine; /* what collect() returned */
    bool asked;
};

struct host_lane {
    struct crew *crew;
    struct left_out *left_out;
    uint64_t timeout_ms;
    struct post *posts; /* one of each class */
    struct crew_job **jobs;
};

static bool
check_names(const struct option_texts *texts, const char *option, struct err *err)
{
    const char *names[NAMES_MAX];
    for (size_t i = 0; i < host_class_count && i < NAMES_MAX; i++)
        names[i] = host_classes[i]->name;
    for (size_t i = 0; i < texts->count; i++) {
        size_t known = 0;
        while (known < host_class_count && strcmp(names[known], texts->items[i]) != 0)
            known++;
        if (known < host_class_count)
            continue;
        const char *near = option_nearest(texts->items[i], names, host_class_count);
        return err_set(err, ERR_CONFIG, 0, "host.%s names '%.60s', which is no collector%s%s%s",
                       option, texts->items[i], near == NULL ? "" : "; did you mean '",
                       near == NULL ? "" : near, near == NULL ? "" : "'?");
    }
    return true;
}

bool
host_lane_check(const struct host_options *options, struct err *err)
{
    ASSERT(host_class_count <= NAMES_MAX);
    return check_names(&options->collectors, "collectors", err) &&
           check_names(&options->exclude, "exclude", err);
}

static bool
is_in(const struct option_texts *texts, const char *name)
{
    for (size_t i = 0; i < texts->count; i++)
        if (strcmp(texts->items[i], name) == 0)
            return true;
    return false;
}

/* "" in a list stands for nothing: the default of a list of texts. */
static bool
is_empty(const struct option_texts *texts)
{
    return texts->count == 0 || (texts->count == 1 && texts->items[0][0] == '\0');
}

/* On the helper thread. */
static void
run_post(void *context)
{
    struct post *post = context;
    page_clear(&post->page);
    post->err.text[0] = '\0';
    post->fine = post->class->collect(post->self, &post->page, &post->err);
    page_end(&post->page);
}

bool
host_lane_new(struct host_lane **out, const struct host_options *options, size_t series_max,
              struct left_out *left_out, struct err *err)
{
    struct host_lane *lane = calloc(1, sizeof(*lane));
    if (lane == NULL)
        return err_set(err, ERR_STOP, 0, "cannot start the host collectors: out of memory");
    *out = lane;
    lane->left_out = left_out;
    lane->timeout_ms = options->timeout;
    lane->posts = calloc(host_class_count, sizeof(*lane->posts));
    lane->jobs = calloc(host_class_count, sizeof(struct crew_job *));
    if (lane->posts == NULL || lane->jobs == NULL)
        return err_set(err, ERR_STOP, 0, "cannot start the host collectors: out of memory");
    for (size_t i = 0; i < host_class_count; i++) {
        struct post *post = &lane->posts[i];
        post->class = host_classes[i];
        post->job = (struct crew_job){.run = run_post, .context = post};
        page_init(&post->page, series_max);
        bool enabled =
            (is_empty(&options->collectors) || is_in(&options->collectors, post->class->name)) &&
            !is_in(&options->exclude, post->class->name);
        if (enabled && !post->class->open(&post->self, options, err))
            return false;
    }
    return crew_new(&lane->crew, err);
}

bool
host_lane_free(struct host_lane *lane)
{
    if (lane == NULL)
        return true;
    if (!crew_free(lane->crew))
        return false; /* a thread that hangs may yet come back and write */
    for (size_t i = 0; lane->posts != NULL && i < host_class_count; i++) {
        struct post *post = &lane->posts[i];
        if (post->class == NULL)
            continue;
        post->class->close(post->self);
        page_done(&post->page);
    }
    free(lane->posts);
    free(lane->jobs);
    free(lane);
    return true;
}

void
host_lane_scrape(struct host_lane *lane, const bool *wanted, uint64_t deadline_ms)
{
    size_t count = 0;
    for (size_t i = 0; i < host_class_count; i++) {
        struct post *post = &lane->posts[i];
        post->asked = post->self != NULL && (wanted == NULL || wanted[i]);
        if (post->asked)
            lane->jobs[count++] = &post->job;
    }
    crew_run(lane->crew, lane->jobs, count, lane->timeout_ms, deadline_ms);
    for (size_t i = 0; lane->left_out != NULL && i < host_class_count; i++)
        if (lane->posts[i].asked && lane->posts[i].job.done)
            left_out_note(lane->left_out, &lane->posts[i].page);
}

size_t
host_lane_pages(const struct host_lane *lane, const struct page **pages, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < host_class_count && count < max; i++)
        if (lane->posts[i].asked && lane->posts[i].job.done)
            pages[count++] = &lane->posts[i].page;
    return count;
}

void
host_lane_state(const struct host_lane *lane, size_t index, struct host_state *out)
{
    ASSERT(index < host_class_count);
    const struct post *post = &lane->posts[index];
    *out = (struct host_state){
        .name = post->class->name,
        .enabled = post->self != NULL,
        .asked = post->asked,
    };
    if (post->self == NULL)
        return;
    struct crew_job job = crew_job_look(lane->crew, &post->job);
    out->hung = job.busy;
    out->seconds = (double)job.wall_ns / 1e9;
    out->cpu_seconds = (double)job.cpu_ns / 1e9;
    if (out->hung) {
        (void)snprintf(out->error, sizeof(out->error), "has not come back for %.1f s",
                       (double)(clock_monotonic_ms() - job.began_ms) / 1000);
        return;
    }
    if (!job.done) {
        if (post->asked)
            (void)snprintf(out->error, sizeof(out->error), "was not read in time");
        return;
    }
    out->success = post->fine && !post->page.failed;
    out->absent = !post->fine && post->err.action == ERR_REJECT;
    if (!post->fine)
        memcpy(out->error, post->err.text, sizeof(out->error));
    else if (post->page.failed)
        (void)snprintf(out->error, sizeof(out->error), "has more than memory allows");
}

void
host_lane_want_absences(struct host_lane *lane, struct buffer *out)
{
    for (size_t i = 0; i < host_class_count; i++)
        lane->posts[i].page.absences = out;
}

void
host_lane_put(const struct host_lane *lane, struct page *page)
{
    struct host_state state;
    page_family(page, "node_scrape_collector_duration_seconds", PAGE_GAUGE,
                "node_exporter: Duration of a collector scrape.");
    for (size_t i = 0; i < host_class_count; i++) {
        host_lane_state(lane, i, &state);
        if (state.asked)
            page_sample(page, state.seconds, "collector", state.name, NULL);
    }
    page_family(page, "node_scrape_collector_success", PAGE_GAUGE,
                "node_exporter: Whether a collector succeeded.");
    for (size_t i = 0; i < host_class_count; i++) {
        host_lane_state(lane, i, &state);
        if (state.asked)
            page_sample(page, state.success, "collector", state.name, NULL);
    }
}
