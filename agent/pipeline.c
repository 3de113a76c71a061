/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.c: the data path and its loop, top-down:
 *     look       when: hints, walks, sweeps                         looks.c
 *     discover   which files there are, which life each is in       inputs/discovery.c, match.c
 *     schedule   whose turn it is                                   schedule.c
 *     read       check, cut, encode into a slab                     reader.c, cutter.c
 *     send       hand the records to Kafka without a copy           delivery.c, producer.c
 *     answer     move `committed` over what is acknowledged         delivery.c, link.c
 *     remember   write what changed to the state                    state.c
 * All of it on one thread; the disk and the cluster are waited for on helpers. Only this file
 * and main.c log. */
#include "agent/pipeline.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/delivery.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held.h"
#include "agent/inputs/remotes.h"
#include "agent/link.h"
#include "agent/looks.h"
#include "agent/reader.h"
#include "agent/receipts.h"
#include "agent/reload.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "agent/status.h"
#include "agent/survey.h"
#include "agent/timer.h"
#include "agent/topics.h"
#include "agent/wall.h"
#include "core/ask.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/health.h"
#include "core/http.h"
#include "core/kafka.h"
#include "exporters/host/serve.h"

#define TICK_MS 1000
#define TURNS_AT_ONCE 16 /* then the loop looks at what else has happened */
/* Of the 15 s that a stop may take: then the thread that looks at the cluster may need two, the
 * last write to a busy disk and the end of the library some more. */
#define STOP_GRACE_MS 10000
#define STOP_GRACE_BLIND_MS 500 /* when Kafka is not there anyway */
#define SURVEY_EVERY_MS 30000   /* a walk over all files: 100,000 take some milliseconds */
#define STUCK_AFTER_MS 30000
#define LOCK_RETRY_MS 500
#define OPEN_FILES_KEPT 64 /* descriptors for everything that is no input */

const struct metric_family agent_metric_families[METRIC_COUNT] = {
#define METRIC METRIC_FAMILY
#include "agent/metrics.def"
#undef METRIC
};

struct pipeline {
    struct agent agent;
    const char *config_path;
    struct options *reloaded; /* what the inputs follow since the last reload; NULL: none was */
    sd_event *event;
    sd_event_source *work; /* enabled while there is something to read */
    sd_event_source *tick, *tokens;
    struct health *health;
    struct http *http;
    struct ask *ask;
    struct host_serve *host; /* NULL: host.enabled is false */
    struct http_page pages[4];
    struct looks *looks;
    struct link *link;
    struct wall wall;
    bool stopping;
    uint64_t surveyed_ms;
    uint64_t start_ms, stop_at_ms, save_until_ms;
    bool failed;
    metric reload_fine, reload_time, memory_used, memory_size, state_bytes, state_errors,
        hung_mounts;
};

static struct pipeline *
pipeline_of(struct agent *agent)
{
    return (struct pipeline *)(void *)((char *)agent - offsetof(struct pipeline, agent));
}

/* --- saying --- */

static void
say(struct agent *agent, enum log_level level, const char *site, const char *text)
{
    (void)agent;
    log_text(level, site, text);
}

/* --- what the parts ask for --- */

static void
wake(struct agent *agent)
{
    struct pipeline *pipeline = pipeline_of(agent);
    if (pipeline->work != NULL && !pipeline->stopping)
        (void)sd_event_source_set_enabled(pipeline->work, SD_EVENT_ON);
}

static void
rediscover(struct agent *agent)
{
    struct looks *looks = pipeline_of(agent)->looks;
    if (looks != NULL) /* else the start, or the end */
        looks_soon(looks);
}

/* --- read and send --- */

static int
on_work(sd_event_source *source, void *context)
{
    struct pipeline *pipeline = context;
    struct agent *agent = &pipeline->agent;
    health_beat(pipeline->health);
    if (pipeline->stopping || !schedule_run(agent, TURNS_AT_ONCE)) {
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        uint64_t wait_ms = schedule_tokens_ms(agent);
        if (wait_ms != UINT64_MAX && !pipeline->stopping)
            timer_arm(pipeline->tokens, wait_ms);
    }
    return 0;
}

