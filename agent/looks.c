/* SPDX-License-Identifier: Apache-2.0 */
/* looks.c: see looks.h. */
#include "agent/looks.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/inputs/discovery.h"
#include "agent/inputs/files.h"
#include "agent/inputs/sweep.h"
#include "agent/inputs/watch.h"
#include "agent/pace.h"
#include "agent/state.h"
#include "agent/timer.h"
#include "core/clock.h"

#define GATHER_MS 10        /* wake-ups of inotify are gathered for so long */
#define DISCOVER_SOON_MS 50 /* after a folder changed */
/* Looking at files takes at most one part of so many of a core: where inotify should tell, and
 * where it does not, or has just failed to. And no oftener than so. */
#define SHARE_SURE 1000
#define SHARE_BLIND 100
#define SHARE_URGENT 10
#define DISCOVER_SURE_MS 60000
#define DISCOVER_BETWEEN_MS 10 /* the rest of many finds: what was found is sent meanwhile */
#define DISCOVER_BLIND_MS 10000
#define SWEEP_SURE_MS 5000
#define SWEEP_BLIND_MS 250

struct looks {
    struct agent *agent;
    sd_event_source *discover, *sweep, *sweep_blind, *gather, *watched;
    uint64_t last_discover_ms;
    uint64_t discover_at_ms; /* when `discover` rings; UINT64_MAX: it is not set */
    bool discover_again;     /* something has changed while finds were decided */
    bool begun;
    struct pace sweep_pace, blind_pace;
    bool sweep_urgent; /* hints were lost: a round at once */
    bool stopping;
    metric sweeps, sweep_seconds;
};

/* --- walks --- */

static void
arm_discover(struct looks *looks, uint64_t after_ms)
{
    looks->discover_at_ms = clock_monotonic_ms() + after_ms;
    timer_arm(looks->discover, after_ms);
}

void
looks_soon(struct looks *looks)
{
    struct agent *agent = looks->agent;
    if (looks->stopping)
        return;
    looks->discover_again |= agent->finds != NULL;
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t passed_ms = now_ms - looks->last_discover_ms;
    uint64_t pause_ms = agent->walk_us * SHARE_BLIND / 1000;
    uint64_t wait_ms = passed_ms >= pause_ms ? 0 : pause_ms - passed_ms;
    if (wait_ms < DISCOVER_SOON_MS)
        wait_ms = DISCOVER_SOON_MS;
    /* Only ever sooner: a folder where something always changes must not put it off for ever. */
    if (now_ms + wait_ms < looks->discover_at_ms)
        arm_discover(looks, wait_ms);
}

/* A folder that is watched tells when something comes or goes. */
static uint64_t
discover_every_ms(const struct agent *agent)
{
    bool sure = agent->watch != NULL && agent->folders_failed + agent->folders_unwatched == 0;
    for (const struct input *input = agent->inputs; input != NULL; input = input->next)
        sure &= input->sums.states[FILE_FAILED] == 0;
    uint64_t least_ms = sure ? DISCOVER_SURE_MS : DISCOVER_BLIND_MS;
    uint64_t pause_ms = agent->walk_us * (sure ? SHARE_SURE : SHARE_BLIND) / 1000;
    return pause_ms < least_ms ? least_ms : pause_ms;
}

static int
on_discover(sd_event_source *source, uint64_t time_us, void *context)
{
    (void)source;
    (void)time_us;
    struct looks *looks = context;
    looks->discover_at_ms = UINT64_MAX;
    if (looks->agent->clock_is_wrong) /* a new life's id would be of a time that is not */
        return 0;                     /* who finds it right asks for a walk */
    bool done = looks->agent->finds != NULL ? discovery_continue(looks->agent)
                                            : discovery_begin(looks->agent);
    state_sync(looks->agent->state); /* new lives: on disk before their first event */
    if (!done) {
        looks->discover_at_ms = 0; /* nothing is sooner */
        timer_arm(looks->discover, DISCOVER_BETWEEN_MS);
        return 0;
    }
    looks->begun = true;
    looks->last_discover_ms = clock_monotonic_ms();
    if (looks->discover_at_ms == UINT64_MAX) /* else something asks to look again soon */
        arm_discover(looks, discover_every_ms(looks->agent));
    if (looks->discover_again) {
        looks->discover_again = false;
        looks_soon(looks);
    }
    return 0;
}

/* --- sweeps --- */

static int
on_sweep(sd_event_source *source, uint64_t time_us, void *context)
{
    (void)time_us;
    struct looks *looks = context;
    struct metrics *metrics = looks->agent->metrics;
    struct pace_span span = pace_begin();
    bool over = sweep_some(looks->agent);
    uint64_t cost_us = pace_cost_us(span);
    bool urgent = looks->sweep_urgent;
    looks->sweep_urgent = urgent && !over;
    timer_arm(source, pace_next_ms(&looks->sweep_pace, cost_us, over,
                                   urgent ? SHARE_URGENT : SHARE_SURE, SWEEP_SURE_MS));
    if (!over)
        return 0;
    metrics_add(metrics, looks->sweeps, 1);
    metrics_set(metrics, looks->sweep_seconds, (double)looks->sweep_pace.last_cost_us / 1000000.0);
    return 0;
}

