//! A visitor's first moments: who left before the first word is found again, and is one visitor.

use fake_openai::Gate;
use futures::future::join_all;
use reqwest::header::SET_COOKIE;
use serde_json::{Value, json};

use crate::on_every_store;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::instance::Ground;
use crate::support::script::{Script, say, wait};
use crate::support::server::Setup;
use crate::turn::spawned;

const KEY: &str = "0b0f2c9e-6f0d-4a51-9a3e-5b8f1c7d2e64";

fn silent(gate: &Gate) -> (std::sync::Arc<Script>, Setup) {
    let gate = gate.clone();
    let script = Script::new(move |_, _| vec![wait(&gate), say("Here.")]);
    (script.clone(), Setup::default().upstream(script))
}

fn keyed(client: &Client, key: &str, body: &Value) -> reqwest::RequestBuilder {
    client.json("/chat", body).header("idempotency-key", key)
}

async fn a_streams_cookie_is_there_before_the_first_word(ground: Ground) {
    let gate = Gate::new();
    let (script, setup) = silent(&gate);
    let server = ground.start(setup.set("FIRST_EVENT_WAIT", "1h")).await;
    let visitor = Client::new(&server.url);
    // Its header comes while the model is silent.
    let mut stream = visitor.stream(&json!({"prompt": "x"})).await;
    assert!(visitor.cookie().is_some());
    stream.expect("started").await;
    drop(stream);
    let question = visitor.get("/chat").await.ok();
    assert_eq!((&question[0]["content"], &question[0]["status"]), (&json!("x"), &json!("running")));
    gate.open();
    eventually("it is answered", async || visitor.history().await.len() == 2).await;
    assert_eq!(script.calls().len(), 1);
}

async fn a_page_has_its_session_before_it_says_anything(ground: Ground) {
    let gate = Gate::new();
    gate.open();
    let (_, setup) = silent(&gate);
    let server = ground.start(setup.set("CORS_ORIGIN", "https://front.example")).await;
    let read = async |headers: &[(&str, &str)]| {
        let client = Client::new(&server.url);
        let mut request = client.request(reqwest::Method::GET, "/chat");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = client.send(request).await;
        assert_eq!(answer.headers.contains_key(SET_COOKIE), client.cookie().is_some());
        assert_eq!(answer.ok(), json!([]));
        client
    };
    let script = [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    let page = |site| [("sec-fetch-site", site), script[0], script[1]];
    for headers in [
        // Programs and crawlers, a link that is followed, an image, a prefetch, a page that may not use the server.
        vec![],
        vec![("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        [page("same-origin").to_vec(), vec![("sec-purpose", "prefetch")]].concat(),
        [page("cross-site").to_vec(), vec![("origin", "https://evil.example")]].concat(),
    ] {
        assert_eq!(read(&headers).await.cookie(), None, "{headers:?}");
    }
    assert!(
        read(&[page("cross-site").to_vec(), vec![("origin", "https://front.example")]].concat())
            .await
            .cookie()
            .is_some()
    );
    let visitor = read(&page("same-origin")).await;
    let cookie = visitor.cookie().unwrap();
    // Two first requests at once are of one session.
    let tabs = [visitor.at(&server.url), visitor.at(&server.url)];
    join_all(tabs.iter().map(async |tab| tab.say("x").await.ok())).await;
    assert!(tabs.iter().all(|tab| tab.cookie().as_ref() == Some(&cookie)));
    assert_eq!(visitor.history().await.len(), 4);
    // One that has ended is replaced, and not opened again.
    visitor.delete("/chat").await;
    visitor.set_cookie(Some(cookie.clone()));
    let mut request = visitor.request(reqwest::Method::GET, "/chat");
    for (name, value) in page("same-origin") {
        request = request.header(name, value);
    }
    assert_eq!(visitor.send(request).await.ok(), json!([]));
    assert_ne!(visitor.cookie().unwrap(), cookie);
}

async fn a_plain_first_request_is_found_by_its_key(ground: Ground) {
    let gate = Gate::new();
    let (script, setup) = silent(&gate);
    let server = ground.start(setup).await;
    let body = json!({"prompt": "x"});
    let visitor = Client::new(&server.url);
    let leaving = spawned(keyed(&visitor, KEY, &body));
    script.called(1).await;
    drop(leaving);
    let waiting: Vec<_> = (0..2).map(|_| spawned(keyed(&visitor, KEY, &body))).collect();
    gate.open();
    let mut cookies = Vec::new();
    for mut answer in waiting {
        let answer = answer.join_next().await.unwrap().unwrap().unwrap();
        let again = Client::new(&server.url);
        again.keep_cookie(answer.headers());
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(answer["content"], "Here.");
        assert_eq!(again.history().await.len(), 2);
        cookies.push(again.cookie().unwrap());
    }
    let late = Client::new(&server.url);
    assert_eq!(late.send(keyed(&late, KEY, &body)).await.ok()["content"], "Here.");
    cookies.push(late.cookie().unwrap());
    assert!(cookies.iter().all(|cookie| *cookie == cookies[0]));
    assert_eq!(script.calls().len(), 1);
    // Another body or another key is another visitor, and a key that could be guessed finds none.
    let (other, guessed) = ("0b0f2c9e-6f0d-4a51-9a3e-5b8f1c7d2e65", "00000000-0000-0000-0000-000000000000");
    for (key, prompt) in [(KEY, "y"), (other, "x"), ("1", "x"), ("1", "x"), (guessed, "x"), (guessed, "x")] {
        let client = Client::new(&server.url);
        client.send(keyed(&client, key, &json!({"prompt": prompt}))).await.ok();
        assert!(!cookies.contains(&client.cookie().unwrap()), "{key}");
        cookies.push(client.cookie().unwrap());
    }
    assert_eq!(script.calls().len(), 7);
    late.say("more").await.ok();
    assert_eq!(late.history().await.len(), 4);
    late.delete("/chat").await;
    let anew = Client::new(&server.url);
    anew.send(keyed(&anew, KEY, &body)).await.ok();
    assert_eq!(anew.history().await.len(), 2, "what was deleted is gone");
}

on_every_store! {
    a_streams_cookie_is_there_before_the_first_word,
    a_page_has_its_session_before_it_says_anything,
    a_plain_first_request_is_found_by_its_key,
}
