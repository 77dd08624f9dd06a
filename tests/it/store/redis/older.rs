//! What older versions of this server have left in Redis.

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
