/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c: see replay.h. Each letter of the shelf that is asked for is printed, counted, or given
 * to the sender; what the sender brought there is noted in the shelf's ledger, which is kept once a
 * second. A kill between the two sends letters twice, and the index knows their ids. */
#include "sinks/replay/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "sinks/replay/letter.h"
#include "sinks/replay/print.h"
#include "sinks/replay/request.h"
#include "sinks/replay/sender.h"
#include "sinks/replay/shelf.h"

#define KEEP_INTERVAL_MS 1000
#define COMPLAINTS_MAX 20 /* told one by one */
/* One letter as text: the largest value by far, six times escaped. */
#define TEXT_MAX (1024U * 1024 * 1024)

struct replay {
    struct replay_request request;
    struct shelf *shelf;
    struct sender *sender; /* NULL: nothing is sent */
    struct tally *tally;
    struct buffer text;
    uint64_t found;   /* of those asked for */
    uint64_t before;  /* of them, sent back before this run and left out */
    uint64_t sent;    /* of them; in a dry run, what would be */
    uint64_t unsent;  /* of them */
    uint64_t strange; /* records that are no letters */
    uint64_t kept_ms;
    bool forgets; /* the ledger has no room for all */
    bool away;    /* Kafka takes nothing more */
};

static void
complain(struct replay *replay, const struct shelf_partition *place, int64_t offset,
         const char *why)
{
    replay->unsent++;
    if (replay->unsent <= COMPLAINTS_MAX)
        fprintf(stderr,
                "tailrace-sink: letter %s [%" PRId32 "] offset %" PRId64 " is not sent back: %s\n",
                place->topic, place->id, offset, why);
}

static void
on_done(void *context, struct shelf_partition *place, int64_t offset, const struct err *err)
{
    struct replay *replay = context;
    if (err != NULL) {
        complain(replay, place, offset, err->text);
        replay->away |= err->code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT ||
                        err->code == RD_KAFKA_RESP_ERR__TRANSPORT;
        return;
    }
    replay->sent++;
    replay->forgets |= !ledger_add(&place->sent, offset, offset + 1);
    place->changed = true;
}

static bool
keep(struct replay *replay, struct err *err)
{
    uint64_t left;
    replay->kept_ms = clock_monotonic_ms();
    if (!shelf_keep(replay->shelf, &left, err))
        return false;
    replay->forgets |= left > 0;
    return true;
}

static void
flush_text(struct replay *replay)
{
    (void)fwrite(replay->text.bytes, 1, replay->text.size, stdout);
    buffer_clear(&replay->text);
}

static void
show(struct replay *replay, const struct letter *letter, const struct print_place *place)
{
    if (replay->request.json)
        print_letter_json(&replay->text, letter, place);
    else
        print_letter(&replay->text, letter, place);
    flush_text(replay);
}

static bool
send_back(struct replay *replay, const struct letter *letter, struct shelf_partition *place,
          const struct print_place *shown, struct err *err)
{
    if (!sender_prepare(replay->sender, letter, err)) {
        if (err->action != ERR_REJECT)
            return false;
        complain(replay, place, shown->offset, err->text);
        return true;
    }
    if (replay->request.dry_run) {
        replay->sent++;
        show(replay, letter, shown);
        return true;
    }
    if (!sender_send(replay->sender, letter, place, shown->offset, err)) {
        if (err->action == ERR_STOP)
            return false;
        complain(replay, place, shown->offset, err->text);
    }
    sender_serve(replay->sender, false);
    return clock_monotonic_ms() - replay->kept_ms < KEEP_INTERVAL_MS || keep(replay, err);
}

static bool
handle(struct replay *replay, const rd_kafka_message_t *message, struct shelf_partition *place,
       struct err *err)
{
    struct letter letter;
    if (!letter_read(&letter, message)) {
        replay->strange++;
        place->changed |= ledger_add(&place->sent, message->offset, message->offset + 1);
        return true;
    }
    if (!letter_matches(&letter, &replay->request, clock_wall_ms()))
        return true;
    struct print_place shown = {
        .topic = place->topic,
        .partition = place->id,
        .offset = message->offset,
        .sent = ledger_has(&place->sent, message->offset),
    };
    replay->found++;
    if (shown.sent && replay->request.open) {
        replay->before++;
        return true;
    }
    switch (replay->request.action) {
    case REPLAY_LIST:
        show(replay, &letter, &shown);
        return true;
    case REPLAY_COUNT:
        return tally_add(replay->tally, &letter, shown.sent) ||
               err_set(err, ERR_STOP, ENOMEM, "cannot count: out of memory");
    case REPLAY_SEND:
        break;
    }
    return send_back(replay, &letter, place, &shown, err);
}

