/* SPDX-License-Identifier: Apache-2.0 */
/* template.c: see template.h. */
#include "sinks/elasticsearch/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <yajl/yajl_tree.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/elasticsearch/server.h"
#include "sinks/index_fields.def"
#include "sinks/nest.h"
#include "sinks/options.h"

/* All that rotate_name() makes of an index, and little more. */
#define DAYS_PATTERN "-*.*.*"

/* Above the 100 of the templates that Elasticsearch brings along. The length of the index's name is
 * added: of "logs-*" and "logs-app-*" the longer one wins, and two templates of one priority that
 * overlap are refused. */
#define TEMPLATE_PRIORITY 200
#define TEMPLATE_BODY_MAX (2U * 1024 * 1024)
#define TEMPLATE_FILE_MAX (1024L * 1024)
#define TEMPLATE_ANSWER_MAX (4U * 1024 * 1024)
/* An index name has at most 255 bytes. */
#define PATH_MAX_SIZE 512
#define SHAPE_SIZE 64

/* Events are written once and read by time, newest first: sorted so, a query for the last hour
 * stops early, and neighbours compress well. 1000 fields are the servers' own default,
 * which a cluster may have changed. */
#define SETTINGS                                                                                   \
    "\"settings\":{\"index\":{\"codec\":\"best_compression\",\"sort.field\":[\"@timestamp\"],"     \
    "\"sort.order\":[\"desc\"],\"mapping.total_fields.limit\":1000"

/* Strings become keywords, because log fields are filtered and counted, not searched by word; 1024
 * characters stay below Lucene's limit of 32766 bytes for a term. Text that looks like a date stays
 * text: the first line of a new index must not decide what the next ones may hold. `_meta` lets
 * retention know the indices it may delete. */
#define MAPPINGS                                                                                   \
    "\"mappings\":{\"_meta\":{\"owner\":\"tailrace\",\"version\":%d},\"dynamic\":true,"            \
    "\"date_detection\":false,\"numeric_detection\":false,\"dynamic_templates\":[{\"strings\":{"   \
    "\"match_mapping_type\":\"string\",\"mapping\":{" INDEX_KEYWORD "}}}],\"properties\":{"
#define FIELD_JSON(name, mapping) "\"" name "\":{" mapping "},"
#define ALIAS_JSON(name, path) "\"" name "\":{\"type\":\"alias\",\"path\":\"" path "\"},"

/* A record nests 200 deep at most (record.h); flattened allows 20 if not told otherwise. */
#define FLATTENED "\"type\":\"flattened\",\"ignore_above\":1024,\"depth_limit\":250"

static const struct form {
    const char *settings;
    const char *json;
} forms[TEMPLATE_FORMS] = {
    {",\"mapping.total_fields.ignore_dynamic_beyond_limit\":true", FLATTENED},
    {"", FLATTENED},
    {"", "\"type\":\"flat_object\""},
    {"", "\"type\":\"object\",\"enabled\":false"},
};

/* Tells templates of one version apart. */
static void
write_shape(char out[SHAPE_SIZE], const struct sink_route_options *route, const char *custom)
{
    unsigned long long hash = custom == NULL ? 0 : XXH3_64bits(custom, strlen(custom));
    int size = snprintf(out, SHAPE_SIZE, "%s %016llx",
                        route->rotate == ROTATE_DAILY ? "daily" : "none", hash);
    ASSERT(size > 0);
    ASSERT(size < SHAPE_SIZE);
}

static void
append_built_in(struct buffer *out, const struct form *form)
{
    buffer_format(out, SETTINGS "%s}}," MAPPINGS, form->settings, TEMPLATE_VERSION);
    buffer_text(out, INDEX_FIELDS(FIELD_JSON) INDEX_ALIASES(ALIAS_JSON));
    buffer_format(out, "\"" NEST_FIELD "\":{%s},", form->json);
    buffer_text(out, "\"" NEST_FIELD_UNINDEXED "\":{\"type\":\"object\",\"enabled\":false}}}");
}

