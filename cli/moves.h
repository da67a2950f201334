// SPDX-License-Identifier: MPL-2.0
/**
 * Moves of replicas: printing them, and watching how far they are.
 *
 * What is left to copy is told by the leaders (partition_status): bytes are counted as the part of the leader's bytes
 * that lies between its log start and the offset that the new replica has reached.
 */
#ifndef WEFT_CLI_MOVES_H
#define WEFT_CLI_MOVES_H

#include "connect.h"

struct cli_moves_item {
    char topic[250];
    int32_t partition;
    bool under_way;
    int64_t bytes, copied; // of all replicas that are added
    int64_t offsets_left;  // that they lack
};

struct cli_moves_watch {
    weft_admin_t *admin;          // the caller's
    weft_admin_t *quick;          // asks leaders: one that is mute is not waited for long
    struct cli_moves_item *items; // every move seen
    size_t count, capacity;
    int32_t mute;              // a leader that did not answer
    int64_t begun_us, next_us; // the next look at leaders
    bool shown;
};

void cli_moves_watch_begin(struct cli_moves_watch *self, const struct cli_args *args, weft_admin_t *admin);
// Looks, at most twice a second, and shows progress on a terminal. *left (may be NULL): moves under way.
weft_err_t cli_moves_watch_look(struct cli_moves_watch *self, size_t *left);
// The item of a partition, NULL if it was not seen under way.
const struct cli_moves_item *cli_moves_watch_find(const struct cli_moves_watch *self, const char *topic,
                                                  int32_t partition);
void cli_moves_watch_end(struct cli_moves_watch *self);

const char *cli_ids_text(const int32_t *ids, size_t count, char *text, size_t bytes); // "1,2,3", "-" for none
void cli_json_ids(cli_json_t *json, const char *key, const int32_t *ids, size_t count);
// An array of moves; `watch` (may be NULL) tells how far they are.
void cli_moves_json(cli_json_t *json, const char *key, const struct weft_move *moves, size_t count,
                    const struct cli_moves_watch *watch);
void cli_moves_table(const struct weft_move *moves, size_t count, const struct cli_moves_watch *watch);

#endif
