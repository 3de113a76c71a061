/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.c: see verbs.h. Prints to stdout; errors to stderr. */
#include "agent/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/explain.h"
#include "agent/generation.h"
#include "agent/inputs/glob.h"
#include "agent/inputs/input.h"
#include "agent/inputs/remotes.h"
#include "agent/reader.h"
#include "agent/running.h"
#include "agent/spool.h"
#include "agent/state.h"
#include "core/buffer.h"
#include "core/cli.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/kafka.h"

#define CONNECT_TIMEOUT_MS 5000
#define REPORT_MAX ((size_t)1024 * 1024)
#define SHOWN_MAX 5

/* --- check --- */

/* A file that an input reads: the one that is named first. */
struct owned {
    struct {
        uint64_t device, inode;
    } key;
    const char *input;
    UT_hash_handle hh;
};

struct counted {
    const struct agent_options *options;
    const struct agent_files_options *input;
    const struct remotes *remotes;
    struct owned *owned;
    size_t files, others, unreadable, unreadable_before;
    const char *other; /* input that reads some of them already */
    unsigned long long bytes;
};

static bool
count_enter(void *context, const char *path)
{
    const struct counted *counted = context;
    struct remote *remote = remotes_of_path(counted->remotes, path);
    if (remote_wait(remote, REMOTE_DEADLINE_MS))
        return true;
    printf("  input '%s': '%s' is not looked into: '%s' does not answer\n", counted->input->name,
           path, remote->path);
    return false;
}

/* Does something that the pattern may find lie on the mount? */
static bool
concerns(const struct remote *remote, const char *pattern)
{
    size_t literal = strcspn(pattern, "*?[\\");
    size_t size = strlen(remote->path);
    size_t common = size < literal ? size : literal;
    return strncmp(remote->path, pattern, common) == 0 &&
           (size >= literal || pattern[size] == '/' || size == 1);
}

/* Says which paths lie on network mounts, and waits for those to answer, but not for ever. The
 * number of those that do not. */
static size_t
check_remotes(const struct agent_options *options, struct remotes *remotes)
{
    size_t hung = 0;
    for (struct remote *remote = remotes_first(remotes); remote != NULL; remote = remote->next) {
        for (size_t i = 0; i < options->files_count; i++) {
            const struct agent_files_options *input = &options->files[i];
            for (size_t k = 0; k < input->paths.count; k++) {
                if (!concerns(remote, input->paths.items[k]))
                    continue;
                bool answers = remote_wait(remote, REMOTE_DEADLINE_MS);
                hung += answers ? 0 : 1;
                printf("input '%s': '%s' is a network mount (%s): %s\n", input->name, remote->path,
                       remote->type,
                       answers ? "it answers; new lines there are seen by the sweep"
                               : "it does not answer; its files wait until it does");
                break;
            }
        }
    }
    return hung;
}

static void
count_folder(void *context, const char *path)
{
    (void)context;
    (void)path;
}

static void
print_failed(const struct counted *counted, const char *what, const char *path, int number)
{
    struct buffer text;
    buffer_init(&text, REPORT_MAX);
    explain_errno(number, &text);
    printf("  input '%s': cannot %s '%s': %s\n", counted->input->name, what, path,
           buffer_string(&text));
    buffer_done(&text);
}

static void
count_failed(void *context, const char *path, int number)
{
    print_failed(context, "look into", path, number);
}

/* False when another path or input has it already. */
static bool
own(struct counted *counted, const struct stat *about)
{
    struct owned key = {.key = {(uint64_t)about->st_dev, (uint64_t)about->st_ino}};
    struct owned *found;
    HASH_FIND(hh, counted->owned, &key.key, sizeof(key.key), found);
    if (found != NULL) {
        if (found->input != counted->input->name) {
            counted->others++;
            counted->other = found->input;
        }
        return false;
    }
    found = malloc(sizeof(*found));
    if (found == NULL)
        return true; /* only counted wrongly, should it come again */
    *found = key;
    found->input = counted->input->name;
    HASH_ADD(hh, counted->owned, key, sizeof(found->key), found);
    if (!HASH_ADDED(hh, found))
        free(found);
    return true;
}

