//! What is logged at each level, and in which form.

use crate::support::captured_log::CapturedLog;
use crate::support::server::Setup;

/// What the log has of a few lines of ours and of another crate.
fn logged(level: &str, format: &str) -> String {
    let settings = Setup::default().set("LOG_LEVEL", level).set("LOG_FORMAT", format);
    let log = CapturedLog::start(&settings.config().log);
    tracing::info!(target: "openai_backend", { turn.id = "turn_1" }, "ours at info");
    tracing::debug!(target: "openai_backend", "ours at debug");
    tracing::trace!(target: "openai_backend::turn", "a room at trace");
    tracing::info!(target: "hyper::proto", "theirs at info");
    tracing::debug!(target: "hyper::proto", "theirs at debug");
    log.text()
}

#[test]
fn each_level_lets_through_what_it_should() {
    let lines = |level| logged(level, "text").lines().count();
    assert_eq!(lines("off"), 0);
    assert_eq!(lines("warn"), 0);
    assert_eq!(lines("info"), 2);
    assert_eq!(lines("debug"), 3);
    assert_eq!(lines("TRACE"), 4);
    assert_eq!(lines("info,openai_backend::turn=trace"), 3);
    assert_eq!(lines("warn,openai_backend=info"), 1);
}

#[test]
fn other_crates_never_say_more_than_info() {
    for level in ["trace", "trace,hyper=trace", "info, hyper::proto = trace"] {
        let log = logged(level, "text");
        assert!(!log.contains("theirs at debug"), "{level}: {log}");
    }
}

#[test]
fn json_lines_are_objects_with_dotted_fields() {
    let log = logged("info", "json");
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(first["turn.id"], "turn_1");
    assert_eq!(first["message"], "ours at info");
    assert_eq!(first["level"], "INFO");
}
