/* SPDX-License-Identifier: Apache-2.0 */
/* check.c: see check.h. */
#include "sinks/elasticsearch/check.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <yajl/yajl_tree.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/err.h"
#include "sinks/elasticsearch/probe.h"
#include "sinks/elasticsearch/server.h"
#include "sinks/elasticsearch/template.h"
#include "sinks/options.h"

#define CHECK_ANSWER_MAX (1024U * 1024)

/* Whatever it is, it will do. */
static void
append_product(struct server *server, struct buffer *report)
{
    struct buffer answer;
    buffer_init(&answer, CHECK_ANSWER_MAX);
    char product[NODE_PRODUCT_SIZE] = "unknown";
    int status = 0;
    struct err err;
    if (server_ask(server, "/", NULL, &answer, &status, &err))
        probe_read_product(&answer, status, product);
    buffer_format(report, "%s\n", product);
    buffer_done(&answer);
}

/* "index: http://…, cluster NAME, green, OpenSearch 2.19.1" */
static bool
check_cluster(struct server *server, struct buffer *report, struct err *err)
{
    static const char *name_path[] = {"cluster_name", NULL};
    static const char *status_path[] = {"status", NULL};
    struct buffer answer;
    buffer_init(&answer, CHECK_ANSWER_MAX);
    int status = 0;
    bool fine = server_ask(server, "/_cluster/health?filter_path=cluster_name,status", NULL,
                           &answer, &status, err);
    yajl_val root = fine ? yajl_tree_parse(buffer_string(&answer), NULL, 0) : NULL;
    const char *name = YAJL_GET_STRING(yajl_tree_get(root, name_path, yajl_t_string));
    const char *colour = YAJL_GET_STRING(yajl_tree_get(root, status_path, yajl_t_string));
    const struct nodes *nodes = &server->nodes;
    size_t asked = (nodes->next + nodes->count - 1) % nodes->count;
    if (fine && (status != 200 || name == NULL || colour == NULL))
        fine = err_set(err, ERR_RETRY, status, "%s answers HTTP %d: %.200s",
                       nodes->items[asked].url, status, buffer_string(&answer));
    if (fine) {
        buffer_format(report, "index: %s, cluster %s, %s, ", nodes->items[asked].url, name, colour);
        append_product(server, report);
        if (strcmp(colour, "red") == 0)
            buffer_text(report, "  warning: shards are missing: their indices take no documents\n");
    }
    yajl_tree_free(root);
    buffer_done(&answer);
    return fine;
}

/* The settings of one index, in flat form. */
static void
warn_of_settings(const char *index, yajl_val settings, struct buffer *report)
{
    static const char *const blocks[] = {"index.blocks.write", "index.blocks.read_only",
                                         "index.blocks.read_only_allow_delete"};
    const char *durability_path[] = {"index.translog.durability", NULL};
    const char *durability =
        YAJL_GET_STRING(yajl_tree_get(settings, durability_path, yajl_t_string));
    if (durability != NULL && strcasecmp(durability, "async") == 0)
        buffer_format(report,
                      "  warning: index.translog.durability of '%s' is async: documents that were "
                      "acknowledged are lost when a node crashes\n",
                      index);
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        const char *block_path[] = {blocks[i], NULL};
        const char *block = YAJL_GET_STRING(yajl_tree_get(settings, block_path, yajl_t_string));
        if (block != NULL && strcmp(block, "true") == 0)
            buffer_format(report, "  warning: %s of '%s' is set: its route would wait\n", blocks[i],
                          index);
    }
}

/* Is the name an index, or do others stand behind it? `root` has an entry for each of them. */
static bool
check_name(const struct sink_route_options *route, yajl_val root, struct buffer *report,
           struct err *err)
{
    bool alone = YAJL_IS_OBJECT(root) && root->u.object.len == 1 &&
                 strcmp(root->u.object.keys[0], route->index) == 0;
    if (alone && route->rotate == ROTATE_DAILY)
        return err_set(err, ERR_RETRY, 0,
                       "'%s' is an index, so it cannot be the alias of daily indices: name another "
                       "index in the route, or delete this one",
                       route->index);
    if (!alone && route->rotate == ROTATE_NONE)
        buffer_format(report,
                      "  warning: '%s' is a data stream or an alias: an id is unique only inside "
                      "one index behind it; what is sent again after a rollover is there twice\n",
                      route->index);
    return true;
}

/* What an index that is there already has set. */
static bool
check_settings(struct server *server, const struct sink_route_options *route, struct buffer *report,
               struct err *err)
{
    const char *index = route->index;
    char path[512]; /* an index name has at most 255 bytes */
    int size = snprintf(path, sizeof(path), "/%s/_settings?flat_settings=true", index);
    ASSERT(size > 0 && (size_t)size < sizeof(path));
    struct buffer answer;
    buffer_init(&answer, CHECK_ANSWER_MAX);
    int status = 0;
    bool fine = server_ask(server, path, NULL, &answer, &status, err);
    if (fine && status != 200 && status != 404)
        fine = err_set(err, ERR_RETRY, status, "cannot read the settings of '%s': HTTP %d: %.200s",
                       index, status, buffer_string(&answer));
    yajl_val root = fine && status == 200 ? yajl_tree_parse(buffer_string(&answer), NULL, 0) : NULL;
    static const char *settings_path[] = {"settings", NULL};
    if (fine && status == 200)
        fine = check_name(route, root, report, err);
    for (size_t i = 0; YAJL_IS_OBJECT(root) && i < root->u.object.len; i++)
        warn_of_settings(root->u.object.keys[i],
                         yajl_tree_get(root->u.object.values[i], settings_path, yajl_t_object),
                         report);
    yajl_tree_free(root);
    buffer_done(&answer);
    return fine;
}

size_t
check_index(struct server *server, const struct sink_options *options, const char *custom,
            struct buffer *report)
{
    struct err err;
    if (!check_cluster(server, report, &err)) {
        buffer_format(report, "index: %s\n", err.text);
        return 1;
    }
    size_t problems = 0;
    for (size_t i = 0; i < options->route_count; i++) {
        const struct sink_route_options *route = &options->routes[i];
        const char *verdict = "not ours (elasticsearch.template is false)";
        if (!options->elasticsearch.template ||
            template_compare(server, route, custom, &verdict, &err)) {
            buffer_format(report, "index template tailrace-%s: %s\n", route->index, verdict);
        } else {
            buffer_format(report, "%s\n", err.text);
            problems++;
        }
        if (!check_settings(server, route, report, &err)) {
            buffer_format(report, "%s\n", err.text);
            problems++;
        }
    }
    return problems;
}
