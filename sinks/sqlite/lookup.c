/* SPDX-License-Identifier: Apache-2.0 */
/* lookup.c: which ids a SQLite file has, see sinks/receipts/lookup.h. */
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "sinks/receipts/lookup.h"
#include "sinks/sqlite/database.h"

struct lookup {
    const char *path; /* borrowed from the options */
    sqlite3 *db;
    sqlite3_stmt *find;
};

static void
lookup_close(struct lookup *lookup)
{
    if (lookup == NULL)
        return;
    (void)sqlite3_finalize(lookup->find);
    (void)sqlite3_close(lookup->db);
    free(lookup);
}

static bool
lookup_open(struct lookup **out, const struct sink_options *options, struct err *err)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (lookup == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot ask the database: out of memory");
    lookup->path = options->sqlite.path;
    if (!database_open_read(&lookup->db, lookup->path, err)) {
        lookup_close(lookup);
        return false;
    }
    static const char text[] = "SELECT count(*) FROM events WHERE index_name = ?1 AND id = ?2";
    if (sqlite3_prepare_v2(lookup->db, text, -1, &lookup->find, NULL) != SQLITE_OK) {
        (void)database_fail(lookup->db, SQLITE_ERROR, "look for ids in", lookup->path, err);
        lookup_close(lookup);
        return false;
    }
    *out = lookup;
    return true;
}

static bool
lookup_refresh(struct lookup *lookup, const char *index, struct err *err)
{
    (void)lookup;
    (void)index;
    (void)err;
    return true;
}

static bool
lookup_find(struct lookup *lookup, const char *index, struct lookup_item *items, size_t count,
            struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        (void)sqlite3_reset(lookup->find);
        bool fine =
            sqlite3_bind_text(lookup->find, 1, index, -1, SQLITE_STATIC) == SQLITE_OK &&
            sqlite3_bind_text(lookup->find, 2, items[i].id, -1, SQLITE_STATIC) == SQLITE_OK &&
            sqlite3_step(lookup->find) == SQLITE_ROW;
        if (!fine)
            return database_fail(lookup->db, SQLITE_ERROR, "look for ids in", lookup->path, err);
        items[i].found = (unsigned)sqlite3_column_int(lookup->find, 0);
    }
    (void)sqlite3_reset(lookup->find);
    return true;
}

const struct lookup_class lookup_sqlite = {
    .open = lookup_open,
    .close = lookup_close,
    .refresh = lookup_refresh,
    .find = lookup_find,
};
