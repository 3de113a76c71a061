/* SPDX-License-Identifier: Apache-2.0 */
/* process.c: see process.h. The program's side; process_main.c is the other. */
#include "exporters/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/bounds.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/options.h"
#include "exporters/page.h"
#include "exporters/process_talk.h"
#include "exporters/remote.h"

#define GRACE_MS 2000         /* after the deadline of a round: its page must be written, too */
#define BACK_OFF_MIN_MS 1000  /* after the second process that did not live through a round, … */
#define BACK_OFF_MAX_MS 60000 /* … doubled up to this */
#define SAID_SIZE 4096        /* what a process wrote since the last look; one line is shown */
#define SAID_SHOWN 250

struct process {
    const struct remote_class *class;
    size_t index;
    const char *target;
    size_t series_max;
    struct buffer config;
    pid_t pid;            /* 0: none runs */
    int socket;           /* ours of the pair; -1: none */
    int said;             /* the end of its stderr; -1: none */
    bool greeted;         /* it was told what to be */
    bool answered;        /* it lived through a round */
    unsigned early_ends;  /* in a row, of processes that did not */
    uint64_t start_at_ms; /* not before */
    uint64_t past_cpu_ns; /* of those that ended */
    struct process_state state;
};

bool
process_new(struct process **out, const struct remote_class *class, size_t index,
            const char *target, size_t series_max, const struct options *loaded, struct err *err)
{
    struct process *process = calloc(1, sizeof(*process));
    *out = process;
    if (process == NULL)
        return err_set(err, ERR_STOP, 0, "cannot prepare the collector's process: out of memory");
    process->class = class;
    process->index = index;
    process->target = target;
    process->series_max = series_max;
    process->socket = process->said = -1;
    buffer_init(&process->config, CONFIG_FILE_MAX);
    options_write(loaded, &process->config);
    return !process->config.failed ||
           err_set(err, ERR_STOP, 0, "cannot prepare the collector's process: out of memory");
}

/* ---- its end ---- */

static void
close_ends(struct process *process)
{
    if (process->socket >= 0)
        (void)close(process->socket);
    if (process->said >= 0)
        (void)close(process->said);
    process->socket = process->said = -1;
}

