//! The shell examples in README.md and docs/, run line by line on a server with nothing set, page by page; and what
//! docs/operations.md says of backups.

use rusqlite::Connection;
use serde_json::Value;

use super::curl::shell;
use crate::support::documents::{blocks, pages};
use crate::support::process::Program;

/// The id in the examples, in the place of one that `keys list` prints.
const KEY_ID: &str = "key_0199f3a65a6e7c1b8d2f4a6b8c0d2e51";

#[tokio::test]
async fn every_command_in_the_documents_runs() {
    let mut commands = 0;
    for (page, text) in pages() {
        let program = Program::bare().set("DEMO_WORD_DELAY", "0");
        let server = program.start().await;
        let lines = blocks(&text, "sh").into_iter().flat_map(str::lines);
        for line in lines.filter(|line| line.starts_with("curl ") || line.starts_with("openai-backend ")) {
            commands += 1;
            if let Some(arguments) = line.strip_prefix("openai-backend ") {
                let arguments = arguments.split('#').next().unwrap_or_default();
                let arguments = arguments.replace(KEY_ID, &first_key(&program).await.unwrap_or_default());
                let ended = program.run(&arguments.split_whitespace().collect::<Vec<_>>()).await;
                assert!(ended.status.success(), "{page}: {line}: {ended:?}");
            } else {
                let turn =
                    if line.contains("$TURN") { latest_turn(&program, &server.url).await } else { String::new() };
                shell(&program, &server.url, &line.replace("$TURN", &turn)).await;
            }
        }
        server.stop().await;
    }
    assert!(commands >= 15, "only {commands} commands were found");
}

/// The id of the first key, as a person finds it.
async fn first_key(program: &Program) -> Option<String> {
    let listed = program.run(&["keys", "list"]).await;
    listed.stdout.split_whitespace().next().map(str::to_owned)
}

/// The turn of the session in the cookie jar that began last.
async fn latest_turn(program: &Program, url: &str) -> String {
    let listed = shell(program, url, r#"curl "http://localhost:3000/chat/turns?limit=1" -b cookiejar.txt"#).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    listed[0]["turn"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_backup_made_beside_a_running_server_restores_the_history() {
    let program = Program::bare().set("DEMO_WORD_DELAY", "0").set("SESSION_SECRET", &"s".repeat(32));
    let server = program.start().await;
    let browser = server.client();
    browser.say("Remember the lighthouse").await.ok();
    let command = "VACUUM INTO 'backup.db'";
    let documented = pages().iter().any(|(page, text)| page == "docs/operations.md" && text.contains(command));
    assert!(documented, "docs/operations.md shows another command");
    let backup = program.folder().join("backup.db");
    let beside = Connection::open(program.data().join("openai-backend.db")).unwrap();
    beside.execute_batch(&command.replace("backup.db", backup.to_str().unwrap())).unwrap();
    drop(beside);
    browser.say("This is said after the backup").await.ok();
    server.stop().await;

    std::fs::rename(&backup, program.data().join("openai-backend.db")).unwrap();
    let server = program.start().await;
    let restored = browser.at(&server.url).history().await;
    assert_eq!(restored.len(), 2, "{restored:?}");
    assert_eq!(restored[0].1, "Remember the lighthouse");
    server.stop().await;
}
