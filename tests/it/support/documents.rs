//! The pages that people read, README.md and docs/, and the examples in them.

use std::fs;
use std::path::{Path, PathBuf};

/// The pages, and their names from the root.
pub fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let in_docs = in_docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut paths: Vec<PathBuf> = in_docs.collect();
    paths.sort();
    paths.insert(0, root.join("README.md"));
    let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The code blocks of a page in one language, in their order.
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).filter_map(|rest| rest.split_once("\n```")).map(|(code, _)| code).collect()
}
