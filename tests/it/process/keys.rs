//! Keys made, listed and revoked on the command line, while the server runs and while it does not, on each store that lasts.

use std::time::{Duration, Instant};

use fake_openai::FakeOpenAi;
use reqwest::Method;

use super::on_both_stores;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::process::{Ended, Program};
use crate::support::proxy::Proxy;

/// More than the second within which a server notices, on a machine that is busy with other tests.
const NOTICED: Duration = Duration::from_secs(5);

/// Exactly one sentence, on stderr, without the secret.
#[track_caller]
fn refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(code), ""), "{ended:?}");
    assert!(!ended.stderr.contains("sk-ob-") && words.iter().all(|word| ended.stderr.contains(word)), "{ended:?}");
}

/// The text of a new key, and its id.
async fn create(program: &Program, name: &str) -> (String, String) {
    let made = program.run(&["keys", "create", "--name", name]).await;
    assert!(made.status.success(), "{made:?}");
    let text = made.stdout.strip_suffix('\n').unwrap();
    assert!(text.starts_with("sk-ob-") && text.len() == 49 && !text.contains(char::is_whitespace), "{made:?}");
    assert!(made.stderr.contains(name) && made.stderr.contains("Bearer") && !made.stderr.contains(text), "{made:?}");
    let id = made.stderr.split_whitespace().find(|word| word.starts_with("key_")).unwrap();
    (text.to_owned(), id.to_owned())
}

async fn status(client: &Client, key: Option<&str>) -> u16 {
    let request = client.request(Method::GET, "/v1/models");
    let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
    client.send(request).await.status.as_u16()
}

