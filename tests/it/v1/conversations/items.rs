//! Items of conversations: every kind comes back as it was sent, in pages, and what was removed is gone.

use fake_openai::FakeOpenAi;

use super::*;
use crate::on_every_store;
use crate::support::instance::Ground;

fn numbered(from: usize, to: usize) -> Value {
    (from..to).map(|n| json!({"role": "user", "content": n.to_string()})).collect()
}

async fn add(sdk: &Sdk, conversation: &str, items: Value) -> Vec<Value> {
    let list = sdk.post(&format!("/v1/conversations/{conversation}/items"), &json!({"items": items})).await.ok();
    check(Spec::OpenAi, "ConversationItemList", &list);
    assert_eq!(list["has_more"], false);
    list["data"].as_array().unwrap().clone()
}

fn texts(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|item| item["content"][0]["text"].as_str().unwrap()).collect()
}

async fn every_kind_comes_back(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let image = json!({"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"});
    let items = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "What is this? é 👌 \u{0}"}, image]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "A dot."}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"type": "reasoning", "id": "rs_x", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "x"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "42"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "43"}]},
        {"type": "compaction", "encrypted_content": "x"},
    ]);
    let conversation = sdk.conversation(json!([])).await;
    let added = add(&sdk, &conversation, items.clone()).await;
    assert_eq!(added.len(), items.as_array().unwrap().len());
    let sent = items.as_array().unwrap();
    for (sent, kept) in sent.iter().zip(&added) {
        let id = kept["id"].as_str().unwrap();
        assert_ne!(id, "rs_x", "ids are the server's");
        let kind = sent["type"].as_str().unwrap_or("message");
        assert_eq!(kept["type"], kind);
        for key in ["role", "call_id", "name", "arguments", "summary", "encrypted_content"] {
            assert_eq!(kept.get(key), sent.get(key), "{key}");
        }
        let path = format!("/v1/conversations/{conversation}/items/{id}");
        let alone = elsewhere.get(&path).await.ok();
        check(Spec::OpenAi, "ConversationItem", &alone);
        assert_eq!(alone, *kept);
    }
    assert_eq!(added[1]["content"][1], image);
    assert_eq!(added[1]["content"][0]["text"], "What is this? é 👌 \u{0}");
    assert_eq!(elsewhere.items(&conversation).await, added);
    // A conversation that begins with them has the same.
    let made = sdk.conversation(items).await;
    assert_eq!(elsewhere.said(&made).await, elsewhere.said(&conversation).await);
    assert_eq!(add(&sdk, &made, json!([])).await, [] as [Value; 0]);
}

async fn pages_fit_together_in_both_orders(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let conversation = sdk.conversation(numbered(0, 20)).await;
    add(&elsewhere, &conversation, numbered(20, 30)).await;
    let first = elsewhere.page_of(&conversation, "").await;
    let newest: Vec<String> = (10..30).rev().map(|n| n.to_string()).collect();
    assert_eq!((texts(&first), &first["has_more"]), (newest.iter().map(String::as_str).collect(), &json!(true)));
    for order in ["asc", "desc"] {
        let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = elsewhere.page_of(&conversation, &format!("limit=9&order={order}{after}")).await;
            pages += 1;
            let data = page["data"].as_array().unwrap();
            assert_eq!((&page["first_id"], &page["last_id"]), (&data[0]["id"], &data[data.len() - 1]["id"]));
            seen.extend(texts(&page).into_iter().map(|text| text.parse::<usize>().unwrap()));
            if page["has_more"] == false {
                break;
            }
            after = format!("&after={}", page["last_id"].as_str().unwrap());
        }
        if order == "desc" {
            seen.reverse();
        }
        assert_eq!((pages, seen), (4, (0..30).collect()));
    }
    let all = sdk.items(&conversation).await;
    let beyond = sdk.page_of(&conversation, &format!("order=asc&after={}", all[29]["id"].as_str().unwrap())).await;
    assert_eq!((&beyond["data"], &beyond["has_more"]), (&json!([]), &json!(false)));
    let exactly = sdk.page_of(&conversation, "limit=30&order=asc").await;
    assert_eq!(exactly["has_more"], false);
    let elsewhere_item = sdk.conversation(numbered(0, 1)).await;
    let foreign = sdk.items(&elsewhere_item).await[0]["id"].as_str().unwrap().to_owned();
    for (query, param) in [
        ("limit=0".to_owned(), "limit"),
        ("limit=101".to_owned(), "limit"),
        ("limit=-1".to_owned(), "limit"),
        ("limit=".to_owned(), "limit"),
        ("order=up".to_owned(), "order"),
        ("after=msg_0".to_owned(), "after"),
        ("after=".to_owned(), "after"),
        (format!("after={foreign}"), "after"),
    ] {
        let answer = sdk.get(&format!("/v1/conversations/{conversation}/items?{query}")).await;
        assert_eq!(failed(&answer, 400)["param"], param, "{query}");
    }
}

