/* SPDX-License-Identifier: Apache-2.0 */
/* receipt.c: see receipt.h. */
#include "sinks/receipts/receipt.h"

#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#define VERSION 1
/* A path of 4096 bytes, escaped, and as much again: nobody writes more. */
#define VALUE_SIZE_MAX ((size_t)64 * 1024)
/* yajl frees a tree by recursion: a depth that any path with brackets in it cannot reach. */
#define BRACKETS_MAX 5000
#define NAME(name) ((const char *[]){"receipt", (name), NULL})

static const char *
text_at(yajl_val tree, const char **path)
{
    return YAJL_GET_STRING(yajl_tree_get(tree, path, yajl_t_string));
}

/* A number from 0 to 2^63 - 1. */
static bool
number_at(yajl_val tree, const char *name, uint64_t *out)
{
    yajl_val value = yajl_tree_get(tree, NAME(name), yajl_t_number);
    if (value == NULL || !YAJL_IS_INTEGER(value) || YAJL_GET_INTEGER(value) < 0)
        return false;
    *out = (uint64_t)YAJL_GET_INTEGER(value);
    return true;
}

static bool
read_place(struct receipt *receipt, yajl_val tree)
{
    uint64_t partition = 0;
    uint64_t first = 0;
    uint64_t last = 0;
    receipt->placed = number_at(tree, "partition", &partition) &&
                      number_at(tree, "first", &first) && number_at(tree, "last", &last);
    if (!receipt->placed)
        return true;
    receipt->partition = (int32_t)partition;
    receipt->first = (int64_t)first;
    receipt->last = (int64_t)last;
    return partition <= INT32_MAX && first <= last && last < INT64_MAX;
}

static bool
read_tree(struct receipt *receipt, yajl_val tree)
{
    uint64_t version = 0;
    uint64_t since_ms = 0;
    const char *generation = text_at(tree, NAME("generation"));
    receipt->host = text_at(tree, (const char *[]){"host.name", NULL});
    receipt->path = text_at(tree, (const char *[]){"log.file.path", NULL});
    receipt->topic = text_at(tree, NAME("topic"));
    if (generation == NULL || strlen(generation) != GENERATION_TEXT_SIZE ||
        !generation_id_parse(generation, &receipt->generation) || receipt->host == NULL ||
        receipt->path == NULL || receipt->topic == NULL)
        return false;
    if (!number_at(tree, "version", &version) || version != VERSION ||
        !number_at(tree, "from", &receipt->from) || !number_at(tree, "to", &receipt->to) ||
        !number_at(tree, "events", &receipt->events) ||
        !number_at(tree, "lines", &receipt->lines) || !number_at(tree, "parts", &receipt->parts) ||
        !number_at(tree, "empty", &receipt->empty) || !number_at(tree, "zeros", &receipt->zeros) ||
        !number_at(tree, "since", &since_ms))
        return false;
    receipt->since_ms = (int64_t)since_ms;
    /* An event has a byte at least: what counts more is no receipt of ours. */
    return receipt->from < receipt->to && receipt->events <= receipt->to - receipt->from &&
           read_place(receipt, tree);
}

static bool
is_shallow(const char *text, size_t size)
{
    size_t brackets = 0;
    for (size_t i = 0; i < size; i++)
        brackets += text[i] == '[' || text[i] == '{';
    return brackets <= BRACKETS_MAX;
}

bool
receipt_read(struct receipt *out, const void *value, size_t size)
{
    *out = (struct receipt){0};
    if (value == NULL || size > VALUE_SIZE_MAX || !is_shallow(value, size))
        return false;
    char *text = malloc(size + 1);
    if (text == NULL)
        return false;
    memcpy(text, value, size);
    text[size] = '\0';
    out->tree = yajl_tree_parse(text, NULL, 0);
    free(text);
    if (out->tree != NULL && read_tree(out, out->tree))
        return true;
    receipt_done(out);
    return false;
}

void
receipt_done(struct receipt *receipt)
{
    yajl_tree_free(receipt->tree);
    *receipt = (struct receipt){0};
}
