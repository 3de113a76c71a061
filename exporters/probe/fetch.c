/* SPDX-License-Identifier: Apache-2.0 */
/* fetch.c: see fetch.h. libcurl shows certificates only of a handshake that succeeded, so one that
 * is not trusted is asked for again without trust, for its date alone (seen with 7.88). */
#include "exporters/probe/fetch.h"

#include <curl/curl.h>
#include <string.h>

#include "core/clock.h"

#define STATUS_BAD 400

/* The answer's body is of no interest. */
static size_t
on_body(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    (void)context;
    return size * count;
}

/* Ends the transfer when the program does. */
static int
on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct remote_call *call = context;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return atomic_load(call->stop) ? 1 : 0;
}

static int64_t
earliest_expiry(CURL *curl)
{
    static const char key[] = "Expire date:";
    struct curl_certinfo *chain = NULL;
    int64_t earliest = 0;
    if (curl_easy_getinfo(curl, CURLINFO_CERTINFO, &chain) != CURLE_OK || chain == NULL)
        return 0;
    for (int i = 0; i < chain->num_of_certs; i++)
        for (const struct curl_slist *line = chain->certinfo[i]; line != NULL; line = line->next) {
            if (strncmp(line->data, key, sizeof(key) - 1) != 0)
                continue;
            time_t date = curl_getdate(line->data + sizeof(key) - 1, NULL);
            if (date > 0 && (earliest == 0 || date < earliest))
                earliest = date;
        }
    return earliest;
}

static CURLcode
transfer(const struct fetch *fetch, const struct remote_call *call, bool trust,
         struct fetch_result *out, char error[CURL_ERROR_SIZE])
{
    uint64_t now_ms = clock_monotonic_ms();
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return CURLE_OUT_OF_MEMORY;
    (void)curl_easy_setopt(curl, CURLOPT_URL, fetch->url);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "tailrace-exporter");
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                           (long)(call->deadline_ms > now_ms ? call->deadline_ms - now_ms : 1));
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, call);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, fetch->handshake || !trust ? 1L : 0L);
    if (fetch->ca_file[0] != '\0')
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, fetch->ca_file);
    if (!trust) {
        (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    CURLcode code = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
    out->expiry = earliest_expiry(curl);
    curl_easy_cleanup(curl);
    return code;
}

bool
fetch_url(const struct fetch *fetch, const struct remote_call *call, struct fetch_result *out,
          struct err *err)
{
    char error[CURL_ERROR_SIZE] = "";
    *out = (struct fetch_result){0};
    CURLcode code = transfer(fetch, call, true, out, error);
    if (code == CURLE_OK && out->status < STATUS_BAD)
        return true;
    if (code == CURLE_OK)
        return err_set(err, ERR_RETRY, (int)out->status, "'%.200s' answers with status %ld",
                       fetch->url, out->status);
    (void)err_set(err, ERR_RETRY, (int)code, "cannot reach '%.200s': %s", fetch->url,
                  error[0] != '\0' ? error : curl_easy_strerror(code));
    if (code == CURLE_PEER_FAILED_VERIFICATION) {
        struct fetch_result untrusted = {0};
        if (transfer(fetch, call, false, &untrusted, error) == CURLE_OK)
            out->expiry = untrusted.expiry;
    }
    return false;
}
