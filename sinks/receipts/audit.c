/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c: see audit.h. The order matters: what the sinks' group has committed is asked for before
 * the dead letters and the index are looked at; so what it says is done must be found there. */
#include "sinks/receipts/audit.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/cli.h"
#include "core/clock.h"
#include "core/options.h"
#include "sinks/receipts/lookup.h"
#include "sinks/receipts/print.h"
#include "sinks/receipts/proof.h"
#include "sinks/receipts/scan.h"

#define SINCE_DEFAULT_MS UINT64_C(3600000)
/* Clocks of agents and of brokers that stamp records themselves differ by so much at the most. */
#define CLOCKS_APART_MS 60000
#define LOOKS 3 /* at what is not found: a user who may not refresh waits for the index's own */
#define LOOK_PAUSE_MS 2000
#define TEXT_MAX ((size_t)256 * 1024 * 1024)
#define TOPIC_SIZE 250 /* Kafka's own limit is 249 */

const char audit_help[] = "Reads the agents' receipts (receipts.topic) and the events they speak "
                          "of from Kafka, and looks\n"
                          "for each event in the index and among the dead letters. Exit code 1: "
                          "something is missing, or\n"
                          "cannot be told any more. Nothing is changed; sinks and agents may run.\n"
                          "  --since TIME  receipts of the last TIME: 30m, 1h (the default), 7d; "
                          "within the retention of\n"
                          "                the topics\n"
                          "  --path GLOB   only files whose path fits, such as '/var/log/nginx/*'\n"
                          "  --json        one JSON object a line, one line a file\n";

struct request {
    uint64_t since_ms;
    const char *path;
    bool json;
};

struct audit {
    const struct sink_options *options;
    struct request request;
    rd_kafka_t *client;
    struct proof proof;
    struct stretches stretches; /* of the events' topics */
    int64_t *committed;         /* of each of them */
    const struct lookup_class *class;
    struct lookup *lookup;
    struct lookup_item items[LOOKUP_IDS_MAX];
    size_t item_count;
    bool whole; /* all receipts of lives that are known are taken, whatever their path */
    bool again; /* only what was not found is asked for */
};

/* --- the request --- */

static bool
parse(struct request *out, int argc, char **argv, struct err *err)
{
    static const char *const names[] = {"--since", "--path", "--json"};
    *out = (struct request){.since_ms = SINCE_DEFAULT_MS};
    for (int at = 0; at < argc; at++) {
        const char *value = NULL;
        if (strcmp(argv[at], "--json") == 0) {
            out->json = true;
            continue;
        }
        if (!cli_take_value("--since", argc, argv, &at, &value, err))
            return false;
        if (value != NULL) {
            if (!option_parse_duration(value, &out->since_ms, err))
                return err_wrap(err, "--since");
            continue;
        }
        if (!cli_take_value("--path", argc, argv, &at, &out->path, err))
            return false;
        if (out->path != NULL)
            continue;
        const char *near = option_nearest(argv[at], names, sizeof(names) / sizeof(names[0]));
        return err_set(err, ERR_CONFIG, 0, "audit takes no '%.100s'%s%s%s", argv[at],
                       near == NULL ? "; 'help audit' lists what there is" : "; did you mean '",
                       near == NULL ? "" : near, near == NULL ? "" : "'?");
    }
    return true;
}

/* --- receipts --- */

static bool
take_receipt(void *context, const rd_kafka_message_t *message, struct err *err)
{
    struct audit *audit = context;
    struct receipt receipt;
    if (!receipt_read(&receipt, message->payload, message->len)) {
        return true;
    }
    const char *glob = audit->request.path;
    bool wanted =
        glob == NULL || (audit->whole ? proof_find(&audit->proof, receipt.generation) != NULL
                                      : fnmatch(glob, receipt.path, 0) == 0);
    bool fine = !wanted || proof_add_receipt(&audit->proof, &receipt);
    receipt_done(&receipt);
    return fine || err_set(err, ERR_STOP, ENOMEM, "cannot audit: out of memory");
}