static int
on_sweep_blind(sd_event_source *source, uint64_t time_us, void *context)
{
    (void)time_us;
    struct looks *looks = context;
    struct pace_span span = pace_begin();
    bool over = sweep_blind(looks->agent);
    uint64_t cost_us = pace_cost_us(span);
    if (looks->agent->blind_count == 0)
        return 0; /* the tick sets it again */
    timer_arm(source, pace_next_ms(&looks->blind_pace, cost_us, over, SHARE_BLIND, SWEEP_BLIND_MS));
    return 0;
}

void
looks_tick(struct looks *looks)
{
    int enabled = SD_EVENT_OFF;
    (void)sd_event_source_get_enabled(looks->sweep_blind, &enabled);
    if (enabled == SD_EVENT_OFF && looks->agent->blind_count > 0)
        timer_arm(looks->sweep_blind, 0);
}

/* From the first file, at once. */
static void
sweep_now(struct looks *looks)
{
    looks->agent->sweep_cursor = NULL;
    looks->sweep_pace = (struct pace){0};
    looks->sweep_urgent = true;
    timer_arm(looks->sweep, 0);
}

/* --- hints --- */

static void
watch_written(void *context, const char *path)
{
    struct looks *looks = context;
    (void)files_hint(looks->agent, path);
}

static void
watch_changed(void *context)
{
    struct looks *looks = context;
    looks_soon(looks);
}

static void
watch_overflow(void *context)
{
    struct looks *looks = context;
    metrics_add(looks->agent->metrics,
                metrics_series(looks->agent->metrics, METRIC_WATCH_ERRORS, "overflow", NULL), 1);
    sweep_now(looks);
    looks_soon(looks);
}

static bool
serve_watch(struct looks *looks)
{
    struct watch_events events = {watch_written, watch_changed, watch_overflow, looks};
    return watch_serve(looks->agent->watch, &events);
}

/* Many writes would make many wake-ups: after the first, which is seen at once, the descriptor is
 * left alone and looked at every few milliseconds, until nothing came in one of them. */
static int
on_watch(sd_event_source *source, int fd, uint32_t revents, void *context)
{
    (void)fd;
    (void)revents;
    struct looks *looks = context;
    (void)serve_watch(looks);
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    timer_arm(looks->gather, GATHER_MS);
    return 0;
}

static int
on_gathered(sd_event_source *source, uint64_t time_us, void *context)
{
    (void)source;
    (void)time_us;
    struct looks *looks = context;
    if (serve_watch(looks))
        timer_arm(looks->gather, GATHER_MS);
    else
        (void)sd_event_source_set_enabled(looks->watched, SD_EVENT_ON);
    return 0;
}

/* --- start and end --- */

static bool
add_sources(struct looks *looks, sd_event *event)
{
    const struct watch *watch = looks->agent->watch;
    return timer_add(event, &looks->discover, on_discover, looks, true) &&
           timer_add(event, &looks->sweep, on_sweep, looks, true) &&
           timer_add(event, &looks->sweep_blind, on_sweep_blind, looks, true) &&
           timer_add(event, &looks->gather, on_gathered, looks, false) &&
           (watch == NULL || sd_event_add_io(event, &looks->watched, watch_fd(watch), EPOLLIN,
                                             on_watch, looks) >= 0);
}

bool
looks_new(struct looks **out, struct agent *agent, sd_event *event, struct err *err)
{
    struct err why;
    struct looks *looks = calloc(1, sizeof(*looks));
    if (looks == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "look for files");
    looks->agent = agent;
    looks->sweeps = metrics_series(agent->metrics, METRIC_SWEEPS, NULL);
    looks->sweep_seconds = metrics_series(agent->metrics, METRIC_SWEEP_SECONDS, NULL);
    if (!watch_new(&agent->watch, &why)) {
        agent_say(agent, LOG_LEVEL_WARN, "%s; the sweep finds what is new", why.text);
        metrics_add(agent->metrics,
                    metrics_series(agent->metrics, METRIC_WATCH_ERRORS, "none", NULL), 1);
    }
    if (!add_sources(looks, event)) {
        looks_free(looks);
        return err_set(err, ERR_STOP, 0, "cannot set up the event loop");
    }
    *out = looks;
    return true;
}

void
looks_stop(struct looks *looks)
{
    looks->stopping = true;
}

bool
looks_have_begun(const struct looks *looks)
{
    return looks->begun;
}

void
looks_free(struct looks *looks)
{
    if (looks == NULL)
        return;
    sd_event_source *sources[] = {looks->discover, looks->sweep, looks->sweep_blind, looks->gather,
                                  looks->watched};
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
        (void)sd_event_source_disable_unref(sources[i]);
    watch_free(looks->agent->watch);
    looks->agent->watch = NULL;
    free(looks);
}
