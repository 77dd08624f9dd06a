//! The commands that the README shows and that the Node service's users have in their shell history, word for word.

use serde_json::Value;
use tokio::process::Command;

use crate::support::process::Program;

pub const FIRST: &str = r#"curl -X POST http://localhost:3000/chat -H "Content-Type: application/json" -d '{"prompt": "Hello, what is your name?"}' -c cookiejar.txt"#;
pub const SECOND: &str = r#"curl -X POST http://localhost:3000/chat -H "Content-Type: application/json" -d '{"prompt": "Tell me a joke about programming."}' -b cookiejar.txt"#;
pub const WITH_MODEL: &str = r#"curl -X POST http://localhost:3000/chat -H "Content-Type: application/json" -d '{"prompt": "Tell me another one.", "model": "gpt-3.5-turbo"}' -b cookiejar.txt"#;
pub const HISTORY: &str = "curl http://localhost:3000/chat -b cookiejar.txt";
pub const GOODBYE: &str = "curl -X DELETE http://localhost:3000/chat -b cookiejar.txt";

/// Runs a command in the program's folder, towards this server instead of port 3000.
pub async fn shell(program: &Program, url: &str, command: &str) -> String {
    let command =
        command.replace("http://localhost:3000", url).replace("curl ", "curl -sS --noproxy '*' --fail-with-body ");
    let output = Command::new("sh").args(["-c", &command]).current_dir(program.folder()).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// What an answer says.
pub fn content(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(answer["role"], "assistant", "{answer}");
    answer["content"].as_str().unwrap().to_owned()
}

#[test]
fn the_readme_shows_these_commands() {
    let readme = include_str!("../../../README.md");
    for command in [FIRST, SECOND] {
        assert!(readme.lines().any(|line| line == command), "{command}");
    }
}
