/* SPDX-License-Identifier: Apache-2.0 */
/* answer.c: see answer.h. A yajl callback machine over
 *     {"errors":true,"items":[{"create":{"status":400,"error":{"type":"…","reason":"…"}}},…]}
 *     {"error":{"type":"…","reason":"…","root_cause":[…]},"status":400}   all of it refused
 *     {"error":"Content-Type header [text/plain] is not supported","status":406}
 * Places are told by depth and by the keys on the way; whatever else stands there is skipped.
 * Items of the common form, behind another item, do not pass through yajl at all. */
#include "sinks/elasticsearch/answer.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/assert.h"
#include "sinks/elasticsearch/outcome.h"

/* What nearly every item is. Between two items the parser is in one state, before such an item and
 * after it; so as many as follow each other are counted instead of parsed (20 ns against 90). */
#define PLAIN_ITEM ",{\"create\":{\"status\":201}}"
#define PLAIN_ITEM_SIZE (sizeof(PLAIN_ITEM) - 1)

/* Depths of what we look for: the number of brackets that are open. */
enum {
    DEPTH_TOP = 1,       /* keys "items", "error" */
    DEPTH_REQUEST_ERROR, /* keys of {"error":{…}} */
    DEPTH_ITEMS = 2,     /* the array */
    DEPTH_ITEM,          /* the key "create" */
    DEPTH_RESULT,        /* keys "status", "error" */
    DEPTH_ITEM_ERROR,    /* keys "type", "reason" */
};

enum place {
    PLACE_OTHER,
    PLACE_ITEMS,
    PLACE_ERROR,
    PLACE_STATUS,
    PLACE_TYPE,
    PLACE_REASON,
    PLACE_CAUSE, /* the error's caused_by */
    PLACE_CAUSE_REASON,
    PLACE_FAILURE_STORE,
};

struct answer {
    struct output_item *items; /* borrowed */
    size_t item_count;
    size_t seen; /* items of the answer so far */
    yajl_handle parser;
    size_t depth;
    bool in_items;
    bool in_error;    /* inside an item's or the request's error object */
    bool in_cause;    /* and there inside what caused it */
    enum place place; /* what the value that comes next is */
    int status;
    bool in_failure_store; /* the data stream's, of servers since 8.19 */
    char type[128];
    char reason[ANSWER_REASON_MAX];
    char cause[ANSWER_REASON_MAX];
    struct buffer reasons;  /* texts, each with its '\0' */
    size_t *reason_offsets; /* per item: 1 + offset into reasons, 0 for none */
    size_t reason_capacity;
    char head[ANSWER_HEAD_MAX + 1];
    size_t head_size;
    size_t size;     /* bytes so far */
    size_t quiet;    /* bytes since the last value: what the parser may hold of an unfinished one */
    bool after_item; /* the last byte that the parser was given closed an item */
    bool broken;     /* not JSON, or more items than were sent */
};

bool
answer_new(struct answer **out, struct err *err)
{
    struct answer *answer = calloc(1, sizeof(*answer));
    if (answer == NULL)
        return err_set(err, ERR_STOP, 0, "cannot allocate an answer: out of memory");
    buffer_init(&answer->reasons, ANSWER_REASONS_MAX);
    *out = answer;
    return true;
}

void
answer_free(struct answer *answer)
{
    if (answer == NULL)
        return;
    if (answer->parser != NULL)
        yajl_free(answer->parser);
    buffer_done(&answer->reasons);
    free(answer->reason_offsets);
    free(answer);
}

static void
copy_text(char *out, size_t out_size, const unsigned char *text, size_t size)
{
    size_t taken = size < out_size - 1 ? size : out_size - 1;
    memcpy(out, text, taken);
    out[taken] = '\0';
}

static void
forget_item(struct answer *answer)
{
    answer->status = 0;
    answer->in_failure_store = false;
    answer->type[0] = '\0';
    answer->reason[0] = '\0';
    answer->cause[0] = '\0';
}

