/* SPDX-License-Identifier: Apache-2.0 */
/* verbs_state.c: `state show|forget|set`. Looking needs no lock; changing takes it, so that no
 * agent runs meanwhile. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/generation.h"
#include "agent/inputs/remotes.h"
#include "agent/reader.h"
#include "agent/state.h"
#include "agent/verbs.h"
#include "core/buffer.h"
#include "core/cli.h"
#include "core/clock.h"
#include "core/encode.h"

#define TEXT_MAX ((size_t)256 * 1024 * 1024) /* some million files */
#define LINE_SEARCH_MAX 65536                /* how far the start of a line is looked for */

static int
fail(const struct err *err)
{
    fprintf(stderr, "tailrace-agent: %s\n", err->text);
    return err->action == ERR_CONFIG ? CLI_EXIT_USAGE : CLI_EXIT_RUNTIME;
}

/* --- show --- */

/* Why no file carries it, NULL when one may: its path leads to the inode that it was seen in. */
static const char *
why_without_file(const struct generation *generation, const struct remotes *remotes)
{
    struct stat about;
    struct remote *remote = remotes_of_path(remotes, generation->path);
    if (remote != NULL && (remote->hung || !remote_wait(remote, REMOTE_DEADLINE_MS))) {
        remote->hung = true; /* its other files need not wait for it, too */
        return "its network mount does not answer";
    }
    if (stat(generation->path, &about) != 0)
        return errno == ENOENT || errno == ENOTDIR ? "no such file"
               : errno == EACCES                   ? "may not look at it"
                                                   : "cannot look at it";
    if (generation->inode == 0)
        return "truncated";
    if ((uint64_t)about.st_ino != generation->inode || (uint64_t)about.st_dev != generation->device)
        return "its path has another file";
    return (uint64_t)about.st_size < generation->committed ? "its file is shorter" : NULL;
}

static void
show_days(const struct day_marks *days, struct buffer *out)
{
    buffer_text(out, ",\"days\":[");
    for (uint32_t i = 0; i < days->count; i++) {
        char time[CLOCK_TEXT_SIZE + 1] = "";
        clock_format_utc(days->day[i] * DAY_MS, time);
        buffer_format(out, "%s{\"from\":%llu,\"day\":\"%.10s\"}", i == 0 ? "" : ",",
                      (unsigned long long)days->from[i], time);
    }
    buffer_text(out, "]");
}

static void
show_generation(const struct generation *generation, const struct remotes *remotes, bool json,
                bool first, struct buffer *out)
{
    char id[GENERATION_TEXT_SIZE + 1] = "";
    char seen[CLOCK_TEXT_SIZE + 1] = "";
    generation_id_format(generation->id, id);
    clock_format_utc(generation->seen_seconds * 1000, seen);
    const char *why = why_without_file(generation, remotes);
    if (!json) {
        buffer_format(
            out, "%14llu %14llu  %.19sZ  %s  %s  %s", (unsigned long long)generation->committed,
            (unsigned long long)generation->size, seen, id, generation->input, generation->path);
        if (why != NULL)
            buffer_format(out, "  (%s)", why);
        buffer_text(out, "\n");
        return;
    }
    buffer_format(out, "%s\n  {\"path\":", first ? "" : ",");
    encode_json_string(out, generation->path, strlen(generation->path));
    buffer_text(out, ",\"input\":");
    encode_json_string(out, generation->input, strlen(generation->input));
    buffer_format(out,
                  ",\"generation\":\"%s\",\"committed\":%llu,\"size\":%llu,\"seen\":\"%s\","
                  "\"device\":%llu,\"inode\":%llu,\"without_file\":",
                  id, (unsigned long long)generation->committed,
                  (unsigned long long)generation->size, seen,
                  (unsigned long long)generation->device, (unsigned long long)generation->inode);
    if (why == NULL)
        buffer_text(out, "null");
    else
        buffer_format(out, "\"%s\"", why);
    show_days(&generation->days, out);
    buffer_text(out, "}");
}

static int
by_path(const void *a, const void *b)
{
    const struct generation *left = *(struct generation *const *)a;
    const struct generation *right = *(struct generation *const *)b;
    int order = strcmp(left->path, right->path);
    return order != 0 ? order : (left->id.birth_seconds > right->id.birth_seconds) * 2 - 1;
}

