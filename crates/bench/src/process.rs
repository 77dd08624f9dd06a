//! What is measured: processes that the harness starts, looks at through `/proc`, and ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// How long a process may take until it serves.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A process that ends with this value.
pub struct Process {
    child: Child,
    /// Kept open, so that the process can go on writing.
    _stdout: Option<BufReader<ChildStdout>>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

/// The part of the first line by which a process says where it listens.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let host = rest.split(['/', ' ', '\n']).next()?;
    let port = host.rsplit(':').next()?.parse().ok()?;
    Some((Ipv4Addr::LOCALHOST, port).into())
}

impl Process {
    /// Starts a process whose first line on stdout says where it listens.
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let name = command.get_program().display().to_string();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("a pipe is missing")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        match address_in(&line) {
            Some(address) => Ok(Self { child, _stdout: Some(stdout), address }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("{name} does not say where it listens: {line:?}").into())
            }
        }
    }

    /// Starts a Redis of its own that keeps nothing on disk.
    pub fn start_redis(folder: &Path) -> Result<Self, Failure> {
        // Another program may take the port in between; then the process ends, and the run fails with its reason.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let port = address.port().to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server cannot be started ({error}): apt-get install redis-server"))?;
        let redis = Self { child, _stdout: None, address };
        let deadline = Instant::now() + STARTS_WITHIN;
        while !pongs(address) {
            if Instant::now() > deadline {
                return Err("redis-server does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(redis)
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may have blanks in it, but ends with the last bracket; fields 14 and 15 count from the first one.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).ok_or("/proc is unreadable");
        // Linux counts in hundredths of a second towards user space, on every architecture in use.
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }

    /// Resident memory.
    pub fn memory(&self) -> Result<Memory, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or("/proc is unreadable")
        };
        Ok(Memory { now: kib("VmRSS:")?, peak: kib("VmHWM:")? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already needs no ending.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pongs(address: SocketAddr) -> bool {
    let pong = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    pong().unwrap_or(false)
}

/// A program that was built beside this one.
pub fn program(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not built: `just bench` builds everything", path.display()).into()),
    }
}

/// The fake upstream, with these flags.
pub fn fake(flags: &[&str]) -> Result<Process, Failure> {
    Process::start(Command::new(program("fake-openai")?).args(["--port", "0", "--quiet"]).args(flags))
}

/// The bare proxy in front of `upstream`.
pub fn proxy(upstream: &Process) -> Result<Process, Failure> {
    Process::start(Command::new(program("bare-proxy")?).arg(base_url(upstream)))
}

/// The server, or the one without an event log.
pub const SERVER: &str = "openai-backend";
/// See its file.
pub const UNLOGGED: &str = "unlogged";

/// A server in front of `upstream`; everything it keeps is in `folder`, or in `redis`.
pub fn server(
    server: &Path,
    upstream: &Process,
    folder: &Path,
    redis: Option<&Process>,
    settings: &[(&str, &str)],
) -> Result<Process, Failure> {
    let mut command = Command::new(server);
    command
        .env_clear()
        .current_dir(folder)
        .env("PORT", "0")
        .env("DATA_DIR", folder)
        .env("OPENAI_BASE_URL", base_url(upstream))
        .env("SESSION_SECRET", "a secret of the bench that guards nothing")
        .env("LOG_LEVEL", "warn")
        .envs(settings.iter().copied());
    if let Some(redis) = redis {
        command.env("REDIS_URL", format!("redis://{}", redis.address));
    }
    Process::start(&mut command)
}

fn base_url(upstream: &Process) -> String {
    format!("http://{}/v1", upstream.address)
}