/* "type: reason: cause", or what there is of it: "failed to parse" alone helps nobody. */
static void
keep_reason(struct answer *answer, size_t index)
{
    size_t start = answer->reasons.size;
    buffer_text(&answer->reasons, answer->type);
    buffer_text(&answer->reasons, answer->type[0] != '\0' && answer->reason[0] != '\0' ? ": " : "");
    buffer_text(&answer->reasons, answer->reason);
    if (answer->cause[0] != '\0' && strstr(answer->reason, answer->cause) == NULL) {
        buffer_text(&answer->reasons, ": ");
        buffer_text(&answer->reasons, answer->cause);
    }
    buffer_append(&answer->reasons, "", 1);
    if (!answer->reasons.failed)
        answer->reason_offsets[index] = start + 1;
}

static bool
is_key(const unsigned char *text, size_t size, const char *name)
{
    return strlen(name) == size && memcmp(text, name, size) == 0;
}

static bool
is_stored(const struct output_item *item)
{
    return item->outcome == OUTPUT_INDEXED || item->outcome == OUTPUT_DUPLICATE ||
           item->outcome == OUTPUT_FAILURE_STORE;
}

static bool
finish_item(struct answer *answer)
{
    if (answer->seen == answer->item_count)
        return false;
    struct output_item *item = &answer->items[answer->seen];
    item->status = answer->status;
    item->outcome = outcome_of_item(answer->status, answer->type, answer->reason);
    if (item->outcome == OUTPUT_INDEXED && answer->in_failure_store)
        item->outcome = OUTPUT_FAILURE_STORE;
    answer->reason_offsets[answer->seen] = 0;
    if (!is_stored(item))
        keep_reason(answer, answer->seen);
    answer->seen++;
    forget_item(answer);
    return true;
}

static int
on_scalar(void *context)
{
    struct answer *answer = context;
    answer->place = PLACE_OTHER;
    answer->quiet = 0;
    return answer->depth > 0;
}

static int
on_boolean(void *context, int value)
{
    (void)value;
    return on_scalar(context);
}

/* `took` may be huge and other numbers anything: only a status is converted. */
static int
on_number(void *context, const char *text, size_t size)
{
    struct answer *answer = context;
    if (answer->place == PLACE_STATUS && answer->depth == DEPTH_RESULT && size == 3) {
        int status = 0;
        for (size_t i = 0; i < size; i++)
            status = status * 10 + (text[i] >= '0' && text[i] <= '9' ? text[i] - '0' : 0);
        answer->status = status;
    }
    return on_scalar(context);
}

static int
on_string(void *context, const unsigned char *text, size_t size)
{
    struct answer *answer = context;
    if (answer->place == PLACE_TYPE)
        copy_text(answer->type, sizeof(answer->type), text, size);
    else if (answer->place == PLACE_REASON || answer->place == PLACE_ERROR)
        copy_text(answer->reason, sizeof(answer->reason), text, size);
    else if (answer->place == PLACE_CAUSE_REASON)
        copy_text(answer->cause, sizeof(answer->cause), text, size);
    else if (answer->place == PLACE_FAILURE_STORE && answer->depth == DEPTH_RESULT)
        answer->in_failure_store = is_key(text, size, "used");
    return on_scalar(context);
}

static int
on_start_map(void *context)
{
    struct answer *answer = context;
    answer->quiet = 0;
    if (answer->place == PLACE_ERROR)
        answer->in_error = true;
    answer->in_cause = answer->in_error && answer->place == PLACE_CAUSE;
    answer->place = PLACE_OTHER;
    return ++answer->depth <= ANSWER_DEPTH_MAX;
}

static int
on_start_array(void *context)
{
    struct answer *answer = context;
    answer->quiet = 0;
    if (answer->place == PLACE_ITEMS && answer->depth == DEPTH_TOP)
        answer->in_items = true;
    answer->place = PLACE_OTHER;
    return answer->depth > 0 && ++answer->depth <= ANSWER_DEPTH_MAX;
}

