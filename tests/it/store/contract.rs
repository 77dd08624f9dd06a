//! The list of contract cases. Each is a function over a [`Rig`](super::rig::Rig); [`contract!`] makes a test of each
//! for one store.
//!
//! Cases say what passes in time steps ([`Rig::pass`](super::rig::Rig::pass)), so that they hold for a store that goes by
//! a hand-moved clock and for one that expires things by itself. What must still be there is given a day; only what must
//! be gone is given a step.

pub mod begin;
pub mod conversations;
pub mod documents;
pub mod endings;
pub mod events;
pub mod finish;
pub mod history;
pub mod items;
pub mod leases;
pub mod model;
pub mod questions;
pub mod rates;
pub mod reopening;
pub mod responses;
pub mod sessions;
pub mod tries;

/// Makes a test of every case, for the store that `$fresh` (an async function without arguments) makes.
macro_rules! contract {
    ($fresh:ident) => {
        contract_tests! { $fresh;
            begin {
                a_turn_begins_with_an_empty_history,
                a_second_turn_is_told_which_one_runs,
                a_turn_whose_lease_ended_is_orphaned,
                a_key_with_the_same_body_is_a_duplicate,
                a_key_with_another_body_is_refused,
                a_key_belongs_to_its_owner,
                a_key_lapses,
                the_order_of_looking_is_session_key_conversation_turn,
                what_does_not_start_changes_nothing,
                a_conversation_is_made_only_where_asked,
                eight_at_once_give_one_turn,
                eight_duplicates_at_once_give_one_turn,
                ids_of_others_look_unknown,
            }
            events {
                are_read_in_order_and_in_pages,
                appended_twice_are_stored_once,
                an_append_that_overlaps_adds_the_rest,
                a_cancel_shows_in_the_next_append_and_as_a_notice,
                a_cancel_after_the_end_says_how_it_ended,
                are_told_of,
                expire_some_time_after_the_end,
                ten_thousand_come_back_whole,
            }
            finish {
                stores_history_usage_status_and_events,
                done_twice_is_stored_once,
                without_items_frees_the_conversation,
                after_a_deletion_is_fenced,
                of_many_turns_counts_on,
                keeps_text_byte_for_byte,
                takes_large_items,
            }
            leases {
                a_live_one_is_not_taken_over,
                a_lapsed_one_is_taken_over,
                a_renewed_one_lives_on,
                a_released_one_is_taken_over_at_once,
                a_released_one_that_goes_on_is_held_again,
                the_old_fence_can_store_nothing,
                the_new_fence_goes_on_where_the_old_one_stopped,
                each_turn_goes_to_one_caller,
                of_ended_turns_are_over,
            }
            history {
                pages_from_the_newest,
                of_the_unknown_is_none,
                lists_turns_newest_first,
                of_two_conversations_stays_apart,
                window_begins_at_the_cut,
            }
            sessions {
                expire_with_all_that_they_own,
                are_made_before_they_own_anything,
                that_follow_from_a_key_are_opened_by_it_alone,
                roll_with_every_use,
                that_are_unknown_are_not_renewed,
                deleted_leave_nothing,
                of_programs_need_no_session,
                swept_leave_the_living_alone,
                a_store_answers_and_says_what_it_is,
            }
            endings {
                of_deleted_sessions_are_final,
                of_expired_sessions_are_final,
                between_two_writes_of_a_turn_fence_it,
                leave_other_owners_alone,
                leave_no_turn_to_take_over,
            }
            conversations {
                are_made_with_items_and_metadata,
                may_be_made_empty,
                made_by_a_turn_are_like_others,
                are_not_made_twice,
                are_listed_newest_first,
                that_are_hidden_are_in_no_list,
                have_their_metadata_replaced,
                deleted_take_everything_along,
                deleted_tell_the_turn_that_runs,
                of_others_look_unknown,
                of_sessions_that_expired_are_gone,
                need_a_session_that_lives,
            }
            items {
                that_are_added_count_on,
                that_are_added_count_as_a_change,
                are_kept_byte_for_byte,
                wait_for_the_turn_that_runs,
                come_in_pages_both_ways,
                are_found_by_their_ids,
                that_were_newest_leave_nothing_but_their_numbers,
                never_get_the_number_of_one_that_is_gone,
                from_the_middle_leave_their_numbers,
                take_along_what_was_left_before_them,
                that_are_gone_are_in_no_window,
                are_loaded_whole_or_not_at_all_where_none_may_be_left_out,
                may_go_while_a_turn_runs,
            }
            questions {
                are_there_from_the_beginning,
                join_the_history_with_the_answer,
                stay_without_an_answer_and_cost_nothing,
                cannot_be_removed_while_it_runs,
                go_with_a_turn_that_is_forgotten,
            }
            responses {
                keep_their_answers,
                begin_where_the_items_are_as_expected,
                that_do_not_begin_make_nothing,
                of_eight_that_expect_the_same_one_begins,
                that_are_forgotten_free_their_keys,
                can_be_forgotten,
                forgotten_while_they_run_are_gone_at_once,
                forgotten_one_by_one_leave_the_others,
                that_are_the_last_take_a_hidden_conversation_along,
            }
            rates {
                lets_so_many_begin_and_more_with_time,
                that_is_used_up_leaves_nothing_behind,
                is_left_alone_by_what_does_not_begin,
                is_each_owners_own_for_turns_and_all_else,
                lets_no_more_begin_when_many_ask_at_once,
                goes_with_its_session,
            }
            tries {
                are_apart_from_idempotency_keys,
                that_are_joined_are_named_with_their_conversation,
                whose_clients_have_left_are_joined_first,
                are_each_joined_by_one_of_many_retries,
                of_no_use_are_replaced_once,
                lapse,
                go_with_their_turns,
                belong_to_their_owner,
            }
            documents {
                keep_one_session_secret_for_all_that_ask_at_once,
                come_back_byte_for_byte,
                put_again_keep_their_place_and_time,
                come_in_pages_both_ways,
                are_deleted_once,
                are_updated_where_they_are_there,
                deleted_at_the_moment_of_an_update_stay_deleted,
                of_others_look_unknown,
                go_with_their_owner,
                of_sessions_that_expired_are_gone,
            }
            reopening {
                finds_everything_again,
            }
        }

        mod model {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn any_sequence_of_operations_gives_the_same_answers() {
                $crate::store::contract::model::any_sequence_gives_the_same_answers(super::$fresh);
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn any_window_is_the_same() {
                $crate::store::contract::model::any_window_is_the_same(super::$fresh);
            }
        }
    };
}

macro_rules! contract_tests {
    ($fresh:ident; $($group:ident { $($case:ident,)* })*) => {
        $(mod $group {
            $(contract_test! { $fresh, $group, $case })*
        })*
    };
}

macro_rules! contract_test {
    ($fresh:ident, $group:ident, $case:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let rig = super::$fresh().await;
            $crate::store::contract::$group::$case(&rig).await;
            rig.store.close().await;
        }
    };
}
