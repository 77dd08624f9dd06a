//! What the API document says is what a server does, at both doors.

use std::time::Duration;

use tokio::process::Command;

use crate::support::process::Program;

/// The key of the requests.
const KEY: &str = "canary-schemathesis-key-0123456789";

/// Longer than the run takes, on a machine that does much else.
const ENDS_WITHIN: Duration = Duration::from_secs(300);

/// A few requests for every operation at both doors, from a fixed seed; `just schemathesis SECONDS` makes as many as fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_that_fits_the_document_is_refused_for_its_shape_and_none_that_breaks_it_is_taken() {
    let server = Program::bare().set("DEMO_WORD_DELAY", "0").set("API_KEYS", &format!("web:{KEY}")).start().await;
    let script = format!("{}/scripts/schemathesis", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(script);
    command.args(["--at", &server.url, "--seed", "1", "--max-examples", "4", "--phases", "examples,coverage,fuzzing"]);
    let output = command.env("OPENAI_API_KEY", KEY).kill_on_drop(true).output();
    let output = tokio::time::timeout(ENDS_WITHIN, output).await.expect("the run ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Tested: "), "{said}");
    let logged = server.stderr();
    assert!(!logged.contains("panicked") && !logged.contains("ERROR"), "{logged}");
    server.stop().await;
}
