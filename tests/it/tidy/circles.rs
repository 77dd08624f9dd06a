//! No circles among the files of a room: of two files side by side, one may import the other, and not back, over however many
//! between them.
//!
//! A file and its folder count as one where they are looked at from beside; what a parent and its children import of each
//! other is not looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::rust_files;

/// A module's path from the crate's root.
type Module = Vec<String>;

/// Which modules side by side import which: by their parent, then by name.
type Imports = BTreeMap<Module, BTreeMap<String, BTreeSet<String>>>;

#[test]
fn no_room_has_circles() {
    let files: Vec<(Module, String)> =
        rust_files("src").into_iter().map(|(path, text)| (module_of(&path), text)).collect();
    let circles = circles(&imports(&files));
    let found: Vec<&str> = circles.iter().map(String::as_str).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn module_of(path: &str) -> Module {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    inside.split('/').map(str::to_owned).collect()
}

fn imports(files: &[(Module, String)]) -> Imports {
    let known: BTreeSet<&[String]> = files.iter().map(|(module, _)| module.as_slice()).collect();
    let mut imports = Imports::new();
    for (module, text) in files {
        for target in paths(module, text) {
            let shared = module.iter().zip(&target).take_while(|(ours, theirs)| ours == theirs).count();
            if shared > 0 && shared < module.len() && target.get(..=shared).is_some_and(|path| known.contains(path)) {
                let siblings = imports.entry(module[..shared].to_vec()).or_default();
                siblings.entry(module[shared].clone()).or_default().insert(target[shared].clone());
            }
        }
    }
    imports
}

/// The paths within the crate that a file names outside comments, from the root.
fn paths(module: &[String], text: &str) -> Vec<Module> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            found.extend(spelled_out(&code[at..]).into_iter().map(|path| from_root(module, &path)));
        }
    }
    found
}

fn from_root(module: &[String], path: &[String]) -> Module {
    let mut base = if path[0] == "crate" { Vec::new() } else { module.to_vec() };
    let relative = path.iter().take_while(|name| ["crate", "super", "self"].contains(&name.as_str()));
    for name in relative.clone() {
        if name == "super" {
            base.pop();
        }
    }
    base.extend(path[relative.count()..].iter().cloned());
    base
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn spelled_out(text: &str) -> Vec<Module> {
    if let Some(group) = text.strip_prefix('{') {
        return members(group).into_iter().flat_map(spelled_out).collect();
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    let name = text[..end].to_owned();
    match text[end..].strip_prefix("::") {
        Some(rest) => spelled_out(rest).into_iter().map(|path| [vec![name.clone()], path].concat()).collect(),
        None => vec![vec![name]],
    }
}

/// What stands in a group, of which the opening brace is gone.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(group[from..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(group[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|member| !member.is_empty());
    found
}

/// Each circle once, as its parent and its members in order.
fn circles(imports: &Imports) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (parent, siblings) in imports {
        for name in siblings.keys() {
            let reached = reached_from(name, siblings);
            let circle: Vec<&str> = siblings
                .keys()
                .filter(|other| {
                    reached.contains(other.as_str()) && reached_from(other, siblings).contains(name.as_str())
                })
                .map(String::as_str)
                .collect();
            if reached.contains(name.as_str()) {
                found.insert(format!("{}: {} import each other", parent.join("::"), circle.join(", ")));
            }
        }
    }
    found
}

fn reached_from<'a>(name: &str, siblings: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&str> = siblings.get(name).into_iter().flatten().map(String::as_str).collect();
    while let Some(next) = left.pop() {
        if reached.insert(next) {
            left.extend(siblings.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

#[test]
fn the_rule_catches_what_it_should() {
    let files = |files: &[(&str, &str)]| -> BTreeSet<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| (module_of(path), (*text).to_owned())).collect();
        circles(&imports(&files))
    };
    let straight =
        [("src/r/mod.rs", "use self::a::A;"), ("src/r/a.rs", "use super::b::B;"), ("src/r/b.rs", "// super::a")];
    assert_eq!(files(&straight), BTreeSet::new());
    let round = [
        ("src/r.rs", ""),
        ("src/r/a/mod.rs", "use crate::r::{b::B, C};"),
        ("src/r/b.rs", "use super::c;"),
        ("src/r/c.rs", ""),
        ("src/r/c/d.rs", "fn f() { super::super::a::g() }"),
    ];
    assert_eq!(files(&round), BTreeSet::from(["r: a, b, c import each other".to_owned()]));
    let parents = [("src/r/mod.rs", "use self::a::A;"), ("src/r/a.rs", "use super::R; use crate::r::S;")];
    assert_eq!(files(&parents), BTreeSet::new());
}
