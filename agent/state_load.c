/* SPDX-License-Identifier: Apache-2.0 */
/* state_load.c: see state_load.h. Pure: bytes in, generations out. */
#include "agent/state_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/journal.h"
#include "agent/receipt.h"
#include "agent/state.h"

/* Generations by id, while a journal is read. */
struct id_table {
    struct generation **slots;
    size_t mask;
    size_t count;
};

static struct generation **
id_slot(const struct id_table *table, struct generation_id id)
{
    size_t at = (size_t)id.random & table->mask;
    while (table->slots[at] != NULL && !generation_id_equal(table->slots[at]->id, id))
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

static bool
id_table_grow(struct id_table *table)
{
    if (table->slots != NULL && table->count * 2 <= table->mask)
        return true;
    struct id_table bigger = {.mask = table->slots == NULL ? 255 : table->mask * 2 + 1};
    bigger.slots = calloc(bigger.mask + 1, sizeof(struct generation *));
    if (bigger.slots == NULL)
        return false;
    for (size_t i = 0; table->slots != NULL && i <= table->mask; i++)
        if (table->slots[i] != NULL)
            *id_slot(&bigger, table->slots[i]->id) = table->slots[i];
    bigger.count = table->count;
    free(table->slots);
    *table = bigger;
    return true;
}

struct loader {
    struct catalog *catalog;
    struct id_table table;
    struct state_found *found;
    struct state_report *report;
};

static struct generation_id
take_id(struct journal_fields *fields)
{
    struct generation_id id;
    id.birth_seconds = (uint32_t)journal_take_number(fields, 4);
    id.random = journal_take_number(fields, 8);
    return id;
}

static void
take_position(struct journal_fields *fields, struct generation *generation)
{
    generation->committed = journal_take_number(fields, 8);
    generation->head_size = (uint32_t)journal_take_number(fields, 2);
    generation->head_hash = journal_take_number(fields, 8);
    generation->size = journal_take_number(fields, 8);
    generation->seen_seconds = (int64_t)journal_take_number(fields, 8);
}

static void
take_days(struct journal_fields *fields, struct day_marks *days)
{
    days->sent = journal_take_number(fields, 8);
    days->count = (uint32_t)journal_take_number(fields, 1);
    for (uint32_t i = 0; i < DAYS_MAX; i++) {
        days->from[i] = journal_take_number(fields, 8);
        days->day[i] = (int32_t)journal_take_number(fields, 4);
    }
}

/* What a later use relies on: a record that is whole but means nonsense is refused, too. */
static bool
generation_is_sane(const struct generation *generation)
{
    if (generation->head_size > HEAD_SIZE_MAX || generation->checkpoint_count == 0 ||
        generation->checkpoints[0].offset != generation->committed ||
        generation->committed > INT64_MAX)
        return false;
    for (uint32_t i = 1; i < generation->checkpoint_count; i++)
        if (generation->checkpoints[i].offset >= generation->checkpoints[i - 1].offset)
            return false;
    for (uint32_t i = 0; i < generation->cut_count; i++)
        if (generation->cuts[i] <= (i == 0 ? generation->committed : generation->cuts[i - 1]))
            return false;
    return days_are_sane(&generation->days);
}

static bool
load_generation(struct loader *loader, struct journal_fields *fields, struct err *err)
{
    struct generation read = {.id = take_id(fields)};
    take_position(fields, &read);
    read.part_size = (uint32_t)journal_take_number(fields, 4);
    read.device = journal_take_number(fields, 8);
    read.inode = journal_take_number(fields, 8);
    read.birth_ns = (int64_t)journal_take_number(fields, 8);
    uint64_t points = journal_take_number(fields, 1);
    for (uint64_t i = 0; i < points && i < CHECKPOINTS_MAX; i++) {
        read.checkpoints[i].offset = journal_take_number(fields, 8);
        read.checkpoints[i].hash = journal_take_number(fields, 8);
    }
    read.checkpoint_count = (uint32_t)points;
    uint64_t cuts = journal_take_number(fields, 1);
    for (uint64_t i = 0; i < cuts && i < CUTS_MAX; i++)
        read.cuts[i] = journal_take_number(fields, 8);
    read.cut_count = (uint32_t)cuts;
    char input[STATE_INPUT_TEXT_MAX];
    char path[STATE_PATH_TEXT_MAX];
    journal_take_text(fields, input, sizeof(input));
    journal_take_text(fields, path, sizeof(path));
    if (fields->left > 0) /* an older version knew no days */
        take_days(fields, &read.days);
    const struct journal_fields owed = *fields;
    if (fields->failed || points > CHECKPOINTS_MAX || cuts > CUTS_MAX || read.part_size == 0 ||
        !generation_is_sane(&read))
        return false;

    if (!id_table_grow(&loader->table))
        return err_errno(err, ERR_STOP, ENOMEM, "load the state");
    struct generation **slot = id_slot(&loader->table, read.id);
    struct generation *generation = *slot;
    if (generation == NULL) {
        generation = generation_add(loader->catalog, read.id, input, path);
        if (generation == NULL)
            return err_errno(err, ERR_STOP, ENOMEM, "load the state");
        *slot = generation;
        loader->table.count++;
    } else if (!generation_set_path(generation, path)) {
        return err_errno(err, ERR_STOP, ENOMEM, "load the state");
    }
    receipt_let_go(generation);
    read.path = generation->path;
    read.input = generation->input;
    read.next = generation->next;
    read.previous = generation->previous;
    *generation = read;
    struct journal_fields rest = owed;
    return owed.left == 0 || receipt_take(generation, &rest);
}

static bool
load_parts(struct generation *generation, struct journal_fields *fields)
{
    struct parts parts;
    parts.from = journal_take_number(fields, 8);
    parts.to = journal_take_number(fields, 8);
    parts.size = (uint32_t)journal_take_number(fields, 4);
    if (fields->failed || parts.from >= parts.to || parts.to <= generation->committed ||
        parts.size < PARTS_SIZE_MIN)
        return false;
    generation->parts = parts;
    return true;
}

static bool
load_days(struct generation *generation, struct journal_fields *fields)
{
    struct day_marks days;
    take_days(fields, &days);
    if (fields->failed || !days_are_sane(&days))
        return false;
    generation->days = days;
    return true;
}

/* PROGRESS, CUT, PARTS, DAYS, OWED or FORGET of a generation; false when it is not known or
 * means nonsense. */
static bool
load_change(struct loader *loader, uint16_t type, struct journal_fields *fields)
{
    struct generation_id id = take_id(fields);
    if (loader->table.slots == NULL)
        return false;
    struct generation *generation = *id_slot(&loader->table, id);
    if (generation == NULL)
        return false;
    if (type == RECORD_FORGET) {
        /* Its slot stays taken, so that later records of the same id find something: it is
         * marked and removed at the end. */
        generation->gone = "forgotten";
        return true;
    }
    if (type == RECORD_CUT) {
        uint64_t offset = journal_take_number(fields, 8);
        return !fields->failed && offset > generation->committed &&
               generation_add_cut(generation, offset);
    }
    if (type == RECORD_PARTS)
        return load_parts(generation, fields);
    if (type == RECORD_DAYS)
        return load_days(generation, fields);
    if (type == RECORD_OWED)
        return receipt_take(generation, fields);
    struct generation read = {0};
    take_position(fields, &read);
    uint64_t tail_hash = journal_take_number(fields, 8);
    if (fields->failed || read.committed < generation->committed || read.committed > INT64_MAX ||
        read.head_size > HEAD_SIZE_MAX)
        return false;
    generation->head_size = read.head_size;
    generation->head_hash = read.head_hash;
    generation->size = read.size;
    generation->seen_seconds = read.seen_seconds;
    generation_commit(generation, read.committed, tail_hash);
    generation->changed = false;
    return fields->left == 0 || receipt_take(generation, fields);
}

static bool
load_header(struct loader *loader, struct journal_fields *fields, struct err *err)
{
    struct state_found *found = loader->found;
    uint64_t format = journal_take_number(fields, 4);
    if (format > STATE_FORMAT)
        return err_set(err, ERR_CONFIG, 0,
                       "it has format %llu, of a newer version; this one knows up to %d: install "
                       "the newer version again, or move the folder away (then everything that is "
                       "still on disk is shipped again)",
                       (unsigned long long)format, STATE_FORMAT);
    uint64_t machine = journal_take_number(fields, 8);
    uint64_t file_system = journal_take_number(fields, 8);
    uint64_t inputs = format >= 2 ? journal_take_number(fields, 4) : 0;
    if (fields->failed || format == 0)
        return false;
    found->format = format;
    found->machine = machine;
    found->file_system = file_system;
    found->inputs_named = inputs;
    return true;
}

static bool
load_record(struct loader *loader, const struct journal_record *record, struct err *err)
{
    struct journal_fields fields = {.at = record->payload, .left = record->size};
    char name[STATE_INPUT_TEXT_MAX];
    switch (record->type) {
    case RECORD_HEADER:
        return load_header(loader, &fields, err);
    case RECORD_GENERATION:
        return load_generation(loader, &fields, err);
    case RECORD_PROGRESS:
    case RECORD_CUT:
    case RECORD_PARTS:
    case RECORD_DAYS:
    case RECORD_OWED:
    case RECORD_FORGET:
        return load_change(loader, record->type, &fields);
    case RECORD_INPUT:
        journal_take_text(&fields, name, sizeof(name));
        if (fields.failed)
            return false;
        return seen_input_add(&loader->found->inputs, name) ||
               err_errno(err, ERR_STOP, ENOMEM, "load the state");
    case RECORD_TIME:
        loader->report->last_wall_ms = (int64_t)journal_take_number(&fields, 8);
        loader->report->clean = journal_take_number(&fields, 1) == 1;
        loader->found->boot = fields.left >= 8 ? journal_take_number(&fields, 8) : 0;
        return !fields.failed;
    default:
        return true; /* of a later version: not ours to judge */
    }
}

/* What can only be judged when all is read. */
static bool
finish(struct loader *loader, size_t size, struct err *err)
{
    const struct state_report *last = loader->report;
    for (struct generation *at = loader->catalog->first; at != NULL;) {
        struct generation *next = at->next;
        days_loaded(&at->days, at->committed, last->clean, last->last_wall_ms);
        if (at->gone != NULL)
            generation_remove(loader->catalog, at);
        else if (!seen_input_add(&loader->found->inputs, at->input)) /* whoever has files began */
            return err_errno(err, ERR_STOP, ENOMEM, "load the state");
        at = next;
    }
    struct state_report *report = loader->report;
    report->generations = loader->catalog->count;
    size_t named = 0;
    for (const struct seen_input *at = loader->found->inputs; at != NULL; at = at->next)
        named++;
    report->cut = loader->found->inputs_named > named ||
                  (loader->found->format >= 2 && size % STATE_STEP_SIZE != 0);
    return true;
}

bool
state_load(const void *bytes, size_t size, struct catalog *catalog, struct state_found *found,
           struct state_report *report, struct err *err)
{
    *found = (struct state_found){0};
    struct loader loader = {.catalog = catalog, .found = found, .report = report};
    struct journal_reader reader;
    journal_reader_init(&reader, bytes, size);
    struct journal_record record;
    bool stopped = false;
    while (!stopped && journal_next(&reader, &record)) {
        struct err why = {0};
        if (load_record(&loader, &record, &why))
            continue;
        if (why.action != ERR_NONE) {
            *err = why;
            stopped = true;
        }
        report->holes++;
        report->damaged_bytes += record.size + JOURNAL_HEADER_SIZE;
    }
    free(loader.table.slots);
    report->holes += reader.holes;
    report->damaged_bytes += reader.damaged;
    found->whole = reader.whole;
    return !stopped && finish(&loader, size, err);
}

bool
state_parse(const void *bytes, size_t size, struct catalog *catalog, struct state_report *report,
            struct err *err)
{
    *report = (struct state_report){0};
    struct state_found found;
    bool loaded = state_load(bytes, size, catalog, &found, report, err);
    state_found_done(&found);
    return loaded;
}

void
state_found_done(struct state_found *found)
{
    while (found->inputs != NULL) {
        struct seen_input *next = found->inputs->next;
        free(found->inputs->name);
        free(found->inputs);
        found->inputs = next;
    }
}

bool
seen_input_find(const struct seen_input *inputs, const char *name)
{
    for (const struct seen_input *at = inputs; at != NULL; at = at->next)
        if (strcmp(at->name, name) == 0)
            return true;
    return false;
}

bool
seen_input_add(struct seen_input **inputs, const char *name)
{
    if (seen_input_find(*inputs, name))
        return true;
    struct seen_input *input = malloc(sizeof(*input));
    if (input == NULL)
        return false;
    input->name = strdup(name);
    if (input->name == NULL) {
        free(input);
        return false;
    }
    input->next = *inputs;
    *inputs = input;
    return true;
}
