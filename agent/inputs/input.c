/* SPDX-License-Identifier: Apache-2.0 */
/* input.c: see input.h. */
#include "agent/inputs/input.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "agent/inputs/file.h"
#include "agent/inputs/glob.h"
#include "agent/inputs/match.h"
#include "agent/reader.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "agent/topics.h"
#include "core/clock.h"

#define KAFKA_DATA "/var/lib/kafka-logs" /* to tail Kafka's own log into Kafka never ends */

#define SHOWN_STATES 5 /* of enum file_state; ended files are nobody's */
static const char *const state_names[SHOWN_STATES] = {"reading", "ignored", "refused", "failed",
                                                      "suspended"};

static bool
is_below(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    while (size > 1 && folder[size - 1] == '/')
        size--;
    return strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

bool
path_is_kafka_data(const char *path)
{
    return is_below(path, KAFKA_DATA);
}

bool
input_matches(const struct agent_files_options *options, const char *path)
{
    for (size_t i = 0; i < options->exclude.count; i++)
        if (glob_excludes(options->exclude.items[i], path))
            return false;
    for (size_t i = 0; i < options->paths.count; i++)
        if (glob_match(options->paths.items[i], path))
            return true;
    return false;
}

const char *
input_refuses(const struct agent_files_options *options, const char *state_dir, const char *path)
{
    for (size_t i = 0; i < options->exclude.count; i++)
        if (glob_excludes(options->exclude.items[i], path))
            return "it is excluded";
    if (is_below(path, state_dir))
        return "it is the agent's own state";
    if (path_is_kafka_data(path))
        return "it is Kafka's own data";
    return NULL;
}

void
input_free(struct input *input)
{
    buffer_done(&input->before_path);
    buffer_done(&input->after_offset);
    free(input->queues);
    free(input->name);
    free(input);
}

static const char *
topic_name_of(const struct agent *agent, const struct agent_files_options *options)
{
    return options->topic[0] == '\0' ? agent->options->kafka.topic : options->topic;
}

/* Counters that are there before they count: a rate over the first loss must see it. */
static void
add_zeros(struct metrics *metrics, const char *input)
{
    static const char *const losses[] = {"deleted",  "truncated",        "shorter",
                                         "vanished", "held_deleted_max", "compressed"};
    static const char *const refusals[] = {"binary", "compressed", "own_data"};
    static const char *const lives[] = {"new",       "truncated", "renamed",      "copied",
                                        "replaced",  "ambiguous", "inode_reused", "own_after_grace",
                                        "power_cut", "foreign"};
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++)
        (void)metrics_series(metrics, METRIC_LOST_BYTES, input, losses[i], NULL);
    (void)metrics_series(metrics, METRIC_SKIPPED_BYTES, input, "zeros", NULL);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        (void)metrics_series(metrics, METRIC_REFUSED_FILES, input, refusals[i], NULL);
    for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
        (void)metrics_series(metrics, METRIC_GENERATIONS, input, lives[i], NULL);
}

bool
input_new(struct input **out, struct agent *agent, const struct agent_files_options *options,
          struct err *err)
{
    struct input *input = calloc(1, sizeof(*input));
    if (input == NULL || (input->name = strdup(options->name)) == NULL) {
        free(input);
        return err_errno(err, ERR_STOP, ENOMEM, "add the input '%s'", options->name);
    }
    input->options = options;
    buffer_init(&input->before_path, ENVELOPE_SIZE_MAX);
    buffer_init(&input->after_offset, ENVELOPE_SIZE_MAX);
    input->topic = topic_get(agent, topic_name_of(agent, options), err);
    if (input->topic == NULL || !reader_render_input(input, err)) {
        input_free(input);
        return false;
    }
    input->first_start = !state_input_seen(agent->state, input->name);
    input->tokens_ms = clock_monotonic_ms();
    struct metrics *metrics = agent->metrics;
    input->events = metrics_series(metrics, METRIC_EVENTS, input->name, NULL);
    input->bytes = metrics_series(metrics, METRIC_BYTES, input->name, NULL);
    input->lag_bytes = metrics_series(metrics, METRIC_LAG_BYTES, input->name, NULL);
    input->loss_seconds = METRIC_NONE;
    input->silent_files = metrics_series(metrics, METRIC_SILENT_FILES, input->name, NULL);
    input->unfinished_bytes = metrics_series(metrics, METRIC_UNFINISHED_BYTES, input->name, NULL);
    input->lag_seconds = metrics_series(metrics, METRIC_LAG_SECONDS, input->name, NULL);
    for (size_t i = 0; i < SHOWN_STATES; i++)
        input->states[i] = metrics_series(metrics, METRIC_FILES, input->name, state_names[i], NULL);
    input->empty_lines = metrics_series(metrics, METRIC_SKIPPED_LINES, input->name, "empty", NULL);
    add_zeros(metrics, input->name);
    *out = input;
    return true;
}

