//! A real redis-server for one test or several: started on a free port, stopped, continued, killed, restarted.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use openai_backend::store::redis::RedisSettings;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

const STARTS_WITHIN: Duration = Duration::from_secs(20);

pub struct RedisServer {
    process: Mutex<Process>,
    port: u16,
    args: Vec<String>,
    dir: TempDir,
}

impl RedisServer {
    /// A server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with these further arguments.
    pub fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        for _ in 0..20 {
            // Another program may take the port in between; then the next one is tried.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = spawn(port, &dir, &args);
            if answers(port, &mut child) {
                return Self { process: Mutex::new(Process::guarded(child)), port, args, dir };
            }
        }
        panic!("redis-server does not start; try `redis-server --port 6399` by hand");
    }

    /// One server for all tests that run at the same time and keep apart by their key prefixes.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How a store reaches it.
    pub fn settings(&self, key_prefix: &str) -> RedisSettings {
        RedisSettings {
            url: self.url().into(),
            user: None,
            password: None,
            key_prefix: key_prefix.into(),
            deadline: Duration::from_secs(2),
            in_cluster: false,
        }
    }

    /// A connection to look in from the side.
    pub async fn admin(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Stops the process where it is: its sockets stay open, and do not answer.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    pub fn pid(&self) -> String {
        self.process().server.id().to_string()
    }

    fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.pid()]).status().expect("kill is part of every system");
        assert!(status.success());
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.process().end();
    }

    /// Starts it again on the same port, with whatever its disk kept.
    pub fn restart(&self) {
        self.kill();
        let deadline = Instant::now() + STARTS_WITHIN;
        while Instant::now() < deadline {
            let mut child = spawn(self.port, &self.dir, &self.args);
            if answers(self.port, &mut child) {
                *self.process() = Process::guarded(child);
                return;
            }
        }
        panic!("redis-server does not start again on port {}", self.port);
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server, and a shell that ends it should this process be killed: the pipe between them breaks then.
struct Process {
    server: Child,
    guard: Child,
}

impl Process {
    fn guarded(server: Child) -> Self {
        let guard = Command::new("sh")
            .args(["-c", "read line; kill -s KILL \"$0\"", &server.id().to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("every system has a shell");
        Self { server, guard }
    }

    fn end(&mut self) {
        // The guard first, since the server's id may be another process's afterwards.
        for child in [&mut self.guard, &mut self.server] {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, dir: &TempDir, args: &[String]) -> Child {
    let port = port.to_string();
    // A sentinel wants a file, and may write to it.
    let file = dir.path().join("redis.conf");
    std::fs::write(&file, "").unwrap();
    Command::new("redis-server")
        .arg(file)
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(dir.path())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "these tests need redis-server, which cannot be started ({error}): install it, on Debian and Ubuntu \
                 with `apt-get install redis-server`, or run ./scripts/test, which does"
            )
        })
}

/// Waits for it to answer; false where it ended instead, as it does when its port is taken.
fn answers(port: u16, child: &mut Child) -> bool {
    let deadline = Instant::now() + STARTS_WITHIN;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if pings(port).unwrap_or(false) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

fn pings(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n" || &answer == b"-NOAUTH")
}