async fn what_is_removed_is_gone_for_everybody(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let conversation = sdk.conversation(numbered(0, 10)).await;
    let all = sdk.items(&conversation).await;
    let path = |n: usize| format!("/v1/conversations/{conversation}/items/{}", all[n]["id"].as_str().unwrap());
    // In the middle, the oldest, the newest, and the one that is then the newest.
    for gone in [4, 0, 9, 8] {
        let shown = elsewhere.delete(&path(gone)).await.ok();
        check(Spec::OpenAi, "ConversationResource", &shown);
        assert_eq!(shown["id"], conversation.as_str());
        for sdk in [&sdk, &elsewhere] {
            assert_eq!(failed(&sdk.get(&path(gone)).await, 404)["code"], "item_not_found");
            assert_eq!(failed(&sdk.delete(&path(gone)).await, 404)["code"], "item_not_found");
            let after = format!("/v1/conversations/{conversation}/items?after={}", all[gone]["id"].as_str().unwrap());
            assert_eq!(failed(&sdk.get(&after).await, 400)["param"], "after");
        }
    }
    let left = ["1", "2", "3", "5", "6", "7"];
    assert_eq!(elsewhere.said(&conversation).await, left);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = elsewhere.page_of(&conversation, &format!("limit=2&order=desc{after}")).await;
        assert_eq!(texts(&page).len(), 2, "what is gone takes no place in a page");
        seen.extend(texts(&page).into_iter().map(str::to_owned));
        if page["has_more"] == false {
            break;
        }
        after = format!("&after={}", page["last_id"].as_str().unwrap());
    }
    seen.reverse();
    assert_eq!(seen, left);
    // The model gets no more of it than clients do.
    sdk.respond(json!({"model": "m", "input": "Well?", "conversation": conversation})).await;
    let told: Vec<String> = fake.last().conversation().into_iter().map(|(_, text)| text).collect();
    assert_eq!(told, ["1", "2", "3", "5", "6", "7", "Well?"]);
    // As an Agents session pops them, and begins anew.
    while let Some(last) = sdk.page_of(&conversation, "limit=1&order=desc").await["data"][0]["id"].as_str() {
        sdk.delete(&format!("/v1/conversations/{conversation}/items/{last}")).await.ok();
    }
    add(&elsewhere, &conversation, numbered(50, 52)).await;
    assert_eq!(sdk.said(&conversation).await, ["50", "51"]);
    sdk.respond(json!({"model": "m", "input": "52", "conversation": conversation})).await;
    assert_eq!(fake.last().messages().len(), 3);
}

async fn at_most_twenty_at_once(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(numbered(0, 20)).await;
    let path = format!("/v1/conversations/{conversation}/items");
    let error = failed(&sdk.post(&path, &json!({"items": numbered(0, 21)})).await, 400);
    assert_eq!(error["param"], "items");
    for (body, param) in [
        (json!({}), "items"),
        (json!({"items": null}), "items"),
        (json!({"items": "canary"}), "items"),
        (json!({"items": [{"role": "user", "content": "x"}, {"role": "user"}]}), "items[1].content"),
    ] {
        let answer = sdk.post(&path, &body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["param"]), (400, &json!(param)), "{body}");
    }
    assert_eq!(sdk.items(&conversation).await.len(), 20, "all of them or none");
}

on_every_store! {
    every_kind_comes_back,
    pages_fit_together_in_both_orders,
    what_is_removed_is_gone_for_everybody,
    at_most_twenty_at_once,
}
