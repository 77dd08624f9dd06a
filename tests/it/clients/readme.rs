//! The README's examples for SDKs, run word for word but for the address, as a newcomer would: over the demo.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::{ENDS_WITHIN, cache};
use crate::support::process::Program;

/// The examples in one language that use an SDK.
fn examples(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let fence = format!("```{language}\n");
    let blocks = readme.split(&fence).skip(1).filter_map(|rest| rest.split_once("\n```"));
    blocks.map(|(code, _)| code.to_owned()).filter(|code| code.contains("3000/v1")).collect()
}

/// Runs each in a folder of its own, in which the clients are installed, and compares what it prints.
async fn run(language: &str, interpreter: &Path, file: &str) {
    let server = Program::bare().set("DEMO_WORD_DELAY", "0").start().await;
    let examples = examples(language);
    assert!(!examples.is_empty(), "README has none for {language}");
    for example in examples {
        let folder = tempfile::tempdir().unwrap();
        let code = example.replace("http://localhost:3000", &server.url);
        fs::write(folder.path().join(file), code).unwrap();
        std::os::unix::fs::symlink(cache().join("node/node_modules"), folder.path().join("node_modules")).unwrap();
        let mut command = Command::new(interpreter);
        command.arg(file).current_dir(folder.path()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(ENDS_WITHIN, command.output()).await.expect("it ends").unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success() && stdout.contains("[demo] You said: "), "{example}\n\n{stdout}{stderr}");
    }
    server.stop().await;
}

#[tokio::test]
async fn its_python_runs() {
    run("python", &cache().join("python/bin/python"), "example.py").await;
}

#[tokio::test]
async fn its_javascript_runs() {
    let path = std::env::var_os("PATH").expect("PATH is set");
    let node = std::env::split_paths(&path).map(|folder| folder.join("node")).find(|node| node.exists());
    run("js", &node.expect("scripts/clients --install installs Node.js"), "example.mjs").await;
}
