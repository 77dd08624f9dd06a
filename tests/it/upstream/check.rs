//! What the operator hears of a model's server that cannot be reached, or is not at the address of the settings.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use fake_openai::Reply;
use openai_backend::domain::turn::FaultKind::{UpstreamMisaddressed, UpstreamUnavailable};
use openai_backend::upstream::Upstream as _;
use serde_json::json;

use super::*;
use crate::support::captured_log::CapturedLog;
use crate::support::eventually;
use crate::support::server::Setup;

fn at(base_url: &str) -> OpenAi {
    let base_url = base_url.parse().unwrap();
    once(OpenAiSettings::new(base_url, Some(SecretString::from(KEY)), "compatible"))
}

/// What `--check` and the log say of a server at this address, and that a visitor hears none of it.
async fn told_of(base_url: &str) -> String {
    let log = CapturedLog::start(&Setup::default().config().log);
    let upstream = at(base_url);
    let fault = upstream.check().await.unwrap_err();
    assert_eq!(fault.kind, UpstreamUnavailable, "{fault}");
    let heard = ask(&upstream, plain()).await.fault();
    assert_eq!(heard.message, "the model's server cannot be reached");
    let why = fault.message.strip_prefix("the model's server cannot be reached: ").expect("a reason").to_owned();
    let in_log = log.text();
    assert!(in_log.contains(why.split(" (").next().unwrap()), "{why}: {in_log}");
    assert!(!in_log.contains("canary"), "{in_log}");
    why
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_says_why() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = told_of(&format!("http://127.0.0.1:{port}/v1")).await;
    assert!(refused.contains("onnection refused"), "{refused}");
    let unknown = told_of("http://nowhere.invalid/v1").await;
    assert!(unknown.contains("dns") || unknown.contains("lookup"), "{unknown}");
}

/// A server with a certificate that no authority of this machine has signed.
struct Tls {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Tls {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (key, certificate) = (path("key.pem"), path("certificate.pem"));
        let make =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        let subject = ["-subj", "/CN=An issuer that no machine knows", "-addext", "subjectAltName=DNS:localhost"];
        // One that is no authority itself.
        let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
        let mut openssl = Command::new("openssl");
        let made = openssl.args(make).args(subject).args(leaf).args(["-keyout", &key, "-out", &certificate]).output();
        assert!(made.expect("openssl is installed").status.success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_server",
            "-quiet",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-cert",
            &certificate,
            "-key",
            &key,
        ]);
        let process = openssl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it listens", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        Self { process, port, _folder: folder }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer_is_named_with_what_mends_it() {
    let server = Tls::start().await;
    let why = told_of(&format!("https://localhost:{}/v1", server.port)).await;
    assert!(why.contains("certificate") && why.contains("UnknownIssuer") && why.contains("SSL_CERT_FILE"), "{why}");
}

#[tokio::test]
async fn a_wrong_address_is_told_with_the_right_one() {
    let fake = FakeOpenAi::start().await;
    let right = fake.base_url();
    let root = right.strip_suffix("/v1").unwrap();
    for wrong in ["", "/", "//v1", "/v1/chat/completions", "/v1/models", "/v1/v1", "/api"] {
        let upstream = at(&format!("{root}{wrong}"));
        let fault = upstream.check().await.unwrap_err();
        assert_eq!(fault.kind, UpstreamMisaddressed, "{wrong}");
        assert!(fault.message.ends_with(&format!("set OPENAI_BASE_URL to {right}")), "{wrong}: {fault}");
        assert_eq!(ask(&upstream, plain()).await.fault().kind, UpstreamMisaddressed, "{wrong}");
    }
    assert!(at(&right).check().await.is_ok());
    // Neither models nor completions, anywhere.
    fake.set_path("/v1/models", Reply::json(404, &json!({"detail": "Not Found"})));
    fake.set_default(Reply::json(404, &json!({"detail": "Not Found"})));
    let fault = at(&right).check().await.unwrap_err();
    assert!(fault.kind == UpstreamMisaddressed && fault.message.contains("often ends in /v1"), "{fault}");
    // The page of a site that answers every address.
    fake.set_path("/v1/models", Reply::raw(200, "text/html", "<html>"));
    assert_eq!(at(&right).check().await.unwrap_err().kind, UpstreamMisaddressed);
}

#[tokio::test]
async fn visitors_of_a_server_with_a_wrong_address_hear_502() {
    let fake = FakeOpenAi::start().await;
    let wrong = fake.base_url().replace("/v1", "");
    let setup = Setup::default().set("OPENAI_BASE_URL", &wrong).upstream(Arc::new(at(&wrong)));
    let server = setup.start().await;
    let client = server.client();
    assert_eq!(client.say("Hi").await.failed(502), "upstream_misaddressed");
    let answer = client.post("/v1/responses", &json!({"model": "m", "input": "Hi"})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (502, &json!("upstream_misaddressed")));
}