static int
on_tokens(sd_event_source *source, uint64_t time_us, void *context)
{
    (void)source;
    (void)time_us;
    struct pipeline *pipeline = context;
    wake(&pipeline->agent);
    return 0;
}

/* --- remember --- */

static int
on_state(sd_event_source *source, int fd, uint32_t revents, void *context)
{
    (void)source;
    (void)fd;
    (void)revents;
    struct pipeline *pipeline = context;
    struct agent *agent = &pipeline->agent;
    struct err err;
    if (state_reap(agent->state, &err)) {
        health_set(pipeline->health, HEALTH_LOCAL, "state", NULL);
        files_state_is_durable(agent);
        /* What came meanwhile and is waited for goes at once; progress waits for the tick. */
        return 0;
    }
    log_error("%s; it is tried again: until then known files are shipped as far as there is room, "
              "new ones wait",
              err.text);
    metrics_add(agent->metrics, pipeline->state_errors, 1);
    health_set(pipeline->health, HEALTH_LOCAL, "state", err.text);
    return 0;
}

/* What was judged by its age under another clock is judged again. */
static void
forget_ages(struct agent *agent)
{
    for (struct file *file = agent->files; file != NULL; file = file->next)
        if (file->state == FILE_IGNORED)
            file->modified_ns = 0;
    rediscover(agent);
}

/* An event's time and id must not come from a clock that is wrong for certain. */
static void
check_clock(struct pipeline *pipeline)
{
    struct agent *agent = &pipeline->agent;
    char text[256];
    int64_t now_ms = clock_wall_ms();
    int64_t step_ms = wall_look(&pipeline->wall, now_ms, clock_boot_ms(), text, sizeof(text));
    bool wrong = pipeline->wall.wrong;
    bool was_wrong = agent->clock_is_wrong;
    agent->clock_is_wrong = wrong;
    health_set(pipeline->health, HEALTH_LOCAL, "clock", text);
    if (step_ms != 0) {
        forget_ages(agent);
        files_clock_was_set(agent);
    }
    if (step_ms != 0 && !wrong)
        log_warn("the wall clock was set %s by %lld s while running; reading goes on",
                 step_ms < 0 ? "back" : "forth",
                 (long long)(step_ms < 0 ? -step_ms : step_ms) / 1000);
    if (step_ms < 0 && !wrong)
        state_set_wall(agent->state, now_ms); /* else the next start would wait for that time */
    if (wrong && !was_wrong)
        log_error("%s", text);
    if (!wrong && was_wrong) {
        log_info("the wall clock is right");
        rediscover(agent);
        wake(agent);
    }
}

/* A person's word that it was the state's time that was wrong. */
static void
accept_clock(struct pipeline *pipeline)
{
    int64_t now_ms = clock_wall_ms();
    if (!wall_accept(&pipeline->wall, now_ms))
        return;
    log_warn("the wall clock is accepted, though the state was written later by it");
    state_set_wall(pipeline->agent.state, now_ms);
    check_clock(pipeline);
}

static void
publish(struct pipeline *pipeline)
{
    struct agent *agent = &pipeline->agent;
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms - pipeline->surveyed_ms >= SURVEY_EVERY_MS) {
        pipeline->surveyed_ms = now_ms;
        survey_silence(agent);
    }
    topics_publish(agent);
    metrics_set(agent->metrics, pipeline->memory_used, (double)slab_pool_used(agent->pool));
    metrics_set(agent->metrics, pipeline->memory_size, (double)slab_pool_size(agent->pool));
    metrics_set(agent->metrics, pipeline->state_bytes, (double)state_size(agent->state));
    metrics_publish(agent->metrics);
}

