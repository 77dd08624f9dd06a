//! A history of which nothing may be left out, and which does not fit, is refused without being loaded.

use std::sync::Mutex;

use fake_openai::FakeOpenAi;
use openai_backend::domain::window::Loaded;

use super::*;
use crate::on_every_store;
use crate::support::instance::Ground;
use crate::support::intercepted::{Intercepted, Interceptor};
use crate::v1::sdk::over;

/// How many items were loaded, for each turn that began.
static LOADED: Mutex<Vec<(String, usize)>> = Mutex::new(Vec::new());

struct Counting(String);

impl Interceptor for Counting {
    fn loaded(&self, loaded: &Loaded) {
        LOADED.lock().unwrap().push((self.0.clone(), loaded.items.len()));
    }
}

/// What was loaded since the last look.
fn loaded(name: &str) -> Vec<usize> {
    let mut all = LOADED.lock().unwrap();
    let (own, others) = all.drain(..).partition(|(of, _)| of == name);
    *all = others;
    own.into_iter().map(|(_, items)| items).collect()
}

async fn a_history_that_does_not_fit_is_not_loaded(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let name = fake.base_url();
    let counting = Counting(name.clone());
    let server = ground.start_over(over(&fake), |store| Intercepted::new(store, counting)).await;
    let sdk = Sdk::new(&server.url);
    // Six times 1,500 tokens, where the model takes 8,192.
    let message = json!({"role": "user", "content": "word ".repeat(1_500)});
    let conversation = sdk.conversation(json!(vec![message; 6])).await;
    let calls = fake.calls();
    let mut body = json!({"model": "gpt-4", "input": "Hi", "max_output_tokens": 16, "conversation": conversation});
    for stream in [false, true] {
        body["stream"] = stream.into();
        let error = failed(&sdk.post("/v1/responses", &body).await, 400);
        assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("input")));
        assert_eq!(loaded(&name), [0]);
    }
    assert_eq!(fake.calls(), calls);

    // What may be left out is; and of what was removed no token counts.
    body["stream"] = false.into();
    body["truncation"] = "auto".into();
    sdk.respond(body.clone()).await;
    assert!((1..8).contains(&loaded(&name)[0]));
    body["truncation"] = "disabled".into();
    failed(&sdk.post("/v1/responses", &body).await, 400);
    assert_eq!(loaded(&name), [0]);
    let items = sdk.get(&format!("/v1/conversations/{conversation}/items?order=asc")).await.ok();
    for long in [1, 3] {
        sdk.delete(&format!("/v1/conversations/{conversation}/items/{}", id(&items["data"][long]))).await.ok();
    }
    sdk.respond(body).await;
    assert!(loaded(&name)[0] >= 6);
}

on_every_store! {
    a_history_that_does_not_fit_is_not_loaded,
}
