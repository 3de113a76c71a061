/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP endpoint, over plain sockets. */
#include "core/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/health.h"
#include "core/metrics.h"
#include "test/unit/unit.h"

#define ANSWER_MAX (4U << 20)
#define LARGE_SIZE 1000000

static const struct metric_family families[] = {
    {"t_events_total", METRIC_COUNTER, "", "Events."},
};

struct fixture {
    struct metrics *metrics;
    struct health *health;
    struct http *http;
    metric events;
};

static void
echo_page(void *context, const struct http_request *request, struct http_response *response)
{
    const char *path = http_query(request, "path");
    const char *flag = http_query(request, "flag");
    buffer_format(&response->body, "%s path=%s flag=%s", (const char *)context,
                  path == NULL ? "(none)" : path, flag == NULL ? "(none)" : flag);
}

static void
large_page(void *context, const struct http_request *request, struct http_response *response)
{
    (void)context;
    (void)request;
    response->content_type = "text/html; charset=utf-8";
    for (unsigned i = 0; response->body.size < LARGE_SIZE; i++)
        buffer_format(&response->body, "%u,", i * 2654435761U);
}

static void
endless_page(void *context, const struct http_request *request, struct http_response *response)
{
    (void)context;
    (void)request;
    while (!response->body.failed)
        buffer_text(&response->body,
                    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd");
}

/* A body of three million letters, made in blocks; it breaks at `breaks_at`. */
#define STREAM_SIZE 3000000U
struct letters {
    struct http_stream stream;
    size_t at, breaks_at;
};
static atomic_uint streams_made;
static atomic_uint streams_freed;

static size_t
read_letters(struct http_stream *stream, char *out, size_t max)
{
    struct letters *letters = (struct letters *)(void *)stream;
    size_t size = 0;
    while (size < max && letters->at < letters->breaks_at)
        out[size++] = (char)('a' + letters->at++ % 23);
    return size;
}

static void
free_letters(struct http_stream *stream)
{
    streams_freed++;
    free(stream);
}

static void
stream_page(void *context, const struct http_request *request, struct http_response *response)
{
    struct letters *letters = calloc(1, sizeof(*letters));
    (void)context;
    ASSERT(letters != NULL);
    letters->stream = (struct http_stream){STREAM_SIZE, 50000, read_letters, free_letters};
    letters->breaks_at = http_query(request, "break") != NULL ? STREAM_SIZE / 2 : STREAM_SIZE;
    response->stream = &letters->stream;
    response->body.failed = http_query(request, "fail") != NULL;
    streams_made++;
}

static char hello[] = "hello";
static const struct http_page pages[] = {{"/echo", echo_page, hello},
                                         {"/large", large_page, NULL},
                                         {"/endless", endless_page, NULL},
                                         {"/stream", stream_page, NULL}};

static int
set_up(void **state)
{
    struct err err;
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    assert_true(metrics_new(&fixture->metrics, families, 1, &err));
    assert_true(health_new(&fixture->health, 60000, &err));
    fixture->events = metrics_series(fixture->metrics, 0, NULL);
    metrics_publish(fixture->metrics);
    if (!http_new(&fixture->http, "127.0.0.1:0", fixture->metrics, fixture->health, pages,
                  sizeof(pages) / sizeof(pages[0]), &err))
        fail_msg("%s", err.text);
    *state = fixture;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *fixture = *state;
    http_free(fixture->http);
    health_free(fixture->health);
    metrics_free(fixture->metrics);
    free(fixture);
    return 0;
}

static int
dial(const struct fixture *fixture)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)http_port(fixture->http)),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(fd >= 0);
    ASSERT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
    ASSERT(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

static void
send_text(int fd, const char *text)
{
    size_t size = strlen(text);
    ASSERT(send(fd, text, size, MSG_NOSIGNAL) == (ssize_t)size);
}

/* Everything up to the end of the connection. */
static void
read_all(int fd, struct buffer *out)
{
    for (;;) {
        char *room = buffer_reserve(out, 65536);
        ASSERT(room != NULL);
        ssize_t got = recv(fd, room, 65536, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET))
            break;
        ASSERT(got > 0);
        out->size += (size_t)got;
    }
    (void)buffer_string(out);
}

/* One request on a connection of its own; `out` gets the whole answer, the result is its body. */
static const char *
request(const struct fixture *fixture, const char *line, const char *headers, struct buffer *out)
{
    char text[1024];
    int size = snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s\r\n",
                        line, headers);
    ASSERT(size > 0 && (size_t)size < sizeof(text));
    buffer_clear(out);
    int fd = dial(fixture);
    send_text(fd, text);
    read_all(fd, out);
    (void)close(fd);
    char *end = strstr(out->bytes, "\r\n\r\n");
    ASSERT(end != NULL);
    return end + 4;
}

