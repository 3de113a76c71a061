/* SPDX-License-Identifier: Apache-2.0 */
/* client.c: see client.h. */
#include "bench/agent/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define NS_PER_S 1000000000ULL

_Noreturn void
fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

uint64_t
wall_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t
cpu_ns(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_S +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
}

uint64_t
number(const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        fail(text, "not a number");
    return value;
}

rd_kafka_conf_t *
client_conf(char **arguments)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (; *arguments != NULL; arguments++) {
        char *equals = strchr(*arguments, '=');
        if (equals == NULL)
            fail(*arguments, "expected name=value");
        *equals = '\0';
        char text[512];
        if (rd_kafka_conf_set(conf, *arguments, equals + 1, text, sizeof(text)) != RD_KAFKA_CONF_OK)
            fail(*arguments, text);
    }
    return conf;
}

rd_kafka_t *
client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[512];
    rd_kafka_t *client = rd_kafka_new(type, conf, text, sizeof(text));
    if (client == NULL)
        fail("cannot make the Kafka client", text);
    return client;
}