static bool
read_all(struct replay *replay, struct err *err)
{
    while (!replay->away) {
        rd_kafka_message_t *message;
        struct shelf_partition *place;
        if (!shelf_next(replay->shelf, &message, &place, err))
            return false;
        if (message == NULL)
            return true;
        bool fine = handle(replay, message, place, err);
        rd_kafka_message_destroy(message);
        if (!fine)
            return false;
    }
    return true;
}

static const char *
plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static void
sum_up_replay(struct replay *replay)
{
    struct buffer *text = &replay->text;
    const struct replay_request *request = &replay->request;
    if (request->json) {
        buffer_format(text,
                      "{\"letters\":%" PRIu64 ",\"sent_back\":%" PRIu64
                      ",\"sent_back_before\":%" PRIu64 ",\"not_sent\":%" PRIu64
                      ",\"dry_run\":%s}\n",
                      replay->found, replay->sent, replay->before, replay->unsent,
                      request->dry_run ? "true" : "false");
        return;
    }
    buffer_format(text, "%" PRIu64 " letter%s %s", replay->sent, plural(replay->sent),
                  request->dry_run ? "would be sent back" : "sent back");
    if (replay->before > 0)
        buffer_format(text, ", %" PRIu64 " left out that went back before (--again sends them too)",
                      replay->before);
    if (replay->unsent > 0)
        buffer_format(text, ", %" PRIu64 " NOT sent", replay->unsent);
    buffer_text(text, "\n");
}

static void
sum_up(struct replay *replay)
{
    struct buffer *text = &replay->text;
    const struct replay_request *request = &replay->request;
    uint64_t shown = replay->found - (request->open ? replay->before : 0);
    if (request->action == REPLAY_COUNT)
        tally_print(replay->tally, request->json, text);
    if (request->action == REPLAY_SEND)
        sum_up_replay(replay);
    else if (!request->json)
        buffer_format(text, "%" PRIu64 " dead letter%s%s\n", shown, plural(shown),
                      request->open ? " not sent back yet" : "");
    if (!request->json && replay->strange > 0)
        buffer_format(
            text, "%" PRIu64 " record%s of the dead-letter topics %s no letters of ours\n",
            replay->strange, plural(replay->strange), replay->strange == 1 ? "is" : "are");
    flush_text(replay);
    if (replay->unsent > COMPLAINTS_MAX)
        fprintf(stderr, "tailrace-sink: and %" PRIu64 " more letters like these\n",
                replay->unsent - COMPLAINTS_MAX);
    if (replay->forgets)
        fprintf(stderr, "tailrace-sink: not all that was sent back can be remembered; another "
                        "replay sends some again, and the index finds them to be there\n");
}

/* Reads and sends; in the end what was sent is kept, also when something went wrong. */
static bool
run(struct replay *replay, const struct sink_options *options, struct err *err)
{
    bool sends = replay->request.action == REPLAY_SEND;
    if (sends && !sender_new(&replay->sender, options, on_done, replay, err))
        return false;
    if (replay->request.action == REPLAY_COUNT) {
        replay->tally = calloc(1, sizeof(*replay->tally));
        if (replay->tally == NULL)
            return err_set(err, ERR_STOP, ENOMEM, "cannot count: out of memory");
    }
    bool fine = read_all(replay, err);
    if (sends && !replay->request.dry_run) {
        struct err other;
        sender_serve(replay->sender, true);
        if (!keep(replay, fine ? err : &other))
            fine = false;
    }
    sum_up(replay);
    if (fine && replay->away)
        return err_set(err, ERR_STOP, 0,
                       "Kafka takes no letters now; the same command sends the others later");
    return fine;
}

bool
replay_dead_letters(const struct sink_options *options, int argc, char **argv, bool *complete,
                    struct err *err)
{
    struct replay replay = {.kept_ms = clock_monotonic_ms()};
    if (!replay_request_parse(&replay.request, argc, argv, err))
        return false;
    struct buffer missing;
    buffer_init(&missing, TEXT_MAX);
    buffer_init(&replay.text, TEXT_MAX);
    bool needs_ledger = replay.request.open;
    bool fine =
        shelf_open(&replay.shelf, options, replay.request.topic, needs_ledger, &missing, err);
    if (fine && missing.size > 0)
        fprintf(stderr,
                "tailrace-sink: no dead-letter topic %s: create it, a route whose letters "
                "have no place waits\n",
                buffer_string(&missing));
    fine = fine && run(&replay, options, err);
    *complete = missing.size == 0 && replay.unsent == 0;
    if (fine && (fflush(stdout) != 0 || ferror(stdout)))
        fine = err_set(err, ERR_STOP, errno, "cannot write to stdout: %s", strerror(errno));
    sender_free(replay.sender);
    shelf_close(replay.shelf);
    if (replay.tally != NULL)
        tally_done(replay.tally);
    free(replay.tally);
    buffer_done(&replay.text);
    buffer_done(&missing);
    return fine;
}