static void
remote_changed(void *context, const struct remote *remote)
{
    struct pipeline *pipeline = context;
    size_t hung = 0;
    for (const struct remote *at = remotes_first(pipeline->agent.remotes); at != NULL;
         at = at->next)
        hung += at->hung ? 1 : 0;
    if (remote->hung)
        log_warn("'%s' (%s) does not answer: its files wait, the others go on", remote->path,
                 remote->type);
    else
        log_info("'%s' (%s) answers again", remote->path, remote->type);
    metrics_set(pipeline->agent.metrics, pipeline->hung_mounts, (double)hung);
    files_remote_changed(&pipeline->agent, remote);
}

static void begin_stop(struct pipeline *pipeline, const char *why);

/* Of `once`. It does not wait for a mount that hangs; but whether one does is known only some
 * seconds after it failed to answer, and until then its files may not even have been seen. */
static bool
all_is_read(struct agent *agent)
{
    bool hung = false;
    for (const struct remote *at = remotes_first(agent->remotes); at != NULL; at = at->next)
        hung |= at->hung;
    for (const struct input *input = agent->inputs; input != NULL && !hung; input = input->next)
        if (input->skipped)
            return false;
    return files_all_done(agent);
}

static int
on_tick(sd_event_source *source, uint64_t time_us, void *context)
{
    (void)source;
    (void)time_us;
    struct pipeline *pipeline = context;
    struct agent *agent = &pipeline->agent;
    health_beat(pipeline->health);
    check_clock(pipeline);
    link_tick(pipeline->link);
    schedule_tick(agent);
    files_tick(agent);
    receipts_tick(agent);
    looks_tick(pipeline->looks);
    state_sync(agent->state);
    publish(pipeline);
    if (agent->once && !pipeline->stopping && looks_have_begun(pipeline->looks) &&
        all_is_read(agent))
        begin_stop(pipeline, agent->folders_failed > 0 ? "what can be looked at is read to its end"
                                                       : "every file is read to its end");
    if (agent->once && !pipeline->stopping)
        state_sync(agent->state); /* cuts may have been decided */
    bool drained = link_is_drained(pipeline->link);
    uint64_t now_ms = clock_monotonic_ms();
    bool waits = ((!drained || receipts_wait(agent)) && now_ms < pipeline->stop_at_ms) ||
                 (held_is_saving(agent) && now_ms < pipeline->save_until_ms);
    if (pipeline->stopping && !waits)
        return sd_event_exit(pipeline->event, 0);
    remotes_tick(agent->remotes, remote_changed, pipeline); /* last: now answers are out */
    timer_arm(pipeline->tick, pipeline->stopping ? 20 : agent->once ? 100 : TICK_MS);
    return 0;
}

/* --- stop and reload --- */

static void
begin_stop(struct pipeline *pipeline, const char *why)
{
    if (pipeline->stopping)
        return;
    log_info("stopping: %s", why);
    (void)sd_notify(0, "STOPPING=1");
    pipeline->stopping = true;
    looks_stop(pipeline->looks);
    held_save_all(&pipeline->agent);
    receipts_flush(&pipeline->agent);
    bool reached = link_reason(pipeline->link)[0] == '\0';
    link_stop(pipeline->link);
    pipeline->save_until_ms = clock_monotonic_ms() + STOP_GRACE_MS;
    pipeline->stop_at_ms = clock_monotonic_ms() + (reached ? STOP_GRACE_MS : STOP_GRACE_BLIND_MS);
    timer_arm(pipeline->tick, 0);
}

static int
on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
    (void)source;
    struct pipeline *pipeline = context;
    if (pipeline->agent.once)
        pipeline->failed = true;
    begin_stop(pipeline, info->ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
    return 0;
}

static void
note_reload(struct pipeline *pipeline, bool fine)
{
    struct metrics *metrics = pipeline->agent.metrics;
    metrics_set(metrics, pipeline->reload_fine, fine ? 1 : 0);
    if (fine)
        metrics_set(metrics, pipeline->reload_time, (double)clock_wall_ms() / 1000);
}

static int
on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
    (void)source;
    (void)info;
    struct pipeline *pipeline = context;
    if (pipeline->stopping)
        return 0;
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                     (unsigned long long)(clock_monotonic_ns() / 1000));
    bool fine = reload_run(&pipeline->agent, pipeline->config_path, &pipeline->reloaded);
    note_reload(pipeline, fine);
    log_flush(); /* who reloads twice waits for the second answer, too */
    accept_clock(pipeline);
    (void)sd_notify(0, "READY=1");
    return 0;
}

