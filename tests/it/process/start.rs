//! What a newcomer and an operator see: the start-up lines, the curl commands, `--check`, and refusals in one sentence.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::curl::{FIRST, GOODBYE, HISTORY, SECOND, WITH_MODEL, content, shell};
use super::on_both_stores;
use crate::support::process::{Ended, Program};
use crate::support::redis_server::RedisServer;

const CANARY: &str = "canary-0123456789abcdefghijklmnopqrstuvwxyz";

/// It refused to start, with one sentence on stderr that has all of `words`, and no secret.
#[track_caller]
fn refused(ended: &Ended, words: &[&str]) {
    let Ended { status, stdout, stderr } = ended;
    assert_eq!(status.code(), Some(1), "{stdout}{stderr}");
    assert_eq!((stdout.as_str(), stderr.trim_end().lines().count()), ("", 1), "{stdout}{stderr}");
    assert!(stderr.trim_end().ends_with('.'), "{stderr}");
    assert!(!stderr.contains("canary"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word} is not in: {stderr}");
    }
}

#[tokio::test]
async fn with_nothing_set_it_says_what_it_uses_and_how_to_change_it() {
    let program = Program::bare();
    let server = program.start().await;
    let said = server.stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 6, "{said}");
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "{said}");
    let url = server.url.as_str();
    let docs = format!("{url}/docs");
    let sdks = format!("{url}/v1");
    let words: [(&str, &[&str]); 6] = [
        ("OpenAI Backend", &[env!("CARGO_PKG_VERSION"), url]),
        ("store", &["sqlite", "data/openai-backend.db", "REDIS_URL"]),
        ("upstream", &["demo", "OPENAI_API_KEY", "OPENAI_BASE_URL"]),
        ("model", &["demo", "DEFAULT_MODEL"]),
        ("sdks", &[&sdks, "open to this machine", "API_KEYS"]),
        ("docs", &[&docs, "--help"]),
    ];
    for (line, (name, words)) in lines.iter().zip(words) {
        assert!(line.trim_start().starts_with(name), "{line}");
        assert!(words.iter().all(|word| line.contains(word)), "{line}: {words:?}");
    }
    let browser = server.client();
    assert_eq!(browser.get("/docs/").await.status, 200);
    assert_eq!(browser.get("/health/ready").await.status, 200);
    // The log has nothing to complain about.
    assert!(!server.stderr().contains("WARN") && !server.stderr().contains("ERROR"), "{}", server.stderr());
    let secret = program.data().join("session-secret");
    assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(program.data().metadata().unwrap().permissions().mode() & 0o077, 0, "the data folder is private");
}