static int
on_end_map(void *context)
{
    struct answer *answer = context;
    answer->quiet = 0;
    answer->depth--;
    answer->place = PLACE_OTHER;
    if (answer->depth == (answer->in_items ? DEPTH_RESULT : DEPTH_TOP))
        answer->in_error = false;
    if (answer->in_items && answer->depth == DEPTH_ITEMS)
        return finish_item(answer);
    return 1;
}

static int
on_end_array(void *context)
{
    struct answer *answer = context;
    answer->quiet = 0;
    answer->depth--;
    answer->place = PLACE_OTHER;
    if (answer->depth == DEPTH_TOP)
        answer->in_items = false;
    return 1;
}

static int
on_map_key(void *context, const unsigned char *text, size_t size)
{
    struct answer *answer = context;
    size_t keys_depth = answer->in_items ? DEPTH_RESULT : DEPTH_TOP;
    answer->place = PLACE_OTHER;
    answer->quiet = 0;
    if (answer->depth == keys_depth) {
        if (is_key(text, size, "error"))
            answer->place = PLACE_ERROR;
        else if (answer->in_items && is_key(text, size, "status"))
            answer->place = PLACE_STATUS;
        else if (answer->in_items && is_key(text, size, "failure_store"))
            answer->place = PLACE_FAILURE_STORE;
        else if (!answer->in_items && is_key(text, size, "items"))
            answer->place = PLACE_ITEMS;
    } else if (answer->in_error && answer->depth == keys_depth + 1) {
        if (is_key(text, size, "type"))
            answer->place = PLACE_TYPE;
        else if (is_key(text, size, "reason"))
            answer->place = PLACE_REASON;
        else if (is_key(text, size, "caused_by"))
            answer->place = PLACE_CAUSE;
    } else if (answer->in_cause && answer->depth == keys_depth + 2 &&
               is_key(text, size, "reason")) {
        answer->place = PLACE_CAUSE_REASON;
    }
    return 1;
}

static const yajl_callbacks answer_callbacks = {
    .yajl_null = on_scalar,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end_map,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array,
};

bool
answer_begin(struct answer *answer, struct output_item *items, size_t item_count)
{
    ASSERT(items != NULL || item_count == 0);

    if (item_count > answer->reason_capacity) {
        size_t *offsets = reallocarray(answer->reason_offsets, item_count, sizeof(*offsets));
        if (offsets == NULL)
            return false;
        answer->reason_offsets = offsets;
        answer->reason_capacity = item_count;
    }
    if (answer->parser != NULL)
        yajl_free(answer->parser);
    answer->parser = yajl_alloc(&answer_callbacks, NULL, answer);
    if (answer->parser == NULL)
        return false;
    yajl_config(answer->parser, yajl_dont_validate_strings, 1); /* reasons quote foreign bytes */
    answer->items = items;
    answer->item_count = item_count;
    answer->seen = 0;
    answer->depth = 0;
    answer->in_items = false;
    answer->in_error = false;
    answer->in_cause = false;
    answer->place = PLACE_OTHER;
    answer->head_size = 0;
    answer->after_item = false;
    answer->size = 0;
    answer->quiet = 0;
    answer->broken = false;
    buffer_clear(&answer->reasons);
    forget_item(answer);
    return true;
}

/* Counts the plain items in front. Their size. */
static size_t
take_plain_items(struct answer *answer, const char *bytes, size_t size)
{
    size_t taken = 0;
    while (size - taken >= PLAIN_ITEM_SIZE &&
           memcmp(bytes + taken, PLAIN_ITEM, PLAIN_ITEM_SIZE) == 0) {
        if (answer->seen == answer->item_count) {
            answer->broken = true;
            break;
        }
        struct output_item *item = &answer->items[answer->seen];
        item->status = 201;
        item->outcome = OUTPUT_INDEXED;
        answer->reason_offsets[answer->seen++] = 0;
        taken += PLAIN_ITEM_SIZE;
        answer->quiet = 0;
    }
    return taken;
}