static bool
scan_receipts(struct audit *audit, int64_t since_ms, struct err *err)
{
    struct stretches stretches = {0};
    bool fine =
        scan_add_topic(audit->client, audit->options->receipts.topic, since_ms, &stretches, err) &&
        scan_read(audit->client, &stretches, take_receipt, audit, err);
    stretches_done(&stretches);
    return fine;
}

/* A file that was renamed has receipts under each of its paths: when one of them is asked for, all
 * of them are read, in a second pass, since what is not asked for may be too much to keep. */
static bool
read_receipts(struct audit *audit, struct err *err)
{
    int64_t since_ms = clock_wall_ms() - (int64_t)audit->request.since_ms;
    bool fine = scan_receipts(audit, since_ms, err);
    audit->whole = audit->request.path != NULL;
    fine = fine && (!audit->whole || scan_receipts(audit, since_ms, err));
    proof_sort_receipts(&audit->proof);
    return fine;
}

/* --- events --- */

static const struct sink_route_options *
route_of(const struct audit *audit, const char *topic)
{
    for (size_t i = 0; i < audit->options->route_count; i++)
        if (strcmp(audit->options->routes[i].topic, topic) == 0)
            return &audit->options->routes[i];
    return NULL;
}

static struct stretch *
stretch_at(const struct audit *audit, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < audit->stretches.count; i++)
        if (audit->stretches.items[i].partition == partition &&
            strcmp(audit->stretches.items[i].topic, topic) == 0)
            return &audit->stretches.items[i];
    return NULL;
}

/* When the first event of receipts was sent that do not know where theirs are. INT64_MAX: all
 * know. */
static int64_t
unplaced_since(const struct audit *audit, size_t topic)
{
    int64_t since_ms = INT64_MAX;
    for (const struct life *life = audit->proof.table; life != NULL; life = life->hh.next)
        for (size_t i = 0; i < life->range_count; i++) {
            const struct range *range = &life->ranges[i];
            if (range->topic == topic && !range->placed && range->events > 0 &&
                range->since_ms < since_ms)
                since_ms = range->since_ms;
        }
    return since_ms;
}

/* Is the oldest record that is still there one of those that are read? Then what was before it, and
 * would have been read too, is not there any more. */
static bool
may_be_gone(const struct audit *audit, size_t first_stretch)
{
    bool gone = false;
    for (size_t i = first_stretch; i < audit->stretches.count; i++)
        gone |= audit->stretches.items[i].low > 0 &&
                audit->stretches.items[i].next == audit->stretches.items[i].low;
    return gone;
}

static bool
add_stretches(struct audit *audit, size_t topic, struct err *err)
{
    const char *name = audit->proof.topics[topic];
    if (route_of(audit, name) == NULL)
        return true;
    int64_t since_ms = unplaced_since(audit, topic);
    bool timed = since_ms != INT64_MAX;
    size_t before = audit->stretches.count;
    if (!scan_add_topic(audit->client, name, timed ? since_ms - CLOCKS_APART_MS : 0,
                        &audit->stretches, err))
        return false;
    bool gone = timed && may_be_gone(audit, before);
    for (size_t i = before; i < audit->stretches.count && !timed; i++)
        audit->stretches.items[i].next = audit->stretches.items[i].end;
    for (struct life *life = audit->proof.table; life != NULL; life = life->hh.next)
        for (size_t i = 0; i < life->range_count; i++) {
            struct range *range = &life->ranges[i];
            struct stretch *stretch =
                range->placed ? stretch_at(audit, name, range->partition) : NULL;
            if (range->topic == topic && !range->placed)
                range->gone = gone;
            if (range->topic != topic || stretch == NULL)
                continue;
            range->gone = range->first < stretch->low;
            int64_t first = range->gone ? stretch->low : range->first;
            if (first < stretch->next)
                stretch->next = first;
        }
    return true;
}

