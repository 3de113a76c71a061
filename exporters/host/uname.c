/* SPDX-License-Identifier: Apache-2.0 */
/* uname.c: what uname(2) says. Dashboards find their hosts by node_uname_info. */
#include <errno.h>
#include <sys/utsname.h>

#include "exporters/host/collectors.h"
#include "exporters/page.h"

static bool
uname_open(void **out, const struct host_options *options, struct err *err)
{
    static char nothing;
    (void)options;
    (void)err;
    *out = &nothing;
    return true;
}

static bool
uname_collect(void *self, struct page *page, struct err *err)
{
    (void)self;
    struct utsname name;
    if (uname(&name) != 0)
        return err_errno(err, ERR_RETRY, errno, "ask for the kernel's name");
    page_family(page, "node_uname_info", PAGE_GAUGE,
                "Labeled system information as provided by the uname system call.");
    page_begin(page);
    page_label(page, "domainname", name.domainname);
    page_label(page, "machine", name.machine);
    page_label(page, "nodename", name.nodename);
    page_label(page, "release", name.release);
    page_label(page, "sysname", name.sysname);
    page_label(page, "version", name.version);
    page_uint(page, 1);
    return true;
}

static void
uname_close(void *self)
{
    (void)self;
}

const struct host_class host_uname = {"uname", uname_open, uname_collect, uname_close};
