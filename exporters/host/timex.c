/* SPDX-License-Identifier: Apache-2.0 */
/* timex.c: how well the clock is kept, from adjtimex(2), which changes nothing with no modes. */
#include <errno.h>
#include <sys/timex.h>

#include "exporters/host/collectors.h"
#include "exporters/host/scan.h"
#include "exporters/page.h"

#define PPM16 (1000000.0 * 65536.0) /* parts per million, with 16 bits behind the point */
#define MICRO 1e6

static bool
timex_open(void **out, const struct host_options *options, struct err *err)
{
    static char nothing;
    (void)options;
    (void)err;
    *out = &nothing;
    return true;
}

static bool
timex_collect(void *self, struct page *page, struct err *err)
{
    (void)self;
    struct timex timex = {.modes = 0};
    int state = adjtimex(&timex);
    if (state < 0)
        return err_errno(err, errno == EPERM ? ERR_REJECT : ERR_RETRY, errno,
                         "ask how the clock is kept");
    double fine = (timex.status & STA_NANO) != 0 ? 1e9 : MICRO;
    const struct {
        const char *name, *help;
        double value;
        enum page_type type;
    } rows[] = {
        {"offset_seconds", "Time offset in between local system and reference clock.",
         (double)timex.offset / fine, PAGE_GAUGE},
        {"frequency_adjustment_ratio", "Local clock frequency adjustment.",
         1 + (double)timex.freq / PPM16, PAGE_GAUGE},
        {"maxerror_seconds", "Maximum error in seconds.", (double)timex.maxerror / MICRO,
         PAGE_GAUGE},
        {"estimated_error_seconds", "Estimated error in seconds.", (double)timex.esterror / MICRO,
         PAGE_GAUGE},
        {"status", "Value of the status array bits.", timex.status, PAGE_GAUGE},
        {"loop_time_constant", "Phase-locked loop time constant.", (double)timex.constant,
         PAGE_GAUGE},
        {"tick_seconds", "Seconds between clock ticks.", (double)timex.tick / MICRO, PAGE_GAUGE},
        {"pps_frequency_hertz", "Pulse per second frequency.", (double)timex.ppsfreq / PPM16,
         PAGE_GAUGE},
        {"pps_jitter_seconds", "Pulse per second jitter.", (double)timex.jitter / fine, PAGE_GAUGE},
        {"pps_shift_seconds", "Pulse per second interval duration.", timex.shift, PAGE_GAUGE},
        {"pps_stability_hertz", "Pulse per second stability, average of recent frequency changes.",
         (double)timex.stabil / PPM16, PAGE_GAUGE},
        {"pps_jitter_total", "Pulse per second count of jitter limit exceeded events.",
         (double)timex.jitcnt, PAGE_COUNTER},
        {"pps_calibration_total", "Pulse per second count of calibration intervals.",
         (double)timex.calcnt, PAGE_COUNTER},
        {"pps_error_total", "Pulse per second count of calibration errors.", (double)timex.errcnt,
         PAGE_COUNTER},
        {"pps_stability_exceeded_total",
         "Pulse per second count of stability limit exceeded events.", (double)timex.stbcnt,
         PAGE_COUNTER},
        {"tai_offset_seconds", "International Atomic Time (TAI) offset.", timex.tai, PAGE_GAUGE},
        {"sync_status", "Is clock synchronized to a reliable server (1 = yes, 0 = no).",
         state == TIME_ERROR ? 0 : 1, PAGE_GAUGE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char name[64] = "node_timex_";
        (void)scan_copy(scan_of(rows[i].name), name + 11, sizeof(name) - 11);
        page_family(page, name, rows[i].type, rows[i].help);
        page_begin(page);
        page_double(page, rows[i].value);
    }
    return true;
}

static void
timex_close(void *self)
{
    (void)self;
}

const struct host_class host_timex = {"timex", timex_open, timex_collect, timex_close};