static void
count_file(void *context, const struct glob_found *found)
{
    struct counted *counted = context;
    const char *path = found->path;
    struct stat about;
    if (input_refuses(counted->input, counted->options->top.state_dir, path) != NULL ||
        stat(path, &about) != 0 || !S_ISREG(about.st_mode) || !own(counted, &about))
        return;
    counted->files++;
    counted->bytes += (unsigned long long)about.st_size;
    if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0)
        return;
    if (counted->unreadable++ - counted->unreadable_before < SHOWN_MAX)
        print_failed(counted, "read", path, errno);
}

static bool
check_input(struct counted *counted)
{
    struct glob_walk walk = {count_enter, count_folder, count_file, count_failed, counted};
    counted->files = counted->others = 0;
    counted->bytes = 0;
    counted->unreadable_before = counted->unreadable;
    for (size_t i = 0; i < counted->input->paths.count; i++) {
        struct err err;
        if (glob_expand(counted->input->paths.items[i], &walk, &err))
            continue;
        fprintf(stderr, "tailrace-agent: %s\n", err.text);
        return false;
    }
    printf("input '%s': %zu files", counted->input->name, counted->files);
    if (counted->files > 0)
        printf(", %llu bytes", counted->bytes);
    if (counted->others > 0)
        printf("; %zu %s read by '%s' already", counted->others,
               counted->others == 1 ? "is" : "are", counted->other);
    if (counted->unreadable > counted->unreadable_before)
        printf("; %zu cannot be read", counted->unreadable - counted->unreadable_before);
    printf("\n");
    return true;
}

/* False when memory is short. */
static bool
check_inputs(const struct agent_options *options, const struct remotes *remotes, size_t *unreadable)
{
    struct counted counted = {.options = options, .remotes = remotes};
    bool fine = true;
    for (size_t i = 0; i < options->files_count && fine; i++) {
        counted.input = &options->files[i];
        fine = check_input(&counted);
    }
    *unreadable = counted.unreadable;
    struct owned *owned = counted.owned; /* the table's first leads to all, in order of birth */
    HASH_CLEAR(hh, counted.owned);
    while (owned != NULL) {
        struct owned *next = owned->hh.next;
        free(owned);
        owned = next;
    }
    return fine;
}

/* Can the state be written? The folder itself, or what is there of the way to it. */
static bool
check_state_dir(const char *folder)
{
    char path[PATH_MAX];
    size_t size = strlen(folder);
    if (size >= sizeof(path)) {
        printf("state_dir '%s': the path is too long\n", folder);
        return false;
    }
    memcpy(path, folder, size + 1);
    struct stat about;
    while (size > 1 && stat(path, &about) != 0 && errno == ENOENT) {
        while (size > 1 && path[size - 1] != '/')
            size--;
        path[size > 1 ? --size : size] = '\0';
    }
    int number = stat(path, &about) != 0                                   ? errno
                 : !S_ISDIR(about.st_mode)                                 ? ENOTDIR
                 : faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) != 0 ? errno
                                                                           : 0;
    if (number == 0)
        return true;
    struct buffer text;
    buffer_init(&text, REPORT_MAX);
    explain_errno(number, &text);
    bool there = strlen(path) == strlen(folder);
    printf("state_dir '%s': cannot be %s: '%s': %s; %s\n", folder, there ? "written" : "created",
           path, buffer_string(&text),
           there ? "give the folder to this user, or name another one"
                 : "create it and give it to this user, or name another one");
    buffer_done(&text);
    return false;
}

/* Both return the number of problems. */
static size_t
check_brokers(const struct agent_options *options, rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, NULL, &found, CONNECT_TIMEOUT_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || found == NULL) {
        const char *advice = kafka_advice(error);
        printf("kafka: cannot reach the brokers: %s%s%s\n", rd_kafka_err2str(error),
               advice == NULL ? "" : "; ", advice == NULL ? "" : advice);
        return 1;
    }
    printf("kafka: %d brokers:", found->broker_cnt);
    for (int i = 0; i < found->broker_cnt; i++)
        printf(" %s:%d", found->brokers[i].host, found->brokers[i].port);
    printf("\n");
    rd_kafka_metadata_destroy(found);
    struct buffer report;
    buffer_init(&report, REPORT_MAX);
    size_t problems = 0;
    for (size_t i = 0; i < options->files_count; i++) {
        const char *topic =
            options->files[i].topic[0] == '\0' ? options->kafka.topic : options->files[i].topic;
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |=
                strcmp(topic, options->files[k].topic[0] == '\0' ? options->kafka.topic
                                                                 : options->files[k].topic) == 0;
        if (!again && !kafka_check_topic(rk, topic, &report))
            problems++;
    }
    if (options->receipts.topic[0] != '\0' &&
        !kafka_check_topic(rk, options->receipts.topic, &report))
        problems++;
    printf("%s", buffer_string(&report));
    buffer_done(&report);
    return problems;
}

