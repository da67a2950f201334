// SPDX-License-Identifier: MPL-2.0
// Settings that changed in the source are set in the target (settings.h says which). What the source had is kept with the
// topic, and noted by the loop, so that a change is seen that was made while no bridge ran. If the target took it and the note
// is lost, the next comparison finds nothing to do (or, if the source changed once more meanwhile, a value that it leaves).
#include "bridge_inner.h"

#include <weft_gen/records.h>

#include <stdlib.h>

// False: nothing was noted of these two topics.
static bool s_before(weft_codec_t *codec, weft_slice_t bytes, weft_id_t source, weft_id_t target,
                     struct weft_bridge_settings *out)
{
    struct weft_bridge_settings_record record;
    if (bytes.size == 0 || weft_bridge_settings_record_decode(codec, bytes, &record, NULL) != WEFT_OK) return false;
    if (!weft_id_equal(record.source_topic_id, source) || !weft_id_equal(record.target_topic_id, target)) return false;
    out->count = 0;
    for (size_t i = 0; i < record.settings_count && out->count < WEFT_BRIDGE_SETTINGS_MAX; i++)
        out->list[out->count++] = (struct weft_bridge_setting_value){record.settings[i].key, record.settings[i].value};
    return true;
}

static void s_encode(const struct weft_bridge_settings *now, weft_id_t source, weft_id_t target, weft_buf_t *out)
{
    struct weft_bridge_setting list[WEFT_BRIDGE_SETTINGS_MAX];
    struct weft_bridge_settings_record record;
    weft_bridge_settings_record_init(&record);
    record.source_topic_id = source;
    record.target_topic_id = target;
    record.settings = list;
    record.settings_count = now->count;
    for (size_t i = 0; i < now->count; i++)
        list[i] = (struct weft_bridge_setting){now->list[i].key, now->list[i].value};
    weft_bridge_settings_record_encode(&record, out);
}

static weft_err_t s_alter(weft_bridge_t *self, const char *target_name, const struct weft_bridge_settings_plan *plan)
{
    struct weft_setting set[WEFT_BRIDGE_SETTINGS_MAX];
    const char *unset[WEFT_BRIDGE_SETTINGS_MAX];
    char *owned[3 * WEFT_BRIDGE_SETTINGS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < plan->set_count; i++) {
        set[i].key = owned[count++] = weft_slice_dup(plan->set_keys[i]);
        set[i].value = owned[count++] = weft_slice_dup(plan->set_values[i]);
    }
    for (size_t i = 0; i < plan->unset_count; i++) unset[i] = owned[count++] = weft_slice_dup(plan->unset_keys[i]);
    weft_err_t err =
        weft_admin_alter_topic(self->target_admin, target_name, set, plan->set_count, unset, plan->unset_count, NULL);
    while (count > 0) free(owned[--count]);
    return err;
}

static void s_tell(weft_bridge_t *self, const char *target_name, const struct weft_bridge_settings_plan *plan)
{
    for (size_t i = 0; i < plan->set_count; i++)
        weft_node_trace(self->node, 2, "'%s': %.*s=%.*s, as in the source now", target_name,
                        (int) plan->set_keys[i].size, (const char *) plan->set_keys[i].data,
                        (int) plan->set_values[i].size, (const char *) plan->set_values[i].data);
    for (size_t i = 0; i < plan->unset_count; i++)
        weft_node_trace(self->node, 2, "'%s': %.*s has its default again, as in the source", target_name,
                        (int) plan->unset_keys[i].size, (const char *) plan->unset_keys[i].data);
    for (size_t i = 0; i < plan->left_count; i++)
        weft_node_trace(self->node, 1, "'%s': %.*s changed in the source, and is left here: the target has its own",
                        target_name, (int) plan->left_keys[i].size, (const char *) plan->left_keys[i].data);
    weft_node_counter_add(self->node, WEFT_BRIDGE_SETTINGS, plan->set_count + plan->unset_count);
    weft_node_counter_add(self->node, WEFT_BRIDGE_SETTINGS_LEFT, plan->left_count);
}

// `carried` is what the note says, and what it is to say if it is to change.
static bool s_carry(weft_bridge_t *self, const char *target_name, const weft_topic_config_t *source,
                    const weft_topic_config_t *target, weft_buf_t *carried)
{
    struct weft_bridge_settings before, now, there;
    struct weft_bridge_settings_plan plan;
    weft_codec_t codec;
    weft_codec_init(&codec);
    weft_bridge_settings_of(source, &now);
    weft_bridge_settings_of(target, &there);
    weft_err_t err = WEFT_OK;
    if (s_before(&codec, weft_buf_slice(carried), source->topic_id, target->topic_id, &before)) {
        weft_bridge_settings_plan(&before, &now, &there, &plan);
        if (plan.set_count + plan.unset_count > 0) err = s_alter(self, target_name, &plan);
        if (err == WEFT_OK) s_tell(self, target_name, &plan);
    }
    weft_buf_t next;
    weft_buf_init(&next);
    s_encode(&now, source->topic_id, target->topic_id, &next);
    bool moved = err == WEFT_OK && !weft_slice_equal(weft_buf_slice(&next), weft_buf_slice(carried));
    if (moved) {
        weft_buf_clear(carried);
        weft_buf_append(carried, next.data, next.size);
    }
    weft_buf_fini(&next);
    weft_codec_fini(&codec);
    if (err == WEFT_OK || atomic_load(&self->ending)) return moved;
    weft_node_counter_add(self->node, WEFT_BRIDGE_SETTINGS_FAILED, 1);
    weft_node_trace(self->node, 1, "settings of '%s' are not as in the source, and are tried again: %s", target_name,
                    weft_admin_error_text(self->target_admin));
    return false;
}

void weft_bridge_carry(weft_bridge_t *self, struct weft_bridge_topic *topic, const weft_topic_config_t *source)
{
    if (!weft_options_bool(self->options, "settings")) return;
    weft_buf_t carried;
    weft_topic_config_t *target = NULL;
    weft_buf_init(&carried);
    pthread_mutex_lock(&self->lock);
    bool due = topic->carried_known || topic->carried.size == 0; // the first sight of a topic counts before the claim
    weft_buf_append(&carried, topic->carried.data, topic->carried.size);
    pthread_mutex_unlock(&self->lock);
    bool asked = due && weft_admin_describe_topic(self->target_admin, topic->target_name, &target) == WEFT_OK;
    if (asked && s_carry(self, topic->target_name, source, target, &carried)) {
        pthread_mutex_lock(&self->lock);
        weft_buf_clear(&topic->carried);
        weft_buf_append(&topic->carried, carried.data, carried.size);
        topic->carried_moved = true;
        pthread_mutex_unlock(&self->lock);
    }
    weft_topic_config_destroy(&target);
    weft_buf_fini(&carried);
}