/* --- pages --- */

#define ASK_EXPLAIN "explain " /* and a path; a path alone asks for its JSON */

static void
answer(void *context, const char *question, struct buffer *out)
{
    struct pipeline *pipeline = context;
    const char *kafka_reason = link_reason(pipeline->link);
    struct buffer waits;
    buffer_init(&waits, ERR_TEXT_MAX * 64);
    if (health_ready(pipeline->health, false, &waits))
        buffer_clear(&waits);
    if (strcmp(question, "page") == 0)
        status_page(&pipeline->agent, kafka_reason, buffer_string(&waits), out);
    else if (strncmp(question, ASK_EXPLAIN, strlen(ASK_EXPLAIN)) == 0)
        status_explain(&pipeline->agent, question + strlen(ASK_EXPLAIN), out);
    else
        status_json(&pipeline->agent, question[0] == '\0' ? NULL : question, kafka_reason,
                    buffer_string(&waits), out);
    buffer_done(&waits);
}

static int
on_ask(sd_event_source *source, int fd, uint32_t revents, void *context)
{
    (void)source;
    (void)fd;
    (void)revents;
    struct pipeline *pipeline = context;
    ask_serve(pipeline->ask, answer, pipeline);
    return 0;
}

/* On the endpoint's thread. */
static void
show_status(void *context, const struct http_request *request, struct http_response *response)
{
    struct pipeline *pipeline = context;
    const char *path = http_query(request, "path");
    if (path != NULL && path[0] != '/') {
        response->status = 400;
        buffer_format(&response->body, "path must be absolute; it is '%s'\n", path);
        return;
    }
    response->content_type = "application/json";
    http_ask(pipeline->ask, path == NULL ? "" : path, response);
}

static void
show_explain(void *context, const struct http_request *request, struct http_response *response)
{
    struct pipeline *pipeline = context;
    char question[sizeof(ASK_EXPLAIN) + PATH_MAX];
    const char *path = http_query(request, "path");
    if (path == NULL || path[0] != '/' || strlen(path) >= PATH_MAX) {
        response->status = 400;
        buffer_text(&response->body, "ask for /explain?path=/absolute/path\n");
        return;
    }
    if (snprintf(question, sizeof(question), ASK_EXPLAIN "%s", path) > 0)
        http_ask(pipeline->ask, question, response);
}

static void
show_page(void *context, const struct http_request *request, struct http_response *response)
{
    (void)request;
    struct pipeline *pipeline = context;
    response->content_type = "text/html; charset=utf-8";
    http_ask(pipeline->ask, "page", response);
}

/* --- start --- */

static bool
open_state(struct pipeline *pipeline, struct err *err)
{
    struct agent *agent = &pipeline->agent;
    struct state_report report;
    const char *folder = agent->options->top.state_dir;
    while (!state_open(&agent->state, folder, &agent->catalog, &report, err)) {
        if (err->action != ERR_RETRY)
            return false;
        log_warn("%s; waiting for it", err->text);
        /* Signals are blocked already: one that asks for the stop is seen here. */
        sigset_t stop;
        (void)sigemptyset(&stop);
        (void)sigaddset(&stop, SIGTERM);
        (void)sigaddset(&stop, SIGINT);
        struct timespec pause = {.tv_nsec = LOCK_RETRY_MS * 1000000L};
        if (sigtimedwait(&stop, NULL, &pause) > 0) {
            pipeline->stopping = true;
            return true;
        }
    }
    if (report.holes > 0)
        log_warn(
            "the state was damaged: %zu bytes in %zu places are passed over; what they said is "
            "read again",
            report.damaged_bytes, report.holes);
    if (report.cut)
        log_warn("the state was cut short: what its end said is read again");
    if (report.foreign)
        log_warn("the state is of another host: reading goes on from its positions under new ids");
    if (report.lost_power)
        log_warn("the host went down without an orderly stop: files that lost their end go on from "
                 "where their content still is what it was");
    wall_init(&pipeline->wall, report.last_wall_ms);
    bool first = report.last_wall_ms == 0 && report.generations == 0 && report.holes == 0;
    log_info("state '%s': %zu files known, %s", folder, report.generations,
             first          ? "first start"
             : report.clean ? "last stop in order"
                            : "last stop not in order");
    return true;
}

