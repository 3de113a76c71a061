/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.c: see outcome.h. The first row that fits decides; recorded answers of six server
 * versions are the tests. Names differ by product and version (rejected_execution_exception is
 * OpenSearch's, document_parsing_exception Elasticsearch's since 8), so statuses decide where
 * they can. */
#include "sinks/elasticsearch/outcome.h"

#include <stdlib.h>
#include <string.h>

#define ANY_STATUS 0

struct rule {
    int status;         /* ANY_STATUS: all */
    const char *type;   /* error.type, NULL: all */
    const char *reason; /* text that the reason contains, NULL: all */
    enum output_outcome outcome;
};

static const struct rule item_rules[] = {
    {409, "version_conflict_engine_exception", NULL, OUTPUT_DUPLICATE},

    /* Looks like "queue full", but lasts until somebody frees disk space or lifts a block. */
    {ANY_STATUS, "cluster_block_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "security_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "index_not_found_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "index_closed_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "invalid_index_name_exception", NULL, OUTPUT_INDEX_FAULT},
    /* A route that rotates, while an index has the name of its alias. */
    {ANY_STATUS, "invalid_alias_name_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "unavailable_shards_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "no_shard_available_action_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "process_cluster_event_timeout_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "circuit_breaking_exception", NULL, OUTPUT_RETRY},
    {400, "validation_exception", "this action would add", OUTPUT_INDEX_FAULT},
    {400, "illegal_argument_exception", "no write index is defined", OUTPUT_INDEX_FAULT},
    {400, "illegal_argument_exception", "pipeline with id [", OUTPUT_INDEX_FAULT},
    {400, "illegal_argument_exception", "only write ops with an op_type of create",
     OUTPUT_INDEX_FAULT},

    {413, NULL, NULL, OUTPUT_TOO_LARGE},
    {429, NULL, NULL, OUTPUT_RETRY},
    {401, NULL, NULL, OUTPUT_SERVER_FAULT},
    {403, NULL, NULL, OUTPUT_INDEX_FAULT},
    {408, NULL, NULL, OUTPUT_RETRY},
    {502, NULL, NULL, OUTPUT_RETRY},
    {503, NULL, NULL, OUTPUT_RETRY},
    {504, NULL, NULL, OUTPUT_RETRY},

    {400, "mapper_parsing_exception", NULL, OUTPUT_DOCUMENT},
    {400, "document_parsing_exception", NULL, OUTPUT_DOCUMENT},
    {400, "strict_dynamic_mapping_exception", NULL, OUTPUT_DOCUMENT},
    {400, "x_content_parse_exception", NULL, OUTPUT_DOCUMENT},
    {400, "parsing_exception", NULL, OUTPUT_DOCUMENT},
    {400, "parse_exception", NULL, OUTPUT_DOCUMENT},
    {400, "json_parse_exception", NULL, OUTPUT_DOCUMENT},
    {400, "not_x_content_exception", NULL, OUTPUT_DOCUMENT},
    {400, "max_bytes_length_exceeded_exception", NULL, OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "mapper [", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "object mapping [", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "can't merge a non object mapping", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "cannot change object mapping", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "Limit of total fields", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "Limit of mapping depth", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "Limit of nested fields", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "Document contains at least one immense term",
     OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "if _id is specified it must not be empty",
     OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "is too long, must be no longer than", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "name cannot be", OUTPUT_DOCUMENT},
    {400, "illegal_argument_exception", "field name", OUTPUT_DOCUMENT},
};

static const struct rule request_rules[] = {
    {413, NULL, NULL, OUTPUT_TOO_LARGE},
    /* No master, or a cluster that is just starting: of all indices. */
    {503, "cluster_block_exception", NULL, OUTPUT_SERVER_FAULT},
    {ANY_STATUS, "cluster_block_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "index_not_found_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "index_closed_exception", NULL, OUTPUT_INDEX_FAULT},
    {ANY_STATUS, "invalid_index_name_exception", NULL, OUTPUT_INDEX_FAULT},
    {400, "validation_exception", "this action would add", OUTPUT_INDEX_FAULT},
    /* What we ask for, not what is in it. */
    {400, "media_type_header_exception", NULL, OUTPUT_SERVER_FAULT},
    {400, "illegal_argument_exception", "contains unrecognized parameter", OUTPUT_SERVER_FAULT},
    /* 503 before version 7 */
    {429, "circuit_breaking_exception", NULL, OUTPUT_RETRY_SMALLER},
    {503, "circuit_breaking_exception", NULL, OUTPUT_RETRY_SMALLER},
    {403, "security_exception", NULL, OUTPUT_INDEX_FAULT}, /* the address names the index */
    {429, NULL, NULL, OUTPUT_RETRY},
    {400, NULL, NULL, OUTPUT_UNKNOWN},
    {422, NULL, NULL, OUTPUT_UNKNOWN},
};

static bool
rule_fits(const struct rule *rule, int status, const char *type, const char *reason)
{
    return (rule->status == ANY_STATUS || rule->status == status) &&
           (rule->type == NULL || strcmp(rule->type, type) == 0) &&
           (rule->reason == NULL || strstr(reason, rule->reason) != NULL);
}

static enum output_outcome
look_up(const struct rule *rules, size_t count, int status, const char *type, const char *reason,
        enum output_outcome otherwise)
{
    for (size_t i = 0; i < count; i++)
        if (rule_fits(&rules[i], status, type, reason))
            return rules[i].outcome;
    return otherwise;
}

enum output_outcome
outcome_of_item(int status, const char *type, const char *reason)
{
    if (status >= 200 && status <= 299)
        return OUTPUT_INDEXED;
    return look_up(item_rules, sizeof(item_rules) / sizeof(item_rules[0]), status, type, reason,
                   OUTPUT_UNKNOWN);
}

/* The number behind "<name>=" in a reason, -1 when it is not there. */
static long long
number_after(const char *reason, const char *name)
{
    const char *found = strstr(reason, name);
    return found == NULL ? -1 : strtoll(found + strlen(name), NULL, 10);
}

/* A request bigger than the server's budget for all requests can never pass, however long one
 * waits. */
static bool
never_fits(const char *reason)
{
    long long size = number_after(reason, "coordinating_operation_bytes=");
    long long limit = number_after(reason, "max_coordinating_and_primary_bytes=");
    return size > 0 && limit > 0 && size > limit;
}

enum output_outcome
outcome_of_request(int status, const char *type, const char *reason)
{
    if (status == 429 && never_fits(reason))
        return OUTPUT_TOO_LARGE;
    return look_up(request_rules, sizeof(request_rules) / sizeof(request_rules[0]), status, type,
                   reason, OUTPUT_SERVER_FAULT);
}
