//! Keeps slow work with tokens off the runtime.

use super::items::InputItem;
use crate::domain::model;
use crate::tasks::off_runtime;

/// Loads the tokenizer's tables, which takes tens of milliseconds the first time.
pub async fn loaded(model: &str) {
    let encoding = model::profile(model).encoding;
    if encoding.is_loaded() {
        return;
    }
    off_runtime(usize::MAX, move || encoding.load()).await;
}

/// Does what counts the tokens of `bytes` bytes of text for this model.
pub async fn counting<T: Send + 'static>(model: &str, bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    loaded(model).await;
    off_runtime(bytes, work).await
}

/// How many bytes of these items are counted in tokens.
pub fn text_bytes(given: &[InputItem]) -> usize {
    let bytes = |given: &InputItem| match given {
        InputItem::New(new) => new.texts.len(),
        InputItem::Reference(_) => 0,
    };
    given.iter().map(bytes).sum()
}
