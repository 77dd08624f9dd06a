//! "`{"prompt": 5}` is accepted", "prompts with `{x}` go through a template engine", "its tokenizer downloads from a CDN
//! at run time".

use std::time::Instant;

use openai_backend::domain::tokens::Encoding;
use serde_json::{Value, json};

use super::{FAR_LESS_THAN_BEFORE, Kept, Rig, spoken};

#[tokio::test]
async fn a_prompt_that_is_no_text_is_refused() {
    let rig = Rig::new().await;
    let browser = rig.server.client();
    for prompt in [json!(5), json!(null), json!(true), json!(["Hi"]), json!({"text": "Hi"}), json!("")] {
        let answer = browser.post("/chat", &json!({"prompt": prompt})).await;
        assert_eq!(answer.failed(400), "invalid_request", "{prompt}");
    }
    assert_eq!(browser.post("/chat", &json!({})).await.failed(400), "invalid_request");
    assert_eq!((rig.fake.calls(), browser.cookie()), (0, None), "nothing spent, nothing stored");
}

#[tokio::test]
async fn a_prompt_reaches_the_model_and_the_history_as_it_was_written() {
    let rig = Rig::new().await;
    let browser = rig.server.client();
    let prompts = [
        "{x}",
        "{",
        "}}",
        "{{x}}",
        "{history}",
        "{input}",
        "${HOME}",
        "%s %d",
        "{{#if}}",
        "<|im_end|>",
        "\\{x\\}",
        "{0}",
        "a\u{0}b",
        " spaces ",
        "\n",
        "\"quotes\" and \\",
        "👩‍👩‍👧",
        "e\u{301}",
        "\u{202e}right to left",
    ];
    for prompt in prompts {
        browser.post("/chat", &json!({"prompt": prompt, "systemPrompt": prompt})).await.ok();
        let request = rig.fake.last();
        assert_eq!(spoken(&request).last().unwrap(), &("user".to_owned(), prompt.to_owned()));
        assert_eq!(request.conversation()[0], ("system".to_owned(), prompt.to_owned()), "{prompt:?}");
    }
    let history = browser.history().await;
    let said: Vec<&str> = history.iter().step_by(2).map(|(_, text)| text.as_str()).collect();
    assert_eq!(said, prompts);
    let last = spoken(&rig.fake.last());
    assert_eq!(last, history[..history.len() - 1], "and so it is in the history that goes upstream");
}

#[test]
fn tokens_are_counted_without_a_network_as_another_implementation_counts_them() {
    let words = [
        "the",
        "Größe",
        "tokenizer",
        " ",
        "\n\n",
        "émigré",
        "日本語",
        "한국어",
        "🙂",
        "ﬁ",
        "x²",
        "0.1",
        "{}",
        "https://a.b/c?d=e",
    ];
    let mut texts: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    // Every pair, and each repeated: merges happen across borders.
    texts.extend(words.iter().flat_map(|a| words.iter().map(move |b| format!("{a}{b}"))));
    texts.extend(words.iter().map(|word| word.repeat(50)));
    texts.extend(["a", " ", "ab", "=", "é"].iter().map(|unit| unit.repeat(500)));
    texts.push(include_str!("history.rs").to_owned());
    let oracles = [
        (Encoding::Cl100k, tiktoken_rs::cl100k_base().unwrap()),
        (Encoding::O200k, tiktoken_rs::o200k_base().unwrap()),
    ];
    for (encoding, oracle) in oracles {
        for text in &texts {
            let wanted = oracle.encode_ordinary(text).len();
            assert_eq!(encoding.count(text) as usize, wanted, "{encoding:?} {text:?}");
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_times_the_same_letter_is_counted_in_no_time() {
    let rig = Rig::with(Kept::Sqlite, &[("DEFAULT_MODEL", "gpt-4o"), ("HISTORY_MAX_TOKENS", "100000")]).await;
    for letter in ["a", " ", "=", "字"] {
        let asked = Instant::now();
        let prompt = letter.repeat(100_000);
        let answer = rig.server.client().post("/chat", &json!({"prompt": prompt})).await;
        assert!(asked.elapsed() < FAR_LESS_THAN_BEFORE, "{letter:?}: {:?}", asked.elapsed());
        let body: Value = answer.json();
        let tokens = Encoding::O200k.count_message(&prompt);
        match tokens < 99_000 {
            true => assert_eq!(body["role"], "assistant", "{letter:?}: {tokens} tokens"),
            false => assert_eq!(answer.failed(400), "context_too_long", "{letter:?}: {tokens} tokens"),
        }
    }
}
