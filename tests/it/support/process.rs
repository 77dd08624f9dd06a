//! The real program, as an operator runs it: in a folder and an environment of its own, killed and started again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::client::Client;
use super::server::SECRET;
use super::{SOON, eventually};

/// How the program is to be started. Clones share the folder, and so what is kept in it.
#[derive(Clone)]
pub struct Program {
    folder: Arc<TempDir>,
    settings: Vec<(String, String)>,
    wrapper: Vec<String>,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A running server; dropping it kills it.
pub struct Process {
    pub url: String,
    program: Program,
    child: Child,
}

impl Program {
    /// With nothing set but a free port: development, SQLite, the demo model.
    pub fn bare() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self { folder, settings: Vec::new(), wrapper: Vec::new() }.set("PORT", "0")
    }

    /// [`Program::bare`] with a session secret, and with a model server.
    pub fn towards(base_url: &str) -> Self {
        Self::bare().set("SESSION_SECRET", SECRET).set("OPENAI_BASE_URL", base_url)
    }

    /// With this setting, by its environment name.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Started by another program, which gets the path as its last argument and must become it.
    pub fn wrapped(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder, where nothing else is set.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_openai-backend");
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary),
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(binary);
                command
            }
        };
        command.current_dir(self.folder()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it with these arguments to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command().args(arguments).output();
        let output = tokio::time::timeout(SOON, output).await.expect("it ends").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts it, and waits until it listens.
    pub async fn start(&self) -> Process {
        // Files, not pipes: output survives the program, and needs no reader.
        let output = |name: &str| File::create(self.folder().join(name)).unwrap();
        let child = self.command().stdout(output("stdout")).stderr(output("stderr")).spawn().unwrap();
        let mut process = Process { url: String::new(), program: self.clone(), child };
        eventually("the server starts", async || {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("it ended with {status}:\n{}{}", process.stdout(), process.stderr());
            }
            process.stdout().lines().count() >= 6
        })
        .await;
        let address = process.stdout().lines().next().and_then(|line| Some(line.split_once("http://")?.1.to_owned()));
        process.url = format!("http://{}", address.expect("the first line names the address"));
        process
    }
}

impl Process {
    /// A browser that has not been here before.
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// What it has written to stdout since it was started.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.program.folder().join("stdout")).unwrap()
    }

    /// What it has written to stderr since it was started.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.program.folder().join("stderr")).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("kill is part of every system").success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends").unwrap()
    }

    /// `kill -9`.
    pub async fn kill(mut self) -> Program {
        self.child.start_kill().unwrap();
        self.ended().await;
        self.program.clone()
    }

    /// SIGTERM; it must end well.
    pub async fn stop(mut self) -> Program {
        self.signal("TERM");
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", self.stderr());
        self.program.clone()
    }
}