static bool
allocate(struct pipeline *pipeline, struct err *err)
{
    struct agent *agent = &pipeline->agent;
    agent->part_max = 4096;
    for (size_t i = 0; i < agent->options->files_count; i++)
        if (agent->options->files[i].part_size > agent->part_max)
            agent->part_max = agent->options->files[i].part_size;
    agent->read_size = agent->part_max + READ_SIZE + 4;
    agent->read_buffer = malloc(TAIL_SIZE_MAX + agent->read_size);
    buffer_init(&agent->scratch, ENVELOPE_SIZE_MAX);
    if (agent->read_buffer == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "allocate the read buffer");
    if (!slab_pool_new(&agent->pool, agent->options->top.memory,
                       agent->part_max + ENVELOPE_SIZE_MAX + 4096, err))
        return false;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
        (void)getrlimit(RLIMIT_NOFILE, &files);
    } else {
        return err_errno(err, ERR_STOP, errno, "read the limit of open descriptors");
    }
    if (files.rlim_cur < OPEN_FILES_KEPT) /* the state and the brokers' connections want some */
        return err_set(err, ERR_STOP, EMFILE,
                       "only %ju descriptors may be open (ulimit -n): at least %d are needed",
                       (uintmax_t)files.rlim_cur, OPEN_FILES_KEPT);
    agent->open_max = files.rlim_cur > 2 * OPEN_FILES_KEPT ? files.rlim_cur - OPEN_FILES_KEPT
                                                           : files.rlim_cur / 2;
    struct stat log;
    if (fstat(STDERR_FILENO, &log) == 0 && S_ISREG(log.st_mode)) {
        agent->own_log_device = (uint64_t)log.st_dev;
        agent->own_log_inode = (uint64_t)log.st_ino;
    }
    return true;
}

static void
add_metrics(struct pipeline *pipeline)
{
    struct metrics *metrics = pipeline->agent.metrics;
    pipeline->memory_used = metrics_series(metrics, METRIC_MEMORY_BYTES, "used", NULL);
    pipeline->memory_size = metrics_series(metrics, METRIC_MEMORY_BYTES, "size", NULL);
    pipeline->state_bytes = metrics_series(metrics, METRIC_STATE_BYTES, NULL);
    pipeline->state_errors = metrics_series(metrics, METRIC_STATE_ERRORS, NULL);
    pipeline->hung_mounts = metrics_series(metrics, METRIC_HUNG_MOUNTS, NULL);
    metrics_about(metrics, "tailrace-agent", rd_kafka_version_str());
    pipeline->reload_fine = metrics_series(metrics, METRIC_RELOAD_FINE, NULL);
    pipeline->reload_time = metrics_series(metrics, METRIC_RELOAD_TIME, NULL);
    note_reload(pipeline, true);
}

static bool
add_sources(struct pipeline *pipeline, struct err *err)
{
    struct agent *agent = &pipeline->agent;
    sd_event *event = pipeline->event;
    bool added =
        sd_event_add_signal(event, NULL, SIGTERM, on_stop, pipeline) >= 0 &&
        sd_event_add_signal(event, NULL, SIGINT, on_stop, pipeline) >= 0 &&
        sd_event_add_signal(event, NULL, SIGHUP, on_reload, pipeline) >= 0 &&
        sd_event_add_defer(event, &pipeline->work, on_work, pipeline) >= 0 &&
        sd_event_source_set_priority(pipeline->work, SD_EVENT_PRIORITY_IDLE) >= 0 &&
        sd_event_source_set_enabled(pipeline->work, SD_EVENT_OFF) >= 0 &&
        timer_add(event, &pipeline->tick, on_tick, pipeline, true) &&
        timer_add(event, &pipeline->tokens, on_tokens, pipeline, false) &&
        sd_event_add_io(event, NULL, state_fd(agent->state), EPOLLIN, on_state, pipeline) >= 0 &&
        sd_event_add_io(event, NULL, ask_fd(pipeline->ask), EPOLLIN, on_ask, pipeline) >= 0;
    if (!added)
        return err_set(err, ERR_STOP, 0, "cannot set up the event loop");
    (void)sd_event_set_watchdog(event, 1);
    return true;
}

