// SPDX-License-Identifier: MPL-2.0
// Names and docs of the coordinator's counters. Gauges say "now" in their doc.
#include "counters.h"

const struct weft_counter_info weft_counter_infos_coordinator[WEFT_COUNTERS_COORDINATOR] = {
    [WEFT_COUNT_REQUESTS] = {"requests_count", "Requests of any kind."},
    [WEFT_COUNT_REFUSED_FRAMES] =
        {"frames_refused_count",
         "Messages whose header was no legal msgpack map, of an unknown api, or missed a field."},
    [WEFT_COUNT_REFUSED_REQUESTS] = {"requests_refused_count", "Requests answered with an error."},
    [WEFT_COUNT_REPLIES_LOST] = {"replies_lost_count",
                                 "Answers that could not be sent: the peer was gone or over its budget."},
    [WEFT_COUNT_HEARTBEATS] = {"heartbeats_count", "Heartbeats of registered brokers."},
    [WEFT_COUNT_REGISTRATIONS] = {"registrations_count", "Registrations of brokers that were applied."},
    [WEFT_COUNT_FENCINGS] = {"fencings_count", "Brokers fenced: timed out, or stopping."},
    [WEFT_COUNT_LATE_TURNS] = {"late_turns_count",
                               "Times this coordinator was itself late, and gave every broker one more session."},
    [WEFT_COUNT_PROPOSED] = {"commands_proposed_count", "Commands handed to the quorum."},
    [WEFT_COUNT_APPLIED] = {"commands_applied_count", "Commands applied, those replayed at the start included."},
    [WEFT_COUNT_APPLY_REFUSED] = {"commands_refused_count",
                                  "Commands that changed nothing: decided against by one before them."},
    [WEFT_COUNT_LOST] = {"commands_lost_count", "Commands whose outcome is not known, or that found the disk full."},
    [WEFT_COUNT_UPDATES] = {"updates_count", "Pushes of the cluster state to brokers."},
    [WEFT_COUNT_UPDATE_BYTES] = {"updates_bytes", "Bytes of these."},
    [WEFT_COUNT_UPDATE_SNAPSHOTS] = {"updates_snapshots_count", "Pushes that were a whole snapshot."},
    [WEFT_COUNT_UPDATES_REPEATED] = {"updates_repeated_count", "Pushes repeated because a heartbeat showed a gap."},
    [WEFT_COUNT_UPDATES_FAILED] = {"updates_failed_count",
                                   "Pushes that the transport did not take; a heartbeat repairs them."},
    [WEFT_COUNT_CLUSTER_INDEX] = {"cluster_index", "Cluster state applied, now."},
    [WEFT_COUNT_BROKERS_ALIVE] = {"brokers_alive_count", "Brokers alive, now."},
    [WEFT_COUNT_PARTITIONS] = {"partitions_count", "Partitions of all topics, now."},
    [WEFT_COUNT_LEADERLESS] = {"partitions_leaderless_count", "Partitions without a leader, now."},
    [WEFT_COUNT_GROUPS] = {"groups_count", "Consumer groups, now."},
    [WEFT_COUNT_GROUP_MEMBERS] = {"group_members_count",
                                  "Members of all groups, as the coordinator in office has them, now."},
    [WEFT_COUNT_GROUP_HEARTBEATS] = {"group_heartbeats_count", "Heartbeats of members, joins and leaves included."},
    [WEFT_COUNT_GROUP_TIMEOUTS] =
        {"group_timeouts_count", "Members that were silent for their session, paused for it, or late with a release."},
    [WEFT_COUNT_GROUP_PLANS] = {"group_plans_count", "New targets of groups that were proposed."},
};
