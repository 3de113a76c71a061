/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.c: see verbs.h. Prints to stdout; errors to stderr. */
#include "agent/verbs.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/generation.h"
#include "agent/inputs/files.h"
#include "agent/inputs/glob.h"
#include "agent/reader.h"
#include "agent/state.h"
#include "core/buffer.h"
#include "core/cli.h"
#include "core/clock.h"
#include "core/kafka.h"

#define CONNECT_TIMEOUT_MS 5000
#define REPORT_MAX ((size_t)1024 * 1024)
#define SHOWN_MAX 5

/* --- check --- */

struct counted {
    const struct agent_options *options;
    const struct agent_files_options *input;
    size_t files, unreadable;
    unsigned long long bytes;
};

static void
count_folder(void *context, const char *path)
{
    (void)context;
    (void)path;
}

static void
count_failed(void *context, const char *path, int number)
{
    const struct counted *counted = context;
    printf("  input '%s': cannot look into '%s': %s\n", counted->input->name, path,
           strerror(number));
}

static void
count_file(void *context, const char *path)
{
    struct counted *counted = context;
    struct stat about;
    if (input_refuses(counted->input, counted->options->top.state_dir, path) != NULL ||
        stat(path, &about) != 0 || !S_ISREG(about.st_mode))
        return;
    counted->files++;
    counted->bytes += (unsigned long long)about.st_size;
    if (access(path, R_OK) == 0)
        return;
    if (counted->unreadable++ < SHOWN_MAX)
        printf("  input '%s': cannot read '%s': %s\n", counted->input->name, path, strerror(errno));
}

static bool
check_inputs(const struct agent_options *options)
{
    for (size_t i = 0; i < options->files_count; i++) {
        struct counted counted = {.options = options, .input = &options->files[i]};
        struct glob_walk walk = {count_folder, count_file, count_failed, &counted};
        for (size_t k = 0; k < counted.input->paths.count; k++) {
            struct err err;
            if (glob_expand(counted.input->paths.items[k], &walk, &err))
                continue;
            fprintf(stderr, "tailrace-agent: %s\n", err.text);
            return false;
        }
        printf("input '%s': %zu files, %llu bytes%s\n", counted.input->name, counted.files,
               counted.bytes, counted.unreadable > 0 ? ", some cannot be read" : "");
    }
    return true;
}

static bool
check_brokers(const struct agent_options *options, rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, NULL, &found, CONNECT_TIMEOUT_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || found == NULL) {
        printf("kafka: cannot reach the brokers: %s\n", rd_kafka_err2str(error));
        return false;
    }
    printf("kafka: %d brokers:", found->broker_cnt);
    for (int i = 0; i < found->broker_cnt; i++)
        printf(" %s:%d", found->brokers[i].host, found->brokers[i].port);
    printf("\n");
    rd_kafka_metadata_destroy(found);
    struct buffer report;
    buffer_init(&report, REPORT_MAX);
    bool fine = true;
    for (size_t i = 0; i < options->files_count; i++) {
        const char *topic =
            options->files[i].topic[0] == '\0' ? options->kafka.topic : options->files[i].topic;
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |=
                strcmp(topic, options->files[k].topic[0] == '\0' ? options->kafka.topic
                                                                 : options->files[k].topic) == 0;
        if (!again)
            fine &= kafka_check_topic(rk, topic, &report);
    }
    printf("%s", buffer_string(&report));
    buffer_done(&report);
    return fine;
}

static bool
check_connection(const struct agent_options *options)
{
    struct err err;
    rd_kafka_conf_t *conf;
    if (!kafka_conf_new(&conf, agent_kafka_common(options), "tailrace-agent-check", NULL, 0,
                        &err)) {
        fprintf(stderr, "tailrace-agent: %s\n", err.text);
        return false;
    }
    char text[256];
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        fprintf(stderr, "tailrace-agent: %s\n", text);
        return false;
    }
    bool fine = check_brokers(options, rk);
    rd_kafka_destroy(rk);
    struct buffer traps;
    buffer_init(&traps, 65536);
    kafka_version_traps(rd_kafka_version(), KAFKA_PRODUCER, &traps);
    printf("%s", buffer_string(&traps));
    buffer_done(&traps);
    return fine;
}

int
verb_check(const struct agent_options *options, bool connect)
{
    struct kafka_settings settings;
    struct err err;
    if (!kafka_settings_init(&settings, agent_kafka_common(options), &err)) {
        fprintf(stderr, "tailrace-agent: %s\n", err.text);
        return CLI_EXIT_USAGE;
    }
    if (!check_inputs(options))
        return CLI_EXIT_RUNTIME;
    printf("kafka: %s (%s)%s\n", settings.bootstrap_servers, settings.security_protocol,
           settings.servers_from_environment ? ", from KAFKA_BOOTSTRAP_SERVERS" : "");
    if (connect && !check_connection(options))
        return CLI_EXIT_RUNTIME;
    printf("configuration OK\n");
    return CLI_EXIT_OK;
}

/* --- state show, explain --- */

static void
print_generation(const struct generation *generation)
{
    char id[GENERATION_TEXT_SIZE + 1] = "";
    generation_id_format(generation->id, id);
    char seen[CLOCK_TEXT_SIZE + 1] = "";
    clock_format_utc(generation->seen_seconds * 1000, seen);
    printf(
        "%s\n  input %s, generation %s\n  committed %llu of %llu bytes, seen %s, device %llu inode "
        "%llu\n",
        generation->path, generation->input, id, (unsigned long long)generation->committed,
        (unsigned long long)generation->size, seen, (unsigned long long)generation->device,
        (unsigned long long)generation->inode);
}

