// SPDX-License-Identifier: MPL-2.0
// The actor's thread only answers its pipe; the node has its own threads, and its own context unless it is to be reached
// by inproc: then that is CZMQ's, where the program's zsocks are.
#include "zmq_context.h"

#include <weft/czmq_actor.h>
#include <weft/node.h>

static void s_counter(void *context, const char *source, const char *name, const char *doc, uint64_t value)
{
    zmsg_t *answer = context;
    zmsg_addstrf(answer, "%s %s %llu", source, name, (unsigned long long) value);
}

static zmsg_t *s_health(const weft_hosted_node_t *node, const struct weft_error *error)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX] = "";
    enum weft_health health = node != NULL ? weft_node_health(node, sentence, sizeof sentence) : WEFT_HEALTH_FAILED;
    zmsg_t *answer = zmsg_new();
    zmsg_addstr(answer, weft_health_name(health));
    zmsg_addstr(answer, node != NULL ? sentence : error->text);
    return answer;
}

static zmsg_t *s_answer(const char *command, const weft_hosted_node_t *node, const struct weft_error *error)
{
    if (streq(command, "HEALTH")) return s_health(node, error);
    zmsg_t *answer = zmsg_new();
    if (node != NULL && streq(command, "ENDPOINT")) {
        zmsg_addstr(answer, weft_node_endpoint(node));
    } else if (node != NULL && streq(command, "COUNTERS")) {
        weft_node_counters(node, s_counter, answer);
    } else {
        zmsg_addstr(answer, "ERROR");
        zmsg_addstr(answer, node == NULL ? error->text : "The commands are HEALTH, ENDPOINT, COUNTERS and $TERM.");
    }
    return answer;
}

static bool s_is_inproc(const char *const *settings)
{
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++)
        if (weft_zmq_context_is_for(settings[i])) return true;
    return false;
}

void weft_node_actor(zsock_t *pipe, void *args)
{
    const struct weft_node_actor_args *how = args;
    struct weft_error error = {0};
    weft_hosted_node_t *node = NULL;
    bool inproc = s_is_inproc(how->settings);
    if (inproc) (void) weft_zmq_context_take_or(zsys_init());
    weft_err_t err = weft_node_start(how->type, how->settings, &node, &error);
    zsock_signal(pipe, err == WEFT_OK ? 0 : 1);
    for (;;) {
        zmsg_t *request = zmsg_recv(pipe);
        if (request == NULL) break; // the program ends
        char *command = zmsg_popstr(request);
        zmsg_destroy(&request);
        bool term = command != NULL && streq(command, "$TERM");
        if (!term) {
            zmsg_t *answer = s_answer(command != NULL ? command : "", node, &error);
            zmsg_send(&answer, pipe);
        }
        zstr_free(&command);
        if (term) break;
    }
    weft_node_stop(&node);
    if (inproc) weft_zmq_context_release();
}