void
template_body(struct buffer *out, const struct sink_route_options *route, const char *custom,
              size_t form)
{
    ASSERT(form < TEMPLATE_FORMS);

    bool daily = route->rotate == ROTATE_DAILY;
    char shape[SHAPE_SIZE];
    write_shape(shape, route, custom);
    buffer_format(out, "{\"index_patterns\":[\"%s%s\"],\"priority\":%d,\"version\":%d,",
                  route->index, daily ? DAYS_PATTERN : "",
                  TEMPLATE_PRIORITY + (int)strlen(route->index), TEMPLATE_VERSION);
    buffer_format(out, "\"_meta\":{\"owner\":\"tailrace\",\"version\":%d,\"shape\":\"%s\"},",
                  TEMPLATE_VERSION, shape);
    buffer_text(out, "\"template\":{");
    if (daily)
        buffer_format(out, "\"aliases\":{\"%s\":{}},", route->index);
    if (custom == NULL)
        append_built_in(out, &forms[form]);
    else
        buffer_text(out, strchr(custom, '{') + 1);
    buffer_text(out, custom == NULL ? "}}" : "}");
}

/* False when the text is no object with settings or mappings. */
static bool
is_template(const char *text)
{
    static const char *settings_path[] = {"settings", NULL};
    static const char *mappings_path[] = {"mappings", NULL};
    static const char *aliases_path[] = {"aliases", NULL};
    yajl_val root = yajl_tree_parse(text, NULL, 0);
    bool fine = (yajl_tree_get(root, settings_path, yajl_t_object) != NULL ||
                 yajl_tree_get(root, mappings_path, yajl_t_object) != NULL) &&
                yajl_tree_get(root, aliases_path, yajl_t_any) == NULL;
    yajl_tree_free(root);
    return fine;
}

bool
template_load(char **out, const char *path, struct err *err)
{
    *out = NULL;
    if (path[0] == '\0')
        return true;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_errno(err, ERR_CONFIG, errno, "read elasticsearch.template_file '%s'", path);
    char *text = calloc(1, TEMPLATE_FILE_MAX + 1);
    size_t size = text == NULL ? 0 : fread(text, 1, TEMPLATE_FILE_MAX, file);
    bool whole = text != NULL && feof(file) != 0 && ferror(file) == 0;
    (void)fclose(file);
    if (!whole || strlen(text) != size || !is_template(text)) {
        free(text);
        return err_set(err, ERR_CONFIG, 0,
                       "elasticsearch.template_file '%s' must hold one JSON object with settings "
                       "or mappings, without aliases, of at most 1 MiB",
                       path);
    }
    *out = text;
    return true;
}

enum standing { STANDING_ABSENT, STANDING_OLD, STANDING_CURRENT, STANDING_FOREIGN };

/* Whose the template in the answer of GET /_index_template/<name> is. */
static bool
read_standing(struct buffer *answer, const char *shape_wanted, enum standing *out)
{
    static const char *list_path[] = {"index_templates", NULL};
    static const char *owner_path[] = {"index_template", "_meta", "owner", NULL};
    static const char *version_path[] = {"index_template", "_meta", "version", NULL};
    static const char *shape_path[] = {"index_template", "_meta", "shape", NULL};
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
        const char *shape = YAJL_GET_STRING(yajl_tree_get(first, shape_path, yajl_t_string));
        long long number = YAJL_IS_INTEGER(version) ? YAJL_GET_INTEGER(version) : 0;
        if (owner == NULL || strcmp(owner->u.string, "tailrace") != 0)
            *out = STANDING_FOREIGN;
        else if (number > TEMPLATE_VERSION ||
                 (number == TEMPLATE_VERSION && shape != NULL && strcmp(shape, shape_wanted) == 0))
            *out = STANDING_CURRENT;
        else
            *out = STANDING_OLD;
    }
    yajl_tree_free(root);
    return true;
}

