// SPDX-License-Identifier: MPL-2.0
/**
 * A type of node as its author outside writes it, against the public headers alone: a ROUTER that sends back what it
 * gets; and all the ways in which such a node can go wrong.
 */
#ifndef TESTS_ECHO_NODE_H
#define TESTS_ECHO_NODE_H

#include <weft/node_type.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

static const struct weft_option echo_options[] = {
    {.name = "name", .type = WEFT_OPTION_TEXT, .initial = "", .max = 63, .doc = "Name of the node."},
    {.name = "listen",
     .type = WEFT_OPTION_TEXT,
     .initial = "tcp://127.0.0.1:*",
     .min = 1,
     .max = 255,
     .doc = "Endpoint.",
     .role = WEFT_OPTION_ROLE_LISTEN},
    {.name = "stop.ms", .type = WEFT_OPTION_DURATION, .initial = "5s", .min = 1, .max = 60000, .doc = "Longest stop."},
    {.name = "behave",
     .type = WEFT_OPTION_CHOICE,
     .initial = "well",
     .choices = "well|fails|ends|never-stops|stop-fails|gives-nothing|lonely|leaves-a-socket",
     .doc = "How it goes wrong."},
};
enum {
    ECHO_WELL,
    ECHO_FAILS,
    ECHO_ENDS,
    ECHO_NEVER_STOPS,
    ECHO_STOP_FAILS,
    ECHO_GIVES_NOTHING,
    ECHO_LONELY,
    ECHO_LEAVES_A_SOCKET
};

enum { ECHO_MESSAGES_COUNT };
static const struct weft_counter_info echo_counters[] = {{"messages_count", "Messages sent back."}};

struct echo_node {
    weft_hosted_node_t *node;
    void *socket;
    int64_t behave;
};

static inline weft_err_t echo_create(weft_hosted_node_t *node, const weft_options_t *options, void **out,
                                     struct weft_error *error)
{
    int64_t behave = weft_options_int(options, "behave");
    if (behave == ECHO_GIVES_NOTHING) return WEFT_OK;
    struct echo_node *self = calloc(1, sizeof *self);
    if (self == NULL) return weft_node_refuse(error, WEFT_ERR_INTERNAL, "no memory");
    self->node = node;
    self->behave = behave;
    self->socket = zmq_socket(weft_node_zmq_context(node), ZMQ_ROUTER);
    const char *listen = weft_options_text(options, "listen");
    int linger = 0;
    zmq_setsockopt(self->socket, ZMQ_LINGER, &linger, sizeof linger);
    if (zmq_bind(self->socket, listen) != 0) {
        zmq_close(self->socket);
        free(self);
        return weft_node_refuse(error, WEFT_ERR_INVALID_ENDPOINT, "can't listen on '%s': %s", listen,
                                zmq_strerror(zmq_errno()));
    }
    char endpoint[256];
    size_t size = sizeof endpoint;
    zmq_getsockopt(self->socket, ZMQ_LAST_ENDPOINT, endpoint, &size);
    weft_node_set_endpoint(node, endpoint);
    *out = self;
    return WEFT_OK;
}

static inline void echo_turn(struct echo_node *self)
{
    zmq_msg_t part;
    for (bool more = true; more;) {
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, self->socket, 0) < 0) return;
        more = zmq_msg_more(&part);
        zmq_msg_send(&part, self->socket, more ? ZMQ_SNDMORE : 0);
    }
    weft_node_counter_add(self->node, ECHO_MESSAGES_COUNT, 1);
}

static inline weft_err_t echo_run(void *node, struct weft_error *error)
{
    struct echo_node *self = node;
    if (self->behave == ECHO_FAILS) return weft_node_refuse(error, WEFT_ERR_DISK_FAILED, "the disk is gone");
    if (self->behave == ECHO_ENDS) return WEFT_OK;
    if (self->behave == ECHO_LONELY)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "nobody is %s yet", "there");
    else
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, NULL);
    zmq_pollitem_t items[] = {{.fd = weft_node_stop_fd(self->node), .events = ZMQ_POLLIN},
                              {.socket = self->socket, .events = ZMQ_POLLIN}};
    while (!weft_node_stopping(self->node)) {
        zmq_poll(items, 2, -1);
        if ((items[1].revents & ZMQ_POLLIN) != 0) echo_turn(self);
    }
    while (self->behave == ECHO_NEVER_STOPS) pause();
    return self->behave == ECHO_STOP_FAILS ? weft_node_refuse(error, WEFT_ERR_DISK_FULL, "no room") : WEFT_OK;
}

static inline void echo_destroy(void **node_p)
{
    struct echo_node *self = *node_p;
    *node_p = NULL;
    if (self->behave != ECHO_LEAVES_A_SOCKET) zmq_close(self->socket);
    free(self);
}

static const struct weft_node_type echo_type = {.abi = WEFT_NODE_ABI,
                                                .name = "echo",
                                                .doc = "Sends back what it gets.",
                                                .options = echo_options,
                                                .option_count = sizeof echo_options / sizeof *echo_options,
                                                .counters = echo_counters,
                                                .counter_count = 1,
                                                .create = echo_create,
                                                .run = echo_run,
                                                .destroy = echo_destroy};

#endif
