/* SPDX-License-Identifier: Apache-2.0 */
/* client.h: what the benchmark's programs share: a Kafka client from `name=value` arguments, the
 * form of a numbered line, and clocks. They end the process when something fails: a measurement
 * that went wrong is none. */
#ifndef BENCH_AGENT_CLIENT_H
#define BENCH_AGENT_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

/* Every line ends in these, so that any program's output can be read back:
 *     " line=%010llu sent=%019llu"     number from 0; nanoseconds of the wall clock */
#define LINE_MARK " line="
#define LINE_DIGITS 10
#define SENT_MARK " sent="
#define SENT_DIGITS 19

_Noreturn void fail(const char *what, const char *why);

uint64_t wall_ns(void);
uint64_t cpu_ns(void); /* user and system time of all threads so far */

uint64_t number(const char *text); /* decimal digits and nothing else */

/* Properties are "linger.ms=20"; `arguments` ends with NULL. */
rd_kafka_conf_t *client_conf(char **arguments);
rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf);

#endif