/* All of the catalog in the order of their paths; NULL: no memory. */
static struct generation **
sorted(const struct catalog *catalog)
{
    struct generation **all = calloc(catalog->count + 1, sizeof(struct generation *));
    size_t count = 0;
    for (struct generation *at = catalog->first; all != NULL && at != NULL; at = at->next)
        all[count++] = at;
    if (all != NULL)
        qsort(all, count, sizeof(struct generation *), by_path);
    return all;
}

static void
show_report(const struct state_report *report, bool json, struct buffer *out)
{
    char last[CLOCK_TEXT_SIZE + 1] = "";
    clock_format_utc(report->last_wall_ms, last);
    if (json) {
        buffer_format(out,
                      "],\n\"last_written\":\"%s\",\"stopped_in_order\":%s,\"damaged_bytes\":%zu,"
                      "\"damaged_places\":%zu,\"cut\":%s}\n",
                      last, report->clean ? "true" : "false", report->damaged_bytes, report->holes,
                      report->cut ? "true" : "false");
        return;
    }
    buffer_format(out, "%zu file%s known; last written %s, %s\n", report->generations,
                  report->generations == 1 ? "" : "s", last,
                  report->clean ? "stopped in order" : "running or not stopped in order");
    if (report->holes > 0)
        buffer_format(out, "damaged: %zu bytes in %zu places\n", report->damaged_bytes,
                      report->holes);
    if (report->cut)
        buffer_text(out, "damaged: it was cut short\n");
}

static int
state_show(const struct agent_options *options, bool json)
{
    struct catalog catalog = {0};
    struct state_report report;
    struct err err;
    if (!state_read(options->top.state_dir, &catalog, &report, &err)) {
        catalog_done(&catalog);
        return fail(&err);
    }
    struct buffer text;
    buffer_init(&text, TEXT_MAX);
    struct generation **all = sorted(&catalog);
    struct remotes *remotes = remotes_new();
    if (json)
        buffer_text(&text, "{\"generations\":[");
    else if (catalog.count > 0)
        buffer_format(&text, "%14s %14s  %-20s  %-24s  %s\n", "COMMITTED", "SIZE", "SEEN",
                      "GENERATION", "INPUT  PATH");
    for (size_t i = 0; all != NULL && i < catalog.count; i++)
        show_generation(all[i], remotes, json, i == 0, &text);
    show_report(&report, json, &text);
    bool printed =
        all != NULL && !text.failed && fwrite(text.bytes, 1, text.size, stdout) == text.size;
    if (!printed)
        fprintf(stderr, "tailrace-agent: cannot print the state: memory is short or the output "
                        "is closed\n");
    free(all);
    remotes_free(remotes);
    buffer_done(&text);
    catalog_done(&catalog);
    return printed ? CLI_EXIT_OK : CLI_EXIT_RUNTIME;
}

/* --- changing --- */

struct change {
    const struct agent_options *options;
    struct state *state;
    struct catalog catalog;
};

/* Opens a state that is there and whole. A damaged or foreign one is for an agent to repair: it
 * says what that means. */
static bool
change_begin(struct change *change, const struct agent_options *options, struct err *err)
{
    *change = (struct change){.options = options};
    const char *folder = options->top.state_dir;
    struct state_report report;
    struct catalog looked = {0};
    bool there = state_read(folder, &looked, &report, err); /* opening would make the folder */
    catalog_done(&looked);
    if (!there)
        return false;
    if (!state_open(&change->state, folder, &change->catalog, &report, err)) {
        bool in_use = err->action == ERR_RETRY;
        return in_use && err_wrap(err, "stop the agent first, it would not see the change");
    }
    if (report.holes == 0 && !report.cut && !report.foreign)
        return true;
    return err_set(err, ERR_STOP, 0,
                   "the state in '%s' is %s: start the agent once, it repairs that and says what "
                   "it means",
                   folder, report.foreign ? "of another host" : "damaged");
}

static void
change_end(struct change *change)
{
    state_free(change->state);
    catalog_done(&change->catalog);
}

/* Bytes that both begin or end with. */
static size_t
likeness(const char *a, const char *b)
{
    size_t a_size = strlen(a);
    size_t b_size = strlen(b);
    size_t shorter = a_size < b_size ? a_size : b_size;
    size_t same = 0;
    while (same < shorter && a[same] == b[same])
        same++;
    size_t tail = 0;
    while (same + tail < shorter && a[a_size - 1 - tail] == b[b_size - 1 - tail])
        tail++;
    return same + tail;
}