struct input *
input_named(const struct agent *agent, const char *name)
{
    struct input *input = agent->inputs;
    while (input != NULL && strcmp(input->name, name) != 0)
        input = input->next;
    return input;
}

/* It is not read any more; what is under way is finished first. */
static void
drop_file(struct agent *agent, struct file *file)
{
    schedule_remove(agent, file);
    file_unlist(agent, file);
    file_close(agent, file);
    if (file->first == NULL) {
        file_free(agent, file);
        return;
    }
    file->state = FILE_ENDED;
}

bool
input_apply(struct agent *agent, struct input *input, const struct agent_files_options *options,
            struct err *err)
{
    input->options = options; /* first: those it had are freed, also when the rest fails */
    input->removed = false;   /* it may have been taken out by the reload before this one */
    struct topic *topic = topic_get(agent, topic_name_of(agent, options), err);
    if (topic == NULL || !reader_render_input(input, err))
        return false;
    for (struct file *file = agent->files, *next; file != NULL; file = next) {
        next = file->next;
        if (file->input == input && file->state != FILE_ENDED && file->listed &&
            (!input_matches(options, file->path) || file->state != FILE_ACTIVE))
            drop_file(agent, file);
    }
    if (topic == input->topic)
        return true;
    for (struct file *file = agent->files; file != NULL; file = file->next)
        if (file->input == input && file->queued)
            schedule_remove(agent, file);
    free(input->queues);
    input->queues = NULL;
    input->queue_count = 0;
    input->cursor = 0;
    input->topic = topic;
    for (struct file *file = agent->files; file != NULL; file = file->next)
        if (file->input == input)
            schedule_file(agent, file);
    return true;
}

bool
input_remove(struct agent *agent, struct input *input)
{
    for (struct file *file = agent->files, *next; file != NULL; file = next) {
        next = file->next;
        if (file->input == input && file->state != FILE_ENDED)
            drop_file(agent, file);
    }
    if (input->file_count > 0) {
        static const struct agent_files_options nothing = {.name = ""};
        input->options = &nothing; /* those it had may be freed */
        input->removed = true;
        return false;
    }
    match_done(agent); /* they point to inputs */
    struct input **link = &agent->inputs;
    while (*link != input)
        link = &(*link)->next;
    *link = input->next;
    metrics_remove(agent->metrics, input->lag_bytes);
    metrics_remove(agent->metrics, input->lag_seconds);
    metrics_remove(agent->metrics, input->unfinished_bytes);
    metrics_remove(agent->metrics, input->loss_seconds);
    metrics_remove(agent->metrics, input->silent_files);
    for (size_t i = 0; i < SHOWN_STATES; i++)
        metrics_remove(agent->metrics, input->states[i]);
    input_free(input);
    return true;
}

void
input_publish(struct agent *agent, struct input *input, uint64_t now_ms)
{
    const struct input_sums *sums = &input->sums;
    uint64_t behind_ms = sums->oldest_ms == 0 ? 0 : now_ms - sums->oldest_ms;
    metrics_set(agent->metrics, input->lag_bytes, (double)sums->lag_bytes);
    metrics_set(agent->metrics, input->unfinished_bytes, (double)sums->unfinished_bytes);
    if (!isnan(sums->loss_seconds)) {
        if (input->loss_seconds == METRIC_NONE)
            input->loss_seconds =
                metrics_series(agent->metrics, METRIC_ROTATION_LOSS, input->name, NULL);
        metrics_set(agent->metrics, input->loss_seconds, sums->loss_seconds);
    }
    metrics_set(agent->metrics, input->lag_seconds, (double)behind_ms / 1000.0);
    for (size_t i = 0; i < SHOWN_STATES; i++)
        metrics_set(agent->metrics, input->states[i], (double)sums->states[i]);
}
