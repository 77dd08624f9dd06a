//! Other sites: what they may send, and what a browser lets them read (P19).

use std::sync::Arc;

use fake_openai::FakeOpenAi;
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::ids::SystemIds;
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use reqwest::Method;
use serde_json::json;

use crate::support::client::Answer;
use crate::support::proxy::Proxy;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::scripted::Scripted;
use crate::support::server::{Setup, TestServer};

const FRIEND: &str = "https://app.example.com";
const FRIENDS: &str = "https://app.example.com, http://localhost:5173";
const OWN: &str = "https://chat.example.com";
const STRANGERS: [&str; 12] = [
    "https://evil.example",
    "null",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://sub.app.example.com",
    "https://APP.example.com",
    "https://app.example.com/",
    "http://localhost:5174",
    "*",
    "file://",
];

async fn server() -> (TestServer, Arc<Scripted>) {
    let upstream = Arc::new(Scripted::default());
    let setup = Setup::default().upstream(upstream.clone()).set("CORS_ORIGIN", FRIENDS).set("PRODUCTION_URL", OWN);
    (setup.start().await, upstream)
}

async fn post(server: &TestServer, headers: &[(&str, &str)]) -> RawAnswer {
    let mut head = "POST /chat HTTP/1.1\r\ncontent-type: application/json".to_owned();
    for (name, value) in headers {
        head.push_str(&format!("\r\n{name}: {value}"));
    }
    let body = r#"{"prompt": "Transfer everything"}"#;
    let head = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut socket = Raw::connect(server).await;
    socket.send(head).await;
    socket.answer().await.expect("an answer")
}

#[tokio::test]
async fn posts_pass_or_not_by_where_they_come_from() {
    let (server, upstream) = server().await;
    let host = ("host", "chat.example.com");
    let inner = ("host", "10.0.0.7:3000");
    let (origin, site) = ("origin", "sec-fetch-site");
    let passes: [&[(&str, &str)]; 14] = [
        // Not a browser.
        &[host],
        &[inner],
        // The site itself, directly and behind a proxy that rewrites `Host`; browsers with Sec-Fetch-Site and without.
        &[host, (origin, OWN), (site, "same-origin")],
        &[inner, (origin, OWN), (site, "same-origin")],
        &[host, (origin, OWN)],
        &[inner, (origin, OWN)],
        &[inner, (site, "same-origin")],
        // Typed into the address bar, or by an extension.
        &[host, (site, "none")],
        // Sites on the list.
        &[host, (origin, FRIEND), (site, "same-site")],
        &[inner, (origin, FRIEND), (site, "cross-site")],
        &[host, (origin, "http://localhost:5173"), (site, "cross-site")],
        &[host, (origin, FRIEND)],
        // A server under a name that it was not told of.
        &[("host", "192.168.1.5:3000"), (origin, "http://192.168.1.5:3000")],
        &[("host", "192.168.1.5:3000"), (origin, "http://192.168.1.5:3000"), (site, "same-origin")],
    ];
    for headers in passes {
        let answer = post(&server, headers).await;
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
    }
    let calls = upstream.calls().len();
    assert_eq!(calls, passes.len());
    let mut refused: Vec<Vec<(&str, &str)>> = Vec::new();
    for stranger in STRANGERS {
        refused.push(vec![host, (origin, stranger)]);
        refused.push(vec![inner, (origin, stranger)]);
        for kind in ["cross-site", "same-site", "", "Same-Origin", "nonsense"] {
            refused.push(vec![host, (origin, stranger), (site, kind)]);
        }
    }
    refused.push(vec![host, (site, "cross-site")]);
    refused.push(vec![host, (site, "same-site")]);
    refused.push(vec![inner, (origin, "https://chat.example.com:444"), (site, "same-site")]);
    refused.push(vec![inner, (origin, "http://chat.example.com"), (site, "cross-site")]);
    for headers in &refused {
        let answer = post(&server, headers).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site"), "{headers:?}");
        assert_eq!(answer.header("set-cookie"), None, "{headers:?}");
    }
    assert_eq!(upstream.calls().len(), calls, "none of these reached the model");
}

