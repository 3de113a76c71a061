/* SPDX-License-Identifier: Apache-2.0 */
/* letters.c: see letters.h. */
#include "sinks/letters.h"

#include <stdio.h>

#include "core/assert.h"
#include "core/clock.h"
#include "core/log.h"
#include "sinks/dead_letter.h"
#include "sinks/pipeline.h"

static void
note_letters_fault(struct route *route, const char *reason, uint64_t now_ms)
{
    char text[sizeof(route->letters_fault.reason)];
    size_t count = route->letters.count + route->letters_flying;
    int size = snprintf(text, sizeof(text), "%.240s. %zu document%s wait%s, none is lost", reason,
                        count, count == 1 ? "" : "s", count == 1 ? "s" : "");
    ASSERT(size > 0);
    route->letters_known = false;
    if (fault_note(&route->letters_fault, text, now_ms))
        pipeline_say(LOG_LEVEL_WARN, "route %s -> %s waits: %s", route->topic, route->index, text);
}

/* The producer itself would hold a letter for a missing topic until its time is up. */
static bool
letters_may_go(struct pipeline *pipeline, struct route *route, uint64_t now_ms)
{
    struct err err;
    if (!route->letters_known &&
        !dead_letters_look(pipeline->letters, route->dead_letter_topic, &err)) {
        note_letters_fault(route, err.text, now_ms);
        return false;
    }
    route->letters_known = true;
    return true;
}

/* The topic did not take the letter: its beginning is tried next, and when that is too large as
 * well the topic is at fault. */
static void
note_refusal(struct route *route, struct document *document, const struct err *err, uint64_t now_ms)
{
    if (err->action != ERR_REJECT) {
        note_letters_fault(route, err->text, now_ms);
        return;
    }
    if (!document->cut) {
        document->cut = true;
        return;
    }
    char text[ERR_TEXT_MAX];
    int size = snprintf(text, sizeof(text),
                        "dead-letter topic '%.100s' does not even take the first %d KiB of a "
                        "document; raise its max.message.bytes",
                        route->dead_letter_topic, DEAD_LETTER_CUT_SIZE / 1024);
    ASSERT(size > 0);
    note_letters_fault(route, text, now_ms);
}

void
letters_done(void *context, void *record, const struct err *err)
{
    struct pipeline *pipeline = context;
    struct document *document = record;
    struct route *route = &pipeline->routes[document->partition->route];
    route->letters_flying--;
    if (err == NULL) {
        if (fault_clear(&route->letters_fault))
            pipeline_say(LOG_LEVEL_INFO, "dead-letter topic %s takes letters again",
                         route->dead_letter_topic);
        pipeline_finish(pipeline, route, document, ROUTE_DEAD_LETTERED, clock_monotonic_ms());
        return;
    }
    if (document_is_late(document) || pipeline->stopping) {
        pipeline_forget(pipeline, route, document);
        return;
    }
    document_list_append(&route->letters, document);
    note_refusal(route, document, err, clock_monotonic_ms());
}

void
letters_send(struct pipeline *pipeline, struct route *route, uint64_t now_ms)
{
    if (route->letters.count == 0 && route->letters_flying == 0)
        fault_clear(&route->letters_fault);
    while (route->letters.count > 0 && !fault_waits(&route->letters_fault, now_ms) &&
           letters_may_go(pipeline, route, now_ms)) {
        struct document *document = route->letters.head;
        struct dead_letter letter = {
            .dead_letter_topic = route->dead_letter_topic,
            .id = document->id,
            .id_size = document->id_size,
            .key = document->key,
            .key_size = document->key_size,
            .value = document->raw,
            .value_size = document->raw_size,
            .topic = route->topic,
            .partition = document->partition->id,
            .offset = document->offset,
            .index = route->index,
            .reason = document->reason == NULL ? "" : document->reason,
            .status = document->status,
            .attempts = document->attempts,
            .cut = document->cut,
        };
        struct err err;
        if (dead_letters_send(pipeline->letters, &letter, document, &err)) {
            document_list_pop(&route->letters);
            route->letters_flying++;
        } else {
            note_refusal(route, document, &err, now_ms);
        }
    }
}
