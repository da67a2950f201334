// SPDX-License-Identifier: MPL-2.0
#include "sim_mutations.h"

#include "../../lib/base/mutate.h"

#include <string.h>

const char *const sim_mutations_often[] = {
    "ack_before_sync",           // core: durable as soon as written
    "duplicate_does_not_wait",   // core: a retry is answered before the original would be (REPLICATION.md rule 15)
    "duplicate_not_seen",        // core: a retry is written again
    "gap_taken",                 // core: a batch whose predecessor was refused is written (rule 16)
    "leads_on_in_the_old_epoch", // core: no new leader epoch at a new start (rule 2)
    "election_ignores_the_in_sync_set", // core: any live replica leads when the last in sync are lost (rule 4)
    "unclean_restart_stays_in_sync",    // core: who lost power stays in sync and eligible (rules 2, 4)
    "eligible_while_committing", // core: who left the in-sync set may lead though records are committed without it
    "leavers_not_needed",     // core: who was missed first is no candidate, whoever else lost power with him (rule 4)
    "truncate_by_watermark",  // core: a new follower cuts its log to what it knows as committed (KIP-101)
    "marks_below_min_insync", // core: marks go on with fewer than min.insync (KIP-966)
    "rolled_segment_not_synced",  // log: only the newest file of a group commit is synced
    "directory_not_synced",       // log: a new segment's name is not made durable
    "checkpoint_runs_ahead",      // log: the checkpoint records more than was synced (rule 9)
    "torn_batch_taken",           // log: recovery does not look at checksums
    "durable_read_of_undurable",  // broker: read durable shows what is only committed (rule 18)
    "sessions_not_replayed",      // broker: after a start it knows the producers of the last snapshot only
    "vote_not_stored",            // quorum: a vote is forgotten by power loss (a second one in the same term)
    "doubt_is_refusal",           // client: no answer is reported as surely not written
    "consumer_steps_over",        // client: now and then a record is left out
    "old_token_taken",            // core: commits under a token of the past are taken (rules 19, 20)
    "token_of_the_membership",    // core: a giving has the token of the member's join, not one of its own (rule 20)
    "given_before_release",       // core: what is to be released is given at once (I5)
    "fence_not_written",          // broker: committed is answered, and the fence is in no log (rule 19)
    "commit_answered_at_once",    // broker: a commit is acknowledged before it is durable
    "member_outlives_its_lease",  // client: records are handed out when the session is over (exclusive, rule 22)
    "member_keeps_what_is_lost",  // client: reads on when the group took it for dead
    "member_releases_unanswered", // client: a partition is released before its last commit is answered (rule 21)
    "commit_runs_ahead",          // client: what was fetched is committed, handed out or not
    "commits_uncounted",          // client: commits carry no number (rule 20)
    "tombstone_removed_at_once",  // log: tombstones go with the first compaction (rule 13)
    NULL,
};

const char *const sim_mutations_edge[] = {
    "spooled_before_its_sync", // edge: a batch is acknowledged with the sync of the one before
    "epochs_drained_together", // edge: the first batch of an epoch is under way with the last of the one before
    "fenced_goes_on",          // edge: what stands behind a fenced batch is delivered under a new identity
    "edge_has_no_doubt",       // edge: the refusal of a second attempt is passed on as the whole truth
    "refused_is_overtaken",    // edge: the spool takes what stood behind a batch that was refused
    NULL,
};

const char *const sim_mutations_seldom[] = {
    "last_set_not_frozen",          // core: of the last in sync whoever is back first leads, unclean or not (rule 4)
    "report_by_old_incarnation",    // core: what an earlier start of a follower said counts (rule 1)
    "joining_does_not_count",       // core: who was asked in holds no mark back until that is confirmed (rule 1)
    "no_fencing_of_old_leader",     // core: a leader goes on without those whom it only asked out (rules 1, 6)
    "join_by_log_end",              // core: who has written all joins, whether or not it is synced (rule 3)
    "unsettled_leader_answers",     // core: a new leader tells marks before it has committed what it inherited (rule 5)
    "session_kept_over_truncation", // broker: producers' sessions are not rolled back with the log (rule 15)
    "failed_sync_forgotten",        // log: what a failed sync was to write counts as written (rule 11)
    "damage_cut_as_torn",           // log: what is damaged below the synced end is cut, without a word (rule 9)
    "follower_reports_unaligned",   // broker: a follower reports before it knows that its log is its leader's (rule 7)
    "office_lost_later",            // quorum: who no longer leads hears of it later
    "session_cut_short",            // coordinator: members are timed out before their session is over (rule 22)
    "no_session_after_office", // coordinator: a new one times out who has not been heard in its office yet (rule 22)
    "lease_from_the_answer",   // client: the lease counts from the answer to a heartbeat, not its sending (rule 22)
    "instance_taken_at_once",  // coordinator: a newcomer takes the place of a live member of its name (rule 20)
    "commits_without_epoch",   // client: a commit does not say of which epoch the last record was (rule 18)
    "compacted_not_synced",    // log: compacted segments take the place of others before they are on the disk
    "compacts_what_may_go",    // broker: what is not committed counts as the newest of its key (rule 13)
    NULL,
};

// Planted in the code, and not shown by 1,500 seeds, for another rule stands behind each; unit tests and traces break them:
//     report_of_old_epoch_counts, old_incarnation_joins, isr_change_without_incarnations, leader_elected_without_all_reports, no_grace_after_office,
//     persisted_before_it_is_synced, snapshot_of_what_is_not_durable, voters_within_a_message, entries_from_before_the_log,
//     unsettled_ledger_answers, older_commit_taken, session_header_compacted, missed_tombstones_ignored

static const char *s_now;

void sim_mutate(const char *name)
{
    s_now = name;
}

bool weft_mutated(const char *name)
{
    return s_now != NULL && strcmp(s_now, name) == 0;
}
