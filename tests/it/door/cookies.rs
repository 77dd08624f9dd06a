//! The session cookie itself: its attributes, and what is not taken for one (P17).

use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::ids::SessionKey;
use serde_json::json;

use crate::support::client::{Answer, Client};
use crate::support::raw::Raw;
use crate::support::server::{SECRET, Setup, TestServer};

const THIRTY_DAYS: u32 = 30 * 86_400;

fn set_cookie(answer: &Answer) -> String {
    let all: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].to_str().unwrap().to_owned()
}

/// The attributes, without name and value.
fn attributes(answer: &Answer) -> Vec<String> {
    let mut attributes: Vec<String> = set_cookie(answer).split("; ").skip(1).map(str::to_owned).collect();
    attributes.sort_unstable();
    attributes
}

type Settings<'a> = &'a [(&'a str, &'a str)];

async fn attributes_with(settings: Settings<'_>) -> (String, Vec<String>, Vec<String>) {
    let mut setup = Setup::default();
    for (name, value) in settings {
        setup = setup.set(name, value);
    }
    let server = setup.start().await;
    let browser = server.client();
    let said = browser.say("Hi").await;
    let name = set_cookie(&said).split('=').next().unwrap().to_owned();
    let cleared = browser.delete("/chat").await;
    assert!(set_cookie(&cleared).starts_with(&format!("{name}=;")), "{cleared:?}");
    (name, attributes(&said), attributes(&cleared))
}

fn sorted(attributes: &[&str]) -> Vec<String> {
    let mut sorted: Vec<String> = attributes.iter().map(|attribute| (*attribute).to_owned()).collect();
    sorted.sort_unstable();
    sorted
}

#[tokio::test]
async fn each_kind_of_site_gets_its_attributes() {
    let max_age = format!("Max-Age={THIRTY_DAYS}");
    let always = ["HttpOnly", "Path=/"];
    let https = ("PRODUCTION_URL", "https://chat.example.com");
    let cases: [(Settings, &str, &[&str]); 8] = [
        (&[("COOKIE_NAME", "chat.session")], "chat.session", &["SameSite=Lax"]),
        (&[https, ("COOKIE_NAME", "__Secure-chat")], "__Secure-chat", &["SameSite=Lax", "Secure"]),
        (&[], "sessionId", &["SameSite=Lax"]),
        (&[("COOKIE_SAMESITE", "strict")], "sessionId", &["SameSite=Strict"]),
        (&[https], "__Host-sessionId", &["SameSite=Lax", "Secure"]),
        (&[("PRODUCTION_URL", "http://chat.example.com")], "sessionId", &["SameSite=Lax"]),
        (&[("COOKIE_SECURE", "true")], "__Host-sessionId", &["SameSite=Lax", "Secure"]),
        (&[("COOKIE_SAMESITE", "none")], "__Host-sessionId", &["SameSite=None", "Secure", "Partitioned"]),
    ];
    for (settings, name, special) in cases {
        let (got, set, cleared) = attributes_with(settings).await;
        assert_eq!(got, name, "{settings:?}");
        assert_eq!(set, sorted(&[&always[..], special, &[&max_age]].concat()), "{settings:?}");
        // A browser takes a cookie away only by the attributes that it keeps it under.
        assert_eq!(cleared, sorted(&[&always[..], special, &["Max-Age=0"]].concat()), "{settings:?}");
    }
}

#[tokio::test]
async fn below_a_path_the_cookie_is_for_what_is_below_it() {
    for (url, own_name, name, path) in [
        ("https://example.com/ai", "", "__Secure-sessionId", "Path=/ai"),
        ("https://example.com/ai/", "", "__Secure-sessionId", "Path=/ai"),
        ("http://example.com/a/b", "", "sessionId", "Path=/a/b"),
        ("https://example.com/ai", "chat", "chat", "Path=/ai"),
        ("https://example.com/ai", "__Host-chat", "__Host-chat", "Path=/"),
        ("https://example.com", "", "__Host-sessionId", "Path=/"),
    ] {
        let (got, set, cleared) = attributes_with(&[("PRODUCTION_URL", url), ("COOKIE_NAME", own_name)]).await;
        assert_eq!(got, name, "{url}");
        assert!(set.iter().any(|part| part == path), "{url}: {set:?}");
        assert!(cleared.iter().any(|part| part == path), "{url}: {cleared:?}");
    }
}

#[tokio::test]
async fn a_session_is_found_under_the_name_of_the_setting_and_no_other() {
    let server = Setup::default().set("COOKIE_NAME", "chat-session").start().await;
    let (browser, name, value) = session(&server).await;
    assert_eq!(name, "chat-session");
    assert_eq!(browser.history().await.len(), 2);
    for (name, is_found) in [("chat-session", true), ("sessionId", false), ("Chat-Session", false)] {
        let history = history_of(&server, format!("{name}={value}").as_bytes()).await.unwrap();
        assert_eq!(history != "[]", is_found, "{name}: {history}");
    }
}

