/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h: does it answer? TCP, HTTP and TLS, each probe a target with its own thread. */
#ifndef EXPORTERS_PROBE_PROBE_H
#define EXPORTERS_PROBE_PROBE_H

#include "core/err.h"
#include "exporters/remote.h"

extern const struct remote_class probe_remote;

/* Each probe names one thing to try, and a name that no other has. ERR_CONFIG. */
bool probe_check(const struct exporter_options *options, struct err *err) MUST_CHECK;

#endif
