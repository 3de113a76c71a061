/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the statistics say, what is kept of them are figures that make sense, and the page is
 * whole lines; what is no document leaves the last one as it was. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "exporters/kafka/brokers.h"
#include "exporters/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_figure(double value)
{
    return value == -1 || (value >= 0 && isfinite(value));
}

static void
check_brokers(const struct brokers *brokers)
{
    for (size_t i = 0; i < brokers->count; i++) {
        const struct broker_stats *broker = &brokers->items[i];
        ASSERT(broker->id >= 0);
        ASSERT(is_figure(broker->rtt_p50_s));
        ASSERT(is_figure(broker->rtt_p99_s));
        ASSERT(is_figure(broker->throttle_s));
        ASSERT(broker->errors <= INT64_MAX && broker->timeouts <= INT64_MAX);
        ASSERT(strlen(broker->state) < sizeof(broker->state));
    }
}

static void
check_page(const struct brokers *brokers)
{
    struct page page;
    page_init(&page, 1000);
    brokers_put(brokers, &page);
    page_end(&page);
    const struct page *pages[] = {&page};
    struct buffer out;
    buffer_init(&out, 1U << 24);
    page_render(pages, 1, METRIC_PAGE_TEXT, NULL, &out);
    ASSERT(out.size == 0 || out.bytes[out.size - 1] == '\n');
    buffer_done(&out);
    page_done(&page);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char first[] = "{\"brokers\":{\"x\":{\"nodeid\":7}}}";
    struct brokers brokers = {0};
    ASSERT(brokers_read(&brokers, first, sizeof(first) - 1));
    ASSERT(brokers.count == 1 && brokers.items[0].id == 7);
    if (!brokers_read(&brokers, (const char *)data, size))
        ASSERT(brokers.count == 1 && brokers.items[0].id == 7);
    check_brokers(&brokers);
    check_page(&brokers);
    brokers_done(&brokers);
    return 0;
}