#[tokio::test]
async fn a_cookie_that_a_trusted_proxy_passes_on_over_https_is_secure() {
    let proxy = ("TRUSTED_PROXIES", "127.0.0.1");
    let cases: [(Settings, &str, bool); 5] = [
        (&[proxy], "https", true),
        (&[proxy], "http", false),
        (&[("TRUSTED_PROXIES", "192.0.2.1")], "https", false),
        (&[proxy, ("COOKIE_SECURE", "false")], "https", false),
        (&[proxy, ("PRODUCTION_URL", "https://chat.example.com")], "http", true),
    ];
    for (settings, proto, is_secure) in cases {
        let mut setup = Setup::default();
        for (name, value) in settings {
            setup = setup.set(name, value);
        }
        let server = setup.start().await;
        let browser = server.client();
        let said = browser.json("/chat", &json!({"prompt": "Hi"})).header("x-forwarded-proto", proto);
        let said = browser.send(said).await;
        assert_eq!(attributes(&said).iter().filter(|a| *a == "Secure").count(), usize::from(is_secure), "{settings:?}");
        let cleared = browser.request(reqwest::Method::DELETE, "/chat").header("x-forwarded-proto", proto);
        assert_eq!(attributes(&browser.send(cleared).await).contains(&"Secure".to_owned()), is_secure, "{settings:?}");
    }
}

/// The history that a bare `Cookie` header opens, or `None` where the request is not even read.
async fn history_of(server: &TestServer, cookie: &[u8]) -> Option<String> {
    let head = b"GET /chat HTTP/1.1\r\nhost: test\r\ncookie: ";
    let mut socket = Raw::connect(server).await;
    socket.send([&head[..], cookie, b"\r\nconnection: close\r\n\r\n"].concat()).await;
    let answer = socket.answer().await?;
    match answer.status {
        200 => Some(answer.body),
        400 | 431 => None,
        _ => panic!("{answer:?}"),
    }
}

async fn session(server: &TestServer) -> (Client, String, String) {
    let browser = server.client();
    browser.say("A secret between us").await.ok();
    let pair = browser.cookie().unwrap();
    let (name, value) = pair.split_once('=').unwrap();
    let (name, value) = (name.to_owned(), value.to_owned());
    (browser, name, value)
}

#[tokio::test]
async fn no_flipped_bit_is_taken() {
    let server = TestServer::demo().await;
    let (_, name, value) = session(&server).await;
    let whole = [name.as_bytes(), b"=", value.as_bytes()].concat();
    assert!(history_of(&server, &whole).await.unwrap().contains("A secret between us"));
    for at in 0..value.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[name.len() + 1 + at] ^= 1 << bit;
            let history = history_of(&server, &flipped).await;
            assert!(history.is_none_or(|history| history == "[]"), "byte {at}, bit {bit} of {value}");
        }
    }
}

#[tokio::test]
async fn nothing_but_the_whole_cookie_is_taken() {
    let server = TestServer::demo().await;
    let (_, name, value) = session(&server).await;
    let (secret, signature) = value.split_once('.').unwrap();
    let mut bad: Vec<Vec<u8>> = (0..value.len()).map(|end| value.as_bytes()[..end].to_vec()).collect();
    bad.extend((1..value.len()).map(|start| value.as_bytes()[start..].to_vec()));
    for text in [
        format!("{value}A"),
        format!("{value}."),
        format!("{value}=="),
        format!("A{value}"),
        format!("\"{value}\""),
        format!("{value}.{signature}"),
        format!("{signature}.{secret}"),
        format!("{secret}.{secret}"),
        format!("{secret}."),
        format!(".{signature}"),
        format!("{secret}%2E{signature}"),
        format!("s:{value}"),
        value.to_ascii_lowercase(),
        format!("{secret}.{}", signature.to_ascii_uppercase()),
        format!("{secret}AAAA.{signature}"),
        format!("{secret}.{}", "A".repeat(43)),
        format!("{}.{}", "A".repeat(43), "A".repeat(43)),
        "A".repeat(60_000),
        "a=b=c".into(),
        "💥".into(),
        ".".into(),
    ] {
        bad.push(text.into_bytes());
    }
    bad.push(b"\xff\xfe".to_vec());
    for bad in bad {
        let history = history_of(&server, &[name.as_bytes(), b"=", &bad].concat()).await;
        assert!(history.is_none_or(|history| history == "[]"), "{:?}", String::from_utf8_lossy(&bad));
    }
    for other in ["SESSIONID", "sessionid", "sessionId2", "xsessionId", "__Host-sessionId", "$sessionId"] {
        assert_eq!(history_of(&server, format!("{other}={value}").as_bytes()).await.unwrap(), "[]", "{other}");
    }
}

