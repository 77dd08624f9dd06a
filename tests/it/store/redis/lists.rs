//! The lists of conversations, which may name some that were never made.

use openai_backend::domain::conversation::Owner;
use openai_backend::domain::ids::ConversationId;
use openai_backend::store::conversations::NewConversation;

use super::layout::Looked;
use crate::store::rig::Caller;
use crate::support::redis_server::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_conversations_that_were_never_made_are_left_out() {
    let mut look = Looked::at(RedisServer::shared()).await;
    let who = Caller::program();
    let Owner::ApiKey(api_key) = &who.place.owner else { panic!("a program has a key") };
    let id = api_key.replace(' ', "%20");
    let mut expected = Vec::new();
    let now_ms = look.rig.now_ms();
    for i in 0..12 {
        let one = who.elsewhere();
        if i % 4 == 0 {
            let new = NewConversation { now_ms: now_ms + i, ..look.rig.new_conversation(&one, &[]) };
            look.rig.store.create_conversation(new).await.unwrap();
            expected.insert(0, one.place.conversation);
            continue;
        }
        let mut add = redis::cmd("ZADD");
        add.arg(format!("{}{{k:{id}}}:list", look.prefix)).arg(now_ms + i).arg(one.place.conversation.as_str());
        let _: i64 = add.query_async(&mut look.admin).await.unwrap();
    }
    for limit in 1..5usize {
        for from in 0..=expected.len() {
            let after = from.checked_sub(1).map(|i| &expected[i]);
            let page = look.rig.store.conversations(&who.place.owner, after, limit).await.unwrap().unwrap();
            let to = (from + limit).min(expected.len());
            let given: Vec<&ConversationId> = page.conversations.iter().map(|info| &info.id).collect();
            assert_eq!(given, expected[from..to].iter().collect::<Vec<_>>());
            assert_eq!(page.has_more, to < expected.len());
        }
    }
}