static size_t
check_connection(const struct agent_options *options)
{
    struct err err;
    rd_kafka_conf_t *conf;
    if (!kafka_conf_new(&conf, agent_kafka_common(options), "tailrace-agent-check", NULL, 0,
                        &err)) {
        fprintf(stderr, "tailrace-agent: %s\n", err.text);
        return 1;
    }
    char text[256];
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        fprintf(stderr, "tailrace-agent: %s\n", text);
        return 1;
    }
    size_t problems = check_brokers(options, rk);
    rd_kafka_destroy(rk);
    return problems;
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
    size_t unreadable;
    struct remotes *remotes = remotes_new();
    size_t problems = check_remotes(options, remotes);
    bool looked = check_inputs(options, remotes, &unreadable);
    remotes_free(remotes);
    if (!looked)
        return CLI_EXIT_RUNTIME;
    problems += check_state_dir(options->top.state_dir) ? 0 : 1;
    printf("kafka: %s (%s)%s\n", settings.bootstrap_servers, settings.security_protocol,
           settings.servers_from_environment ? ", from KAFKA_BOOTSTRAP_SERVERS" : "");
    if (connect)
        problems += check_connection(options);
    size_t at = 0;
    const char *trap;
    while ((trap = kafka_version_trap(rd_kafka_version(), KAFKA_PRODUCER, &at)) != NULL)
        printf("librdkafka %s: %s\n", rd_kafka_version_str(), trap);
    if (problems > 0) {
        printf("NOT OK: %zu problem%s\n", problems, problems == 1 ? "" : "s");
        return CLI_EXIT_RUNTIME;
    }
    if (unreadable > 0)
        printf("configuration OK, but %zu file%s cannot be read\n", unreadable,
               unreadable == 1 ? "" : "s");
    else
        printf("configuration OK\n");
    return CLI_EXIT_OK;
}

/* --- explain --- */

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

/* A zero byte among its first, those that it begins with apart: what is new and has one is not
 * read. */
static bool
looks_binary(int fd)
{
    char head[1024];
    ssize_t got = pread(fd, head, sizeof(head), 0);
    ssize_t zeros = 0;
    while (zeros < got && head[zeros] == '\0')
        zeros++;
    return got > zeros && memchr(head + zeros, '\0', (size_t)(got - zeros)) != NULL;
}

/* The life was read in another file, which is still there. */
static bool
is_carried_elsewhere(const struct generation *generation, const struct stat *about)
{
    struct stat other;
    return generation->inode != 0 &&
           (generation->inode != (uint64_t)about->st_ino ||
            generation->device != (uint64_t)about->st_dev) &&
           stat(generation->path, &other) == 0 && (uint64_t)other.st_ino == generation->inode &&
           (uint64_t)other.st_dev == generation->device;
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
    static const char *const ties[] = {
        [TIE_NONE] = "",
        [TIE_WEAK] = "its beginning and name",
        [TIE_EMPTY] = "its inode",
        [TIE_SHORT] = "a part of its content",
        [TIE_CONTENT] = "its content",
        [TIE_PATH] = "its path and content",
        [TIE_INODE] = "its inode and content",
        [TIE_BIRTH] = "its inode, birth time and content",
    };
    if (best == NULL && looks_binary(fd)) {
        printf("state: not known; it looks binary (a zero byte in its first 1024) and is not "
               "read\n");
    } else if (best == NULL) {
        printf("state: not known; it is read from its beginning, or as start_at says\n");
    } else if (is_carried_elsewhere(best, about)) {
        printf("state: not known; it is equal to what was read of '%s', which is still there: "
               "perhaps a copy of it. Is that one truncated, this is its rest (copytruncate); "
               "else it is a file of its own, some seconds later\n",
               best->path);
    } else {
        printf("state: known by %s:\n", ties[best_tie]);
        print_generation(best);
        uint64_t size = (uint64_t)about->st_size;
        printf("  %llu bytes wait\n",
               (unsigned long long)(size > best->committed ? size - best->committed : 0));
    }
    catalog_done(&catalog);
}