#[tokio::test]
async fn a_tampered_cookie_gets_a_new_session_and_is_not_adopted() {
    let server = TestServer::demo().await;
    let (_, _, value) = session(&server).await;
    let forged = "A".repeat(43);
    for bad in [format!("{value}x"), format!("{forged}.{forged}"), forged.clone(), String::new(), "💥".into()] {
        let thief = server.client();
        thief.set_cookie(Some(format!("sessionId={bad}")));
        let answer = thief.say("Hello").await.ok();
        assert!(answer["content"].as_str().unwrap().contains("first thing you have said"), "{bad:?}");
        let given = thief.cookie().unwrap();
        assert!(given.len() > 80 && !given.contains(&forged) && !given.contains(&value), "{given}");
        assert_eq!(thief.history().await.len(), 2, "the new session works");
    }
}

#[tokio::test]
async fn the_right_cookie_is_found_among_others() {
    let server = TestServer::demo().await;
    let (_, name, value) = session(&server).await;
    let mine = format!("{name}={value}");
    let stale = format!("{name}={}.{}", "A".repeat(43), "B".repeat(43));
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in [
        format!("{stale}; {mine}"),
        format!("{mine}; {stale}"),
        format!("{name}=; {mine}"),
        format!("{name}; {mine}"),
        format!("theme=dark; {mine}; lang=de"),
        format!("=; ;;{mine};"),
        format!("theme={}; {mine}", "x".repeat(8_000)),
        format!("name=Zoë; {mine}"),
        format!("{stale}\r\ncookie: {mine}"),
        format!("{mine}\r\ncookie: {stale}"),
    ] {
        lines.push(line.into_bytes());
    }
    // Another application on the same host may set whatever it likes.
    lines.push([b"latin=\xe9; ", mine.as_bytes()].concat());
    for line in lines {
        let history = history_of(&server, &line).await.unwrap();
        assert!(history.contains("A secret between us"), "{:?}", String::from_utf8_lossy(&line));
    }
}

#[tokio::test]
async fn on_an_https_site_only_the_host_cookie_counts() {
    let server = Setup::default().set("PRODUCTION_URL", "https://chat.example.com").start().await;
    let (_, name, value) = session(&server).await;
    assert_eq!(name, "__Host-sessionId");
    assert_eq!(history_of(&server, format!("sessionId={value}").as_bytes()).await.unwrap(), "[]");
    let both = format!("sessionId={value}; __Host-sessionId={value}");
    assert!(history_of(&server, both.as_bytes()).await.unwrap().contains("A secret between us"));
}

#[tokio::test]
async fn secrets_rotate() {
    const NEW: &str = "another secret for tests and longer than 32 characters";
    let old = TestServer::demo().await;
    let with = |secrets: &str| Setup::default().set("SESSION_SECRET", secrets).store(old.store.clone()).start();
    let both = with(&format!("{NEW},{SECRET}")).await;
    let new = with(NEW).await;
    let (browser, _, value) = session(&old).await;

    let stranger = browser.at(&new.url);
    assert_eq!(stranger.get("/chat").await.text, "[]", "a wrong secret signs nothing");
    stranger.say("Hello").await.ok();
    assert_ne!(stranger.cookie(), browser.cookie());

    let rotated = browser.at(&both.url);
    assert_eq!(rotated.history().await.len(), 2, "the old secret still verifies");
    assert!(!rotated.cookie().unwrap().contains(&value), "the new one signs");
    assert_eq!(rotated.at(&new.url).history().await.len(), 2);
    assert_eq!(rotated.at(&old.url).get("/chat").await.text, "[]");
}

#[tokio::test]
async fn the_store_holds_no_secret() {
    let server = TestServer::demo().await;
    let (browser, _, value) = session(&server).await;
    browser.post("/chat", &json!({"prompt": "x", "conversationId": "new"})).await.ok();
    let (secret, signature) = value.split_once('.').unwrap();
    let bytes: [u8; 32] = decode(secret).try_into().unwrap();
    let key = SessionKey::of_secret(&bytes);
    let place = Place { owner: Owner::Session(key.clone()), conversation: key.main_conversation() };
    assert_eq!(place.owner.tag(), format!("s:{}", key.as_str()));
    let page = server.store.history(&place, None, 10, 0).await.unwrap().expect("it is found by the hash");
    let turns = server.store.turns(&place, 10).await.unwrap().unwrap();
    let requests: Vec<_> = turns.iter().map(|turn| serde_json::to_string(&turn.request).unwrap()).collect();
    let places: Vec<_> = turns.iter().map(|turn| serde_json::to_string(&turn.place).unwrap()).collect();
    let stored = format!("{page:?} {turns:?} {requests:?} {places:?}");
    assert!(stored.contains(key.as_str()));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for secret in [secret, signature, &hex] {
        assert!(!stored.contains(secret), "{stored}");
    }
}

/// Base64url by hand: what the cookie says should not be read by the code that wrote it.
fn decode(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for letter in text.bytes() {
        let six = ALPHABET.iter().position(|known| *known == letter).unwrap();
        bits = (bits << 6) | u32::try_from(six).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    out
}