#[tokio::test]
async fn on_redis_the_start_up_lines_say_so_without_the_password() {
    let redis = RedisServer::start_with(&["--requirepass", CANARY]);
    let url = format!("redis://:{CANARY}@127.0.0.1:{}", redis.port());
    let program = Program::bare().set("REDIS_URL", &url);
    let server = program.start().await;
    let said = server.stdout();
    let store = said.lines().find(|line| line.trim_start().starts_with("store")).unwrap();
    assert!(store.contains("redis") && store.contains(&redis.port().to_string()), "{store}");
    assert!(!said.contains("canary") && !server.stderr().contains("canary"), "{said}{}", server.stderr());
    server.client().say("Hi").await.ok();
    assert!(!program.data().join("openai-backend.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn development_servers_on_one_redis_share_their_sessions_and_the_secret_is_nowhere_to_be_seen() {
    let redis = RedisServer::start();
    let program = || Program::bare().set("REDIS_URL", &redis.url());
    let (one, two) = (program(), program());
    let (first, second) = tokio::join!(one.start(), two.start());
    let browser = first.client();
    browser.say("Hello").await.ok();
    let cookie = browser.cookie();
    let elsewhere = browser.at(&second.url);
    elsewhere.say("And here").await.ok();
    assert_eq!(elsewhere.cookie(), cookie, "it is the same session");
    assert_eq!(browser.history().await.len(), 4);
    assert!(!one.data().join("session-secret").exists() && !two.data().join("session-secret").exists());
    first.stop().await;
    let again = one.start().await;
    assert_eq!(browser.at(&again.url).history().await.len(), 4);
    let check = one.run(&["--check"]).await;
    assert!(check.stdout.contains("SESSION_SECRET=(kept in the store)"), "{}", check.stdout);
    let production = program().set("APP_ENV", "production").set("OPENAI_API_KEY", CANARY);
    refused(&production.run(&[]).await, &["SESSION_SECRET"]);
}

#[tokio::test]
async fn the_curl_commands_work_word_for_word_and_a_restart_goes_on_where_it_stopped() {
    for (store, program, _redis) in on_both_stores(Program::bare) {
        let server = program.start().await;
        assert!(content(&shell(&program, &server.url, FIRST).await).contains("first thing you have said"), "{store}");
        let second = content(&shell(&program, &server.url, SECOND).await);
        assert!(second.contains("Hello, what is your name?"), "{store}: {second}");

        server.stop().await;
        let server = program.start().await;
        let third = content(&shell(&program, &server.url, WITH_MODEL).await);
        assert!(third.contains("Tell me a joke about programming."), "{store}: {third}");
        let history: Value = serde_json::from_str(&shell(&program, &server.url, HISTORY).await).unwrap();
        let said: Vec<(&str, &str)> = history.as_array().unwrap().iter().map(pair).collect();
        assert_eq!(said.len(), 6, "{store}: {history}");
        assert_eq!(said[0], ("user", "Hello, what is your name?"));
        assert_eq!(said[3], ("assistant", second.as_str()));
        assert_eq!(said[5], ("assistant", third.as_str()));

        assert_eq!(shell(&program, &server.url, GOODBYE).await, "");
        assert_eq!(shell(&program, &server.url, HISTORY).await, "[]", "{store}");
        server.stop().await;
    }
}

fn pair(message: &Value) -> (&str, &str) {
    (message["role"].as_str().unwrap(), message["content"].as_str().unwrap())
}

#[tokio::test]
async fn help_and_version_need_nothing() {
    let program = Program::bare();
    let help = program.run(&["--help"]).await;
    assert!(help.status.success() && help.stdout.contains("OPENAI_API_KEY") && help.stderr.is_empty(), "{help:?}");
    let version = program.run(&["--version"]).await;
    assert_eq!(version.stdout.trim(), format!("openai-backend {}", env!("CARGO_PKG_VERSION")));
    let wrong = program.run(&["--prot", "1"]).await;
    assert_eq!((wrong.status.code(), wrong.stdout.as_str()), (Some(2), ""));
    assert!(wrong.stderr.contains("--prot") && wrong.stderr.contains("--help"), "{}", wrong.stderr);
    assert!(!program.data().exists(), "asking for help leaves nothing behind");
}

#[tokio::test]
async fn check_says_what_it_found_and_never_a_secret() {
    let fake = fake_openai::FakeOpenAi::start().await;
    let redis = RedisServer::start_with(&["--requirepass", CANARY]);
    let sound = Program::bare()
        .set("OPENAI_BASE_URL", &fake.base_url())
        .set("OPENAI_API_KEY", CANARY)
        .set("SESSION_SECRET", CANARY)
        .set("REDIS_URL", &redis.url())
        .set("REDIS_PASSWORD", CANARY);
    let found = sound.run(&["--check"]).await;
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    for word in ["OPENAI_API_KEY=(set)", "REDIS_PASSWORD=(set)", "SESSION_SECRET=(set)", &fake.base_url(), "answers"] {
        assert!(found.stdout.contains(word), "{word}: {}", found.stdout);
    }
    assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    assert_eq!(fake.calls(), 0, "a check costs nothing");

    fake.require_key("another key");
    let refused = sound.run(&["--check"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");

    fake.outage().await;
    let away = sound.run(&["--check"]).await;
    assert_eq!(away.status.code(), Some(1), "{away:?}");
    assert!(!format!("{away:?}").contains("canary"), "{away:?}");

    let alone = Program::bare().run(&["--check"]).await;
    assert_eq!(alone.status.code(), Some(0), "{alone:?}");
}

#[tokio::test]
async fn health_asks_the_running_server() {
    let program = Program::bare();
    let server = program.start().await;
    let port = server.url.rsplit_once(':').unwrap().1.to_owned();
    assert!(program.run(&["--health", "--port", &port]).await.status.success());
    server.stop().await;
    assert_eq!(program.run(&["--health", "--port", &port]).await.status.code(), Some(1));
}

#[tokio::test]
async fn what_stands_in_the_way_is_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let program = Program::bare().set("PORT", &port);
    refused(&program.run(&[]).await, &[&format!("127.0.0.1:{port}"), "PORT"]);

    let production = || Program::bare().set("APP_ENV", "production");
    refused(&production().set("SESSION_SECRET", CANARY).run(&[]).await, &["OPENAI_API_KEY", "OPENAI_BASE_URL"]);
    refused(&production().set("OPENAI_API_KEY", CANARY).run(&[]).await, &["SESSION_SECRET"]);
    refused(&Program::bare().set("SESSION_SECRET", "canary too short").run(&[]).await, &["SESSION_SECRET", "32"]);
    refused(&Program::bare().set("REDIS_URL", "http://:canary@x").run(&[]).await, &["REDIS_URL"]);
    refused(&Program::bare().set("OPENAI_BASE_URL", "//canary").run(&[]).await, &["OPENAI_BASE_URL"]);
    refused(&Program::bare().set("ON_CRASH", "panic").run(&[]).await, &["ON_CRASH", "rerun"]);

    let first = Program::bare();
    let server = first.start().await;
    refused(&first.run(&[]).await, &["another server", "DATA_DIR"]);
    server.stop().await;
}

#[tokio::test]
async fn a_redis_that_refuses_or_is_not_there_is_one_sentence_without_the_password() {
    let redis = RedisServer::start_with(&["--requirepass", "the right password"]);
    let url = format!("redis://:{CANARY}@127.0.0.1:{}", redis.port());
    refused(&Program::bare().set("REDIS_URL", &url).run(&[]).await, &["REDIS_PASSWORD"]);
    let program = Program::bare().set("REDIS_URL", &redis.url());
    refused(&program.clone().set("REDIS_PASSWORD", CANARY).run(&[]).await, &["REDIS_PASSWORD"]);
    refused(&program.run(&[]).await, &["REDIS_PASSWORD"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let unreachable = format!("redis://:{CANARY}@127.0.0.1:{port}");
    refused(&Program::bare().set("REDIS_URL", &unreachable).run(&[]).await, &["REDIS_URL", &port.to_string()]);
}

#[tokio::test]
async fn what_looks_like_a_mistake_in_the_env_file_is_warned_about_and_not_quoted() {
    let program = Program::bare().set("SESION_SECRET", CANARY);
    let text = "\u{feff}DEFAULT_MODEL=demo\nOPENAI_KEY=canary\nSYSTEM_PROMPT=canary$name\nHTTPS_PROXY=http://canary\n";
    std::fs::write(program.folder().join(".env"), text).unwrap();
    let check = program.run(&["--check"]).await;
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    assert!(check.stdout.contains("DEFAULT_MODEL=demo"), "{check:?}");
    let warnings: Vec<&str> = check.stderr.lines().filter(|line| line.contains("WARN")).collect();
    let words = [
        ["line 2", "OPENAI_API_KEY"],
        ["line 3", "SYSTEM_PROMPT"],
        ["line 4", "HTTPS_PROXY"],
        ["SESION_SECRET in the environment", "SESSION_SECRET is"],
    ];
    assert_eq!(warnings.len(), words.len(), "{check:?}");
    for words in words {
        assert!(warnings.iter().any(|line| words.iter().all(|word| line.contains(word))), "{words:?}: {check:?}");
    }
    assert!(!check.stderr.contains("canary"), "{check:?}");
}

#[tokio::test]
async fn a_cluster_and_a_sentinel_are_refused_in_one_sentence() {
    for (arguments, words) in [
        (&["--cluster-enabled", "yes"][..], "Redis Cluster, which is not supported"),
        (&["--sentinel"], "Redis Sentinel, which keeps no data"),
    ] {
        let redis = RedisServer::start_with(arguments);
        let program = Program::bare().set("REDIS_URL", &redis.url());
        let port = redis.port().to_string();
        refused(&program.run(&[]).await, &[words, "REDIS_URL", &port]);
        let check = program.run(&["--check"]).await;
        assert_eq!(check.status.code(), Some(1), "{check:?}");
        assert!(check.stderr.lines().last().is_some_and(|line| line.contains(words)), "{check:?}");
    }
}

#[tokio::test]
async fn an_env_file_in_the_working_folder_is_read_and_the_environment_wins() {
    let program = Program::bare().set("DEFAULT_MODEL", "from-the-environment");
    std::fs::write(program.folder().join(".env"), "DEFAULT_MODEL=from-the-file\nDATA_DIR=./elsewhere\n").unwrap();
    let server = program.start().await;
    assert!(server.stdout().contains("from-the-environment"), "{}", server.stdout());
    assert!(program.folder().join("elsewhere/openai-backend.db").exists());
    assert!(!program.data().exists());
}
