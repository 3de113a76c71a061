/* SPDX-License-Identifier: Apache-2.0 */
/* page.h: families and samples as a collector writes them, and pages as Prometheus reads them.
 * A collector calls page_family() and then a sample for each series; a family may be taken up again
 * later, and other pages may have it too: page_render() puts everything of one name in one place,
 * under the first HELP and TYPE. The memory of a page is kept for its next round.
 * A family takes `series_max` series; what is above is left out and counted. One thread at a time.
 * With a packer (pack.h) the samples of a large family are packed while they are written, so that
 * their text is never there as a whole.
 *
 *     page_family(page, "node_disk_io_now", PAGE_GAUGE, "The number of I/Os in progress.");
 *     page_begin(page);
 *     page_label(page, "device", "sda");
 *     page_uint(page, 3); */
#ifndef EXPORTERS_PAGE_H
#define EXPORTERS_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/buffer.h"
#include "core/metrics.h"

enum page_type { PAGE_COUNTER, PAGE_GAUGE, PAGE_UNTYPED, PAGE_HISTOGRAM, PAGE_SUMMARY };

struct page_family {
    enum page_type type;
    size_t name, help;              /* offsets in `words`, where both end in '\0' */
    size_t start, end;              /* of its samples in `samples` */
    size_t first_piece, last_piece; /* before them in `pieces`, the last one excluded */
    size_t series;
    uint64_t left_out;
};

/* Samples of a family, packed. */
struct page_piece {
    size_t start, end;       /* in `packed` */
    uint32_t text_size, crc; /* of the samples */
};

struct page_packer {
    /* Appends a piece and PAGE_PIECE_END bytes of its own. False: memory is short. */
    bool (*pack)(struct page_packer *packer, const char *text, size_t size, struct buffer *out,
                 struct page_piece *piece);
    void (*free)(struct page_packer *packer);
};
#define PAGE_PIECE_SIZE                                                                            \
    (64U * 1024) /* of text: what is less is packed at the scrape, fast enough */
#define PAGE_PIECE_END 2

struct page {
    struct buffer samples;
    struct buffer words;
    struct page_family *families;
    size_t family_count, family_capacity;
    struct page_packer *packer; /* NULL: everything stays text */
    struct buffer packed;
    struct page_piece *pieces;
    size_t piece_count, piece_capacity;
    size_t series_max;
    bool labelled; /* it has a label already */
    bool skipping; /* no family, or no more room in it */
    bool failed;   /* memory is short: what is there is not whole */
    /* NULL, or gets "family\treason\n" of page_absent(): only `check` wants to know. */
    struct buffer *absences;
};

void page_init(struct page *page, size_t series_max);
void page_done(struct page *page);
void page_clear(struct page *page);
/* After the last sample of a round. */
void page_end(struct page *page);

void page_family(struct page *page, const char *name, enum page_type type, const char *help);

/* A sample: begin, labels, value. Bytes of a label value that are no UTF-8 become '?'. */
void page_begin(struct page *page);
void page_label(struct page *page, const char *name, const char *value);
void page_label_size(struct page *page, const char *name, const char *value, size_t size);
void page_uint(struct page *page, uint64_t value);
void page_int(struct page *page, int64_t value);
void page_double(struct page *page, double value);
/* value / 10^decimals, exact: hundredths of a second are page_fixed(page, ticks, 2). */
void page_fixed(struct page *page, uint64_t value, unsigned decimals);
/* The whole of it at once: page_sample(page, 1, "topic", topic, "partition", text, NULL). */
void page_sample(struct page *page, double value, ...) __attribute__((sentinel));
/* A line that is a sample of the family in the text format already, without its newline. */
void page_line(struct page *page, const char *line, size_t size);

/* A family with one sample and no labels. */
void page_gauge(struct page *page, const char *name, const char *help, double value);
void page_counter(struct page *page, const char *name, const char *help, uint64_t value);

/* Says to `check` why a family is not there: "the kernel has no /proc/pressure". */
void page_absent(struct page *page, const char *family, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Size of the UTF-8 character that begins here (Unicode 15, table 3-7); 0 for bytes that are none.
 * `size` is at least 1. */
size_t page_utf8_size(const char *text, size_t size);

const char *page_word(const struct page *page, size_t offset); /* name or help of a family */

/* Who takes the families that have pieces: text and pieces in their order. */
struct page_taker {
    void (*text)(struct page_taker *taker, const char *text, size_t size);
    void (*piece)(struct page_taker *taker, const struct page *page,
                  const struct page_piece *piece);
};

/* Appends all families of these pages, without the "# EOF" of OpenMetrics; before them, those with
 * pieces go to `taker`, which may be NULL when there are none. */
void page_render(const struct page *const *pages, size_t count, enum metric_page form,
                 struct page_taker *taker, struct buffer *out);

#endif
