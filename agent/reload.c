/* SPDX-License-Identifier: Apache-2.0 */
/* reload.c: see reload.h. */
#include "agent/reload.h"

#include <string.h>

#include "agent/inputs/input.h"

#define NAMES_SIZE_MAX 65536

static const struct agent_files_options *
options_by_name(const struct agent_options *options, const char *name)
{
    for (size_t i = 0; i < options->files_count; i++)
        if (strcmp(options->files[i].name, name) == 0)
            return &options->files[i];
    return NULL;
}

bool
reload_add_input(struct agent *agent, const struct agent_files_options *options, struct err *err)
{
    struct input *input;
    if (!input_new(&input, agent, options, err))
        return false;
    struct input **end = &agent->inputs;
    while (*end != NULL)
        end = &(*end)->next;
    *end = input;
    return true;
}

/* Inputs follow the new options: gone, changed, added. */
static void
apply_inputs(struct agent *agent, const struct agent_options *next)
{
    struct err err;
    for (struct input *input = agent->inputs, *after; input != NULL; input = after) {
        after = input->next;
        const struct agent_files_options *options = options_by_name(next, input->name);
        if (options == NULL) {
            agent_say(agent, LOG_LEVEL_INFO, "input '%s' is removed", input->name);
            (void)input_remove(agent, input); /* the tick goes on with it */
            continue;
        }
        bool same = agent_files_equal(input->options, options);
        if (!same)
            agent_say(agent, LOG_LEVEL_INFO, "input '%s' is changed", input->name);
        if (!input_apply(agent, input, options, &err))
            agent_say(agent, LOG_LEVEL_ERROR, "input '%s': %s", input->name, err.text);
    }
    for (size_t i = 0; i < next->files_count; i++) {
        if (input_named(agent, next->files[i].name) != NULL)
            continue;
        agent_say(agent, LOG_LEVEL_INFO, "input '%s' is added", next->files[i].name);
        if (!reload_add_input(agent, &next->files[i], &err))
            agent_say(agent, LOG_LEVEL_ERROR, "%s", err.text);
    }
}

/* What cannot be reloaded is named. */
static void
name_kept(struct agent *agent, const struct options *loaded)
{
    struct buffer names;
    buffer_init(&names, NAMES_SIZE_MAX);
    if (options_need_restart(agent->loaded, loaded, &names))
        agent_say(agent, LOG_LEVEL_WARN, "these options take effect only after a restart: %s",
                  buffer_string(&names));
    buffer_done(&names);
}

bool
reload_run(struct agent *agent, const char *config_path, struct options **in_force)
{
    struct options *loaded;
    struct err err;
    if (!options_load(&loaded, &agent_options_schema, config_path, &err)) {
        agent_say(agent, LOG_LEVEL_ERROR, "the configuration is kept as it was: %s", err.text);
        return false;
    }
    if (!agent_options_check(loaded, &err)) {
        agent_say(agent, LOG_LEVEL_ERROR, "the configuration is kept as it was: %s", err.text);
        options_free(loaded);
        return false;
    }
    const struct agent_options *next = options_root(loaded);
    name_kept(agent, loaded);
    log_setup("tailrace-agent", (enum log_level)next->log.level, (enum log_format)next->log.format);
    apply_inputs(agent, next);
    options_free(*in_force);
    *in_force = loaded;
    agent->rediscover(agent);
    agent_say(agent, LOG_LEVEL_INFO, "the configuration is reloaded");
    return true;
}