/* Ends it, if it has not ended, and says how it did. */
static int
reap(struct process *process)
{
    int status = 0;
    struct rusage usage = {0};
    /* One that has begun to end keeps its own reason. */
    (void)kill(process->pid, SIGKILL);
    while (wait4(process->pid, &status, 0, &usage) < 0 && errno == EINTR)
        continue;
    process->past_cpu_ns += (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
                            (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
    process->pid = 0;
    return status;
}

void
process_free(struct process *process)
{
    if (process == NULL)
        return;
    if (process->pid > 0)
        (void)reap(process);
    close_ends(process);
    buffer_done(&process->config);
    free(process);
}

/* The first line with a word in it of what it wrote to stderr since the last time; "" if none. */
static void
read_said(struct process *process, char out[SAID_SHOWN])
{
    char text[SAID_SIZE];
    ssize_t size = read(process->said, text, sizeof(text) - 1);
    text[size > 0 ? size : 0] = '\0';
    const char *at = text + strcspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    while (at > text && at[-1] != '\n')
        at--;
    (void)snprintf(out, SAID_SHOWN, "%.*s", (int)strcspn(at, "\n"), at);
    while (size == (ssize_t)sizeof(text) - 1) /* and the rest is of no use */
        size = read(process->said, text, sizeof(text) - 1);
}

static void
put_news(struct process *process, const char *text)
{
    (void)snprintf(process->state.news, sizeof(process->state.news), "%s", text);
    process->state.news_count++;
}

/* A sentence for people about a process that is gone. */
static void
tell_end(struct process *process, enum talk outcome, int status, uint64_t waited_ms,
         struct err *err)
{
    char how[100];
    char said[SAID_SHOWN];
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    bool fault = number == SIGABRT || number == SIGSEGV || number == SIGBUS || number == SIGILL;
    read_said(process, said);
    if (outcome == TALK_LATE)
        (void)snprintf(how, sizeof(how), "did not answer within %.1f s", (double)waited_ms / 1000);
    else if (outcome == TALK_DAMAGED)
        (void)snprintf(how, sizeof(how), "gave an answer that is none");
    else if (number > 0)
        (void)snprintf(how, sizeof(how), "was ended by SIG%s",
                       sigabbrev_np(number) == NULL ? "?" : sigabbrev_np(number));
    else
        (void)snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(status));
    (void)err_set(err, ERR_RETRY, 0, "the collector's process %s%s%s%s%s%s; it is started again",
                  how, said[0] == '\0' ? "" : " (", said, said[0] == '\0' ? "" : ")",
                  outcome == TALK_ENDED && fault ? ", " : "",
                  outcome == TALK_ENDED && fault ? process->class->process : "");
}

/* It is gone, or of no use any more. */
static void
give_up(struct process *process, enum talk outcome, uint64_t waited_ms, struct err *err)
{
    int status = reap(process);
    tell_end(process, outcome, status, waited_ms, err);
    close_ends(process);
    put_news(process, err->text);
    process->state.ends++;
    process->early_ends = process->answered ? 0 : process->early_ends + 1;
    uint64_t back_off_ms = process->early_ends < 2 ? 0 : BACK_OFF_MIN_MS;
    for (unsigned i = 2; i < process->early_ends && back_off_ms < BACK_OFF_MAX_MS; i++)
        back_off_ms *= 2;
    if (back_off_ms > BACK_OFF_MAX_MS)
        back_off_ms = BACK_OFF_MAX_MS;
    process->start_at_ms = clock_monotonic_ms() + back_off_ms;
}

/* ---- its begin ---- */

/* In the new process: the socket is stdin, the pipe stdout and stderr, and nothing else is open. */
static int
spawn(struct process *process, int socket, int pipe)
{
    char program[] = "tailrace-exporter";
    char verb[] = PROCESS_VERB;
    char collector[64];
    char target[300];
    char *arguments[] = {program, verb, collector, target, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t usual;
    (void)snprintf(collector, sizeof(collector), "%s", process->class->name);
    (void)snprintf(target, sizeof(target), "%s", process->target);
    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGPIPE);
    (void)sigaddset(&usual, SIGCHLD);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawn_file_actions_adddup2(&files, socket, STDIN_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, pipe, STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, pipe, STDERR_FILENO);
    (void)posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &usual);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    /* The file that runs, also when another one was installed in its place since. */
    int code =
        posix_spawn(&process->pid, "/proc/self/exe", &files, &attributes, arguments, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&attributes);
    return code;
}

static bool
start(struct process *process, struct err *err)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms < process->start_at_ms)
        return err_set(err, ERR_RETRY, 0, "%.*s, in %" PRIu64 " s", ERR_TEXT_MAX - 30,
                       process->state.news, (process->start_at_ms - now_ms + 999) / 1000);
    int sockets[2];
    int pipes[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return err_errno(err, ERR_RETRY, errno, "start the collector's process");
    /* Not blocking: a process that says much does not wait for somebody to listen. */
    if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) != 0) {
        (void)close(sockets[0]);
        (void)close(sockets[1]);
        return err_errno(err, ERR_RETRY, errno, "start the collector's process");
    }
    int code = spawn(process, sockets[1], pipes[1]);
    (void)close(sockets[1]);
    (void)close(pipes[1]);
    process->socket = sockets[0];
    process->said = pipes[0];
    process->greeted = process->answered = false;
    if (code == 0)
        return true;
    process->pid = 0;
    close_ends(process);
    return err_errno(err, ERR_RETRY, code, "start the collector's process");
}

/* ---- a round ---- */

