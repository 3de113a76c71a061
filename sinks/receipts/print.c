/* SPDX-License-Identifier: Apache-2.0 */
/* print.c: see print.h. */
#include "sinks/receipts/print.h"

#include <inttypes.h>
#include <string.h>

#include "core/buffer.h"
#include "core/encode.h"

#define RUNS_SHOWN 20 /* of one life, for people; programs get all */

static void
print_number(struct buffer *out, uint64_t count, const char *what)
{
    if (count > 0)
        buffer_format(out, "%s%" PRIu64 " %s", out->bytes[out->size - 1] == ':' ? " " : ", ", count,
                      what);
}

static void
print_runs(struct buffer *out, const struct life *life)
{
    size_t at = 0;
    size_t shown = 0;
    uint64_t from;
    uint64_t to;
    uint64_t events;
    while (life_next_run(life, EVENT_MISSING, &at, &from, &to, &events)) {
        if (++shown > RUNS_SHOWN) {
            buffer_text(out, "    …\n");
            break;
        }
        buffer_format(out, "    NOT INDEXED: bytes %" PRIu64 "..%" PRIu64 ", %" PRIu64 " events\n",
                      from, to, events);
    }
}

static void
print_holes(struct buffer *out, const struct life *life)
{
    size_t at = 0;
    uint64_t from;
    uint64_t to;
    for (size_t shown = 0; shown < RUNS_SHOWN && life_next_hole(life, &at, &from, &to); shown++)
        buffer_format(out,
                      "    NO RECEIPT for bytes %" PRIu64 "..%" PRIu64
                      ": whether all of them were delivered is not known\n",
                      from, to);
}

void
print_life(struct buffer *out, const struct life *life, const struct verdict *verdict)
{
    char id[GENERATION_TEXT_SIZE];
    generation_id_format(life->id, id);
    buffer_visible(out, life->host, strlen(life->host));
    buffer_text(out, " ");
    buffer_visible(out, life->path, strlen(life->path));
    buffer_format(out, " (%.*s)\n  bytes %" PRIu64 "..%" PRIu64 ": %" PRIu64 " lines", 24, id,
                  verdict->from, verdict->to, verdict->lines);
    print_number(out, verdict->empty, "empty lines skipped");
    print_number(out, verdict->zeros, "bytes of zeros skipped");
    print_number(out, verdict->parts, "parts of long lines");
    buffer_format(out, ", %" PRIu64 " events:", verdict->promised);
    bool all = verdict_is_fine(verdict) && verdict->waiting == 0 && verdict->letters == 0 &&
               verdict->newer == 0 && verdict->again == 0;
    if (all)
        buffer_text(out, " all indexed");
    else
        print_number(out, verdict->indexed, "indexed");
    print_number(out, verdict->letters, "dead letters");
    print_number(out, verdict->waiting, "not finished by the sink yet");
    print_number(out, verdict->missing, "NOT INDEXED");
    print_number(out, verdict->twice, "INDEXED TWICE");
    print_number(out, verdict->lost, "NOT IN KAFKA, though it acknowledged them");
    print_number(out, verdict->deleted, "deleted by Kafka's retention: cannot be told");
    print_number(out, verdict->newer, "of these without a receipt yet");
    print_number(out, verdict->again, "bytes delivered again, counted twice");
    buffer_text(out, "\n");
    print_runs(out, life);
    print_holes(out, life);
}

static void
put(struct buffer *out, const char *name, uint64_t value)
{
    buffer_format(out, ",\"%s\":%" PRIu64, name, value);
}

static void
put_runs(struct buffer *out, const struct life *life)
{
    size_t at = 0;
    uint64_t from;
    uint64_t to;
    uint64_t events;
    const char *comma = "";
    buffer_text(out, ",\"not_indexed_ranges\":[");
    while (life_next_run(life, EVENT_MISSING, &at, &from, &to, &events)) {
        buffer_format(out, "%s[%" PRIu64 ",%" PRIu64 "]", comma, from, to);
        comma = ",";
    }
    buffer_text(out, "],\"no_receipt_ranges\":[");
    comma = "";
    at = 0;
    while (life_next_hole(life, &at, &from, &to)) {
        buffer_format(out, "%s[%" PRIu64 ",%" PRIu64 "]", comma, from, to);
        comma = ",";
    }
    buffer_text(out, "]");
}

