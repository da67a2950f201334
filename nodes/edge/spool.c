// SPDX-License-Identifier: MPL-2.0
#include "spool.h"

weft_err_t weft_spool_new(const struct weft_disk *disk, const weft_options_t *options, const char *name,
                          weft_spool_t **out, struct weft_part **sync, struct weft_error *error)
{
    return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "spool: this build has none");
}
void weft_spool_destroy(weft_spool_t **self_p) {}
void weft_spool_set_sync(weft_spool_t *self, weft_part_id_t sync_id) {}
int64_t weft_spool_after_us(const weft_spool_t *self)
{
    return 0;
}
void weft_spool_start(weft_spool_t *self, weft_edge_part_t *edge) {}
void weft_spool_synced(weft_spool_t *self, struct weft_sync_request *request) {}
int64_t weft_spool_turn(weft_spool_t *self, int64_t now_us)
{
    return WEFT_TIME_NEVER;
}
bool weft_spool_rests(const weft_spool_t *self)
{
    return true;
}
bool weft_spool_owns(const weft_spool_t *self, const struct weft_call *call)
{
    return false;
}
void weft_spool_keep(weft_spool_t *self, struct weft_edge_lane *lane, struct weft_edge_call *call) {}
bool weft_spooled_goes_behind(const struct weft_spooled *self)
{
    return false;
}
bool weft_spooled_holds(const struct weft_spooled *self)
{
    return false;
}
void weft_spool_note(weft_spool_t *self, struct weft_edge_lane *lane, weft_slice_t data) {}