int
verb_state_show(const struct agent_options *options)
{
    struct catalog catalog = {0};
    struct state_report report;
    struct err err;
    if (!state_read(options->top.state_dir, &catalog, &report, &err)) {
        fprintf(stderr, "tailrace-agent: %s\n", err.text);
        catalog_done(&catalog);
        return CLI_EXIT_RUNTIME;
    }
    for (const struct generation *at = catalog.first; at != NULL; at = at->next)
        print_generation(at);
    char last[CLOCK_TEXT_SIZE + 1] = "";
    clock_format_utc(report.last_wall_ms, last);
    printf("%zu files known; last written %s, %s\n", report.generations, last,
           report.clean ? "stopped in order" : "running or not stopped in order");
    if (report.holes > 0)
        printf("damaged: %zu bytes in %zu places\n", report.damaged_bytes, report.holes);
    catalog_done(&catalog);
    return CLI_EXIT_OK;
}

/* Says which input reads the path, or why none does. */
static bool
explain_inputs(const struct agent_options *options, const char *path, const struct stat *about)
{
    bool read = false;
    for (size_t i = 0; i < options->files_count && !read; i++) {
        const struct agent_files_options *input = &options->files[i];
        const char *refusal = input_refuses(input, options->top.state_dir, path);
        bool matched = false;
        for (size_t k = 0; k < input->paths.count; k++)
            matched |= glob_match(input->paths.items[k], path);
        int64_t age_ms = clock_wall_ms() - (int64_t)about->st_mtim.tv_sec * 1000;
        if (!matched)
            printf("input '%s': no path matches\n", input->name);
        else if (refusal != NULL)
            printf("input '%s': matches, but %s\n", input->name, refusal);
        else if (input->ignore_older > 0 && age_ms > (int64_t)input->ignore_older)
            printf("input '%s': matches, but it was not written for longer than ignore_older (read "
                   "on if it is known)\n",
                   input->name);
        else {
            printf("input '%s': reads it into topic '%s'\n", input->name,
                   input->topic[0] == '\0' ? options->kafka.topic : input->topic);
            read = true;
        }
    }
    return read;
}

static void
explain_state(const struct agent_options *options, const char *path, int fd,
              const struct stat *about)
{
    struct catalog catalog = {0};
    struct state_report report;
    struct err err;
    if (!state_read(options->top.state_dir, &catalog, &report, &err)) {
        printf("state: %s\n", err.text);
        catalog_done(&catalog);
        return;
    }
    int64_t birth_ns = generation_birth_ns(fd);
    const struct generation *best = NULL;
    enum tie best_tie = TIE_NONE;
    for (const struct generation *at = catalog.first; at != NULL; at = at->next) {
        enum tie tie = generation_tie(at, about, birth_ns, path);
        if (tie > best_tie && generation_belongs(at, fd, (uint64_t)about->st_size) == BELONGS_YES) {
            best = at;
            best_tie = tie;
        }
    }
    static const char *const ties[] = {"", "its content", "its path and content",
                                       "its inode and content",
                                       "its inode, birth time and content"};
    if (best == NULL) {
        printf("state: not known; it would be read from %s\n", "its beginning or as start_at says");
    } else {
        printf("state: known by %s:\n", ties[best_tie]);
        print_generation(best);
        uint64_t size = (uint64_t)about->st_size;
        printf("  %llu bytes wait\n",
               (unsigned long long)(size > best->committed ? size - best->committed : 0));
    }
    catalog_done(&catalog);
}

int
verb_explain(const struct agent_options *options, const char *path)
{
    struct stat about;
    char absolute[PATH_MAX];
    if (path[0] != '/' && realpath(path, absolute) != NULL)
        path = absolute;
    if (stat(path, &about) != 0) {
        printf("%s: %s\n", path, strerror(errno));
        return CLI_EXIT_RUNTIME;
    }
    printf("%s: %lld bytes\n", path, (long long)about.st_size);
    if (!S_ISREG(about.st_mode)) {
        printf("it is no regular file and is not read\n");
        return CLI_EXIT_OK;
    }
    bool read = explain_inputs(options, path, &about);
    int fd = reader_open(path);
    if (fd < 0) {
        printf("it cannot be opened: %s\n", strerror(errno));
        return CLI_EXIT_OK;
    }
    char head[1024];
    ssize_t got = pread(fd, head, sizeof(head), 0);
    if (got > 0 && memchr(head, '\0', (size_t)got) != NULL)
        printf(
            "it looks binary (a zero byte in its first 1024) and is not read unless it is known\n");
    if (read)
        explain_state(options, path, fd, &about);
    (void)close(fd);
    return CLI_EXIT_OK;
}

int
verb_reference(void)
{
    struct buffer text;
    buffer_init(&text, (size_t)1024 * 1024);
    options_reference(&agent_options_schema, &text);
    bool printed = !text.failed && fwrite(text.bytes, 1, text.size, stdout) == text.size;
    buffer_done(&text);
    return printed ? CLI_EXIT_OK : CLI_EXIT_RUNTIME;
}
