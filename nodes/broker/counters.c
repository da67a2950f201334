// SPDX-License-Identifier: MPL-2.0
// Names and docs of the broker's counters: `weft cluster status`, node_status and docs read them from here. Gauges
// say "now" in their doc.
#include "counters.h"

const struct weft_counter_info weft_shard_counter_infos[WEFT_SHARD_COUNTERS] = {
    [WEFT_COUNT_PRODUCE_BATCHES] = {"produce_batches_count", "Batches appended."},
    [WEFT_COUNT_PRODUCE_RECORDS] = {"produce_records_count", "Records appended."},
    [WEFT_COUNT_PRODUCE_BYTES] = {"produce_bytes", "Bytes of batches appended."},
    [WEFT_COUNT_PRODUCE_DUPLICATES] = {"produce_duplicates_count", "Batches that were a retry of one written before."},
    [WEFT_COUNT_PRODUCE_REFUSED] = {"produce_refused_count", "Produce requests answered with an error."},
    [WEFT_COUNT_PRODUCE_COPIED] =
        {"produce_headers_copied_count",
         "Batches whose header was copied because somebody else still read the frame (inproc)."},
    [WEFT_COUNT_FETCH_REQUESTS] = {"fetch_requests_count", "Fetch requests."},
    [WEFT_COUNT_FETCH_BATCH_REPLIES] = {"fetch_replies_with_data_count", "Fetch replies that carried batches."},
    [WEFT_COUNT_FETCH_BYTES] = {"fetch_bytes", "Bytes of batches sent to consumers."},
    [WEFT_COUNT_FETCH_PARKED] = {"fetch_parked_count", "Fetches that wait for data now."},
    [WEFT_COUNT_PRODUCE_WAITING] = {"produce_waiting_count", "Produce requests that wait for their mark now."},
    [WEFT_COUNT_REQUESTS] = {"requests_count", "Requests of any kind."},
    [WEFT_COUNT_BAD_FRAMES] = {"frames_refused_count",
                               "Messages whose header was no legal msgpack map or missed a field."},
    [WEFT_COUNT_UNKNOWN_APIS] = {"apis_refused_count", "Requests of an api or with a `must` that is not known here."},
    [WEFT_COUNT_BAD_BATCHES] = {"batches_refused_count", "Batches refused for their shape, size, count or records."},
    [WEFT_COUNT_BAD_CRCS] = {"batches_bad_crc_count", "Batches refused for their checksum."},
    [WEFT_COUNT_NOT_LEADER] = {"not_leader_count", "Requests for a partition that another shard or broker leads."},
    [WEFT_COUNT_OVERLOADED] = {"overloaded_count", "Requests sent away because too much was waiting."},
    [WEFT_COUNT_TIMED_OUT] = {"produce_timed_out_count", "Produce requests whose time ended before their mark."},
    [WEFT_COUNT_REFUSED_OTHER] = {"requests_refused_count", "Requests refused for any other reason."},
    [WEFT_COUNT_REPLIES_DROPPED] = {"replies_dropped_count", "Replies whose peer was gone or above its budget."},
    [WEFT_COUNT_SYNC_ROUNDS] = {"sync_rounds_count", "Group commits."},
    [WEFT_COUNT_SYNC_FILES] = {"sync_logs_count", "Logs in all group commits."},
    [WEFT_COUNT_PARTITIONS_OPEN] = {"partitions_count", "Partitions stored here now."},
    [WEFT_COUNT_PARTITIONS_LED] = {"partitions_led_count", "Partitions led here now."},
    [WEFT_COUNT_PARTITIONS_REFUSED] = {"partitions_refused_count",
                                       "Partitions not served now: damaged, or their disk failed."},
    [WEFT_COUNT_PARTITIONS_DISK_FULL] = {"partitions_disk_full_count",
                                         "Partitions whose last write met a full disk, now."},
    [WEFT_COUNT_DISK_FAILURES] = {"disk_failures_count", "Reads, writes and syncs that failed, but for a full disk."},
    [WEFT_COUNT_BATCHES_DAMAGED] = {"batches_damaged_count",
                                    "Damaged batches on the disk that a reader met, each counted once in a row."},
    [WEFT_COUNT_SEGMENTS_REMOVED] = {"segments_removed_count", "Segments removed by retention."},
    [WEFT_COUNT_TORN_BYTES] = {"torn_bytes", "Bytes of torn tails cut when logs were opened."},
    [WEFT_COUNT_ORPHANS] = {"orphan_partitions_count", "Stored partitions that the cluster does not know: left alone."},
    [WEFT_COUNT_CLUSTER_INDEX] = {"cluster_index", "Cluster state applied, now."},
};

const struct weft_counter_info weft_control_counter_infos[WEFT_CONTROL_COUNTERS] = {
    [WEFT_COUNT_HEARTBEATS] = {"heartbeats_count", "Heartbeats sent."},
    [WEFT_COUNT_HEARTBEATS_UNANSWERED] = {"heartbeats_unanswered_count",
                                          "Times the coordinator was given up for its silence."},
    [WEFT_COUNT_REGISTRATIONS] = {"registrations_count", "Times the broker was registered."},
    [WEFT_COUNT_UPDATES] = {"cluster_updates_count", "Cluster updates applied."},
    [WEFT_COUNT_UPDATE_GAPS] = {"cluster_update_gaps_count",
                                "Cluster updates that did not follow the state held here."},
    [WEFT_COUNT_UPDATES_REFUSED] = {"cluster_updates_refused_count",
                                    "Orders of an older coordinator, or malformed ones."},
    [WEFT_COUNT_COORDINATOR_EPOCH] = {"coordinator_epoch", "Highest epoch of a coordinator heard."},
};
