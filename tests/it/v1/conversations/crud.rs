//! Conversations are made, described, listed and deleted.

use fake_openai::FakeOpenAi;

use super::*;
use crate::on_every_store;
use crate::support::instance::Ground;

async fn listed(sdk: &Sdk, query: &str) -> Value {
    let list = sdk.get(&format!("/v1/conversations?{query}")).await.ok();
    for conversation in list["data"].as_array().unwrap() {
        check(Spec::OpenAi, "ConversationResource", conversation);
    }
    list
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

async fn a_conversation_is_made_described_and_deleted(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let newer = json!({"newer_than_this_server": [1]});
    let empty = [json!({}), json!({"items": []}), json!({"items": null, "metadata": null}), json!({"metadata": {}})];
    for body in empty.into_iter().chain([newer]) {
        let made = sdk.post("/v1/conversations", &body).await.ok();
        check(Spec::OpenAi, "ConversationResource", &made);
        assert_eq!((&made["object"], &made["metadata"]), (&json!("conversation"), &json!({})));
    }
    let empty = sdk.request(reqwest::Method::POST, "/v1/conversations").header("content-length", "0");
    sdk.send(empty).await.ok();
    let made = sdk.post("/v1/conversations", &json!({"metadata": {"topic": "é 👌"}})).await.ok();
    let path = format!("/v1/conversations/{}", made["id"].as_str().unwrap());
    assert_eq!(elsewhere.get(&path).await.ok(), made);
    let updated = elsewhere.post(&path, &json!({"metadata": {"a": "b"}})).await.ok();
    check(Spec::OpenAi, "ConversationResource", &updated);
    assert_eq!((&updated["metadata"], &updated["created_at"]), (&json!({"a": "b"}), &made["created_at"]));
    assert_eq!(sdk.get(&path).await.ok(), updated, "what was there before is replaced");
    let gone = sdk.delete(&path).await.ok();
    check(Spec::OpenAi, "DeletedConversationResource", &gone);
    assert_eq!(gone, json!({"id": made["id"], "object": "conversation.deleted", "deleted": true}));
    for sdk in [&sdk, &elsewhere] {
        unknown(sdk, &path).await;
    }
}

/// Every call about a conversation that is not there.
async fn unknown(sdk: &Sdk, path: &str) {
    let items = json!({"items": [{"role": "user", "content": "canary"}]});
    let answers = [
        sdk.get(path).await,
        sdk.delete(path).await,
        sdk.post(path, &json!({"metadata": {}})).await,
        sdk.get(&format!("{path}/items")).await,
        sdk.post(&format!("{path}/items"), &items).await,
        sdk.get(&format!("{path}/items/msg_1")).await,
        sdk.delete(&format!("{path}/items/msg_1")).await,
    ];
    let errors = answers.map(|answer| failed(&answer, 404));
    assert_eq!(errors[0]["code"], "conversation_not_found");
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
}

async fn another_owners_is_like_none(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let (sdk, other) = (Sdk::new(&server.url), Sdk::other(&server.url));
    let theirs = sdk.conversation(json!([{"role": "user", "content": "canary"}])).await;
    for id in [theirs.as_str(), "conv_0", "conv_", "no-id", "resp_1"] {
        unknown(&other, &format!("/v1/conversations/{id}")).await;
    }
    assert_eq!(listed(&other, "").await["data"], json!([]));
    assert_eq!(failed(&other.get(&format!("/v1/conversations?after={theirs}")).await, 400)["param"], "after");
    assert_eq!(sdk.said(&theirs).await, ["canary"]);
    // Nor does an item open what its conversation does not.
    let mine = other.conversation(json!([])).await;
    let item = sdk.items(&theirs).await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/conversations/{mine}/items/{item}");
    assert_eq!(failed(&other.get(&path).await, 404)["code"], "item_not_found");
    assert_eq!(failed(&other.delete(&path).await, 404)["code"], "item_not_found");
}

async fn they_are_listed_newest_first_in_pages(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let empty = listed(&sdk, "").await;
    assert_eq!(empty, json!({"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": false}));
    let mut made = Vec::new();
    for _ in 0..23 {
        made.push(sdk.conversation(json!([])).await);
        sdk.respond(json!({"model": "m", "input": "a chain is not listed"})).await;
    }
    let page = listed(&elsewhere, "").await;
    assert_eq!((ids(&page).len(), &page["has_more"]), (20, &json!(true)));
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = listed(&elsewhere, &format!("limit=7{after}&order=desc")).await;
        let found = ids(&page);
        assert_eq!(
            (page["first_id"].as_str(), page["last_id"].as_str()),
            (found.first().copied(), found.last().copied())
        );
        seen.extend(found.into_iter().map(str::to_owned));
        if page["has_more"] == false {
            break;
        }
        after = format!("&after={}", page["last_id"].as_str().unwrap());
    }
    let mut newest_first: Vec<Value> = Vec::new();
    for id in &seen {
        newest_first.push(sdk.get(&format!("/v1/conversations/{id}")).await.ok()["created_at"].clone());
    }
    assert!(newest_first.windows(2).all(|pair| pair[0].as_u64() >= pair[1].as_u64()), "{newest_first:?}");
    seen.sort_unstable();
    made.sort_unstable();
    assert_eq!(seen, made);
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("order=asc", "order"),
        ("after=conv_0", "after"),
        ("after=no+id", "after"),
    ] {
        assert_eq!(failed(&sdk.get(&format!("/v1/conversations?{query}")).await, 400)["param"], param, "{query}");
    }
}

async fn what_is_wrong_is_named_and_nothing_is_made(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let many: Vec<Value> = (0..21).map(|_| json!({"role": "user", "content": "canary"})).collect();
    let pairs: Value =
        (0..17).map(|n| (n.to_string(), Value::from("canary"))).collect::<serde_json::Map<_, _>>().into();
    for (body, param) in [
        (json!({"items": "canary"}), "items"),
        (json!({"items": {}}), "items"),
        (json!({"items": many}), "items"),
        (json!({"items": ["canary"]}), "items[0]"),
        (json!({"items": [{"role": "user"}]}), "items[0].content"),
        (json!({"items": [{"type": "canary".repeat(11)}]}), "items[0].type"),
        (
            json!({"items": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}]}),
            "items[1].id",
        ),
        (json!({"metadata": "canary"}), "metadata"),
        (json!({"metadata": {"canary": 7}}), "metadata"),
        (json!({"metadata": pairs}), "metadata"),
        (json!({"metadata": {"k".repeat(65): "canary"}}), "metadata"),
    ] {
        let answer = sdk.post("/v1/conversations", &body).await;
        let error = failed(&answer, if param == "items[1].id" { 404 } else { 400 });
        assert_eq!(error["param"], param, "{body}");
    }
    assert_eq!(listed(&sdk, "").await["data"], json!([]));
    let made = sdk.conversation(json!([])).await;
    for (body, param) in
        [(json!({}), "metadata"), (json!({"metadata": null}), "metadata"), (json!({"metadata": []}), "metadata")]
    {
        let answer = sdk.post(&format!("/v1/conversations/{made}"), &body).await;
        assert_eq!(failed(&answer, 400)["param"], param, "{body}");
    }
}

on_every_store! {
    a_conversation_is_made_described_and_deleted,
    another_owners_is_like_none,
    they_are_listed_newest_first_in_pages,
    what_is_wrong_is_named_and_nothing_is_made,
}