/* "t1.<generation>.<offset>.<hash>"; journald's ids have no file. */
static bool
read_id(const rd_kafka_message_t *message, struct generation_id *id, uint64_t *offset,
        uint64_t *hash)
{
    char text[EVENT_ID_SIZE + 1];
    if (message->key_len != EVENT_ID_SIZE || !event_id_is_ours(message->key, message->key_len))
        return false;
    memcpy(text, message->key, EVENT_ID_SIZE);
    text[EVENT_ID_SIZE] = '\0';
    char *number = text + strlen("t1.") + GENERATION_TEXT_SIZE + 1;
    *offset = strtoull(number, &number, 16);
    *hash = strtoull(number + 1, NULL, 16);
    return generation_id_parse(text + strlen("t1."), id);
}

static bool
take_event(void *context, const rd_kafka_message_t *message, struct err *err)
{
    struct audit *audit = context;
    struct generation_id id;
    uint64_t offset;
    uint64_t hash;
    struct life *life =
        read_id(message, &id, &offset, &hash) ? proof_find(&audit->proof, id) : NULL;
    if (life == NULL)
        return true;
    if (audit->proof.event_count >= AUDIT_EVENTS_MAX)
        return err_set(err, ERR_STOP, 0,
                       "the receipts of this time speak of more than %zu events: choose a shorter "
                       "--since, or files by --path",
                       AUDIT_EVENTS_MAX);
    return life_add_event(&audit->proof, life, offset, hash) ||
           err_set(err, ERR_STOP, ENOMEM, "cannot audit: out of memory");
}

