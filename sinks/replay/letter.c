/* SPDX-License-Identifier: Apache-2.0 */
/* letter.c: see letter.h. */
#include "sinks/replay/letter.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"

/* librdkafka ends a header's value with a '\0' of its own. */
static const char *
text_of(const rd_kafka_headers_t *headers, const char *name)
{
    const void *value = NULL;
    size_t size;
    if (rd_kafka_header_get_last(headers, name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return NULL;
    return value;
}

static bool
number_of(const rd_kafka_headers_t *headers, const char *name, int64_t *out)
{
    const char *text = text_of(headers, name);
    if (text == NULL || text[0] == '\0')
        return false;
    char *end = NULL;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

bool
letter_read(struct letter *out, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers;
    if (message->key == NULL || message->key_len == 0 ||
        rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    rd_kafka_timestamp_type_t type;
    *out = (struct letter){
        .id = message->key,
        .id_size = message->key_len,
        .value = message->payload,
        .value_size = message->payload == NULL ? 0 : message->len,
        .topic = text_of(headers, "tailrace.topic"),
        .index = text_of(headers, "tailrace.index"),
        .reason = text_of(headers, "tailrace.reason"),
        .cut_from = -1,
        .time_ms = rd_kafka_message_timestamp(message, &type),
    };
    const void *key = NULL;
    if (rd_kafka_header_get_last(headers, "tailrace.key", &key, &out->key_size) ==
        RD_KAFKA_RESP_ERR_NO_ERROR)
        out->key = key;
    if (out->index == NULL)
        out->index = "";
    /* How often and with which status is for people to read; the rest is needed. */
    if (!number_of(headers, "tailrace.status", &out->status))
        out->status = 0;
    if (!number_of(headers, "tailrace.attempts", &out->attempts))
        out->attempts = 0;
    bool cut = text_of(headers, "tailrace.cut_from") != NULL;
    return out->topic != NULL && out->reason != NULL &&
           number_of(headers, "tailrace.partition", &out->partition) &&
           number_of(headers, "tailrace.offset", &out->offset) && out->partition >= 0 &&
           out->partition <= INT32_MAX && out->offset >= 0 &&
           (!cut || (number_of(headers, "tailrace.cut_from", &out->cut_from) && out->cut_from > 0));
}

bool
letter_matches(const struct letter *letter, const struct replay_request *request, int64_t now_ms)
{
    if (request->topic != NULL && strcmp(letter->topic, request->topic) != 0)
        return false;
    if (request->reason != NULL && strcasestr(letter->reason, request->reason) == NULL)
        return false;
    if (request->id != NULL && (strlen(request->id) != letter->id_size ||
                                memcmp(request->id, letter->id, letter->id_size) != 0))
        return false;
    return request->since_ms == 0 || request->since_ms > INT64_MAX ||
           letter->time_ms >= now_ms - (int64_t)request->since_ms;
}

static bool
is_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || strchr("_-.", c) != NULL;
}

void
letter_class(struct buffer *out, const char *reason)
{
    char before = ' ';
    while (*reason != '\0') {
        const char *end = reason[0] == '\'' && !is_word(before) ? strchr(reason + 1, '\'') : NULL;
        size_t digits = is_word(before) ? 0 : strspn(reason, "0123456789");
        if (end != NULL) {
            buffer_text(out, "'…'");
            reason = end + 1;
            before = '\'';
        } else if (digits > 0 && (reason[digits] == '\0' || !is_word(reason[digits]) ||
                                  strspn(reason + digits, "-.") == strlen(reason + digits))) {
            buffer_text(out, "N");
            reason += digits;
            before = 'N';
        } else {
            buffer_append(out, reason, 1);
            before = *reason++;
        }
    }
}
