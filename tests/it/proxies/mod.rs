//! The server behind real proxies: what docs/proxies.md tells operators to set, and what proxies do to streams, idle
//! connections and addresses.

mod below_a_path;
mod pages;
mod snippets;
mod streams;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::client::Client;
use crate::support::documents::{blocks, pages};
use crate::support::eventually;

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

/// The code block of docs/proxies.md in this language that has `word` in it.
pub fn documented(language: &str, word: &str) -> String {
    let pages = pages();
    let (_, page) = pages.iter().find(|(name, _)| name == "docs/proxies.md").expect("docs/proxies.md");
    let found: Vec<&str> = blocks(page, language).into_iter().filter(|block| block.contains(word)).collect();
    assert_eq!(found.len(), 1, "blocks of {language} with {word}");
    found[0].to_owned()
}

/// The address of a server, without its scheme.
pub fn address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

impl Proxy {
    /// nginx with these blocks of its `http` section; in them, `PORT` is where it listens and `FOLDER` a folder of its own.
    pub async fn nginx(http: &str) -> Self {
        Self::nginx_at(free_port(), tempfile::tempdir().unwrap(), http).await
    }

    async fn nginx_at(port: u16, folder: TempDir, http: &str) -> Self {
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
        Self::nginx_at(port, self.folder, http).await
    }

    /// HAProxy with this configuration.
    pub async fn haproxy(config: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let file = folder.path().join("haproxy.cfg");
        // It takes a last line without an end for one that was cut.
        fs::write(&file, config.replace("PORT", &port.to_string()) + "\n").unwrap();
        let mut command = Command::new(first_of(&["/usr/sbin/haproxy", "haproxy"]));
        command.arg("-db").arg("-f").arg(file);
        Self::start(command, port, folder).await
    }

    /// Caddy with this configuration.
    pub async fn caddy(config: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let file = folder.path().join("Caddyfile");
        let config = format!("{{\n\tadmin off\n}}\n\n{}", config.replace("PORT", &port.to_string()));
        fs::write(&file, config).unwrap();
        let mut command = Command::new(first_of(&["/usr/bin/caddy", "caddy"]));
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        for home in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            command.env(home, folder.path());
        }
        Self::start(command, port, folder).await
    }

    async fn start(mut command: Command, port: u16, folder: TempDir) -> Self {
        let output = || fs::File::options().create(true).append(true).open(folder.path().join("output")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output()).stderr(output()).kill_on_drop(true).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{command:?}: {error}; ./scripts/test installs what is missing"));
        let mut proxy = Self { url: format!("http://127.0.0.1:{port}"), folder, child };
        eventually("the proxy listens", async || {
            if let Some(status) = proxy.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}{}", proxy.file("output"), proxy.file("error.log"));
            }
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        proxy
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
