/* SPDX-License-Identifier: Apache-2.0 */
/* survey.c: see survey.h. */
#include "agent/survey.h"

#include <stdlib.h>
#include <string.h>

#include "agent/inputs/file.h"
#include "core/assert.h"
#include "core/clock.h"

static void
swap(struct ranking *ranking, size_t a, size_t b)
{
    struct file *file = ranking->files[a];
    double value = ranking->values[a];
    ranking->files[a] = ranking->files[b];
    ranking->values[a] = ranking->values[b];
    ranking->files[b] = file;
    ranking->values[b] = value;
}

/* Below its place: from the first of the heap down. */
static void
sink(struct ranking *ranking, size_t count)
{
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (ranking->values[child] < ranking->values[least])
                least = child;
        if (least == at)
            return;
        swap(ranking, at, least);
        at = least;
    }
}

void
ranking_add(struct ranking *ranking, struct file *file, double value)
{
    ASSERT(ranking->max > 0);

    if (ranking->count == ranking->max) {
        if (value <= ranking->values[0])
            return;
        ranking->files[0] = file;
        ranking->values[0] = value;
        sink(ranking, ranking->count);
        return;
    }
    size_t at = ranking->count++;
    ranking->files[at] = file;
    ranking->values[at] = value;
    for (; at > 0 && ranking->values[at] < ranking->values[(at - 1) / 2]; at = (at - 1) / 2)
        swap(ranking, at, (at - 1) / 2);
}

void
ranking_sort(struct ranking *ranking)
{
    for (size_t left = ranking->count; left > 1; left--) {
        swap(ranking, 0, left - 1);
        sink(ranking, left - 1);
    }
}

/* Those that need a person before all others, the largest backlog first among equals. */
static double
trouble(const struct file *file)
{
    double value = (double)file_lag(file);
    return file_shown_state(file) == FILE_FAILED ? value + 1e18 : value;
}

/* One that was rotated away is done with. */
static bool
is_silent(const struct file *file, uint64_t now_ms)
{
    return file->state == FILE_ACTIVE && file->listed && habit_is_silent(&file->habit, now_ms);
}

static void
survey_file(struct survey *survey, struct file *file)
{
    const struct habit *habit = &file->habit;
    survey->file_count++;
    ranking_add(&survey->files, file, trouble(file));
    double rate = habit_rate(habit, survey->now_ms);
    if (rate >= 1)
        ranking_add(&survey->talkers, file, rate);
    if (is_silent(file, survey->now_ms)) {
        survey->silent_count++;
        ranking_add(&survey->silent, file,
                    (double)(survey->now_ms - habit->grown_ms) / (double)habit_usual_gap_ms(habit));
    }
}

struct survey *
survey_new(const struct agent *agent, const char *path, size_t files_max)
{
    ASSERT(files_max <= SURVEY_FILES_MAX);

    struct survey *survey = calloc(1, sizeof(*survey));
    if (survey == NULL)
        return NULL;
    survey->now_ms = clock_monotonic_ms();
    survey->files = (struct ranking){survey->file_items, survey->file_values, 0, files_max};
    survey->talkers =
        (struct ranking){survey->talker_items, survey->talker_values, 0, SURVEY_TALKERS_MAX};
    survey->silent =
        (struct ranking){survey->silent_items, survey->silent_values, 0, SURVEY_SILENT_MAX};
    for (struct file *file = agent->files; file != NULL; file = file->next)
        if (file->state != FILE_ENDED && (path == NULL || strcmp(file->path, path) == 0))
            survey_file(survey, file);
    ranking_sort(&survey->files);
    ranking_sort(&survey->talkers);
    ranking_sort(&survey->silent);
    return survey;
}

void
survey_silence(struct agent *agent)
{
    uint64_t now_ms = clock_monotonic_ms();
    for (struct input *input = agent->inputs; input != NULL; input = input->next)
        input->silent_count = 0;
    for (const struct file *file = agent->files; file != NULL; file = file->next)
        file->input->silent_count += is_silent(file, now_ms) ? 1 : 0;
    for (struct input *input = agent->inputs; input != NULL; input = input->next)
        metrics_set(agent->metrics, input->silent_files, (double)input->silent_count);
}
