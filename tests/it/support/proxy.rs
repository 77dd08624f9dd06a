//! Real proxies in front of a server, each on a free port with a folder of its own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::client::Client;
use super::eventually;

/// A running proxy; dropping it ends it.
pub struct Proxy {
    pub url: String,
    folder: TempDir,
    child: Child,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Proxy {
    /// nginx with these blocks of its `http` section; in them, `PORT` is where it listens and `FOLDER` a folder of its own.
    pub async fn nginx(http: &str) -> Self {
        on_a_free_port(async |port, folder| Self::nginx_at(port, folder, http).await).await
    }

    /// nginx that passes everything on to the server at `upstream`, an `http://` URL. `lines` go into its `location`.
    pub async fn nginx_before(upstream: &str, lines: &str) -> Self {
        let location = format!("location / {{ proxy_pass {upstream}; {lines} }}");
        Self::nginx(&format!("server {{ listen 127.0.0.1:PORT; {location} }}")).await
    }

    async fn nginx_at(port: u16, folder: TempDir, http: &str) -> Result<Self, String> {
        let path = folder.path().display().to_string();
        let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
            .collect();
        // As one process it needs no rights that the test has not, and ends with its only one.
        let config = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\nhttp {{\n\
             access_log off;\n{scratch}{}\n}}\n",
            http.replace("PORT", &port.to_string()).replace("FOLDER", &path)
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new(first_of(&["/usr/sbin/nginx", "nginx"]));
        command.args(["-p", &path, "-c", &format!("{path}/nginx.conf"), "-e", &format!("{path}/error.log")]);
        Self::start(command, port, folder).await
    }

    /// Ends it, and starts it again on the same port.
    pub async fn restarted(mut self, http: &str) -> Self {
        self.child.kill().await.unwrap();
        let port = self.url.rsplit_once(':').unwrap().1.parse().unwrap();
        Self::nginx_at(port, self.folder, http).await.expect("its port is free again")
    }

    /// HAProxy with this configuration.
    pub async fn haproxy(config: &str) -> Self {
        on_a_free_port(async |port, folder: TempDir| {
            let file = folder.path().join("haproxy.cfg");
            // It takes a last line without an end for one that was cut.
            fs::write(&file, config.replace("PORT", &port.to_string()) + "\n").unwrap();
            let mut command = Command::new(first_of(&["/usr/sbin/haproxy", "haproxy"]));
            command.arg("-db").arg("-f").arg(file);
            Self::start(command, port, folder).await
        })
        .await
    }

    /// Caddy with this configuration.
    pub async fn caddy(config: &str) -> Self {
        on_a_free_port(async |port, folder: TempDir| {
            let file = folder.path().join("Caddyfile");
            let config = format!("{{\n\tadmin off\n}}\n\n{}", config.replace("PORT", &port.to_string()));
            fs::write(&file, config).unwrap();
            let mut command = Command::new(first_of(&["/usr/bin/caddy", "caddy"]));
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
            for home in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
                command.env(home, folder.path());
            }
            Self::start(command, port, folder).await
        })
        .await
    }

    /// What the program said, where it ends before it listens.
    async fn start(mut command: Command, port: u16, folder: TempDir) -> Result<Self, String> {
        let output = || fs::File::options().create(true).append(true).open(folder.path().join("output")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output()).stderr(output()).kill_on_drop(true).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{command:?}: {error}; ./scripts/test installs what is missing"));
        let mut proxy = Self { url: format!("http://127.0.0.1:{port}"), folder, child };
        let mut ended = None;
        eventually("the proxy listens", async || {
            ended = proxy.child.try_wait().unwrap();
            ended.is_some() || TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        match ended {
            Some(status) => Err(format!("it ended with {status}: {}{}", proxy.file("output"), proxy.file("error.log"))),
            None => Ok(proxy),
        }
    }

    /// What a file in its folder says, such as a log; nothing where there is none.
    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// A browser that has not been here before.
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }
}

/// Programs of administrators are not on everybody's path.
fn first_of<'a>(programs: &[&'a str]) -> &'a str {
    programs.iter().find(|program| Path::new(program).exists()).or(programs.last()).unwrap()
}

/// Another program may take the port in between; then the next one is tried.
async fn on_a_free_port(start: impl AsyncFn(u16, TempDir) -> Result<Proxy, String>) -> Proxy {
    let mut said = String::new();
    for _ in 0..5 {
        match start(free_port(), tempfile::tempdir().unwrap()).await {
            Ok(proxy) => return proxy,
            Err(ended) => said = ended,
        }
    }
    panic!("{said}");
}
