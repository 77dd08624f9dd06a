//! The examples for SDKs in README.md and docs/, run word for word but for the address, as a newcomer would: over the demo.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::{ENDS_WITHIN, cache};
use crate::support::documents::{blocks, pages};
use crate::support::process::Program;

/// Runs each example in one language that uses an SDK towards this machine, in a folder of its own in which the clients are
/// installed, and checks what it prints.
async fn run(language: &str, interpreter: &Path, file: &str, at_least: usize) {
    let server = Program::bare().set("DEMO_WORD_DELAY", "0").start().await;
    let pages = pages();
    let examples =
        pages.iter().flat_map(|(name, text)| blocks(text, language).into_iter().map(move |code| (name, code)));
    let examples: Vec<_> = examples.filter(|(_, code)| code.contains("3000/v1")).collect();
    assert!(examples.len() >= at_least, "{} examples in {language}", examples.len());
    for (name, example) in examples {
        let folder = tempfile::tempdir().unwrap();
        let code = example.replace("http://localhost:3000", &server.url);
        fs::write(folder.path().join(file), code).unwrap();
        std::os::unix::fs::symlink(cache().join("node/node_modules"), folder.path().join("node_modules")).unwrap();
        let mut command = Command::new(interpreter);
        command.arg(file).current_dir(folder.path()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(ENDS_WITHIN, command.output()).await.expect("it ends").unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let answered = output.status.success() && stdout.contains("[demo] You said: ");
        assert!(answered, "{name}:\n{example}\n\n{stdout}{stderr}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_python_example_runs() {
    run("python", &cache().join("python/bin/python"), "example.py", 2).await;
}

#[tokio::test]
async fn every_javascript_example_runs() {
    let path = std::env::var_os("PATH").expect("PATH is set");
    let node = std::env::split_paths(&path).map(|folder| folder.join("node")).find(|node| node.exists());
    run("js", &node.expect("scripts/clients --install installs Node.js"), "example.mjs", 2).await;
}