static bool
read_events(struct audit *audit, struct err *err)
{
    for (size_t i = 0; i < audit->proof.topic_count; i++)
        if (!add_stretches(audit, i, err))
            return false;
    if (audit->stretches.count == 0)
        return true;
    audit->committed = calloc(audit->stretches.count, sizeof(*audit->committed));
    if (audit->committed == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot audit: out of memory");
    if (!scan_read(audit->client, &audit->stretches, take_event, audit, err) ||
        !scan_committed(audit->client, &audit->stretches, audit->committed, err))
        return false;
    for (struct life *life = audit->proof.table; life != NULL; life = life->hh.next)
        life_sort_events(&audit->proof, life);
    return true;
}

/* Everything up to what was read is done in every partition of the topic. */
static bool
topic_is_done(const struct audit *audit, const char *topic)
{
    for (size_t i = 0; i < audit->stretches.count; i++)
        if (strcmp(audit->stretches.items[i].topic, topic) == 0 &&
            audit->stretches.items[i].low < audit->stretches.items[i].end &&
            audit->committed[i] < audit->stretches.items[i].end)
            return false;
    return true;
}

static void
note_done(struct audit *audit)
{
    for (struct life *life = audit->proof.table; life != NULL; life = life->hh.next)
        for (size_t i = 0; i < life->range_count; i++) {
            struct range *range = &life->ranges[i];
            const char *topic = audit->proof.topics[range->topic];
            const struct stretch *stretch =
                range->placed ? stretch_at(audit, topic, range->partition) : NULL;
            range->done = stretch != NULL
                              ? audit->committed[stretch - audit->stretches.items] > range->last
                              : topic_is_done(audit, topic);
        }
}

/* --- dead letters --- */

static bool
take_letter(void *context, const rd_kafka_message_t *message, struct err *err)
{
    (void)err;
    struct audit *audit = context;
    struct generation_id id;
    uint64_t offset;
    uint64_t hash;
    struct life *life =
        read_id(message, &id, &offset, &hash) ? proof_find(&audit->proof, id) : NULL;
    struct event *event = life == NULL ? NULL : life_find_event(life, offset, hash);
    if (event != NULL)
        event->state = EVENT_LETTER;
    return true;
}

static bool
read_letters(struct audit *audit, struct err *err)
{
    int64_t since_ms = INT64_MAX;
    for (const struct life *life = audit->proof.table; life != NULL; life = life->hh.next)
        for (size_t i = 0; i < life->range_count; i++)
            if (life->ranges[i].since_ms < since_ms)
                since_ms = life->ranges[i].since_ms;
    for (size_t i = 0; i < audit->proof.topic_count; i++) {
        const struct sink_route_options *route = route_of(audit, audit->proof.topics[i]);
        char topic[TOPIC_SIZE];
        if (route == NULL)
            continue;
        bool named = route->dead_letter_topic[0] != '\0';
        int size = snprintf(topic, sizeof(topic), "%s%s",
                            named ? route->dead_letter_topic : route->topic, named ? "" : ".dlq");
        ASSERT(size > 0 && (size_t)size < sizeof(topic));
        struct stretches stretches = {0};
        bool there =
            scan_add_topic(audit->client, topic, since_ms - CLOCKS_APART_MS, &stretches, err);
        bool fine = there ? scan_read(audit->client, &stretches, take_letter, audit, err)
                          : err->action == ERR_REJECT; /* nobody has made it: no letters */
        stretches_done(&stretches);
        if (!fine)
            return false;
    }
    return true;
}

/* --- the index --- */

static int
by_id(const void *a, const void *b)
{
    return strcmp(((const struct lookup_item *)a)->id, ((const struct lookup_item *)b)->id);
}

static bool
ask(struct audit *audit, const char *index, struct err *err)
{
    if (audit->item_count == 0)
        return true;
    qsort(audit->items, audit->item_count, sizeof(audit->items[0]), by_id);
    if (!audit->class->find(audit->lookup, index, audit->items, audit->item_count, err))
        return false;
    for (size_t i = 0; i < audit->item_count; i++) {
        struct event *event = audit->items[i].data;
        if (audit->items[i].found > 0)
            event->state = audit->items[i].found > 1 ? EVENT_TWICE : EVENT_INDEXED;
    }
    audit->item_count = 0;
    return true;
}

/* An input may be given another topic while its files live on. */
static size_t
topic_at(struct life *life, uint64_t offset)
{
    const struct range *range = life_range_at(life, offset);
    if (range != NULL)
        return range->topic;
    const struct range *last = &life->ranges[life->range_count - 1];
    return offset >= last->to ? last->topic : life->ranges[0].topic;
}

static bool
ask_life(struct audit *audit, struct life *life, size_t topic, const char *index, struct err *err)
{
    char generation[GENERATION_TEXT_SIZE];
    generation_id_format(life->id, generation);
    for (size_t i = 0; i < life->event_count; i++) {
        struct event *event = &life->events[i];
        if (event->state == EVENT_INDEXED || event->state == EVENT_TWICE ||
            (audit->again && event->state == EVENT_LETTER) ||
            topic_at(life, event->offset) != topic)
            continue;
        struct lookup_item *item = &audit->items[audit->item_count++];
        *item = (struct lookup_item){.data = event};
        event_id_format(item->id, generation, event->offset, event->hash);
        if (audit->item_count == LOOKUP_IDS_MAX && !ask(audit, index, err))
            return false;
    }
    return true;
}

/* All events of one topic. */
static bool
ask_topic(struct audit *audit, size_t topic, struct err *err)
{
    const struct sink_route_options *route = route_of(audit, audit->proof.topics[topic]);
    if (route == NULL)
        return true;
    if (!audit->class->refresh(audit->lookup, route->index, err))
        return false;
    for (struct life *life = audit->proof.table; life != NULL; life = life->hh.next)
        if (!ask_life(audit, life, topic, route->index, err))
            return false;
    return ask(audit, route->index, err);
}

/* Of what was not found: does the sink say that it is done with it? The number of those. */
static size_t
judge_absent(struct audit *audit)
{
    size_t missing = 0;
    for (struct life *life = audit->proof.table; life != NULL; life = life->hh.next)
        for (size_t i = 0; i < life->event_count; i++) {
            struct event *event = &life->events[i];
            if (event->state == EVENT_INDEXED || event->state == EVENT_TWICE ||
                event->state == EVENT_LETTER)
                continue;
            const struct range *range = life_range_at(life, event->offset);
            bool done =
                range != NULL
                    ? range->done
                    : topic_is_done(audit, audit->proof.topics[topic_at(life, event->offset)]);
            event->state = done ? EVENT_MISSING : EVENT_WAITING;
            missing += done ? 1 : 0;
        }
    return missing;
}

static bool
look_up(struct audit *audit, struct err *err)
{
    size_t missing = 1;
    for (int look = 0; look < LOOKS && missing > 0; look++) {
        struct timespec pause = {.tv_sec = LOOK_PAUSE_MS / 1000};
        if (look > 0)
            (void)nanosleep(&pause, NULL);
        audit->again = look > 0;
        for (size_t i = 0; i < audit->proof.topic_count; i++)
            if (!ask_topic(audit, i, err))
                return false;
        missing = judge_absent(audit);
    }
    return true;
}

/* --- all of it --- */

static int
by_path(const void *a, const void *b)
{
    const struct life *left = *(struct life *const *)a;
    const struct life *right = *(struct life *const *)b;
    int order = strcmp(left->host, right->host);
    if (order == 0)
        order = strcmp(left->path, right->path);
    return order != 0 ? order : left->id.birth_seconds < right->id.birth_seconds ? -1 : 1;
}

/* A topic that this configuration has no route for is another sink's. */
static void
name_unrouted(const struct audit *audit)
{
    for (size_t i = 0; i < audit->proof.topic_count; i++)
        if (route_of(audit, audit->proof.topics[i]) == NULL)
            fprintf(stderr,
                    "tailrace-sink: topic '%s' has no route here: its files are not audited\n",
                    audit->proof.topics[i]);
}

static bool
print(struct audit *audit, bool *fine, struct err *err)
{
    size_t count = HASH_COUNT(audit->proof.table);
    struct life **sorted = calloc(count + 1, sizeof(struct life *));
    struct buffer text;
    buffer_init(&text, TEXT_MAX);
    if (sorted == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot audit: out of memory");
    count = 0;
    for (struct life *life = audit->proof.table; life != NULL; life = life->hh.next)
        if (route_of(audit, audit->proof.topics[life->ranges[0].topic]) != NULL)
            sorted[count++] = life;
    qsort(sorted, count, sizeof(struct life *), by_path);
    struct audit_totals totals = {0};
    for (size_t i = 0; i < count; i++) {
        struct verdict verdict = life_judge(sorted[i]);
        totals_add(&totals, sorted[i], &verdict);
        (audit->request.json ? print_life_json : print_life)(&text, sorted[i], &verdict);
        (void)fwrite(text.bytes, 1, text.size, stdout);
        buffer_clear(&text);
    }
    if (!audit->request.json)
        print_totals(&text, &totals);
    (void)fwrite(text.bytes, 1, text.size, stdout);
    *fine = totals.fine_files == totals.files;
    free(sorted);
    buffer_done(&text);
    return true;
}

bool
audit_run(const struct sink_options *options, int argc, char **argv, bool *fine, struct err *err)
{
    struct audit *audit = calloc(1, sizeof(*audit));
    if (audit == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot audit: out of memory");
    audit->options = options;
    audit->class = options->sqlite_given ? &lookup_sqlite : &lookup_elasticsearch;
    bool done = parse(&audit->request, argc, argv, err);
    if (done && options->receipts.topic[0] == '\0')
        done = err_set(err, ERR_CONFIG, 0,
                       "receipts.topic is empty: name the topic that the agents send receipts to");
    done = done && scan_client_new(&audit->client, options, err) &&
           audit->class->open(&audit->lookup, options, err) && read_receipts(audit, err) &&
           read_events(audit, err);
    if (done) {
        note_done(audit);
        name_unrouted(audit);
        done = read_letters(audit, err) && look_up(audit, err) && print(audit, fine, err);
    }
    audit->class->close(audit->lookup);
    scan_client_free(audit->client);
    stretches_done(&audit->stretches);
    free(audit->committed);
    proof_done(&audit->proof);
    free(audit);
    return done;
}
