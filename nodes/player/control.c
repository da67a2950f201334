// SPDX-License-Identifier: MPL-2.0
// Requests come from anybody: what is longer than a request can be is cut, what has other frames is passed over.
#include "control.h"

#include "pace.h"

#include <stdio.h>
#include <stdlib.h>
#include <weft/node_type.h>
#include <zmq.h>

#define STEPS_MAX UINT64_C(1000000000000)

static weft_err_t s_unknown(const char *text, struct weft_error *error)
{
    return weft_node_refuse(error, WEFT_ERR_INVALID_ARGUMENT,
                            "'%.60s' is not understood; there is: status, pause, resume, step [N], "
                            "seek earliest|latest|OFFSET|@TIME, speed X",
                            text);
}

static weft_err_t s_steps(const char *text, struct weft_control_order *out)
{
    struct weft_position number = {WEFT_FROM_OFFSET, 1};
    weft_err_t err = *text ? weft_position_parse(text, &number) : WEFT_OK;
    if (err || number.from != WEFT_FROM_OFFSET || number.value < 1 || (uint64_t) number.value > STEPS_MAX)
        return WEFT_ERR_INVALID_ARGUMENT;
    out->steps = (uint64_t) number.value;
    return WEFT_OK;
}

weft_err_t weft_control_parse(weft_slice_t text, struct weft_control_order *out, struct weft_error *error)
{
    static const char *const verbs[] = {"status", "pause", "resume", "step", "seek", "speed"};
    char line[WEFT_CONTROL_TEXT_BYTES_MAX + 1];
    if (text.size >= sizeof line || memchr(text.data, 0, text.size)) return s_unknown("", error);
    memcpy(line, text.data, text.size);
    for (line[text.size] = 0; text.size && strchr(" \r\n", line[text.size - 1]);) line[--text.size] = 0;
    char *rest = strchr(line, ' ');
    if (rest) *rest++ = 0;
    const char *argument = rest ? rest : "";
    struct weft_control_order order = {.steps = 1};
    size_t verb = 0;
    while (verb < sizeof verbs / sizeof *verbs && strcmp(verbs[verb], line) != 0) verb++;
    order.verb = (enum weft_control_verb) verb;
    weft_err_t err = verb == sizeof verbs / sizeof *verbs ? WEFT_ERR_INVALID_ARGUMENT : WEFT_OK;
    if (order.verb == WEFT_CONTROL_STEP)
        err = s_steps(argument, &order);
    else if (order.verb == WEFT_CONTROL_SEEK)
        err = weft_position_parse(argument, &order.at);
    else if (order.verb == WEFT_CONTROL_SPEED)
        err = weft_pace_parse(argument, &order.speed);
    else if (*argument)
        err = WEFT_ERR_INVALID_ARGUMENT;
    if (rest) rest[-1] = ' ';
    if (err) return s_unknown(line, error);
    *out = order;
    return WEFT_OK;
}

// One frame into `bytes`. False: none now. *size is what it had, maybe more than fits.
static bool s_frame(void *socket, void *bytes, size_t most, size_t *size, bool *more, int flags)
{
    int received = zmq_recv(socket, bytes, most, flags), has_more = 0;
    if (received < 0) return false;
    size_t option_bytes = sizeof has_more;
    (void) zmq_getsockopt(socket, ZMQ_RCVMORE, &has_more, &option_bytes);
    *more = has_more;
    *size = (size_t) received;
    return true;
}

bool weft_control_receive(void *socket, struct weft_control_client *client, char *text, size_t *text_bytes)
{
    bool more, whole = true;
    size_t size;
    if (!s_frame(socket, client->id, sizeof client->id, &client->id_bytes, &more, ZMQ_DONTWAIT)) return false;
    client->delimiter = false;
    *text_bytes = 0;
    for (size_t frame = 0; more; frame++) {
        if (!s_frame(socket, text, WEFT_CONTROL_TEXT_BYTES_MAX, &size, &more, 0)) return false;
        if (frame == 0 && size == 0 && more)
            client->delimiter = true;
        else if (frame == (client->delimiter ? 1 : 0) && !more && size <= WEFT_CONTROL_TEXT_BYTES_MAX)
            *text_bytes = size;
        else
            whole = false;
    }
    if (!whole) *text_bytes = 0;
    return true;
}

void weft_control_answer(void *socket, const struct weft_control_client *client, const weft_buf_t *json)
{
    if (zmq_send(socket, client->id, client->id_bytes, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
    if (client->delimiter && zmq_send(socket, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
    (void) zmq_send(socket, json->data, json->size, ZMQ_DONTWAIT);
}

void weft_control_quote(weft_buf_t *json, const char *text)
{
    weft_buf_append(json, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char) *text;
        if (c == '"' || c == '\\')
            weft_buf_printf(json, "\\%c", c);
        else if (c < 0x20)
            weft_buf_printf(json, "\\u%04x", c);
        else
            weft_buf_append(json, text, 1);
    }
    weft_buf_append(json, "\"", 1);
}
