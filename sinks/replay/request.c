/* SPDX-License-Identifier: Apache-2.0 */
/* request.c: see request.h. */
#include "sinks/replay/request.h"

#include <string.h>

#include "core/cli.h"
#include "core/options.h"

const char dead_letters_help[] =
    "Shows the documents that the index refused, or sends them to their topics again. The id of\n"
    "an event stays, so what is in the index already is found there and not stored twice.\n"
    "  list          print the letters: time, origin, index, id, status, reason, value\n"
    "  count         print how many there are, by topic and reason\n"
    "  replay        send them back, those that were not sent back before\n"
    "  --topic TOPIC only letters from this topic of a route\n"
    "  --since TIME  only letters of the last TIME: 30s, 10m, 1h, 7d\n"
    "  --reason TEXT only letters whose reason holds TEXT, in upper or lower case\n"
    "  --id ID       only the letter of this event\n"
    "  --open        list, count: only letters that were not sent back yet\n"
    "  --again       replay: also letters that were sent back before\n"
    "  --dry-run     replay: say what would be sent, send nothing\n"
    "  --json        one JSON object a line; list: with the whole value that is kept\n";

static bool
parse_action(enum replay_action *out, int argc, char **argv, struct err *err)
{
    static const char *const names[] = {"list", "count", "replay"};
    static const enum replay_action actions[] = {REPLAY_LIST, REPLAY_COUNT, REPLAY_SEND};
    if (argc == 0)
        return err_set(err, ERR_CONFIG, 0, "dead-letters wants list, count or replay");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        *out = actions[i];
        if (strcmp(argv[0], names[i]) == 0)
            return true;
    }
    const char *near = option_nearest(argv[0], names, sizeof(names) / sizeof(names[0]));
    if (near != NULL)
        return err_set(err, ERR_CONFIG, 0, "dead-letters knows no '%.100s'; did you mean '%s'?",
                       argv[0], near);
    return err_set(err, ERR_CONFIG, 0,
                   "dead-letters wants list, count or replay first, not '%.100s'", argv[0]);
}

static bool
parse_flag(struct replay_request *request, const char *word, struct err *err)
{
    static const char *const names[] = {"--topic", "--since", "--reason",  "--id",
                                        "--open",  "--again", "--dry-run", "--json"};
    bool *const flags[] = {&request->open, &request->again, &request->dry_run, &request->json};
    for (size_t i = 4; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(word, names[i]) == 0) {
            *flags[i - 4] = true;
            return true;
        }
    const char *near = option_nearest(word, names, sizeof(names) / sizeof(names[0]));
    if (near != NULL)
        return err_set(err, ERR_CONFIG, 0, "dead-letters knows no '%.100s'; did you mean '%s'?",
                       word, near);
    return err_set(err, ERR_CONFIG, 0,
                   "dead-letters takes no '%.100s'; 'help dead-letters' lists what there is", word);
}

static bool
parse_word(struct replay_request *request, int argc, char **argv, int *at, struct err *err)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {
        {"--topic", &request->topic}, {"--reason", &request->reason}, {"--id", &request->id}};
    const char *value = NULL;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!cli_take_value(texts[i].name, argc, argv, at, &value, err))
            return false;
        if (value == NULL)
            continue;
        if (value[0] == '\0')
            return err_set(err, ERR_CONFIG, 0, "%s is empty", texts[i].name);
        *texts[i].text = value;
        return true;
    }
    if (!cli_take_value("--since", argc, argv, at, &value, err))
        return false;
    if (value == NULL)
        return parse_flag(request, argv[*at], err);
    if (!option_parse_duration(value, &request->since_ms, err))
        return err_wrap(err, "--since");
    return request->since_ms > 0 || err_set(err, ERR_CONFIG, 0, "--since wants more than 0");
}

bool
replay_request_parse(struct replay_request *out, int argc, char **argv, struct err *err)
{
    *out = (struct replay_request){0};
    if (!parse_action(&out->action, argc, argv, err))
        return false;
    for (int at = 1; at < argc; at++)
        if (!parse_word(out, argc, argv, &at, err))
            return false;
    bool sends = out->action == REPLAY_SEND;
    if (!sends && (out->again || out->dry_run))
        return err_set(err, ERR_CONFIG, 0, "%s goes with replay alone",
                       out->again ? "--again" : "--dry-run");
    if (sends && out->open && out->again)
        return err_set(err, ERR_CONFIG, 0, "--open and --again exclude each other");
    if (sends && !out->again)
        out->open = true;
    return true;
}