void
print_life_json(struct buffer *out, const struct life *life, const struct verdict *verdict)
{
    char id[GENERATION_TEXT_SIZE];
    generation_id_format(life->id, id);
    buffer_text(out, "{\"host\":");
    encode_json_string(out, life->host, strlen(life->host));
    buffer_text(out, ",\"path\":");
    encode_json_string(out, life->path, strlen(life->path));
    buffer_format(out, ",\"generation\":\"%.*s\"", GENERATION_TEXT_SIZE, id);
    put(out, "from", verdict->from);
    put(out, "to", verdict->to);
    put(out, "lines", verdict->lines);
    put(out, "empty", verdict->empty);
    put(out, "zeros", verdict->zeros);
    put(out, "parts", verdict->parts);
    put(out, "events", verdict->promised);
    put(out, "indexed", verdict->indexed);
    put(out, "dead_letters", verdict->letters);
    put(out, "waiting", verdict->waiting);
    put(out, "not_indexed", verdict->missing);
    put(out, "indexed_twice", verdict->twice);
    put(out, "not_in_kafka", verdict->lost);
    put(out, "deleted_by_retention", verdict->deleted);
    put(out, "no_receipt_events", verdict->unreceipted);
    put(out, "no_receipt_yet", verdict->newer);
    put(out, "bytes_told_twice", verdict->again);
    put_runs(out, life);
    buffer_format(out, ",\"fine\":%s}\n", verdict_is_fine(verdict) ? "true" : "false");
}

void
totals_add(struct audit_totals *totals, const struct life *life, const struct verdict *verdict)
{
    totals->files++;
    totals->fine_files += verdict_is_fine(verdict) ? 1 : 0;
    totals->receipts += life->range_count;
    totals->sum.lines += verdict->lines;
    totals->sum.empty += verdict->empty;
    totals->sum.promised += verdict->promised;
    totals->sum.indexed += verdict->indexed;
    totals->sum.letters += verdict->letters;
    totals->sum.waiting += verdict->waiting;
    totals->sum.missing += verdict->missing;
    totals->sum.twice += verdict->twice;
    totals->sum.lost += verdict->lost;
    totals->sum.deleted += verdict->deleted;
    totals->sum.holes += verdict->holes;
}

void
print_totals(struct buffer *out, const struct audit_totals *totals)
{
    const struct verdict *sum = &totals->sum;
    if (totals->receipts == 0) {
        buffer_text(out,
                    "NOTHING IS PROVED: no receipt of that time and path was found. Agents with "
                    "receipts.topic write them, the first after receipts.interval.\n");
        return;
    }
    buffer_format(out,
                  "%" PRIu64 " files, %" PRIu64 " receipts: %" PRIu64 " lines, %" PRIu64 " events:",
                  totals->files, totals->receipts, sum->lines, sum->promised);
    print_number(out, sum->indexed, "indexed");
    print_number(out, sum->letters, "dead letters");
    print_number(out, sum->waiting, "not finished by the sink yet");
    print_number(out, sum->missing, "NOT INDEXED");
    print_number(out, sum->twice, "INDEXED TWICE");
    print_number(out, sum->lost, "NOT IN KAFKA");
    print_number(out, sum->deleted, "deleted by Kafka's retention");
    print_number(out, sum->holes, "bytes WITHOUT A RECEIPT");
    buffer_text(out, totals->fine_files == totals->files ? "\nNothing is missing.\n" : "\n");
    if (totals->fine_files != totals->files)
        buffer_format(out, "%" PRIu64 " files have something missing.\n",
                      totals->files - totals->fine_files);
}
