/* SPDX-License-Identifier: Apache-2.0 */
/* print.c: see print.h. */
#include "sinks/replay/print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/encode.h"

#define VALUE_SHOWN_SIZE 200 /* of a value, for people: two lines of a terminal */
#define CLASS_SIZE_MAX 4096

static void
put_time(struct buffer *out, int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format_utc(wall_ms, text);
    buffer_append(out, text, sizeof(text));
}

void
print_letter(struct buffer *out, const struct letter *letter, const struct print_place *place)
{
    put_time(out, letter->time_ms);
    buffer_format(out, "  %s [%" PRId64 "] offset %" PRId64 " -> %s", letter->topic,
                  letter->partition, letter->offset, letter->index);
    if (letter->status > 0)
        buffer_format(out, ", status %" PRId64, letter->status);
    buffer_format(out, ", %" PRId64 " attempt%s%s\n", letter->attempts,
                  letter->attempts == 1 ? "" : "s", place->sent ? ", sent back" : "");
    buffer_text(out, "  id      ");
    buffer_visible(out, letter->id, letter->id_size);
    buffer_text(out, "\n  reason  ");
    buffer_visible(out, letter->reason, strlen(letter->reason));
    buffer_format(out, "\n  letter  %s [%" PRId32 "] offset %" PRId64, place->topic,
                  place->partition, place->offset);
    if (letter->cut_from > 0)
        buffer_format(out, ", only the first %zu of %" PRId64 " bytes", letter->value_size,
                      letter->cut_from);
    buffer_text(out, "\n  value   ");
    size_t shown = letter->value_size < VALUE_SHOWN_SIZE ? letter->value_size : VALUE_SHOWN_SIZE;
    /* Not within a character. */
    while (shown < letter->value_size && shown > 0 &&
           ((unsigned char)letter->value[shown] & 0xC0) == 0x80)
        shown--;
    if (letter->value == NULL)
        buffer_text(out, "(none)");
    else
        buffer_visible(out, letter->value, shown);
    if (shown < letter->value_size)
        buffer_format(out, "… (%zu bytes)", letter->value_size);
    buffer_text(out, "\n\n");
}

static void
put_string(struct buffer *out, const char *name, const char *text, size_t size)
{
    buffer_format(out, ",\"%s\":", name);
    if (text == NULL)
        buffer_text(out, "null");
    else
        encode_json_string(out, text, size);
}

void
print_letter_json(struct buffer *out, const struct letter *letter, const struct print_place *place)
{
    buffer_text(out, "{\"time\":\"");
    put_time(out, letter->time_ms);
    buffer_text(out, "\"");
    put_string(out, "topic", letter->topic, strlen(letter->topic));
    buffer_format(out, ",\"partition\":%" PRId64 ",\"offset\":%" PRId64, letter->partition,
                  letter->offset);
    put_string(out, "index", letter->index, strlen(letter->index));
    put_string(out, "id", letter->id, letter->id_size);
    put_string(out, "key", letter->key, letter->key_size);
    buffer_format(out, ",\"status\":%" PRId64 ",\"attempts\":%" PRId64, letter->status,
                  letter->attempts);
    put_string(out, "reason", letter->reason, strlen(letter->reason));
    put_string(out, "dead_letter_topic", place->topic, strlen(place->topic));
    buffer_format(out,
                  ",\"dead_letter_partition\":%" PRId32 ",\"dead_letter_offset\":%" PRId64
                  ",\"sent_back\":%s",
                  place->partition, place->offset, place->sent ? "true" : "false");
    if (letter->cut_from > 0)
        buffer_format(out, ",\"cut_from\":%" PRId64, letter->cut_from);
    put_string(out, "value", letter->value, letter->value_size);
    buffer_text(out, "}\n");
}

/* The group, made when it is new. NULL: memory is short. */
static struct tally_group *
group_of(struct tally *tally, const char *topic, const char *reason)
{
    for (size_t i = 0; i < tally->count; i++)
        if (strcmp(tally->groups[i].reason, reason) == 0 &&
            strcmp(tally->groups[i].topic, topic) == 0)
            return &tally->groups[i];
    ASSERT(tally->count < TALLY_GROUPS_MAX);
    struct tally_group *group = &tally->groups[tally->count];
    *group = (struct tally_group){
        .topic = strdup(topic),
        .reason = strdup(reason),
        .oldest_ms = INT64_MAX,
        .newest_ms = INT64_MIN,
    };
    tally->count++;
    return group->topic == NULL || group->reason == NULL ? NULL : group;
}

bool
tally_add(struct tally *tally, const struct letter *letter, bool sent)
{
    struct buffer reason;
    buffer_init(&reason, CLASS_SIZE_MAX);
    letter_class(&reason, letter->reason);
    bool last = tally->count >= TALLY_GROUPS_MAX - 1; /* its group is the one of all others */
    struct tally_group *group = last ? group_of(tally, "(others)", "of other topics and reasons")
                                     : group_of(tally, letter->topic, buffer_string(&reason));
    buffer_done(&reason);
    if (group == NULL)
        return false;
    group->letters++;
    group->sent += sent ? 1 : 0;
    if (letter->time_ms < group->oldest_ms)
        group->oldest_ms = letter->time_ms;
    if (letter->time_ms > group->newest_ms)
        group->newest_ms = letter->time_ms;
    return true;
}

static int
by_size(const void *a, const void *b)
{
    const struct tally_group *one = a;
    const struct tally_group *two = b;
    return one->letters < two->letters ? 1 : one->letters > two->letters ? -1 : 0;
}

static void
print_group(const struct tally_group *group, bool json, struct buffer *out)
{
    if (!json) {
        buffer_format(out, "%9" PRIu64 "  %9" PRIu64 "  ", group->letters, group->sent);
        put_time(out, group->oldest_ms);
        buffer_text(out, "  ");
        put_time(out, group->newest_ms);
        buffer_format(out, "  %s: ", group->topic);
        buffer_visible(out, group->reason, strlen(group->reason));
        buffer_text(out, "\n");
        return;
    }
    buffer_format(out, "{\"letters\":%" PRIu64 ",\"sent_back\":%" PRIu64, group->letters,
                  group->sent);
    put_string(out, "topic", group->topic, strlen(group->topic));
    put_string(out, "reason", group->reason, strlen(group->reason));
    buffer_text(out, ",\"oldest\":\"");
    put_time(out, group->oldest_ms);
    buffer_text(out, "\",\"newest\":\"");
    put_time(out, group->newest_ms);
    buffer_text(out, "\"}\n");
}

void
tally_print(struct tally *tally, bool json, struct buffer *out)
{
    qsort(tally->groups, tally->count, sizeof(tally->groups[0]), by_size);
    if (!json && tally->count > 0)
        buffer_text(out, "  letters  sent back  oldest                    newest"
                         "                    topic: reason\n");
    for (size_t i = 0; i < tally->count; i++)
        print_group(&tally->groups[i], json, out);
}

void
tally_done(struct tally *tally)
{
    for (size_t i = 0; i < tally->count; i++) {
        free(tally->groups[i].topic);
        free(tally->groups[i].reason);
    }
    tally->count = 0;
}