static void
block_signals(void)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGIO, SIG_IGN); /* a writer met the lease that files_may_be_written() takes */
}

static bool
start(struct pipeline *pipeline, struct err *err)
{
    struct agent *agent = &pipeline->agent;
    if (sd_event_new(&pipeline->event) < 0)
        return err_set(err, ERR_STOP, 0, "cannot make the event loop");
    if (!metrics_new(&agent->metrics, agent_metric_families, METRIC_COUNT, err) ||
        !health_new(&pipeline->health, STUCK_AFTER_MS, err) || !ask_new(&pipeline->ask, err) ||
        !link_new(&pipeline->link, agent, pipeline->event, pipeline->health, err))
        return false;
    add_metrics(pipeline);
    size_t page_count = 3;
    if (agent->options->host.enabled && !agent->once) {
        if (!host_serve_new(&pipeline->host, &agent->options->host, agent->metrics, err))
            return false;
        pipeline->pages[page_count++] =
            (struct http_page){"/metrics", host_serve_metrics, pipeline->host};
    }
    /* The endpoint first: a process that waits for the lock answers, and says so. */
    const char *listen = agent->options->http.listen;
    if (strcmp(listen, "off") != 0 && !agent->once &&
        !http_new(&pipeline->http, listen, agent->metrics, pipeline->health, pipeline->pages,
                  page_count, err))
        return false;
    health_set(pipeline->health, HEALTH_LOCAL, "state", "the state folder is not open yet");
    if (!open_state(pipeline, err))
        return false;
    if (pipeline->stopping)
        return true;       /* it never had the state, so there is nothing to stop in order */
    check_clock(pipeline); /* before it says that it is ready, and looks at files */
    health_set(pipeline->health, HEALTH_LOCAL, "state", NULL);
    if (!allocate(pipeline, err) || !delivery_init(agent, err) || !held_new(agent, err))
        return false;
    for (size_t i = 0; i < agent->options->files_count; i++)
        if (!reload_add_input(agent, &agent->options->files[i], err))
            return false;
    if (!receipts_new(agent, err))
        return false;
    if (!looks_new(&pipeline->looks, agent, pipeline->event, err) || !add_sources(pipeline, err) ||
        !link_open(pipeline->link, err))
        return false;
    agent->remotes = remotes_new();
    return true;
}

bool
pipeline_new(struct pipeline **out, struct options *loaded, const char *config_path, bool once,
             struct err *err)
{
    struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (pipeline == NULL) {
        options_free(loaded);
        return err_errno(err, ERR_STOP, ENOMEM, "start");
    }
    struct agent *agent = &pipeline->agent;
    pipeline->config_path = config_path;
    pipeline->start_ms = clock_monotonic_ms();
    pipeline->pages[0] = (struct http_page){"/status", show_status, pipeline};
    pipeline->pages[1] = (struct http_page){"/", show_page, pipeline};
    pipeline->pages[2] = (struct http_page){"/explain", show_explain, pipeline};
    agent->loaded = loaded;
    agent->options = options_root(loaded);
    agent->once = once;
    agent->say = say;
    agent->wake = wake;
    agent->rediscover = rediscover;
    block_signals();
    if (!start(pipeline, err)) {
        pipeline_free(pipeline);
        return false;
    }
    *out = pipeline;
    return true;
}

