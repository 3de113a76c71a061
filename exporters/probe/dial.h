/* SPDX-License-Identifier: Apache-2.0 */
/* dial.h: opens a TCP connection within a round's time. */
#ifndef EXPORTERS_PROBE_DIAL_H
#define EXPORTERS_PROBE_DIAL_H

#include "core/err.h"
#include "exporters/remote.h"

/* Whether "host:port" or "[::1]:port" accepts a connection. */
bool dial_tcp(const char *address, const struct remote_call *call, struct err *err) MUST_CHECK;

/* Splits an address; false with ERR_CONFIG when it is none. */
bool dial_split(const char *address, char host[256], char port[8], struct err *err) MUST_CHECK;

#endif
