//! A proxy that has the server below a path of its own: every address that the server says leads back below it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Proxy, address, documented, free_port};
use crate::support::client::Client;
use crate::support::process::Program;

/// Where a browser that is at `from` goes when it follows `to`.
fn follow(from: &str, to: &str) -> String {
    reqwest::Url::parse(from).unwrap().join(to).unwrap().to_string()
}

async fn proxy_of(server: &str) -> Proxy {
    let config = documented("nginx", "location /ai/").replace("127.0.0.1:3000", address(server));
    Proxy::nginx(&config.replace("listen 80;", "listen 127.0.0.1:PORT;")).await
}

async fn documentation_stays_below(root: &str) {
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy();
    let http = http.redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let asked = format!("{root}/docs");
    let redirect = http.get(&asked).send().await.unwrap();
    assert!(redirect.status().is_redirection(), "{redirect:?}");
    let page = follow(&asked, redirect.headers()["location"].to_str().unwrap());
    assert_eq!(page, format!("{root}/docs/"));
    let script = http.get(follow(&page, "./swagger-initializer.js")).send().await.unwrap().text().await.unwrap();
    let (_, rest) = script.split_once("\"url\": \"").unwrap_or_else(|| panic!("{script}"));
    let document = follow(&page, rest.split_once('"').unwrap().0);
    assert_eq!(document, format!("{root}/openapi.json"));
    let document = http.get(document).send().await.unwrap().text().await.unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    assert!(document["paths"]["/chat"].is_object());
}

#[tokio::test]
async fn the_documentation_is_found_with_nothing_set() {
    let server = Program::bare().start().await;
    let proxy = proxy_of(&server.url).await;
    documentation_stays_below(&format!("{}/ai", proxy.url)).await;
}

#[tokio::test]
async fn addresses_and_cookies_follow_the_public_url() {
    let port = free_port();
    let behind = format!("http://127.0.0.1:{port}");
    let proxy = proxy_of(&behind).await;
    let root = format!("{}/ai", proxy.url);
    let program = Program::bare().set("DEMO_WORD_DELAY", "0").set("PORT", &port.to_string());
    let _server = program.set("PRODUCTION_URL", &root).set("TRUSTED_PROXIES", "127.0.0.1").start().await;
    documentation_stays_below(&root).await;
    let browser = Client::new(&root);
    let document = browser.get("/openapi.json").await.ok();
    assert_eq!(document["servers"][0]["url"], root);

    let request = browser.json("/chat", &json!({"prompt": "One"})).header("origin", &proxy.url);
    let answer = browser.send(request).await;
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    assert!(cookie.split("; ").any(|part| part == "Path=/ai"), "{cookie}");
    answer.ok();
    browser.say("Two").await.ok();

    // Page by page, as a browser resolves the links.
    let mut at = format!("{root}/chat?limit=3");
    let mut messages = 0;
    loop {
        let path = at.strip_prefix(&root).unwrap_or_else(|| panic!("{at} leads out of {root}")).to_owned();
        let page = browser.get(&path).await;
        let link = page.header("link").map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
        messages += page.ok().as_array().unwrap().len();
        let Some(link) = link else { break };
        at = follow(&at, &link);
    }
    assert_eq!(messages, 4);
    let deleted = browser.send(browser.request(Method::DELETE, "/chat")).await;
    assert!(deleted.header("set-cookie").unwrap().contains("Path=/ai"), "{deleted:?}");
}
