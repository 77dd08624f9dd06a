//! Backups: made beside a running server, whole, and restored; and a copy that is not whole is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::client::Client;
use crate::support::process::{Ended, Program};
use crate::support::redis_server::RedisServer;
use crate::support::server::SECRET;

const DATABASE: &str = "openai-backend.db";

fn program() -> Program {
    Program::bare().set("DEMO_WORD_DELAY", "0").set("SESSION_SECRET", SECRET)
}

#[track_caller]
fn refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(words.iter().all(|word| ended.stderr.contains(word)), "{ended:?}");
}

async fn remembers(browser: &Client, url: &str, words: &[&str]) {
    let history = browser.at(url).history().await;
    let said: Vec<&str> = history.iter().filter(|(role, _)| role == "user").map(|(_, text)| text.as_str()).collect();
    assert_eq!(said, words);
}

#[tokio::test]
async fn a_backup_beside_a_running_server_is_whole_private_and_overwrites_nothing() {
    let program = program();
    let server = program.start().await;
    let browser = server.client();
    for words in ["one", "two", "three"] {
        browser.say(words).await.ok();
    }
    let made = program.run(&["backup", "first.db"]).await;
    assert!(made.status.success() && made.stdout.is_empty() && made.stderr.contains("first.db"), "{made:?}");
    let file = program.folder().join("first.db");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    browser.say("after it").await.ok();

    let before = fs::read(&file).unwrap();
    refused(&program.run(&["backup", "first.db"]).await, &["first.db", "overwrites nothing"]);
    assert_eq!(fs::read(&file).unwrap(), before);
    refused(&program.run(&["backup", "no/such/folder.db"]).await, &["no/such/folder.db"]);
    refused(&program.run(&["backup", "x.db", "--data-dir", "elsewhere"]).await, &["no database", "elsewhere"]);
    let names: Vec<_> = fs::read_dir(program.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("unfinished")), "{names:?}");
    server.stop().await;

    // Also with no server there.
    assert!(program.run(&["--data-dir", "data", "backup", "second.db"]).await.status.success());
    for (backup, words) in
        [("first.db", &["one", "two", "three"][..]), ("second.db", &["one", "two", "three", "after it"])]
    {
        fs::copy(program.folder().join(backup), program.data().join(DATABASE)).unwrap();
        let server = program.start().await;
        remembers(&browser, &server.url, words).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_copy_of_the_one_file_of_a_running_server_is_refused() {
    let program = program();
    let server = program.start().await;
    let browser = server.client();
    for turn in 0..20 {
        browser.say(&format!("words of turn {turn}")).await.ok();
    }
    let other = self::program();
    fs::create_dir(other.data()).unwrap();
    let copy = |name: &str| fs::copy(program.data().join(name), other.data().join(name)).unwrap();
    copy(DATABASE);
    refused(&other.run(&[]).await, &["without openai-backend.db-wal", "openai-backend backup"]);
    refused(&other.run(&["backup", "x.db"]).await, &["without openai-backend.db-wal"]);
    fs::remove_dir_all(other.data()).unwrap();
    fs::create_dir(other.data()).unwrap();
    copy(DATABASE);
    copy("openai-backend.db-wal");
    let restored = other.start().await;
    assert_eq!(browser.at(&restored.url).history().await.len(), 40);
    restored.stop().await;

    // After a clean stop, the one file is whole; after a crash, its log is beside it.
    server.stop().await;
    copy(DATABASE);
    let restored = other.start().await;
    assert_eq!(browser.at(&restored.url).history().await.len(), 40);
    browser.at(&restored.url).say("once more").await.ok();
    restored.kill().await;
    let restored = other.start().await;
    assert_eq!(browser.at(&restored.url).history().await.len(), 42);
    restored.stop().await;
}

/// As docs/operations.md says.
#[tokio::test]
async fn a_snapshot_of_redis_restores_the_history() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let of = |folder: &tempfile::TempDir| RedisServer::start_with(&["--dir", folder.path().to_str().unwrap()]);
    let redis = of(&source);
    let on = |redis: &RedisServer| program().set("REDIS_URL", &redis.url());
    let server = on(&redis).start().await;
    let browser = server.client();
    browser.say("Remember the lighthouse").await.ok();
    refused(&on(&redis).run(&["backup", "x.db"]).await, &["Redis", "docs/operations.md"]);

    let _: () = redis::cmd("SAVE").query_async(&mut redis.admin().await).await.unwrap();
    fs::copy(source.path().join("dump.rdb"), target.path().join("dump.rdb")).unwrap();
    browser.say("This is said after the backup").await.ok();
    server.stop().await;

    let restored = of(&target);
    let server = on(&restored).start().await;
    remembers(&browser, &server.url, &["Remember the lighthouse"]).await;
    server.stop().await;
}
