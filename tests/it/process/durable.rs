//! The order of things on the way to the disk (P1): what the system calls of the running server say. Power cannot be cut
//! in a test; that the log is synced before a client hears `completed` can be seen.

use std::ops::Range;
use std::path::PathBuf;

use fake_openai::{FakeOpenAi, Reply};
use serde_json::json;

use crate::support::eventually;
use crate::support::process::Program;

/// What the model says, to be found in what is written.
const PLAIN: &str = "a plain answer that must last";
const STREAMED: &str = "another answer that must last";

/// The calls of a server in their order. A call that another one interrupts stands twice: begun, and resumed.
struct Trace(Vec<String>);

impl Trace {
    /// The first line from `from` on for which `holds`.
    #[track_caller]
    fn find(&self, what: &str, from: usize, holds: impl Fn(&str) -> bool) -> usize {
        let found = self.0.iter().skip(from).position(|line| holds(line));
        from + found.unwrap_or_else(|| panic!("no {what} in:\n{}", self.shown(from..self.0.len())))
    }

    /// The beginnings of these lines, which hold whole pages.
    fn shown(&self, lines: Range<usize>) -> String {
        self.0[lines].iter().map(|line| format!("{line:.160}\n")).collect()
    }

    /// The write-ahead log's write that ends a turn: the last one with this text before it is told.
    fn logged(&self, text: &str, told: usize) -> usize {
        let log = |line: &String| line.contains("pwrite64(") && line.contains("-wal>") && line.contains(text);
        self.0[..told].iter().rposition(log).unwrap_or_else(|| panic!("{text:?} was told before it was written"))
    }

    /// Where a sync of the log had ended, of those that began after line `from`.
    fn synced(&self, from: usize) -> usize {
        let begun = self.find("sync of the log", from, |line| line.contains("sync(") && line.contains("-wal>"));
        if self.0[begun].ends_with("= 0") {
            return begun;
        }
        let thread = self.0[begun].split_whitespace().next().unwrap().to_owned();
        let resumed = |line: &str| line.starts_with(&thread) && line.contains("sync resumed") && line.ends_with("= 0");
        self.find("end of that sync", begun + 1, resumed)
    }
}

fn is_send(line: &str) -> bool {
    ["sendto(", "sendmsg(", "write(", "writev("].iter().any(|call| line.contains(call))
}

#[tokio::test]
async fn an_answer_is_on_the_disk_before_its_client_is_told_that_it_is_complete() {
    let fake = FakeOpenAi::start().await;
    let program = Program::towards(&fake.base_url());
    let file: PathBuf = program.folder().join("trace");
    let calls = "trace=pwrite64,fsync,fdatasync,write,writev,sendto,sendmsg";
    // `-D` makes the tracer the server's grandchild, so that signals reach the server.
    let strace = ["strace", "-D", "-f", "-y", "-s", "16384", "-e", calls, "-o", file.to_str().unwrap()];
    let traced = program.wrapped(&strace);
    let server = traced.start().await;
    let browser = server.client();
    fake.push(Reply::text(PLAIN));
    browser.say("Hello").await.ok();
    fake.push(Reply::text(STREAMED));
    let events = browser.stream(&json!({"prompt": "Again"})).await.rest().await;
    assert_eq!(events.last().unwrap().name, "completed");
    server.stop().await;
    eventually("the trace is written", async || {
        std::fs::read_to_string(&file).is_ok_and(|trace| trace.trim_end().ends_with("+++ exited with 0 +++"))
    })
    .await;
    let trace = Trace(std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect());

    let plain =
        trace.find("plain answer", 0, |line| is_send(line) && line.contains("HTTP/1.1 200") && line.contains(PLAIN));
    let streamed = trace.find("completed", plain, |line| is_send(line) && line.contains("event: completed"));
    for (text, told) in [(PLAIN, plain), (STREAMED, streamed)] {
        let logged = trace.logged(text, told);
        let synced = trace.synced(logged);
        assert!(
            synced < told,
            "told in line {told}, synced in line {synced}:\n{}",
            trace.0[logged..=synced].join("\n")
        );
    }
}
