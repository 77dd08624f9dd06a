//! What a Redis user must be allowed, and what is said of one who lacks it.

use openai_backend::store::Store;
use openai_backend::store::redis::{Redis, RedisSettings};

use super::{Time, prefix};
use crate::store::rig::{Caller, Rig};
use crate::support::documents::{blocks, pages};
use crate::support::redis_server::RedisServer;

/// The rules of the documents' `ACL SETUSER`, for this prefix.
fn documented_rules(prefix: &str) -> Vec<String> {
    let (_, page) = pages().into_iter().find(|(path, _)| path.ends_with("operations.md")).unwrap();
    let block = blocks(&page, "text").into_iter().find(|block| block.contains("ACL SETUSER")).unwrap().to_owned();
    let rules = block.split_whitespace().skip_while(|word| *word != "on").map(|rule| rule.to_owned());
    rules.map(|rule| rule.replace("openai-backend:", prefix)).collect()
}

async fn set_user(server: &RedisServer, name: &str, rules: &[String]) {
    let mut admin = server.admin().await;
    let mut set = redis::cmd("ACL");
    set.arg("SETUSER").arg(name).arg("reset").arg(rules);
    set.query_async::<()>(&mut admin).await.unwrap();
}

/// A new user of this server, as the documents have it; the name.
pub async fn documented_user(server: &RedisServer, prefix: &str) -> String {
    let name = format!("user-of-{prefix}");
    set_user(server, &name, &documented_rules(prefix)).await;
    name
}

async fn connect(server: &RedisServer, prefix: &str, changes: &[&str]) -> Result<Redis, String> {
    let name = format!("user-of-{prefix}");
    let rules: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    set_user(server, &name, &[documented_rules(prefix), rules].concat()).await;
    let settings =
        RedisSettings { user: Some(name), password: Some("your-password".into()), ..server.settings(prefix) };
    Redis::connect(settings).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_permission_that_is_missing_at_the_start_is_named() {
    let server = RedisServer::shared();
    for (change, words) in [
        (&["resetchannels"][..], "the channel named REDIS_KEY_PREFIX"),
        (&["resetkeys", "~elsewhere:*"], "keys that begin with REDIS_KEY_PREFIX"),
        (&["-evalsha"], "the command EVALSHA"),
        (&["-script|load"], "the command SCRIPT LOAD"),
        (&["-time"], "the command TIME"),
        (&["-subscribe"], "the command SUBSCRIBE"),
    ] {
        let prefix = prefix();
        let said = connect(&server, &prefix, change).await.err().unwrap();
        assert!(said.contains(words) && said.contains("docs/operations.md"), "{change:?}: {said}");
        assert!(!said.contains(&prefix) && !said.contains("your-password"), "{said}");
    }
    connect(&server, &prefix(), &["-info", "-hello"]).await.unwrap();
}

#[tokio::test]
async fn a_permission_that_a_script_lacks_is_named() {
    let server = RedisServer::shared();
    for (change, words) in [("-hset", "the command HSET"), ("-zadd", "the command ZADD")] {
        let store: std::sync::Arc<dyn Store> =
            std::sync::Arc::new(connect(&server, &prefix(), &[change]).await.unwrap());
        let rig = Rig::new(store.clone(), store, Time::Real { unit_ms: 400 });
        let begin = rig.begin(&Caller::browser());
        let said = rig.store.begin_turn(begin).await.unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("docs/operations.md"), "{change}: {said}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let server = RedisServer::shared();
    let settings = RedisSettings { url: format!("{}/99", server.url()).into(), ..server.settings(&prefix()) };
    let said = Redis::connect(settings).await.err().unwrap().to_string();
    assert!(said.contains("the number at the end of REDIS_URL"), "{said}");
}
