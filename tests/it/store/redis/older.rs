//! What older versions of this server have left in Redis.

use openai_backend::domain::window::{Budget, Loaded};
use openai_backend::store::conversations::{Added, Removed};
use openai_backend::store::{BeginTurn, FinishTurn};

use super::layout::Looked;
use crate::store::rig::{Caller, notes};
use crate::support::redis_server::RedisServer;

/// Their heads did not count the numbers that are not to be given again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_turns_know_are_not_given_again() {
    let mut look = Looked::at(RedisServer::shared()).await;
    for who in [Caller::browser(), Caller::program()] {
        for removing in [false, true] {
            let who = who.elsewhere();
            for _ in 0..2 {
                look.rig.turn(&who, "hi").await;
            }
            let items = look.rig.history(&who).await.unwrap().items;
            for gone in items[1..].iter().rev() {
                look.rig.store.remove_item(&who.place, &gone.item.id).await.unwrap();
            }
            let end = format!(":c:{}", who.place.conversation);
            let head = look.keys().await.into_iter().find(|key| key.ends_with(&end)).unwrap();
            let _: () =
                redis::cmd("HDEL").arg(head).arg("skip").arg("lost").query_async(&mut look.admin).await.unwrap();
            if removing {
                let removed = look.rig.store.remove_item(&who.place, &items[0].item.id).await.unwrap();
                assert_eq!(removed, Removed::Removed);
                let added = look.rig.store.add_items(&who.place, notes(&[1]), look.rig.now_ms()).await.unwrap();
                assert!(matches!(&added, Added::Added(stored) if stored[0].seq == 5), "{added:?}");
                continue;
            }
            let begin = look.rig.begin(&who);
            let fence = look.rig.started(&begin).await.fence;
            let finish = FinishTurn { items: vec![], ..look.rig.finish(&begin, fence, 2, "") };
            look.rig.store.finish_turn(finish).await.unwrap();
            let begin = BeginTurn { expected_items: Some(4), ..look.rig.begin(&who) };
            let started = look.rig.started(&begin).await;
            assert_eq!(started.conversation.item_count, 4);
            look.rig.store.finish_turn(look.rig.finish(&begin, started.fence, 2, "hi")).await.unwrap();
            let items = look.rig.history(&who).await.unwrap().items;
            assert_eq!(items.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [1, 5, 6]);
        }
    }
}

/// Their heads did not count the tokens of items that were removed from among others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_gaps_are_told_from_those_of_items() {
    let mut look = Looked::at(RedisServer::shared()).await;
    let who = Caller::program();
    look.rig.created(&who, &[10; 1_200]).await;
    let mut all = look.rig.store.history(&who.place, None, 1_200, look.rig.now_ms()).await.unwrap().unwrap().items;
    for at in [1_100, 600, 0] {
        let gone = all.remove(at);
        look.rig.store.remove_item(&who.place, &gone.item.id).await.unwrap();
    }
    let end = format!(":c:{}", who.place.conversation);
    let head = look.keys().await.into_iter().find(|key| key.ends_with(&end)).unwrap();
    let _: () = redis::cmd("HDEL").arg(&head).arg("lost").query_async(&mut look.admin).await.unwrap();
    let budget = Budget { tokens: 11_970, fixed_tokens: 0, whole: true };
    let expected = Loaded { items: all.clone(), tokens: 11_970 };
    assert_eq!(look.rig.store.window(&who.place, budget).await.unwrap(), expected);
    let begin = BeginTurn { budget, ..look.rig.begin(&who) };
    let started = look.rig.started(&begin).await;
    assert_eq!(started.history, expected);
    let counted = async |look: &mut Looked| -> String {
        redis::cmd("HGET").arg(&head).arg("lost").query_async(&mut look.admin).await.unwrap()
    };
    assert_eq!(counted(&mut look).await, "30", "and from now on they are counted");
    look.rig.store.remove_item(&who.place, &all[7].item.id).await.unwrap();
    assert_eq!(counted(&mut look).await, "40");
}