/* The innermost cause: the outer ones say that a template is invalid, not why. NULL: none. */
static const char *
find_cause(yajl_val root)
{
    static const char *error_path[] = {"error", NULL};
    static const char *caused_path[] = {"caused_by", NULL};
    static const char *reason_path[] = {"reason", NULL};
    yajl_val cause = yajl_tree_get(root, error_path, yajl_t_object);
    yajl_val deeper;
    while ((deeper = yajl_tree_get(cause, caused_path, yajl_t_object)) != NULL)
        cause = deeper;
    return YAJL_GET_STRING(yajl_tree_get(cause, reason_path, yajl_t_string));
}

static bool
refused(struct err *err, const char *verb, const char *index, int status, struct buffer *answer)
{
    yajl_val root = yajl_tree_parse(buffer_string(answer), NULL, 0);
    const char *cause = root == NULL ? NULL : find_cause(root);
    /* What is wrong with the body is wrong for this index; all else is the server's. */
    err_put_set(err, status == 400 ? ERR_REJECT : ERR_RETRY, status,
                "cannot %s index template 'tailrace-%s': HTTP %d: %.200s", verb, index, status,
                cause != NULL ? cause : buffer_string(answer));
    yajl_tree_free(root);
    return false;
}

static bool
ask_standing(struct server *server, const char *path, const struct sink_route_options *route,
             const char *custom, struct buffer *answer, enum standing *standing, struct err *err)
{
    char shape[SHAPE_SIZE];
    write_shape(shape, route, custom);
    int status;
    if (!server_ask(server, path, NULL, answer, &status, err))
        return false;
    if (status == 404) {
        *standing = STANDING_ABSENT;
        return true;
    }
    if (status != 200 || !read_standing(answer, shape, standing))
        return refused(err, "read", route->index, status, answer);
    return true;
}

static bool
put_body(struct server *server, const char *path, const struct sink_route_options *route,
         const char *custom, struct buffer *answer, struct err *err)
{
    struct buffer body;
    buffer_init(&body, TEMPLATE_BODY_MAX);
    int status = 400;
    bool fine = true;
    for (size_t form = 0; fine && status == 400 && form < TEMPLATE_FORMS; form++) {
        buffer_clear(&body);
        template_body(&body, route, custom, form);
        fine = server_ask(server, path, buffer_string(&body), answer, &status, err);
        if (custom != NULL)
            break;
    }
    buffer_done(&body);
    if (!fine)
        return false;
    return status == 200 || refused(err, "put", route->index, status, answer);
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
template_put(struct server *server, const struct sink_route_options *route, const char *custom,
             struct err *err)
{
    const char *index = route->index;
    char path[PATH_MAX_SIZE];
    if (!make_path(path, index, err))
        return false;

    struct buffer answer;
    buffer_init(&answer, TEMPLATE_ANSWER_MAX);
    enum standing standing = STANDING_ABSENT;
    bool fine = ask_standing(server, path, route, custom, &answer, &standing, err);
    if (fine && standing == STANDING_FOREIGN)
        fine = refuse_foreign(index, err);
    else if (fine && standing != STANDING_CURRENT)
        fine = put_body(server, path, route, custom, &answer, err);
    buffer_done(&answer);
    return fine;
}

bool
template_compare(struct server *server, const struct sink_route_options *route, const char *custom,
                 const char **verdict, struct err *err)
{
    static const char *const verdicts[] = {
        [STANDING_ABSENT] = "not there, the first start makes it",
        [STANDING_OLD] = "differs, the next start replaces it",
        [STANDING_CURRENT] = "in place",
    };
    char path[PATH_MAX_SIZE];
    if (!make_path(path, route->index, err))
        return false;

    struct buffer answer;
    buffer_init(&answer, TEMPLATE_ANSWER_MAX);
    enum standing standing = STANDING_ABSENT;
    bool fine = ask_standing(server, path, route, custom, &answer, &standing, err);
    buffer_done(&answer);
    if (!fine)
        return false;
    if (standing == STANDING_FOREIGN)
        return refuse_foreign(route->index, err);
    *verdict = verdicts[standing];
    return true;
}
