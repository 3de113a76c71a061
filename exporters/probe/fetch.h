/* SPDX-License-Identifier: Apache-2.0 */
/* fetch.h: asks a URL, or only shakes hands over TLS, within a round's time (libcurl). */
#ifndef EXPORTERS_PROBE_FETCH_H
#define EXPORTERS_PROBE_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/remote.h"

struct fetch {
    const char *url;     /* "https://…"; of a handshake "https://host:port" */
    const char *ca_file; /* "": the system's */
    bool handshake;      /* no request */
};

struct fetch_result {
    long status;    /* of HTTP, 0: none came */
    int64_t expiry; /* of the certificate that ends first, seconds since 1970; 0: none was shown */
};

/* False: it does not answer, its certificate is not trusted, or the status is 400 or above; what is
 * known is in `out` all the same, also the date of a certificate that is over. */
bool fetch_url(const struct fetch *fetch, const struct remote_call *call, struct fetch_result *out,
               struct err *err) MUST_CHECK;

#endif
