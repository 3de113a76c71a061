/* SPDX-License-Identifier: Apache-2.0 */
/* template.c: see template.h. */
#include "sinks/elasticsearch/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include "core/buffer.h"
#include "sinks/elasticsearch/server.h"

/* Above the 100 of the templates that Elasticsearch brings along. */
#define TEMPLATE_PRIORITY 200
#define TEMPLATE_BODY_MAX (64U * 1024)
#define TEMPLATE_ANSWER_MAX (4U * 1024 * 1024)
/* An index name has at most 255 bytes. */
#define PATH_MAX_SIZE 512

/* Strings become keywords, because log fields are filtered and counted, not searched by word; 1024
 * characters stay below Lucene's limit of 32766 bytes for a term. Text that looks like a date stays
 * text: the first line of a new index must not decide what the next ones may hold. */
static const char mappings[] =
    "{\"dynamic\":true,\"date_detection\":false,\"numeric_detection\":false,"
    "\"dynamic_templates\":[{\"strings\":{\"match_mapping_type\":\"string\","
    "\"mapping\":{\"type\":\"keyword\",\"ignore_above\":1024}}}],"
    "\"properties\":{"
    "\"@timestamp\":{\"type\":\"date\"},"
    "\"message\":{\"type\":\"text\"},"
    "\"event.original\":{\"type\":\"text\",\"index\":false},"
    "\"host.name\":{\"type\":\"keyword\",\"ignore_above\":1024},"
    "\"log.file.path\":{\"type\":\"keyword\",\"ignore_above\":4096},"
    "\"log.offset\":{\"type\":\"long\"},"
    "\"log.level\":{\"type\":\"keyword\",\"ignore_above\":64},"
    "\"log.flags\":{\"type\":\"keyword\",\"ignore_above\":64},"
    "\"ip_address\":{\"type\":\"ip\"},"
    "\"status_code\":{\"type\":\"integer\"},"
    "\"response_size\":{\"type\":\"long\"}}}";

void
template_body(struct buffer *out, const char *index)
{
    buffer_format(out, "{\"index_patterns\":[\"%s\"],\"priority\":%d,\"version\":%d,", index,
                  TEMPLATE_PRIORITY, TEMPLATE_VERSION);
    buffer_format(out,
                  "\"_meta\":{\"owner\":\"tailrace\",\"version\":%d},\"template\":{\"mappings\":",
                  TEMPLATE_VERSION);
    buffer_text(out, mappings);
    buffer_text(out, "}}");
}

enum standing { STANDING_ABSENT, STANDING_OLD, STANDING_CURRENT, STANDING_FOREIGN };

/* Whose the template in the answer of GET /_index_template/<name> is. */
static bool
read_standing(struct buffer *answer, enum standing *out)
{
    static const char *list_path[] = {"index_templates", NULL};
    static const char *owner_path[] = {"index_template", "_meta", "owner", NULL};
    static const char *version_path[] = {"index_template", "_meta", "version", NULL};
    yajl_val root = yajl_tree_parse(buffer_string(answer), NULL, 0);
    yajl_val list = root == NULL ? NULL : yajl_tree_get(root, list_path, yajl_t_array);
    if (list == NULL) {
        yajl_tree_free(root);
        return false;
    }
    *out = STANDING_ABSENT;
    if (list->u.array.len > 0) {
        yajl_val first = list->u.array.values[0];
        yajl_val owner = yajl_tree_get(first, owner_path, yajl_t_string);
        yajl_val version = yajl_tree_get(first, version_path, yajl_t_number);
        if (owner == NULL || strcmp(owner->u.string, "tailrace") != 0)
            *out = STANDING_FOREIGN;
        else if (version != NULL && YAJL_IS_INTEGER(version) &&
                 YAJL_GET_INTEGER(version) >= TEMPLATE_VERSION)
            *out = STANDING_CURRENT;
        else
            *out = STANDING_OLD;
    }
    yajl_tree_free(root);
    return true;
}

static bool
refused(struct err *err, const char *verb, const char *index, int status, struct buffer *answer)
{
    return err_set(err, ERR_RETRY, status,
                   "cannot %s index template 'tailrace-%s': HTTP %d: %.200s", verb, index, status,
                   buffer_string(answer));
}

static bool
ask_standing(struct server *server, const char *path, const char *index, struct buffer *answer,
             enum standing *standing, struct err *err)
{
    int status;
    if (!server_ask(server, path, NULL, answer, &status, err))
        return false;
    if (status == 404) {
        *standing = STANDING_ABSENT;
        return true;
    }
    if (status != 200 || !read_standing(answer, standing))
        return refused(err, "read", index, status, answer);
    return true;
}

static bool
put_body(struct server *server, const char *path, const char *index, struct buffer *answer,
         struct err *err)
{
    struct buffer body;
    buffer_init(&body, TEMPLATE_BODY_MAX);
    template_body(&body, index);
    int status;
    bool fine = server_ask(server, path, buffer_string(&body), answer, &status, err);
    buffer_done(&body);
    if (!fine)
        return false;
    return status == 200 || refused(err, "put", index, status, answer);
}

static bool
make_path(char path[PATH_MAX_SIZE], const char *index, struct err *err)
{
    int size = snprintf(path, PATH_MAX_SIZE, "/_index_template/tailrace-%s", index);
    if (size < 0 || size >= PATH_MAX_SIZE)
        return err_set(err, ERR_CONFIG, 0, "the index name '%.64s...' is too long", index);
    return true;
}

static bool
refuse_foreign(const char *index, struct err *err)
{
    return err_set(err, ERR_REJECT, 0,
                   "index template 'tailrace-%s' belongs to somebody else (its _meta.owner is not "
                   "tailrace): remove it, or set elasticsearch.template to false",
                   index);
}

bool
template_put(struct server *server, const char *index, struct err *err)
{
    char path[PATH_MAX_SIZE];
    if (!make_path(path, index, err))
        return false;

    struct buffer answer;
    buffer_init(&answer, TEMPLATE_ANSWER_MAX);
    enum standing standing = STANDING_ABSENT;
    bool fine = ask_standing(server, path, index, &answer, &standing, err);
    if (fine && standing == STANDING_FOREIGN)
        fine = refuse_foreign(index, err);
    else if (fine && standing != STANDING_CURRENT)
        fine = put_body(server, path, index, &answer, err);
    buffer_done(&answer);
    return fine;
}

bool
template_compare(struct server *server, const char *index, const char **verdict, struct err *err)
{
    static const char *const verdicts[] = {
        [STANDING_ABSENT] = "not there, the first start makes it",
        [STANDING_OLD] = "differs, the next start replaces it",
        [STANDING_CURRENT] = "in place",
    };
    char path[PATH_MAX_SIZE];
    if (!make_path(path, index, err))
        return false;

    struct buffer answer;
    buffer_init(&answer, TEMPLATE_ANSWER_MAX);
    enum standing standing = STANDING_ABSENT;
    bool fine = ask_standing(server, path, index, &answer, &standing, err);
    buffer_done(&answer);
    if (!fine)
        return false;
    if (standing == STANDING_FOREIGN)
        return refuse_foreign(index, err);
    *verdict = verdicts[standing];
    return true;
}
