//! A real nginx in front of a server, on a free port, with the lines of a `location` that a test gives.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::SOON;

/// Dropping it ends it.
pub struct Nginx {
    pub url: String,
    process: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Passes everything on to the server at `upstream`, an `http://` URL. `lines` go into its `location`.
    pub fn before(upstream: &str, lines: &str) -> Self {
        for _ in 0..20 {
            // Another program may take the port in between; then the next one is tried.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("nginx.conf");
            std::fs::write(&file, config(folder.path(), port, upstream, lines)).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-c").arg(&file).arg("-e").arg(folder.path().join("error.log"));
            let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx is installed");
            let mut nginx = Self { url: format!("http://127.0.0.1:{port}"), process, _folder: folder };
            if nginx.listens(port) {
                return nginx;
            }
        }
        panic!("nginx does not start; try it by hand");
    }

    fn listens(&mut self, port: u16) -> bool {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline && self.process.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

fn config(folder: &Path, port: u16, upstream: &str, lines: &str) -> String {
    let folder = folder.display();
    let kept = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let kept = kept.map(|kind| format!("{kind}_temp_path {folder}/{kind};")).join(" ");
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; {kept}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {upstream}; {lines} }} }} }}\n"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
