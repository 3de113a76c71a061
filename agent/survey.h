/* SPDX-License-Identifier: Apache-2.0 */
/* survey.h: what is worth showing of all files, whose number has no bound: those in trouble or
 * behind, those that are delivered fastest, those that are silent against their habit. */
#ifndef AGENT_SURVEY_H
#define AGENT_SURVEY_H

#include "agent/agent.h"

#define SURVEY_FILES_MAX 1000
#define SURVEY_TALKERS_MAX 10
#define SURVEY_SILENT_MAX 20

/* The greatest of many, greatest first once it is sorted; smaller ones fall out. */
struct ranking {
    struct file **files; /* a heap, the smallest first */
    double *values;
    size_t count, max;
};

struct survey {
    struct ranking files; /* failed ones, then by bytes that wait */
    struct ranking talkers;
    struct ranking silent; /* by silence against what is usual */
    size_t file_count, silent_count;
    uint64_t now_ms;
    struct file *file_items[SURVEY_FILES_MAX];
    double file_values[SURVEY_FILES_MAX];
    struct file *talker_items[SURVEY_TALKERS_MAX];
    double talker_values[SURVEY_TALKERS_MAX];
    struct file *silent_items[SURVEY_SILENT_MAX];
    double silent_values[SURVEY_SILENT_MAX];
};

/* `path` NULL: of all files; else of those with that path, which rotated lives keep. NULL when
 * memory is short; free() it. */
struct survey *survey_new(const struct agent *agent, const char *path, size_t files_max);

/* Counts the silent files of each input, and publishes it. It walks all files. */
void survey_silence(struct agent *agent);

void ranking_add(struct ranking *ranking, struct file *file, double value);
void ranking_sort(struct ranking *ranking);

#endif