static void
parse(struct answer *answer, const char *bytes, size_t size)
{
    answer->broken =
        yajl_parse(answer->parser, (const unsigned char *)bytes, size) != yajl_status_ok;
    answer->after_item = answer->in_items && answer->depth == DEPTH_ITEMS && bytes[size - 1] == '}';
}

bool
answer_feed(struct answer *answer, const char *bytes, size_t size)
{
    size_t room = ANSWER_HEAD_MAX - answer->head_size;
    size_t head = size < room ? size : room;
    memcpy(answer->head + answer->head_size, bytes, head);
    answer->head_size += head;
    answer->size += size;
    answer->quiet += size;
    while (size > 0 && !answer->broken) {
        size_t taken = answer->after_item ? take_plain_items(answer, bytes, size) : 0;
        if (taken == 0) {
            const char *plain = memmem(bytes + 1, size - 1, PLAIN_ITEM, PLAIN_ITEM_SIZE);
            taken = plain == NULL ? size : (size_t)(plain - bytes);
            parse(answer, bytes, taken);
        }
        bytes += taken;
        size -= taken;
    }
    if (answer->quiet <= ANSWER_VALUE_SIZE_MAX &&
        answer->size <= ANSWER_VALUE_SIZE_MAX + answer->item_count * ANSWER_ITEM_SIZE_MAX)
        return true;
    answer->broken = true;
    return false;
}

/* The start of a page that is no JSON, fit for one line of a log. */
static void
clean_head(struct answer *answer)
{
    answer->head[answer->head_size] = '\0';
    for (size_t i = 0; i < answer->head_size; i++)
        if ((unsigned char)answer->head[i] < ' ')
            answer->head[i] = ' ';
}

void
answer_fail(struct answer *answer, enum output_outcome outcome, const struct err *err)
{
    buffer_clear(&answer->reasons);
    buffer_text(&answer->reasons, err->text);
    const char *reason = buffer_string(&answer->reasons);
    for (size_t i = 0; i < answer->item_count; i++) {
        answer->items[i].outcome = outcome;
        answer->items[i].status = err->code;
        answer->items[i].reason = reason;
    }
}

static bool
refuse_request(struct answer *answer, int http_status, bool parsed, struct err *err)
{
    const char *type = parsed ? answer->type : "";
    const char *reason = parsed ? answer->reason : "";
    if (type[0] != '\0' || reason[0] != '\0') {
        err_put_set(err, ERR_RETRY, http_status, "%s%s%s (HTTP %d)", type,
                    type[0] != '\0' && reason[0] != '\0' ? ": " : "", reason, http_status);
    } else {
        clean_head(answer);
        err_put_set(err, ERR_RETRY, http_status, "HTTP %d%s%s", http_status,
                    answer->head_size > 0 ? ": " : "", answer->head);
    }
    answer_fail(answer, outcome_of_request(http_status, type, reason), err);
    return false;
}

bool
answer_end(struct answer *answer, int http_status, struct err *err)
{
    ASSERT(answer->parser != NULL);

    bool parsed = !answer->broken && yajl_complete_parse(answer->parser) == yajl_status_ok &&
                  answer->depth == 0;
    if (http_status != 200)
        return refuse_request(answer, http_status, parsed, err);
    if (!parsed || answer->seen != answer->item_count) {
        clean_head(answer);
        err_put_set(
            err, ERR_RETRY, http_status,
            "the answer is not to be believed: %zu of %zu items read%s, it begins with '%s'",
            answer->seen, answer->item_count, parsed ? "" : ", then no valid JSON", answer->head);
        answer_fail(answer, OUTPUT_SERVER_FAULT, err);
        return false;
    }
    const char *texts = buffer_string(&answer->reasons);
    for (size_t i = 0; i < answer->item_count; i++) {
        size_t offset = answer->reason_offsets[i];
        answer->items[i].reason = offset == 0 ? NULL : texts + offset - 1;
        if (offset == 0 && !is_stored(&answer->items[i]))
            answer->items[i].reason = "no reason kept";
    }
    return true;
}
