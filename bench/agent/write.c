/* SPDX-License-Identifier: Apache-2.0 */
/* write.c: bench-write, a web server's access log without the server: numbered lines of about 270
 * bytes, as fast as they go or so many a second, into one file or round many. Each line carries
 * its number and the time of the write (client.h). At a rate lines are written each millisecond,
 * a write(2) per file, as a busy server does. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/agent/client.h"

#define LINE_SIZE_MAX 512
#define BUFFER_SIZE (1 << 18)
#define STEP_NS 1000000ULL
#define NS_PER_S 1000000000ULL

static const char *const pages[] = {"/shop/cart", "/api/v1/orders/8812/items",
                                    "/static/js/app.4f3a1c.min.js",
                                    "/search?q=winter+boots&sort=price", "/"};
static const char *const agents[] = {
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 "
    "Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0"};

struct writer {
    int *fds;
    uint64_t file_count;
    char buffer[BUFFER_SIZE];
    size_t fill;
};

static void
flush(struct writer *writer, int fd)
{
    for (size_t at = 0; at < writer->fill;) {
        ssize_t done = write(fd, writer->buffer + at, writer->fill - at);
        if (done < 0 && errno != EINTR)
            fail("cannot write", strerror(errno));
        at += done > 0 ? (size_t)done : 0;
    }
    writer->fill = 0;
}

static void
add_line(struct writer *writer, uint64_t line)
{
    uint64_t chance = line * 6364136223846793005ULL + 1442695040888963407ULL;
    chance ^= chance >> 29;
    int size = snprintf(
        writer->buffer + writer->fill, LINE_SIZE_MAX,
        "10.%u.%u.%u - - [21/Nov/2026:06:%02u:%02u +0000] \"GET %s HTTP/1.1\" %u %u "
        "\"https://shop.example.com/catalogue/%u\" \"%s\"" LINE_MARK "%010" PRIu64 SENT_MARK
        "%019" PRIu64 "\n",
        (unsigned)(chance & 255), (unsigned)(chance >> 8 & 255), (unsigned)(chance >> 16 & 255),
        (unsigned)(line / 60 % 60), (unsigned)(line % 60), pages[chance >> 24 & 3 ? line % 5 : 1],
        (chance >> 28 & 15) == 0 ? 404U : 200U, (unsigned)(chance >> 32 & 0xffff),
        (unsigned)(chance >> 48), agents[line % 3], line, wall_ns());
    if (size <= 0 || size >= LINE_SIZE_MAX)
        fail("cannot write", "a line is too long");
    writer->fill += (size_t)size;
}

static void
write_all(struct writer *writer, uint64_t lines)
{
    for (uint64_t i = 0; i < lines; i++) {
        add_line(writer, i);
        if (writer->fill + LINE_SIZE_MAX > BUFFER_SIZE || i + 1 == lines)
            flush(writer, writer->fds[0]);
    }
}

/* Lines that are due are written at once; each goes to the next file. */
static void
write_at_rate(struct writer *writer, uint64_t lines, uint64_t rate)
{
    struct timespec next;
    (void)clock_gettime(CLOCK_MONOTONIC, &next);
    uint64_t passed_ns = 0;
    for (uint64_t i = 0; i < lines;) {
        passed_ns += STEP_NS;
        next.tv_nsec += (long)STEP_NS;
        if (next.tv_nsec >= (long)NS_PER_S) {
            next.tv_nsec -= (long)NS_PER_S;
            next.tv_sec++;
        }
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        uint64_t due = rate * (passed_ns / 1000) / 1000000;
        for (; i < due && i < lines; i++) {
            add_line(writer, i);
            if (writer->file_count > 1)
                flush(writer, writer->fds[i % writer->file_count]);
            else if (writer->fill + LINE_SIZE_MAX > BUFFER_SIZE)
                flush(writer, writer->fds[0]);
        }
        if (writer->fill > 0)
            flush(writer, writer->fds[0]);
    }
}

int
main(int argc, char **argv)
{
    if (argc < 4)
        fail("usage", "bench-write LINES RATE FILE...   (RATE 0: at once, to one file)");
    static struct writer writer;
    writer.file_count = (uint64_t)argc - 3;
    writer.fds = calloc(writer.file_count, sizeof(writer.fds[0]));
    if (writer.fds == NULL)
        fail("bench-write", "out of memory");
    for (uint64_t i = 0; i < writer.file_count; i++) {
        writer.fds[i] = open(argv[i + 3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (writer.fds[i] < 0)
            fail(argv[i + 3], strerror(errno));
    }
    uint64_t rate = number(argv[2]);
    if (rate == 0)
        write_all(&writer, number(argv[1]));
    else
        write_at_rate(&writer, number(argv[1]), rate);
    for (uint64_t i = 0; i < writer.file_count; i++)
        (void)close(writer.fds[i]);
    free(writer.fds);
    return 0;
}