static bool
has_status(const struct buffer *answer, int status)
{
    return strtol(answer->bytes + strlen("HTTP/1.1 "), NULL, 10) == status;
}

static void
pages_are_served_and_others_are_named(void **state)
{
    struct buffer out;
    buffer_init(&out, ANSWER_MAX);
    assert_string_equal(request(*state, "GET /echo", "", &out), "hello path=(none) flag=(none)");
    assert_true(has_status(&out, 200));
    assert_non_null(strstr(out.bytes, "Cache-Control: no-store\r\n"));
    assert_string_equal(request(*state, "GET /echo?flag&path=%2Fvar%2Fa+b.log", "", &out),
                        "hello path=/var/a b.log flag=");
    const char *body = request(*state, "GET /nothing", "", &out);
    assert_true(has_status(&out, 404));
    static const char *const names[] = {"/metrics", "/healthz", "/readyz", "/echo", "/large"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_non_null(strstr(body, names[i]));
    buffer_done(&out);
}

static void
only_get_and_head_are_allowed(void **state)
{
    struct buffer out;
    buffer_init(&out, ANSWER_MAX);
    (void)request(*state, "POST /echo", "Content-Length: 100000000\r\n", &out);
    assert_true(has_status(&out, 405)); /* without waiting for the body */
    assert_non_null(strstr(out.bytes, "Allow: GET, HEAD\r\n"));
    (void)request(*state, "DELETE /metrics", "", &out);
    assert_true(has_status(&out, 405));
    assert_string_equal(request(*state, "HEAD /echo", "", &out), "");
    assert_true(has_status(&out, 200));
    assert_non_null(strstr(out.bytes, "Content-Length: 29\r\n"));
    buffer_done(&out);
}

static void
health_pages_carry_status_and_reason(void **state)
{
    struct fixture *fixture = *state;
    struct buffer out;
    buffer_init(&out, ANSWER_MAX);
    assert_string_equal(request(fixture, "GET /healthz", "", &out), "ok\n");
    assert_true(has_status(&out, 200));
    health_set(fixture->health, HEALTH_REMOTE, "kafka", "away");
    assert_string_equal(request(fixture, "GET /readyz", "", &out), "kafka: away\n");
    assert_true(has_status(&out, 503));
    assert_string_equal(request(fixture, "GET /readyz?local", "", &out), "ok\n");
    assert_true(has_status(&out, 200));
    buffer_done(&out);
}

static void
the_form_of_metrics_is_negotiated(void **state)
{
    static const struct {
        const char *accept;
        bool open;
    } cases[] = {
        {"", false},
        {"Accept: */*\r\n", false},
        {"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n", false},
        /* Prometheus 2.42 and 3.5 */
        {"Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
         "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n",
         true},
        {"Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
         "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;"
         "escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1\r\n",
         true},
        {"Accept: text/plain;version=0.0.4, application/openmetrics-text;q=0.5\r\n", false},
        {"Accept: application/openmetrics-text;q=0.9,text/plain;q=0.5,"
         "application/openmetrics-text;version=0.0.1;q=0.1\r\n",
         true},
        {"Accept: application/openmetrics-text;q=0, */*\r\n", false},
        {"Accept: application/openmetrics-text; q=nan;;q=;,,;\r\n", true},
        {"Accept: application/openmetrics-text;version=\"q=0\"\r\n", true},
    };
    struct buffer out;
    buffer_init(&out, ANSWER_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *body = request(*state, "GET /metrics", cases[i].accept, &out);
        bool open = strstr(out.bytes, "Content-Type: application/openmetrics-text; version=1.0.0; "
                                      "charset=utf-8\r\n") != NULL;
        bool plain = strstr(out.bytes, "Content-Type: text/plain; version=0.0.4; "
                                       "charset=utf-8\r\n") != NULL;
        if (open != cases[i].open || plain == open)
            fail_msg("%s", cases[i].accept);
        assert_non_null(strstr(body, "t_events_total 0\n"));
        assert_true((strstr(body, "# EOF\n") != NULL) == open);
    }
    buffer_done(&out);
}

/* The plain form of a gzip body. */
static void
unpack(const char *body, size_t size, struct buffer *out)
{
    z_stream stream = {0};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    char *room = buffer_reserve(out, ANSWER_MAX / 2);
    char *input = malloc(size);
    assert_non_null(room);
    assert_non_null(input);
    memcpy(input, body, size);
    stream.next_in = (Bytef *)input;
    stream.avail_in = (uInt)size;
    stream.next_out = (Bytef *)room;
    stream.avail_out = ANSWER_MAX / 2;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    out->size = stream.total_out;
    (void)inflateEnd(&stream);
    free(input);
}

static void
large_answers_are_compressed_for_those_who_want_it(void **state)
{
    struct buffer plain;
    struct buffer packed;
    struct buffer unpacked;
    buffer_init(&plain, ANSWER_MAX);
    buffer_init(&packed, ANSWER_MAX);
    buffer_init(&unpacked, ANSWER_MAX);
    const char *body = request(*state, "GET /large", "Accept-Encoding: deflate\r\n", &plain);
    assert_null(strstr(plain.bytes, "Content-Encoding"));
    size_t plain_size = plain.size - (size_t)(body - plain.bytes);
    assert_true(plain_size >= LARGE_SIZE);

    const char *small =
        request(*state, "GET /large", "Accept-Encoding: br, gzip;q=0.5\r\n", &packed);
    assert_non_null(strstr(packed.bytes, "Content-Encoding: gzip\r\n"));
    assert_non_null(strstr(packed.bytes, "Vary: Accept-Encoding\r\n"));
    size_t packed_size = packed.size - (size_t)(small - packed.bytes);
    assert_true(packed_size < plain_size / 2 + plain_size / 10);
    unpack(small, packed_size, &unpacked);
    assert_int_equal(unpacked.size, plain_size);
    assert_memory_equal(unpacked.bytes, body, plain_size);

    (void)request(*state, "GET /large", "Accept-Encoding: gzip;q=0\r\n", &packed);
    assert_null(strstr(packed.bytes, "Content-Encoding"));
    (void)request(*state, "GET /echo", "Accept-Encoding: gzip\r\n", &packed);
    assert_null(strstr(packed.bytes, "Content-Encoding")); /* too small to gain */
    buffer_done(&plain);
    buffer_done(&packed);
    buffer_done(&unpacked);
}

static void
an_answer_above_the_limit_is_an_error(void **state)
{
    struct buffer out;
    buffer_init(&out, ANSWER_MAX);
    assert_string_equal(request(*state, "GET /endless", "", &out),
                        "the answer is too large, or memory is short\n");
    assert_true(has_status(&out, 500));
    buffer_done(&out);
}

static void
a_body_that_is_made_while_it_is_sent_comes_whole_or_not_at_its_length(void **state)
{
    struct buffer out;
    buffer_init(&out, ANSWER_MAX);
    for (int i = 0; i < 2; i++) {
        const char *body = request(*state, "GET /stream", "Accept-Encoding: gzip\r\n", &out);
        assert_non_null(strstr(out.bytes, "Content-Length: 3000000\r\n"));
        assert_int_equal(out.size - (size_t)(body - out.bytes), STREAM_SIZE);
        for (size_t at = 0; at < STREAM_SIZE; at++)
            if (body[at] != (char)('a' + at % 23))
                fail_msg("byte %zu is wrong", at);
    }
    const char *body = request(*state, "GET /stream?break", "", &out);
    assert_non_null(strstr(out.bytes, "Content-Length: 3000000\r\n"));
    assert_true(out.size - (size_t)(body - out.bytes) <= STREAM_SIZE / 2);
    body = request(*state, "HEAD /stream", "", &out);
    assert_int_equal(out.size, body - out.bytes);
    assert_string_equal(request(*state, "GET /stream?fail", "", &out),
                        "the answer is too large, or memory is short\n");
    assert_true(has_status(&out, 500));
    int fd = dial(*state); /* one that goes away in the middle */
    send_text(fd, "GET /stream HTTP/1.1\r\nHost: t\r\n\r\n");
    (void)close(fd);
    struct fixture *fixture = *state;
    http_free(fixture->http);
    fixture->http = NULL;
    assert_true(streams_made >= 5);
    assert_int_equal(streams_made, streams_freed);
    buffer_done(&out);
}

static void
slow_clients_do_not_hold_up_others(void **state)
{
    struct buffer out;
    int slow[20];
    buffer_init(&out, ANSWER_MAX);
    for (size_t i = 0; i < 20; i++) {
        slow[i] = dial(*state);
        send_text(slow[i], i % 2 == 0 ? "GET /lar" : "GET /large HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    assert_string_equal(request(*state, "GET /healthz", "", &out), "ok\n");
    for (size_t i = 0; i < 20; i++)
        (void)close(slow[i]);
    assert_string_equal(request(*state, "GET /healthz", "", &out), "ok\n");
    buffer_done(&out);
}

static void
bad_addresses_are_refused_with_a_sentence(void **state)
{
    static const char *const bad[] = {
        "",       "10464",      "localhost", ":",           ":x",          ":99999", "127.0.0.1:-1",
        "::1:80", "[::1]10464", "[::1]:",    "[:80",        "[]:80",       "a b:80", "127.0.0.1:+1",
        ": 80",   ":0x10",      "a]:80x",    "host:123456", "[::1]:65536",
    };
    const struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http *http = NULL;
        struct err err = {0};
        if (http_new(&http, bad[i], fixture->metrics, fixture->health, NULL, 0, &err) ||
            err.action != ERR_CONFIG || http_check_listen(bad[i], &err))
            fail_msg("'%s': %s", bad[i], err.text);
    }
    static const char *const good[] = {"off",   ":0", ":10464", "[::1]:1", "127.0.0.1:65535",
                                       "a.b:80"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct err err;
        if (!http_check_listen(good[i], &err))
            fail_msg("%s", err.text);
    }
}

static void
a_taken_port_is_named(void **state)
{
    const struct fixture *fixture = *state;
    char listen_text[32];
    char wanted[160];
    struct http *http = NULL;
    struct err err;
    assert_true(
        snprintf(listen_text, sizeof(listen_text), "127.0.0.1:%u", http_port(fixture->http)) > 0);
    assert_true(snprintf(wanted, sizeof(wanted),
                         "cannot listen on '%s': Address already in use; another tailrace or "
                         "program has it",
                         listen_text) > 0);
    assert_false(http_new(&http, listen_text, fixture->metrics, fixture->health, NULL, 0, &err));
    assert_int_equal(err.action, ERR_STOP);
    assert_string_equal(err.text, wanted);
    http_free(NULL);
}

static void
an_empty_host_takes_ipv4_too(void **state)
{
    struct fixture all = *(struct fixture *)*state;
    struct buffer out;
    struct err err;
    buffer_init(&out, ANSWER_MAX);
    assert_true(http_new(&all.http, ":0", all.metrics, all.health, NULL, 0, &err));
    assert_string_equal(request(&all, "GET /healthz", "", &out), "ok\n");
    http_free(all.http);
    buffer_done(&out);
}

struct race {
    const struct fixture *fixture;
    atomic_uint done;
};

static void *
fetch_often(void *context)
{
    struct race *race = context;
    struct buffer out;
    buffer_init(&out, ANSWER_MAX);
    for (int i = 0; i < 50; i++) {
        (void)request(race->fixture, i % 2 == 0 ? "GET /metrics" : "GET /readyz", "", &out);
        ASSERT(has_status(&out, 200) || has_status(&out, 503));
    }
    buffer_done(&out);
    atomic_fetch_add(&race->done, 1);
    return NULL;
}

static void
pages_are_served_while_the_loop_works(void **state)
{
    struct fixture *fixture = *state;
    struct race race = {.fixture = fixture};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fetch_often, &race), 0);
    for (unsigned turn = 0; atomic_load(&race.done) < 2; turn++) {
        metrics_add(fixture->metrics, fixture->events, 1);
        metrics_publish(fixture->metrics);
        health_beat(fixture->health);
        health_set(fixture->health, HEALTH_LOCAL, "state", turn % 2 == 0 ? "busy" : NULL);
    }
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void
text_is_made_harmless_in_html(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1024);
    http_escape_html(&out, "<a href=\"x\">Tom & 'Jerry'</a>");
    assert_string_equal(buffer_string(&out),
                        "&lt;a href=&quot;x&quot;&gt;Tom &amp; &#39;Jerry&#39;&lt;/a&gt;");
    buffer_done(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_are_served_and_others_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_get_and_head_are_allowed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(health_pages_carry_status_and_reason, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_form_of_metrics_is_negotiated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_answers_are_compressed_for_those_who_want_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_answer_above_the_limit_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_body_that_is_made_while_it_is_sent_comes_whole_or_not_at_its_length, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(slow_clients_do_not_hold_up_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_addresses_are_refused_with_a_sentence, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_taken_port_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_host_takes_ipv4_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pages_are_served_while_the_loop_works, set_up, tear_down),
        cmocka_unit_test(text_is_made_harmless_in_html),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