/// From 127.0.0.1, as a proxy on this machine would be.
async fn behind(setting: (&str, &str), headers: &[(&str, &str)]) -> RawAnswer {
    let server = Setup::default().set(setting.0, setting.1).start().await;
    post(&server, &[&[("host", "127.0.0.1:3000")], headers].concat()).await
}

#[tokio::test]
async fn a_trusted_proxy_says_which_host_the_page_asked_and_no_other_client_does() {
    let page = ("origin", "http://box.lan");
    let ways: [&[(&str, &str)]; 3] = [
        &[("x-forwarded-host", "box.lan"), page],
        &[("x-forwarded-host", "made-up.example, box.lan"), ("x-forwarded-for", "1.2.3.4, 203.0.113.7"), page],
        &[("forwarded", "for=203.0.113.7;host=box.lan;proto=http"), page],
    ];
    for headers in ways {
        for (trusted, status) in [("127.0.0.1", 200), ("10.0.0.0/8,127.0.0.0/8", 200), ("10.0.0.0/8", 403), ("", 403)] {
            let answer = behind(("TRUSTED_PROXIES", trusted), headers).await;
            assert_eq!(answer.status, status, "{trusted}, {headers:?}: {answer:?}");
        }
    }
    for host in ["127.0.0.1:3000", "box.lan.evil.example", "", "evil@box.lan"] {
        let answer = behind(("TRUSTED_PROXIES", "127.0.0.1"), &[("x-forwarded-host", host), page]).await;
        assert_eq!(answer.status, 403, "{host}: {answer:?}");
    }
    assert_eq!(behind(("PRODUCTION_URL", "http://box.lan"), &[page]).await.status, 200);
}

