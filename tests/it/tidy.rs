//! The house rules that a machine can hold: who may import whom, how long a file is, what every file begins with, and
//! that the documents name files that exist.

mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may import. `main.rs` and `lib.rs` may know all of them.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("tasks", &[]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    ("store", &["domain", "config"]),
    ("upstream", &["domain", "config", "tasks"]),
    ("access", &["domain", "config", "store"]),
    ("cli", &["config", "access"]),
    ("metering", &["domain", "config", "store", "upstream"]),
    ("turn", &["domain", "config", "tasks", "store", "metering"]),
    ("chain", &["domain", "config", "tasks", "store", "turn"]),
    ("http", &["domain", "config", "tasks", "store", "upstream", "access", "metering", "turn", "chain"]),
    ("boot", &["domain", "config", "store", "upstream", "access", "cli", "telemetry", "metering", "http"]),
];

const MOST_LINES: usize = 400;

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        let room = room_of(&path);
        if matches!(room.as_str(), "main" | "lib") {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{path}: the room {room} has no place in tests/it/tidy.rs"));
            continue;
        };
        for import in imports(&text) {
            let target = import.split("::").next().unwrap_or_default();
            let known = ROOMS.iter().any(|(name, _)| *name == target);
            if known && target != room && !allowed.contains(&target) {
                wrong.push(format!("{path}: {room} may not import {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `src/lib.rs` lists each room for tests, where it is public, and for the program, where it is not.
#[test]
fn the_library_lists_every_room_twice() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rooms: BTreeSet<String> = rust_files("src").into_iter().map(|(path, _)| room_of(&path)).collect();
    for room in rooms.iter().filter(|room| !matches!(room.as_str(), "lib" | "main")) {
        let listed =
            |visibility: &str| lib.lines().filter(|line| line.trim() == format!("{visibility}mod {room};")).count();
        assert_eq!((listed("pub "), listed("")), (1, 1), "src/lib.rs lists {room} once as public and once as private");
    }
}

/// Who may use a model, and for how much, is decided in one room: no other can call one.
#[test]
fn only_metering_calls_a_model() {
    const MAY: [&str; 3] = ["upstream", "metering", "boot"];
    let elsewhere = rust_files("src").into_iter().filter(|(path, _)| !MAY.contains(&room_of(path).as_str()));
    let callers = elsewhere.filter(|(_, text)| names_the_upstream(text)).map(|(path, _)| path);
    let callers: Vec<String> = callers.collect();
    assert!(callers.is_empty(), "these name the trait that calls models: {callers:?}");
}

/// Whether the trait that calls models stands in the code as a word of its own.
fn names_the_upstream(text: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).any(|word| word == "Upstream")
}

/// Slow work goes through `src/tasks.rs`, which bounds it. SQLite has threads of its own, which it bounds by its connections.
#[test]
fn only_tasks_and_sqlite_take_threads_for_slow_work() {
    let own =
        |path: &str| path == "src/tasks.rs" || path == "src/store/sqlite.rs" || path.starts_with("src/store/sqlite/");
    let elsewhere = rust_files("src").into_iter().filter(|(path, _)| !own(path));
    let takers = elsewhere.filter(|(_, text)| takes_a_thread_for_slow_work(text)).map(|(path, _)| path);
    let takers: Vec<String> = takers.collect();
    assert!(takers.is_empty(), "these are to use tasks::off_runtime: {takers:?}");
}

fn takes_a_thread_for_slow_work(text: &str) -> bool {
    let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.any(|line| ["spawn_blocking", "block_in_place"].iter().any(|word| line.contains(word)))
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    let silent = all_rust_files().into_iter().filter(|(_, text)| !text.starts_with("//! ") && !text.starts_with("#!"));
    let silent: Vec<String> = silent.map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "these begin with no `//!` line: {silent:?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = all_rust_files().into_iter().map(|(path, text)| (text.lines().count(), path));
    let long: Vec<_> = long.filter(|(lines, _)| *lines > MOST_LINES).collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:?}");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimple", "mented!(")];
    let mut left = Vec::new();
    for (path, text) in all_rust_files() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                left.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(left.is_empty(), "{}", left.join("\n"));
}

#[test]
fn documents_name_files_that_exist() {
    let mut broken = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let folder = path.parent().unwrap();
        let links = links(&text).into_iter().filter(|link| !folder.join(link).exists());
        broken.extend(links.map(|link| format!("{}: ({link})", path.display())));
        let quoted = quoted_paths(&text).into_iter().filter(|quoted| !root().join(quoted).exists());
        broken.extend(quoted.map(|quoted| format!("{}: `{quoted}`", path.display())));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn documents_link_to_headings_that_exist() {
    let mut broken = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let headings: BTreeSet<String> = text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
        let targets = between(&text, "](#", ")").into_iter().filter(|target| !headings.contains(*target));
        broken.extend(targets.map(|target| format!("{}: #{target}", path.display())));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// `crate::` paths outside comments, without the `crate::`.
fn imports(text: &str) -> Vec<&str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1)).map(path_at_start).collect()
}

fn path_at_start(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    &text[..end.unwrap_or(text.len())]
}

/// `src/turn/run.rs` and `src/turn.rs` are in the room `turn`.
fn room_of(path: &str) -> String {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned()
}

/// Targets of links within the repository, without their headings.
fn links(text: &str) -> Vec<&str> {
    let targets = between(text, "](", ")").into_iter().map(|target| target.split('#').next().unwrap_or_default());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

/// Words in backquotes that look like paths from the root.
fn quoted_paths(text: &str) -> Vec<&str> {
    const FOLDERS: [&str; 7] = ["src/", "tests/", "crates/", "scripts/", "docs/", "benches/", "web/"];
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let quoted = quoted.map(|quoted| quoted.trim_start_matches("./"));
    let paths = quoted.filter(|quoted| FOLDERS.iter().any(|folder| quoted.starts_with(folder)));
    paths.filter(|path| !path.contains([' ', '*', '<', '{', '…'])).collect()
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close).map(|(inside, _)| inside)).collect()
}

/// A heading's anchor, as the usual hosts make it.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    plain
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn documents() -> Vec<PathBuf> {
    let folders = [root().to_owned(), root().join("docs"), root().join("docs/adr")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn all_rust_files() -> Vec<(String, String)> {
    ["src", "tests", "crates", "benches"].into_iter().flat_map(rust_files).collect()
}

/// Every `.rs` file below a folder: its path from the root, and its text.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        // `benches` may not be there.
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(folder == "benches" || !files.is_empty(), "nothing found in {folder}");
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_rules_catch_what_they_should() {
    assert_eq!(imports("use crate::store::{A};\n// crate::no\nlet x = crate::http::f();"), ["store::", "http::f"]);
    assert!(names_the_upstream("use crate::upstream::{Call, Upstream};"));
    assert!(!names_the_upstream("// Upstream\nuse crate::upstream::UpstreamInfo;"));
    assert!(takes_a_thread_for_slow_work("let x = tokio::task::spawn_blocking(f);"));
    assert!(!takes_a_thread_for_slow_work("// spawn_blocking\noff_runtime(1, f)"));
    assert_eq!(room_of("src/turn/run.rs"), "turn");
    assert_eq!(room_of("src/config.rs"), "config");
    assert_eq!(links("[a](b.md#c) [d](https://x/y) [e](#f)"), ["b.md"]);
    assert_eq!(
        quoted_paths("`src/x.rs` and `./scripts/test` and `src/*.rs` and `cargo run`"),
        ["src/x.rs", "scripts/test"]
    );
    assert_eq!(anchor("## Two stores, one promise"), "two-stores-one-promise");
}
