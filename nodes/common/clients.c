// SPDX-License-Identifier: MPL-2.0
// Nothing is cut here, however long: a list of endpoints that lost its end would still be a legal one.
#include "clients.h"

#include "../../lib/base/options.h"

#include <stdlib.h>

static size_t s_piece_count_max(const char *text)
{
    size_t count = 1;
    for (; *text; text++) count += *text == ',';
    return count;
}

static size_t s_add_pieces(char **list, const char *text)
{
    size_t used = 0;
    while (*text) {
        size_t size = strcspn(text, ","), end = size, begin = 0;
        while (begin < end && text[begin] == ' ') begin++;
        while (end > begin && text[end - 1] == ' ') end--;
        if (end > begin) list[used++] = weft_slice_dup(weft_slice(text + begin, end - begin));
        text += size + (text[size] == ',');
    }
    return used;
}

static char *s_pair(const char *key, const char *value)
{
    weft_buf_t text;
    weft_buf_init(&text);
    weft_buf_append(&text, key, strlen(key));
    weft_buf_append(&text, value, strlen(value));
    char *pair = weft_slice_dup(weft_buf_slice(&text));
    weft_buf_fini(&text);
    return pair;
}

char **weft_list_split(const char *text)
{
    char **list = weft_calloc(s_piece_count_max(text) + 1, sizeof *list);
    (void) s_add_pieces(list, text);
    return list;
}

void weft_list_free(char ***list_p)
{
    char **list = *list_p;
    *list_p = NULL;
    for (char **at = list; at && *at; at++) free(*at);
    free(list);
}

char **weft_inside_settings(const weft_hosted_node_t *node, const char *bootstrap, const char *const *own,
                            const char *more)
{
    size_t own_count = 0, used = 0;
    while (own[own_count]) own_count++;
    char **list = weft_calloc(2 + own_count + s_piece_count_max(more) + 1, sizeof *list);
    list[used++] = s_pair("bootstrap=", bootstrap);
    list[used++] = s_pair("client=", weft_node_name(node));
    for (size_t i = 0; i < own_count; i++) list[used++] = weft_strdup(own[i]);
    (void) s_add_pieces(list + used, more);
    return list;
}

void weft_inside_check(const weft_options_t *options, const char *option, const struct weft_option *table, size_t count,
                       weft_complain_fn *complain, void *context)
{
    weft_options_t *scratch = weft_options_new(table, count, option);
    char **list = weft_list_split(weft_options_text(options, option));
    struct weft_error error = {.code = WEFT_OK};
    for (char **at = list; *at; at++)
        if (weft_options_set_pair(scratch, *at, &error) != WEFT_OK)
            complain(context, option, "%s: %s", option, error.text);
    weft_list_free(&list);
    weft_options_destroy(&scratch);
}