#[tokio::test]
async fn a_refusal_says_which_two_values_differ_and_what_mends_it() {
    let page = ("origin", "http://box.lan");
    let answer = behind(("TRUSTED_PROXIES", ""), &[page]).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site"));
    for word in ["http://box.lan", "127.0.0.1:3000", "PRODUCTION_URL", "TRUSTED_PROXIES", "CORS_ORIGIN"] {
        assert!(answer.body.contains(word), "{word}: {}", answer.body);
    }
    let answer = behind(("TRUSTED_PROXIES", ""), &[page, ("sec-fetch-site", "cross-site")]).await;
    assert!(answer.body.contains("http://box.lan") && answer.body.contains("CORS_ORIGIN"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_real_proxy_that_rewrites_the_host_a_page_works_once_the_proxy_is_trusted() {
    let forwards = "proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto https; \
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
    for (trusted, is_trusted) in [("127.0.0.1", true), ("192.0.2.0/24", false)] {
        let server = Setup::default().set("TRUSTED_PROXIES", trusted).start().await;
        let nginx = Proxy::nginx_before(&server.url, forwards).await;
        let browser = server.client().at(&nginx.url);
        let request = browser.json("/chat", &json!({"prompt": "Hello"})).header("host", "box.lan");
        let answer = browser.send(request.header("origin", "https://box.lan")).await;
        assert_eq!(answer.status.as_u16(), if is_trusted { 200 } else { 403 }, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap_or_default();
        assert_eq!(cookie.contains("; Secure"), is_trusted, "{cookie}");
    }
}

#[tokio::test]
async fn a_strange_site_changes_nothing_for_its_visitor() {
    let (server, upstream) = server().await;
    let browser = server.client();
    browser.say("Mine").await.ok();
    let cookie = browser.cookie().unwrap();
    let calls = upstream.calls().len();
    for method in [Method::DELETE, Method::POST, Method::PUT, Method::PATCH, Method::from_bytes(b"TRACE").unwrap()] {
        let request = browser.request(method.clone(), "/chat").header("origin", "https://evil.example");
        let answer = browser.send(request.header("sec-fetch-site", "cross-site").body(r#"{"prompt":"x"}"#)).await;
        assert_eq!(answer.failed(403), "cross_site", "{method}");
        assert_no_cors(&answer);
    }
    // What a form can send without asking.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = browser.request(Method::POST, "/chat").header("content-type", kind);
        let answer = browser.send(request.header("origin", "null").body(r#"{"prompt":"x"}"#)).await;
        assert_eq!(answer.failed(403), "cross_site", "{kind}");
    }
    assert_eq!(browser.cookie(), Some(cookie));
    assert_eq!(browser.history().await.len(), 2);
    assert_eq!(upstream.calls().len(), calls);
}

fn cors(answer: &Answer) -> Vec<&str> {
    answer
        .headers
        .keys()
        .map(reqwest::header::HeaderName::as_str)
        .filter(|name| name.starts_with("access-control-"))
        .collect()
}

#[track_caller]
fn assert_no_cors(answer: &Answer) {
    assert!(cors(answer).is_empty(), "{answer:?}");
    assert_vary(answer);
}

#[track_caller]
fn assert_vary(answer: &Answer) {
    let vary: Vec<_> =
        answer.headers.get_all("vary").iter().map(|vary| vary.to_str().unwrap().to_lowercase()).collect();
    let names = vary.iter().flat_map(|vary| vary.split(',').map(str::trim));
    assert!(names.into_iter().any(|name| name == "origin"), "caches must keep sites apart: {answer:?}");
}

#[track_caller]
fn assert_allowed(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{answer:?}");
    assert!(!answer.headers.values().any(|value| value == "*"), "{answer:?}");
    assert_vary(answer);
}

async fn from(server: &TestServer, origin: &str, method: Method, path: &str) -> Answer {
    let client = server.client();
    client.send(client.request(method, path).header("origin", origin)).await
}

#[tokio::test]
async fn answers_can_be_read_by_sites_on_the_list_only() {
    let (server, _) = server().await;
    for path in
        ["/chat", "/", "/health/ready", "/openapi.json", "/nowhere", "/chat?limit=x", "/docs/", "/v1/models", "/v1/x"]
    {
        for friend in [FRIEND, "http://localhost:5173"] {
            let answer = from(&server, friend, Method::GET, path).await;
            assert_allowed(&answer, friend);
            let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
            let exposed: Vec<&str> = exposed.split(',').map(str::trim).collect();
            for name in
                ["link", "retry-after", "retry-after-ms", "x-request-id", "x-should-retry", "openai-processing-ms"]
            {
                assert!(exposed.contains(&name), "{exposed:?}");
            }
        }
        for stranger in STRANGERS {
            assert_no_cors(&from(&server, stranger, Method::GET, path).await);
        }
        assert_no_cors(&server.client().get(path).await);
    }
}

#[tokio::test]
async fn errors_can_be_read_by_sites_on_the_list_too() {
    let (server, _) = server().await;
    let client = server.client();
    let ask = |path: &str, body: &str| {
        let request = client.request(Method::POST, path).header("origin", FRIEND);
        request.header("content-type", "application/json").body(body.to_owned())
    };
    for (status, request) in [
        (400, ask("/chat", "{")),
        (404, ask("/nowhere", "{}")),
        (405, ask("/health/live", "{}")),
        (413, ask("/chat", &" ".repeat(2 << 20))),
        (415, client.request(Method::POST, "/chat").header("origin", FRIEND).body("x")),
    ] {
        let answer = client.send(request).await;
        answer.failed(status);
        assert_allowed(&answer, FRIEND);
    }
}

#[tokio::test]
async fn a_stream_can_be_read_by_sites_on_the_list() {
    let (server, _) = server().await;
    let client = server.client();
    let request = client.json("/chat", &json!({"prompt": "x", "stream": true})).header("origin", FRIEND);
    let mut stream = client.stream_of(request).await;
    assert_eq!(stream.headers()["access-control-allow-origin"], FRIEND);
    assert_eq!(stream.headers()["access-control-allow-credentials"], "true");
    assert_eq!(stream.rest().await.last().unwrap().name, "completed");
}

#[tokio::test]
async fn preflights_name_the_origin_or_nothing() {
    let (server, upstream) = server().await;
    let client = server.client();
    let preflight = |origin: &str, method: &str, headers: &str| {
        let request = client.request(Method::OPTIONS, "/chat").header("origin", origin);
        let request = request.header("access-control-request-method", method);
        request.header("access-control-request-headers", headers)
    };
    for method in ["POST", "DELETE", "GET"] {
        let headers = "authorization, content-type, idempotency-key, last-event-id, openai-beta, openai-organization, \
                       openai-project, x-stainless-lang, x-stainless-retry-count, x-stainless-timeout";
        let answer = client.send(preflight(FRIEND, method, headers)).await;
        assert!(answer.status.is_success());
        assert_allowed(&answer, FRIEND);
        let header = |name: &str| answer.header(name).unwrap().to_lowercase();
        assert!(header("access-control-allow-methods").contains(&method.to_lowercase()));
        assert_eq!(header("access-control-allow-headers"), headers);
        assert_eq!(answer.header("access-control-max-age"), Some("600"));
    }
    for stranger in STRANGERS {
        assert_no_cors(&client.send(preflight(stranger, "POST", "content-type, x-evil")).await);
    }
    let answer = client.send(preflight(FRIEND, "PUT", "content-type")).await;
    assert!(!answer.header("access-control-allow-methods").unwrap().contains("PUT"), "{answer:?}");
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn without_a_list_no_other_origin_is_allowed() {
    let server = TestServer::demo().await;
    let answer = from(&server, "http://localhost:5173", Method::GET, "/chat").await;
    assert_no_cors(&answer);
    assert_no_cors(&from(&server, "http://localhost:5173", Method::OPTIONS, "/chat").await);
    assert_eq!(post(&server, &[("host", "localhost:3000"), ("origin", "http://localhost:5173")]).await.status, 403);
    assert_eq!(post(&server, &[("host", "localhost:3000"), ("origin", "http://localhost:3000")]).await.status, 200);
}

#[tokio::test]
async fn the_sdk_door_takes_the_cookie_from_sites_on_the_list_and_from_no_other() {
    let fake = FakeOpenAi::start().await;
    let settings = OpenAiSettings::new(fake.base_url().parse().unwrap(), None, "compatible");
    let upstream = OpenAi::new(settings, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
    let setup = Setup::default().upstream(Arc::new(upstream)).set("CORS_ORIGIN", FRIENDS).set("PRODUCTION_URL", OWN);
    let server = setup.set("OPENAI_BASE_URL", &fake.base_url()).start().await;
    let browser = server.client();
    browser.say("I am here").await.ok();
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    let ask = || browser.json("/v1/chat/completions", &body);
    let calls = fake.calls();
    let cookieless = server.client().json("/v1/chat/completions", &body).header("origin", FRIEND);
    assert_eq!(browser.send(cookieless).await.status, 401, "the door has no keys, and is not open behind a proxy");
    for stranger in STRANGERS {
        for site in ["cross-site", "same-site", ""] {
            let request = ask().header("origin", stranger).header("sec-fetch-site", site);
            let answer = browser.send(request).await;
            assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_str()), (403, Some("cross_site")));
            assert_no_cors(&answer);
        }
        assert_no_cors(&browser.send(browser.request(Method::GET, "/v1/models").header("origin", stranger)).await);
    }
    assert_eq!(fake.calls(), calls, "none of these reached the model");
    for (origin, site) in [(FRIEND, "cross-site"), (OWN, "same-origin")] {
        let answer = browser.send(ask().header("origin", origin).header("sec-fetch-site", site)).await;
        assert_eq!(answer.header("access-control-allow-origin"), (origin == FRIEND).then_some(FRIEND));
        answer.ok();
    }
    assert_eq!(fake.calls(), calls + 2);
}
