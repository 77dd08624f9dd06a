//! The server behind real proxies: what docs/proxies.md tells operators to set, and what proxies do to streams, idle
//! connections and addresses.

mod below_a_path;
mod pages;
mod snippets;
mod streams;

use crate::support::documents::{blocks, pages};
use crate::support::proxy::{Proxy, free_port};

/// The code block of docs/proxies.md in this language that has `word` in it.
pub fn documented(language: &str, word: &str) -> String {
    let pages = pages();
    let (_, page) = pages.iter().find(|(name, _)| name == "docs/proxies.md").expect("docs/proxies.md");
    let found: Vec<&str> = blocks(page, language).into_iter().filter(|block| block.contains(word)).collect();
    assert_eq!(found.len(), 1, "blocks of {language} with {word}");
    found[0].to_owned()
}

/// The address of a server, without its scheme.
pub fn address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}
