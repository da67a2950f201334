// SPDX-License-Identifier: MPL-2.0
// A merge of three: each key that the source had or has is looked at once. A default is the absence of a value. Values are
// told as a person wrote them, so "1h" and "3600000" are one.
#include "settings.h"

#include "../../lib/base/options.h"
#include <weft_gen/config.h>

#include <stdio.h>
#include <string.h>

bool weft_bridge_setting_is_carried(const char *key)
{
    if (strcmp(key, "min.insync") == 0) return false; // goes with the number of replicas, which is each cluster's own
    for (size_t i = 0; i < weft_options_topic_count; i++)
        if (strcmp(weft_options_topic[i].name, key) == 0) return true;
    return false;
}

void weft_bridge_settings_of(const weft_topic_config_t *config, struct weft_bridge_settings *out)
{
    out->count = 0;
    for (size_t i = 0; i < config->setting_count && out->count < WEFT_BRIDGE_SETTINGS_MAX; i++) {
        const struct weft_topic_setting *from = &config->settings[i];
        if (from->is_default || !weft_bridge_setting_is_carried(from->key)) continue;
        out->list[out->count++] =
            (struct weft_bridge_setting_value){weft_slice_text(from->key), weft_slice_text(from->value)};
    }
}

// NIL: the default.
static weft_slice_t s_value(const struct weft_bridge_settings *self, weft_slice_t key)
{
    for (size_t i = 0; i < self->count; i++)
        if (weft_slice_equal(self->list[i].key, key)) return self->list[i].value;
    return WEFT_SLICE_NIL;
}

static bool s_number(weft_slice_t key, weft_slice_t value, int64_t *out)
{
    char text[128];
    if (value.size >= sizeof text) return false;
    snprintf(text, sizeof text, "%.*s", (int) value.size, (const char *) value.data);
    for (size_t i = 0; i < weft_options_topic_count; i++)
        if (weft_slice_is_text(key, weft_options_topic[i].name))
            return weft_options_topic[i].type != WEFT_OPTION_TEXT &&
                   weft_option_parse(&weft_options_topic[i], text, out);
    return false;
}

static bool s_same(weft_slice_t key, weft_slice_t a, weft_slice_t b)
{
    int64_t left, right;
    if (weft_slice_equal(a, b)) return true;
    return a.data != NULL && b.data != NULL && s_number(key, a, &left) && s_number(key, b, &right) && left == right;
}

static void s_judge(const struct weft_bridge_settings *before, const struct weft_bridge_settings *now,
                    const struct weft_bridge_settings *target, weft_slice_t key, struct weft_bridge_settings_plan *out)
{
    weft_slice_t was = s_value(before, key), is = s_value(now, key), there = s_value(target, key);
    if (s_same(key, was, is) || s_same(key, is, there)) return;
    if (!s_same(key, was, there)) {
        out->left_keys[out->left_count++] = key;
    } else if (is.data == NULL) {
        out->unset_keys[out->unset_count++] = key;
    } else {
        out->set_keys[out->set_count] = key;
        out->set_values[out->set_count++] = is;
    }
}

void weft_bridge_settings_plan(const struct weft_bridge_settings *before, const struct weft_bridge_settings *now,
                               const struct weft_bridge_settings *target, struct weft_bridge_settings_plan *out)
{
    out->set_count = out->unset_count = out->left_count = 0;
    for (size_t i = 0; i < now->count; i++) s_judge(before, now, target, now->list[i].key, out);
    for (size_t i = 0; i < before->count; i++)
        if (s_value(now, before->list[i].key).data == NULL) s_judge(before, now, target, before->list[i].key, out);
}
