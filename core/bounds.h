/* SPDX-License-Identifier: Apache-2.0 */
/* bounds.h: every size that is not an option, with its unit and its reason. */
#ifndef CORE_BOUNDS_H
#define CORE_BOUNDS_H

/* One error sentence with a path of ordinary length in it. */
#define ERR_TEXT_MAX 512

/* A Kafka key of ours, "t1.<24 hex>.<16 hex>.<16 hex>", without the terminator. */
#define EVENT_ID_SIZE 61

/* A series' labels, rendered: route or input name plus one reason. */
#define METRIC_LABELS_MAX 320

/* Bytes of a configuration file: far above any real one, small enough to read at once. */
#define CONFIG_FILE_MAX (4 * 1024 * 1024)

/* Files that `include` may pull in: a directory of snippets, not a tree. */
#define CONFIG_INCLUDES_MAX 256

/* Connections the HTTP endpoint holds at once: Prometheus, a browser, probes. */
#define HTTP_CONNECTIONS_MAX 64

/* Bytes of one HTTP answer before compression: a status page of 100,000 files fits. */
#define HTTP_BODY_MAX (64 * 1024 * 1024)

/* How long a page waits for the data loop before it says that the loop is stuck. */
#define ASK_TIMEOUT_MS 2000

#endif