async fn becomes(client: &Client, key: Option<&str>, expected: u16) {
    let from = Instant::now();
    eventually("the server notices", async || status(client, key).await == expected).await;
    assert!(from.elapsed() < NOTICED, "after {:?}", from.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_follows_what_is_done_beside_it() {
    for (store, program, _redis) in on_both_stores(Program::bare) {
        let server = program.start().await;
        assert!(server.stdout().contains("open to this machine, without a key"), "{store}: {}", server.stdout());
        let client = server.client();
        assert_eq!(status(&client, None).await, 200);
        let (web, web_id) = create(&program, "web").await;
        becomes(&client, None, 401).await;
        assert_eq!((status(&client, Some(&web)).await, status(&client, Some("anything")).await), (200, 401), "{store}");
        let (other, other_id) = create(&program, "other").await;
        becomes(&client, Some(&other), 200).await;
        let listed = program.run(&["keys", "list"]).await;
        let lines: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            (lines[0][..2].to_vec(), lines[1][..2].to_vec()),
            (vec![&*web_id, "web"], vec![&*other_id, "other"])
        );
        assert!(lines.len() == 2 && listed.stdout.contains("GMT") && !listed.stdout.contains("sk-ob-"), "{listed:?}");

        refused(&program.run(&["keys", "revoke", &web]).await, 1, &["keys list"]);
        let revoked = program.run(&["keys", "revoke", &web_id]).await;
        assert!(revoked.status.success() && revoked.stderr.contains("within a second"), "{revoked:?}");
        becomes(&client, Some(&web), 401).await;
        refused(&program.run(&["keys", "revoke", &web_id]).await, 1, &["keys list"]);
        assert_eq!(status(&client, Some(&other)).await, 200);
        server.stop().await;

        // With no server there, and for the one that comes.
        let (third, _) = create(&program, "web").await;
        let server = program.start().await;
        assert!(server.stdout().contains("with one of 2 keys"), "{store}: {}", server.stdout());
        let client = server.client();
        assert_eq!((status(&client, Some(&third)).await, status(&client, Some(&web)).await), (200, 401), "{store}");
        for line in program.run(&["keys", "list"]).await.stdout.lines() {
            assert!(program.run(&["keys", "revoke", line.split_whitespace().next().unwrap()]).await.status.success());
        }
        becomes(&client, None, 200).await;
        let none = program.run(&["keys", "list"]).await;
        assert!(none.stdout.is_empty() && none.stderr.ends_with("There are no keys.\n"), "{none:?}");
        assert!(
            !server.stderr().contains("sk-ob-") && !server.stderr().contains("WARN"),
            "{store}: {}",
            server.stderr()
        );
        server.stop().await;
    }
}

/// Behind nginx's bare `proxy_pass`, a request from anywhere looks like one of this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_production_the_door_is_never_open_without_a_key() {
    let fake = FakeOpenAi::start().await;
    let program = Program::towards(&fake.base_url()).set("APP_ENV", "production");
    let server = program.start().await;
    assert!(server.stdout().contains("shut: there are no keys"), "{}", server.stdout());
    let nginx = Proxy::nginx_before(&server.url, "").await;
    let elsewhere = Client::new(&nginx.url);
    for client in [&elsewhere, &server.client()] {
        assert_eq!(status(client, None).await, 401);
        assert_eq!(status(client, Some("anything")).await, 401);
    }
    let (key, _) = create(&program, "web").await;
    becomes(&elsewhere, Some(&key), 200).await;
    assert_eq!(status(&elsewhere, None).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_passes_on_finds_no_open_door_and_the_log_says_what_opens_it() {
    let server = Program::bare().start().await;
    assert_eq!(status(&server.client(), None).await, 200);
    for line in [
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "proxy_set_header X-Real-IP $remote_addr;",
        "proxy_set_header Forwarded for=$remote_addr;",
        "proxy_set_header Via $server_protocol;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
    ] {
        let nginx = Proxy::nginx_before(&server.url, line).await;
        assert_eq!(status(&Client::new(&nginx.url), None).await, 401, "{line}");
    }
    let opens = [
        "open to programs on this machine",
        "no keys",
        "HOST",
        "APP_ENV is development",
        "PRODUCTION_URL",
        "TRUSTED_PROXIES",
    ];
    for word in opens {
        assert!(server.stderr().contains(word), "{word}: {}", server.stderr());
    }
    let check = async |program: Program| program.run(&["--check"]).await.stdout;
    let said = check(Program::bare()).await;
    assert!(opens.iter().all(|word| said.contains(word)), "{said}");
    let said = check(Program::bare().set("HOST", "::")).await;
    assert!(said.contains("/v1: shut: there are no keys"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_the_door_opens_with_the_first_key() {
    let program = Program::bare().set("PRODUCTION_URL", "https://chat.example.com").set("API_KEYS", "");
    let server = program.start().await;
    assert!(server.stdout().contains("shut: there are no keys"), "{}", server.stdout());
    let client = server.client();
    assert_eq!(status(&client, Some("anything")).await, 401);
    let (text, _) = create(&program, "web").await;
    becomes(&client, Some(&text), 200).await;
    assert_eq!(status(&client, None).await, 401);
    server.stop().await;
    let server = program.start().await;
    assert!(server.stdout().contains("with the key"), "{}", server.stdout());
}

#[tokio::test]
async fn what_is_no_command_and_what_is_no_name() {
    let program = Program::bare();
    for arguments in [vec!["keys"], vec!["keys", "create"], vec!["keys", "lose"], vec!["--check", "keys", "list"]] {
        refused(&program.run(&arguments).await, 2, &["keys"]);
    }
    assert!(!program.data().exists(), "nothing is left behind");
    for name in ["local", "a b", "@operator"] {
        refused(&program.run(&["keys", "create", "--name", name]).await, 1, &["64 letters"]);
    }
    let help = program.run(&["keys", "--help"]).await;
    assert!(help.status.success() && help.stdout.contains("create") && help.stdout.contains("revoke"), "{help:?}");
    let elsewhere = program.run(&["keys", "create", "--name", "web", "--data-dir", "elsewhere"]).await;
    assert!(
        elsewhere.status.success() && program.folder().join("elsewhere/openai-backend.db").exists(),
        "{elsewhere:?}"
    );
    assert!(program.run(&["keys", "list"]).await.stdout.is_empty());
}