/* Lives that had the path and have no file: what is kept of them. */
static void
explain_gone(const struct agent_options *options, const char *path, bool there)
{
    struct catalog catalog = {0};
    struct state_report report;
    struct err err;
    if (!state_read(options->top.state_dir, &catalog, &report, &err)) {
        catalog_done(&catalog);
        return;
    }
    for (const struct generation *at = catalog.first; at != NULL; at = at->next) {
        bool held = spool_holds(options->top.state_dir, at->id);
        if (strcmp(at->path, path) != 0 || (there && !held))
            continue;
        printf("state: known as a file that had this path:\n");
        print_generation(at);
        printf("  its file is gone; %s\n",
               held ? "its unread bytes are in the spool and are read from there"
                    : "/status of the running agent says whether it is held or looked for");
    }
    catalog_done(&catalog);
}

/* The network mount that the path lies on, when it does not answer. */
static const struct remote *
hung_mount(const struct remotes *remotes, const char *path)
{
    struct remote *remote = remotes_of_path(remotes, path);
    return remote == NULL || remote_wait(remote, REMOTE_DEADLINE_MS) ? NULL : remote;
}

/* Of the folder that the path is in; what it leads to may be missing, and a link stays one. */
static const char *
make_absolute(const char *path, char absolute[PATH_MAX])
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    size_t size = slash == NULL ? 1 : (size_t)(slash - path);
    if (path[0] == '/' || size >= sizeof(folder))
        return path;
    if (slash != NULL) {
        memcpy(folder, path, size);
        folder[size] = '\0';
    }
    if (realpath(folder, absolute) == NULL) { /* the folder is missing, too */
        if (realpath(".", absolute) == NULL)
            return path;
        name = path;
    }
    size_t room = PATH_MAX - strlen(absolute);
    int used = snprintf(absolute + strlen(absolute), room, "/%s", name);
    return used > 0 && (size_t)used < room ? absolute : path;
}

/* Why it waits, and what was decided of it, only the agent knows. */
static void
explain_running(const struct agent_options *options, const char *path)
{
    struct buffer text;
    buffer_init(&text, REPORT_MAX);
    if (running_explain(options->http.listen, path, &text))
        printf("%s", buffer_string(&text));
    else
        printf("no running agent answers at http.listen '%s'\n", options->http.listen);
    buffer_done(&text);
}

int
verb_explain(const struct agent_options *options, const char *path)
{
    char absolute[PATH_MAX];
    path = make_absolute(path, absolute);
    struct buffer text;
    buffer_init(&text, REPORT_MAX);
    struct explain explain;
    struct remotes *remotes = remotes_new();
    const struct remote *hung = hung_mount(remotes, path);
    if (hung != NULL)
        printf("%s: it lies on the network mount '%s' (%s), which does not answer: it waits until "
               "that does\n",
               path, hung->path, hung->type);
    bool hangs = hung != NULL;
    remotes_free(remotes);
    if (hangs) {
        buffer_done(&text);
        explain_running(options, path);
        return CLI_EXIT_OK;
    }
    bool there = explain_init(&explain, options->top.state_dir, path, &text);
    bool read = false;
    for (size_t i = 0; i < options->files_count && !read; i++)
        read = explain_input(&explain, &options->files[i],
                             options->files[i].topic[0] == '\0' ? options->kafka.topic
                                                                : options->files[i].topic,
                             &text);
    if (there)
        printf("%s: %lld bytes\n", path, (long long)explain.about.st_size);
    printf("%s", buffer_string(&text));
    buffer_done(&text);
    explain_gone(options, path, there);
    int fd = there && read ? reader_open(path) : -1;
    if (fd >= 0) {
        explain_state(options, path, fd, &explain.about);
        (void)close(fd);
    }
    explain_running(options, path);
    return explain.about.st_mode == 0 ? CLI_EXIT_RUNTIME : CLI_EXIT_OK;
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