/* Names the path that is most like it, when that is half of it. */
static bool
fail_unknown(const struct change *change, const char *path, struct err *err)
{
    const char *near = NULL;
    size_t most = strlen(path) / 2;
    for (const struct generation *at = change->catalog.first; at != NULL; at = at->next) {
        size_t like = likeness(path, at->path);
        if (like <= most)
            continue;
        most = like;
        near = at->path;
    }
    if (near == NULL)
        return err_set(err, ERR_STOP, ENOENT,
                       "the state does not know '%s'; `state show` lists what it knows", path);
    return err_set(err, ERR_STOP, ENOENT, "the state does not know '%s'; did you mean '%s'?", path,
                   near);
}

static void
absolute_path(const char *path, char out[PATH_MAX])
{
    size_t size = strlen(path);
    char folder[PATH_MAX];
    if (path[0] != '/' && realpath(path, out) != NULL)
        return;
    out[0] = '\0';
    int used = 0;
    if (path[0] != '/' && getcwd(folder, sizeof(folder)) != NULL)
        used = snprintf(out, PATH_MAX, "%s/%s", folder, path);
    else if (size < PATH_MAX)
        memcpy(out, path, size + 1);
    if (used >= PATH_MAX)
        out[0] = '\0';
}

static bool
forget(struct change *change, const char *what, struct err *err)
{
    char path[PATH_MAX] = "";
    struct generation_id id;
    bool by_id = strchr(what, '/') == NULL && strlen(what) == GENERATION_TEXT_SIZE &&
                 generation_id_parse(what, &id);
    absolute_path(what, path);
    size_t count = 0;
    for (struct generation *at = change->catalog.first, *next; at != NULL; at = next) {
        next = at->next;
        if (by_id ? !generation_id_equal(at->id, id) : strcmp(at->path, path) != 0)
            continue;
        char text[GENERATION_TEXT_SIZE + 1] = "";
        generation_id_format(at->id, text);
        printf("forgotten: %s of '%s' at %llu of %llu bytes\n", text, at->path,
               (unsigned long long)at->committed, (unsigned long long)at->size);
        state_forget(change->state, at);
        generation_remove(&change->catalog, at);
        count++;
    }
    if (count == 0)
        return fail_unknown(change, by_id ? what : path, err);
    printf("what is still on disk of it is shipped again from its beginning, under new ids: twice "
           "in an index that has it already\n");
    return state_save(change->state, err);
}

/* The life that the open file carries. */
static struct generation *
life_of(const struct change *change, const char *path, int fd, const struct stat *about)
{
    struct generation *best = NULL;
    enum tie best_tie = TIE_NONE;
    int64_t birth_ns = generation_birth_ns(fd);
    for (struct generation *at = change->catalog.first; at != NULL; at = at->next) {
        enum tie tie = generation_tie(at, about, birth_ns, path);
        if (tie > best_tie && generation_belongs(at, fd, (uint64_t)about->st_size) == BELONGS_YES) {
            best = at;
            best_tie = tie;
        }
    }
    return best;
}

/* ERR_CONFIG with the nearest starts of lines when the offset is none. */
static bool
check_line_start(int fd, const char *path, uint64_t size, uint64_t offset, struct err *err)
{
    if (offset > size)
        return err_set(err, ERR_CONFIG, 0, "'%s' has only %llu bytes", path,
                       (unsigned long long)size);
    static char bytes[2 * LINE_SEARCH_MAX];
    uint64_t from = offset > LINE_SEARCH_MAX ? offset - LINE_SEARCH_MAX : 0;
    ssize_t got = pread(fd, bytes, sizeof(bytes), (off_t)from);
    if (got < (ssize_t)(offset - from))
        return err_errno(err, ERR_STOP, got < 0 ? errno : EIO, "read '%s'", path);
    size_t at = (size_t)(offset - from);
    if (offset == 0 || bytes[at - 1] == '\n')
        return true;
    const char *before = memrchr(bytes, '\n', at);
    const char *behind = memchr(bytes + at, '\n', (size_t)got - at);
    char starts[128] = "none is near";
    char first[32] = "";
    uint64_t last = before == NULL ? 0 : from + (uint64_t)(before + 1 - bytes);
    uint64_t next = behind == NULL ? 0 : from + (uint64_t)(behind + 1 - bytes);
    if (before != NULL || from == 0)
        (void)snprintf(first, sizeof(first), "%" PRIu64, last);
    if (behind != NULL)
        (void)snprintf(starts, sizeof(starts), "%s%s%" PRIu64, first,
                       first[0] == '\0' ? "" : " and ", next);
    else if (first[0] != '\0')
        (void)snprintf(starts, sizeof(starts), "%s", first);
    return err_set(err, ERR_CONFIG, 0,
                   "byte %llu of '%s' is inside a line; the nearest starts of lines: %s",
                   (unsigned long long)offset, path, starts);
}

