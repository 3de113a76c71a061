/* SPDX-License-Identifier: Apache-2.0 */
/* retention.c: see retention.h. */
#include "sinks/elasticsearch/retention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "sinks/elasticsearch/server.h"
#include "sinks/options.h"
#include "sinks/output.h"
#include "sinks/rotate.h"

/* A name and a few bytes of _meta for each of ten years of days, many times over. */
#define ANSWER_MAX (4U * 1024 * 1024)
#define PATH_SIZE 640 /* an index name has at most 255 bytes */
/* Machines without NTP drift by minutes; a wrong date or zone is hours off. */
#define CLOCKS_APART_MAX_MS INT64_C(3600000)

/* What the oldest of the indices is, if any may go. */
struct search {
    const char *index;
    int32_t before; /* days from here on stay */
    int32_t oldest;
    size_t count; /* that may go */
};

/* A list of one object: [{"epoch":"1795241520"}]. */
static bool
read_epoch(struct buffer *answer, int64_t *wall_ms)
{
    static const char *path[] = {"epoch", NULL};
    yajl_val root = yajl_tree_parse(buffer_string(answer), NULL, 0);
    const char *text = NULL;
    if (YAJL_IS_ARRAY(root) && root->u.array.len == 1)
        text = YAJL_GET_STRING(yajl_tree_get(root->u.array.values[0], path, yajl_t_string));
    if (text != NULL)
        *wall_ms = strtoll(text, NULL, 10) * 1000;
    yajl_tree_free(root);
    return text != NULL && *wall_ms > 0;
}

static bool
check_clock(struct server *server, int64_t wall_ms, struct buffer *answer, struct err *err)
{
    if (wall_ms < clock_build_ms())
        return err_set(err, ERR_RETRY, 0,
                       "this clock stands before the program was built; nothing is deleted");
    int status = 0;
    int64_t server_ms = 0;
    if (!server_request(server, "GET", "/_cat/health?h=epoch&format=json", NULL, answer, &status,
                        err))
        return false;
    if (status != 200 || !read_epoch(answer, &server_ms))
        return err_set(err, ERR_RETRY, status,
                       "the server's clock cannot be read (HTTP %d); nothing is deleted: %.200s",
                       status, buffer_string(answer));
    int64_t apart_ms = wall_ms - server_ms;
    if (apart_ms > CLOCKS_APART_MAX_MS || apart_ms < -CLOCKS_APART_MAX_MS)
        return err_set(err, ERR_RETRY, 0,
                       "this clock and the server's are %lld s apart; nothing is deleted until one "
                       "of them is set",
                       (long long)(apart_ms / 1000));
    return true;
}

static void
look_at(struct search *search, const char *name, yajl_val value)
{
    static const char *owner_path[] = {"mappings", "_meta", "owner", NULL};
    const char *owner = YAJL_GET_STRING(yajl_tree_get(value, owner_path, yajl_t_string));
    int32_t day;
    if (owner == NULL || strcmp(owner, "tailrace") != 0 ||
        !rotate_read_name(name, search->index, &day) || day >= search->before)
        return;
    if (search->count++ == 0 || day < search->oldest)
        search->oldest = day;
}

static bool
find_oldest(struct server *server, struct search *search, struct buffer *answer, struct err *err)
{
    char path[PATH_SIZE];
    int size = snprintf(path, sizeof(path), "/%s-*.*.*/_mapping?filter_path=*.mappings._meta.owner",
                        search->index);
    ASSERT(size > 0 && (size_t)size < sizeof(path));
    int status = 0;
    if (!server_request(server, "GET", path, NULL, answer, &status, err))
        return false;
    if (status == 404)
        return true;
    yajl_val root = status == 200 ? yajl_tree_parse(buffer_string(answer), NULL, 0) : NULL;
    bool fine = YAJL_IS_OBJECT(root);
    for (size_t i = 0; fine && i < root->u.object.len; i++)
        look_at(search, root->u.object.keys[i], root->u.object.values[i]);
    yajl_tree_free(root);
    return fine || err_set(err, ERR_RETRY, status, "the indices cannot be listed: HTTP %d: %.200s",
                           status, buffer_string(answer));
}

static bool
delete_oldest(struct server *server, const struct search *search, struct buffer *answer,
              struct output_retention *out, struct err *err)
{
    char name[ROTATE_NAME_SIZE];
    char path[PATH_SIZE];
    rotate_name(name, search->index, search->oldest);
    int size = snprintf(path, sizeof(path), "/%s", name);
    ASSERT(size > 0 && (size_t)size < sizeof(path));
    int status = 0;
    if (!server_request(server, "DELETE", path, NULL, answer, &status, err))
        return false;
    if (status != 200 && status != 404)
        return err_set(err, ERR_RETRY, status, "'%s' cannot be deleted: HTTP %d: %.200s", name,
                       status, buffer_string(answer));
    out->deleted = status == 200 ? 1 : 0;
    out->more = search->count > 1;
    size = snprintf(out->text, sizeof(out->text), "index %s", name);
    ASSERT(size > 0);
    return true;
}

bool
retention_delete_index(struct server *server, const struct sink_route_options *route,
                       int64_t wall_ms, struct output_retention *out, struct err *err)
{
    ASSERT(route->retention > 0);

    struct search search = {
        .index = route->index,
        .before = (int32_t)((wall_ms - (int64_t)route->retention) / ROTATE_DAY_MS),
    };
    struct buffer answer;
    buffer_init(&answer, ANSWER_MAX);
    bool fine = check_clock(server, wall_ms, &answer, err) &&
                find_oldest(server, &search, &answer, err) &&
                (search.count == 0 || delete_oldest(server, &search, &answer, out, err));
    buffer_done(&answer);
    return fine;
}