static enum talk
greet(struct process *process, const struct talk_wait *wait)
{
    struct talk_greeting greeting = {
        .magic = TALK_MAGIC,
        .index = process->index,
        .series_max = process->series_max,
        .config_size = process->config.size,
    };
    (void)snprintf(greeting.collector, sizeof(greeting.collector), "%s", process->class->name);
    enum talk outcome = talk_send(process->socket, &greeting, sizeof(greeting), wait);
    if (outcome == TALK_DONE)
        outcome = talk_send(process->socket, process->config.bytes, process->config.size, wait);
    process->greeted = outcome == TALK_DONE;
    return outcome;
}

static enum talk
exchange(struct process *process, uint64_t timeout_ms, struct page *page, bool *fine,
         struct err *err, const struct talk_wait *wait)
{
    struct talk_order order = {.magic = TALK_MAGIC, .timeout_ms = timeout_ms};
    struct talk_answer answer;
    struct page_wire_part parts[PAGE_WIRE_PARTS];
    enum talk outcome = process->greeted ? TALK_DONE : greet(process, wait);
    if (outcome == TALK_DONE)
        outcome = talk_send(process->socket, &order, sizeof(order), wait);
    if (outcome == TALK_DONE)
        outcome = talk_receive(process->socket, &answer, sizeof(answer), wait);
    if (outcome != TALK_DONE)
        return outcome;
    if (answer.magic != TALK_MAGIC || !page_wire_room(page, &answer.page, parts))
        return TALK_DAMAGED;
    for (size_t i = 0; i < PAGE_WIRE_PARTS && outcome == TALK_DONE; i++)
        outcome = talk_receive(process->socket, parts[i].bytes, parts[i].size, wait);
    if (outcome != TALK_DONE)
        return outcome;
    if (!page_wire_accept(page))
        return TALK_DAMAGED;
    *fine = answer.fine;
    if (!answer.fine)
        (void)err_set(err, ERR_RETRY, 0, "%.*s", ERR_TEXT_MAX - 1, answer.error);
    return TALK_DONE;
}

/* Since the round before: then this round need not fail for it. */
static bool
has_ended(const struct process *process)
{
    struct pollfd poller = {.fd = process->socket, .events = POLLIN};
    return poll(&poller, 1, 0) > 0; /* nothing is said unasked */
}

bool
process_round(struct process *process, const struct remote_call *call, struct page *page,
              bool *fine, struct err *err)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct talk_wait wait = {.until_ms = call->deadline_ms + GRACE_MS, .stop = call->stop};
    *fine = false;
    page_clear(page);
    if (process->pid > 0 && has_ended(process))
        give_up(process, TALK_ENDED, 0, err);
    if (process->pid == 0 && !start(process, err))
        return false;
    uint64_t timeout_ms = call->deadline_ms > now_ms ? call->deadline_ms - now_ms : 0;
    enum talk outcome = exchange(process, timeout_ms, page, fine, err, &wait);
    if (outcome != TALK_DONE)
        page_clear(page); /* of which a part may have come */
    if (outcome == TALK_STOPPED) {
        (void)reap(process);
        close_ends(process);
        return err_set(err, ERR_RETRY, 0, "the program stops");
    }
    if (outcome != TALK_DONE) {
        give_up(process, outcome, clock_monotonic_ms() - now_ms, err);
        return false;
    }
    process->answered = true;
    process->early_ends = 0;
    char said[SAID_SHOWN];
    read_said(process, said);
    if (said[0] != '\0')
        put_news(process, said);
    return true;
}

/* ---- what it costs ---- */

static uint64_t
cpu_ns_of(pid_t pid)
{
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0)
        return 0;
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t
resident_bytes_of(pid_t pid)
{
    char path[40];
    unsigned long long pages = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    bool found = fscanf(file, "%*u %llu", &pages) == 1;
    (void)fclose(file);
    return found ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void
process_look(struct process *process, struct process_state *out)
{
    bool runs = process->pid > 0;
    uint64_t cpu_ns = process->past_cpu_ns + (runs ? cpu_ns_of(process->pid) : 0);
    if (cpu_ns > process->state.cpu_ns) /* a counter: what wait4() says of the same is rounded */
        process->state.cpu_ns = cpu_ns;
    process->state.resident_bytes = runs ? resident_bytes_of(process->pid) : 0;
    *out = process->state;
}