/* Moves the position in either direction. */
static bool
set_position(struct generation *generation, int fd, uint64_t offset, uint64_t size, struct err *err)
{
    char tail[TAIL_SIZE_MAX];
    size_t tail_size = offset < sizeof(tail) ? (size_t)offset : sizeof(tail);
    ssize_t got = pread(fd, tail, tail_size, (off_t)(offset - tail_size));
    if (got != (ssize_t)tail_size)
        return err_errno(err, ERR_STOP, got < 0 ? errno : EIO, "read '%s'", generation->path);
    uint32_t drop = 0;
    while (drop < generation->checkpoint_count && generation->checkpoints[drop].offset >= offset)
        drop++;
    generation->checkpoint_count -= drop;
    memmove(generation->checkpoints, generation->checkpoints + drop,
            generation->checkpoint_count * sizeof(generation->checkpoints[0]));
    if (generation->checkpoint_count == 0) {
        generation->checkpoints[0] = (struct checkpoint){offset, generation_hash(tail, tail_size)};
        generation->checkpoint_count = 1;
    }
    generation->committed = generation->checkpoints[0].offset;
    if (offset > generation->parts.from)
        generation->parts = (struct parts){0};
    generation_commit(generation, offset, generation_hash(tail, tail_size));
    generation->size = size;
    return true;
}

static bool
set_offset(struct change *change, const char *what, uint64_t offset, struct err *err)
{
    char path[PATH_MAX] = "";
    absolute_path(what, path);
    struct stat about;
    int fd = reader_open(path);
    if (fd < 0 || fstat(fd, &about) != 0) {
        int number = errno;
        if (fd >= 0)
            (void)close(fd);
        return err_errno(err, ERR_STOP, number, "open '%s'", path);
    }
    uint64_t size = (uint64_t)about.st_size;
    struct generation *generation = life_of(change, path, fd, &about);
    bool fine = generation != NULL ? check_line_start(fd, path, size, offset, err)
                                   : fail_unknown(change, path, err);
    uint64_t before = generation == NULL ? 0 : generation->committed;
    fine = fine && set_position(generation, fd, offset, size, err);
    (void)close(fd);
    if (!fine)
        return false;
    state_put_generation(change->state, generation);
    if (!state_save(change->state, err))
        return false;
    printf("'%s' goes on at byte %llu instead of %llu of %llu\n", path, (unsigned long long)offset,
           (unsigned long long)before, (unsigned long long)size);
    if (offset > before)
        printf("%llu bytes are not shipped\n", (unsigned long long)(offset - before));
    if (offset < before)
        printf("%llu bytes are sent again under the same ids: an index that still has them keeps "
               "one of each\n",
               (unsigned long long)(before - offset));
    return true;
}

/* --- dispatch --- */

static bool
read_offset(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *out = value;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && value <= INT64_MAX;
}

int
verb_state(const struct agent_options *options, int count, char **words)
{
    const char *what = count > 0 ? words[0] : "";
    uint64_t offset = 0;
    bool show = strcmp(what, "show") == 0 &&
                (count == 1 || (count == 2 && strcmp(words[1], "--json") == 0));
    bool forgets = strcmp(what, "forget") == 0 && count == 2;
    bool sets = strcmp(what, "set") == 0 && count == 3;
    if (show)
        return state_show(options, count == 2);
    struct err err;
    if (sets && !read_offset(words[2], &offset)) {
        (void)err_set(&err, ERR_CONFIG, 0, "the OFFSET of state set is a number of bytes, not '%s'",
                      words[2]);
        return fail(&err);
    }
    if (!forgets && !sets) {
        (void)err_set(&err, ERR_CONFIG, 0,
                      "state takes: show [--json] | forget PATH|GENERATION | set PATH OFFSET");
        return fail(&err);
    }
    struct change change;
    bool done =
        change_begin(&change, options, &err) &&
        (forgets ? forget(&change, words[1], &err) : set_offset(&change, words[1], offset, &err));
    change_end(&change);
    return done ? CLI_EXIT_OK : fail(&err);
}
