// SPDX-License-Identifier: MPL-2.0
/**
 * Settings: which settings of a target topic are to change because the source's did. Pure.
 *
 * Three are compared: what the source had when they were last carried over, what it has now, and what the target has. What
 * the source changed is carried over where the target still had the source's old value. A value that somebody set in the target
 * is the target's own: a core that keeps records for a year does not lose them because an edge keeps them for an
 * hour.
 */
#ifndef WEFT_BRIDGE_SETTINGS_H
#define WEFT_BRIDGE_SETTINGS_H

#include "../../lib/base/bytes.h"
#include <weft/admin.h>

#define WEFT_BRIDGE_SETTINGS_MAX 32

/** What of a topic's settings differs from the defaults, and is a bridge's to carry. Slices are borrowed. */
struct weft_bridge_setting_value {
    weft_slice_t key, value;
};
struct weft_bridge_settings {
    struct weft_bridge_setting_value list[WEFT_BRIDGE_SETTINGS_MAX];
    size_t count;
};

struct weft_bridge_settings_plan {
    weft_slice_t set_keys[WEFT_BRIDGE_SETTINGS_MAX], set_values[WEFT_BRIDGE_SETTINGS_MAX];
    weft_slice_t unset_keys[WEFT_BRIDGE_SETTINGS_MAX];    // back to the default
    weft_slice_t left_keys[2 * WEFT_BRIDGE_SETTINGS_MAX]; // changed in the source, and the target has its own
    size_t set_count, unset_count, left_count;
};

bool weft_bridge_setting_is_carried(const char *key); // this release knows it, and it is no matter of each cluster's
void weft_bridge_settings_of(const weft_topic_config_t *config, struct weft_bridge_settings *out); // borrows from it
void weft_bridge_settings_plan(const struct weft_bridge_settings *before, const struct weft_bridge_settings *now,
                               const struct weft_bridge_settings *target, struct weft_bridge_settings_plan *out);

#endif
