//! A full disk (P15): turns fail clearly, nothing is corrupted, reads go on, and all is well when there is room again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use fake_openai::{FakeOpenAi, Gate, Reply};
use serde_json::json;

use crate::support::eventually;
use crate::support::process::{Process, Program};

/// A small disk of the server's own, that the test can fill.
enum Disk {
    /// A tmpfs in a mount namespace that ends with the server.
    Mounted,
    /// Where no file system may be mounted: a limit on the length of the server's files.
    Limited,
}

const MOUNT: &str = r#"mkdir data && mount -t tmpfs -o size=4m tmpfs data && exec "$0""#;

impl Disk {
    async fn find() -> Self {
        let mounts = ["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
        let tried = tokio::process::Command::new("unshare").args(mounts).output().await;
        if tried.is_ok_and(|output| output.status.success()) { Self::Mounted } else { Self::Limited }
    }

    fn under(&self, program: Program) -> Program {
        match self {
            Self::Mounted => program.wrapped(&["unshare", "-rm", "sh", "-c", MOUNT]),
            // The signal that a file is too long would end the server, where a full disk is only an error.
            Self::Limited => program.wrapped(&["sh", "-c", r#"trap "" XFSZ; exec "$0""#]),
        }
    }

    /// The data folder as the server sees it.
    fn data(&self, server: &Process, program: &Program) -> PathBuf {
        match self {
            Self::Mounted => PathBuf::from(format!("/proc/{}/root{}", server.pid(), program.data().display())),
            Self::Limited => program.data(),
        }
    }

    fn fill(&self, server: &Process, program: &Program) {
        match self {
            Self::Mounted => {
                let mut ballast = File::create(self.data(server, program).join("ballast")).unwrap();
                while ballast.write_all(&[0; 4096]).is_ok() {}
            }
            Self::Limited => limit(server, "4096:"),
        }
    }

    fn free(&self, server: &Process, program: &Program) {
        match self {
            Self::Mounted => fs::remove_file(self.data(server, program).join("ballast")).unwrap(),
            Self::Limited => limit(server, "unlimited:"),
        }
    }

    /// What a turn is answered.
    fn code(&self) -> &'static str {
        match self {
            Self::Mounted => "store_full",
            // A limit is no full disk to SQLite, but an error of the device.
            Self::Limited => "store_unavailable",
        }
    }
}

fn limit(server: &Process, bytes: &str) {
    let arguments = ["--pid".to_owned(), server.pid().to_string(), format!("--fsize={bytes}")];
    assert!(std::process::Command::new("prlimit").args(arguments).status().unwrap().success());
}

#[tokio::test]
async fn a_full_disk_fails_turns_clearly_corrupts_nothing_and_heals() {
    let disk = Disk::find().await;
    let fake = FakeOpenAi::start().await;
    let program = disk.under(Program::towards(&fake.base_url()));
    let server = program.start().await;
    let browser = server.client();
    // Its pages are in the log alone: on a full disk the database cannot grow by them, so the log cannot begin anew.
    browser.say(&"Before ".repeat(4_000)).await.ok();
    let gate = Gate::new();
    fake.push(Reply::text("An answer").then_wait(&gate).then_text(" that comes while the disk is full"));
    let other = server.client();
    let mut running = other.stream(&json!({"prompt": "Go on"})).await;
    running.expect("started").await;

    disk.fill(&server, &program);
    // Until the room that was taken before is used up, a turn may still fit.
    let mut fitted = 0;
    let refused = loop {
        let calls = fake.calls();
        let answer = browser.say(&"words to fill the disk with ".repeat(1_000)).await;
        if answer.status != 200 {
            assert_eq!(fake.calls(), calls, "nothing was spent");
            break answer;
        }
        fitted += 1;
        assert!(fitted < 100, "the disk is never full");
    };
    assert_eq!(refused.failed(503), disk.code());
    assert_eq!(browser.get("/health/ready").await.status, 503);
    assert_eq!(browser.get("/health/live").await.status, 200);
    assert_eq!(browser.history().await.len(), 2 + 2 * fitted, "reads go on");
    // The turn that was under way cannot be stored; its reader is told so instead of `completed`.
    gate.open();
    let told = running.rest().await;
    assert_eq!(told.last().unwrap().name, "error", "{told:?}");
    assert!(told.last().unwrap().data["code"].as_str().unwrap().starts_with("store_"), "{told:?}");

    disk.free(&server, &program);
    eventually("there is room again", async || browser.say("After").await.status == 200).await;
    eventually("it is ready again", async || browser.get("/health/ready").await.status == 200).await;
    // The server kept the whole answer, and stores it now.
    eventually("the turn is stored", async || other.get("/chat/turns").await.ok()[0]["status"] == "completed").await;
    assert_eq!(other.history().await[1].1, "An answer that comes while the disk is full");
    let history = browser.history().await;
    let roles: Vec<&str> = history.iter().map(|(role, _)| role.as_str()).collect();
    assert!(roles.chunks(2).all(|turn| turn == ["user", "assistant"]), "{roles:?}");

    let (data, copy) = (disk.data(&server, &program), tempfile::tempdir().unwrap());
    for name in ["openai-backend.db", "openai-backend.db-wal"] {
        fs::copy(data.join(name), copy.path().join(name)).unwrap();
    }
    let db = rusqlite::Connection::open(copy.path().join("openai-backend.db")).unwrap();
    let found: String = db.query_one("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
    server.stop().await;
}

#[tokio::test]
async fn a_server_on_a_full_disk_is_not_ready_until_turns_can_be_stored_again() {
    let disk = Disk::find().await;
    let program = disk.under(Program::bare().set("DEMO_WORD_DELAY", "0"));
    let server = program.start().await;
    let browser = server.client();
    browser.say("Before").await.ok();
    assert_eq!(browser.get("/health/ready").await.status, 200);

    disk.fill(&server, &program);
    let mut refused = 0;
    for round in 0..60 {
        let ready = browser.get("/health/ready").await;
        assert_eq!(ready.status, 503, "round {round}, {refused} refused");
        assert_eq!(ready.failed(503).split('_').next(), Some("store"));
        assert!(!ready.text.contains("data") && !ready.text.contains("SQLite"), "{}", ready.text);
        refused += usize::from(browser.say("Hello").await.status == 503);
        if refused > 10 {
            break;
        }
    }
    assert!(refused > 10, "turns are taken on a full disk");

    disk.free(&server, &program);
    eventually("there is room again", async || browser.say("After").await.status == 200).await;
    eventually("it is ready again", async || browser.get("/health/ready").await.status == 200).await;
    server.stop().await;
}