static void
log_start(const struct pipeline *pipeline)
{
    const struct agent *agent = &pipeline->agent;
    struct kafka_settings settings;
    struct err err;
    if (kafka_settings_init(&settings, agent_kafka_common(agent->options), &err))
        log_info("version %s, librdkafka %s, kafka %s%s%s", TAILRACE_VERSION,
                 rd_kafka_version_str(), settings.bootstrap_servers,
                 settings.servers_from_environment ? " (from KAFKA_BOOTSTRAP_SERVERS)" : "",
                 settings.protocol_from_environment ? " (KAFKA_SECURITY_PROTOCOL)" : "");
    size_t at = 0;
    const char *trap;
    while ((trap = kafka_version_trap(rd_kafka_version(), KAFKA_PRODUCER, &at)) != NULL)
        log_info("librdkafka %s: %s", rd_kafka_version_str(), trap);
    log_info("memory for events %zu bytes in slabs, %d records at once",
             slab_pool_size(agent->pool), RECORDS_MAX);
}

/* Of `once`: what came of it. Its exit code says whether all was shipped. */
static void
sum_up(struct pipeline *pipeline)
{
    const struct agent *agent = &pipeline->agent;
    unsigned long long unread = 0;
    unsigned long long refused = 0;
    for (const struct input *input = agent->inputs; input != NULL; input = input->next) {
        unread += input->sums.states[FILE_FAILED];
        refused += input->sums.states[FILE_REFUSED] + input->sums.states[FILE_IGNORED];
    }
    log_info("%llu events from %llu bytes of %zu files in %.1f s, %llu empty lines skipped, %llu "
             "files left out, %llu files could not be read, %llu bytes lost, %zu folders could not "
             "be looked into",
             (unsigned long long)agent->events_total, (unsigned long long)agent->bytes_total,
             agent->file_count, (double)(clock_monotonic_ms() - pipeline->start_ms) / 1000,
             (unsigned long long)agent->skipped_total, refused, unread,
             (unsigned long long)agent->lost_total, agent->folders_failed);
    if (unread > 0 || agent->lost_total > 0 || agent->folders_failed > 0)
        pipeline->failed = true;
}

bool
pipeline_run(struct pipeline *pipeline, struct err *err)
{
    struct agent *agent = &pipeline->agent;
    if (pipeline->stopping) {
        log_info("stopped while waiting for the state");
        return true;
    }
    log_start(pipeline);
    (void)sd_notify(0, "READY=1");
    int result = sd_event_loop(pipeline->event);
    /* What the last answers moved. */
    files_tick(agent);
    publish(pipeline);
    if (!state_stop(agent->state, err))
        return false;
    if (agent->once)
        sum_up(pipeline);
    if (agent->records_waiting > 0)
        log_warn("%zu events were not acknowledged; they are read again at the next start",
                 agent->records_waiting);
    log_info("stopped");
    if (result < 0)
        return err_errno(err, ERR_STOP, -result, "run the event loop");
    bool finished = !pipeline->failed && result == 0;
    return finished || err_set(err, ERR_STOP, 0,
                               "not finished: what was not read or not shipped is said above");
}

void
pipeline_free(struct pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    struct agent *agent = &pipeline->agent;
    ask_close(pipeline->ask);
    http_free(pipeline->http); /* first: its handlers ask the loop */
    host_serve_free(pipeline->host);
    ask_free(pipeline->ask);
    (void)sd_event_source_disable_unref(pipeline->work);
    (void)sd_event_source_disable_unref(pipeline->tick);
    (void)sd_event_source_disable_unref(pipeline->tokens);
    pipeline->work = NULL;
    pipeline->stopping = true;
    looks_free(pipeline->looks);
    pipeline->looks = NULL;
    link_free(pipeline->link);
    (void)sd_event_unref(pipeline->event);
    files_done(agent);
    receipts_free(agent);
    delivery_done(agent);
    remotes_free(agent->remotes);
    state_free(agent->state);
    catalog_done(&agent->catalog);
    slab_pool_free(agent->pool);
    metrics_free(agent->metrics);
    health_free(pipeline->health);
    buffer_done(&agent->scratch);
    free(agent->read_buffer);
    options_free(pipeline->reloaded);
    options_free(agent->loaded);
    free(pipeline);
}
