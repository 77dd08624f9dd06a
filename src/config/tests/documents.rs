//! The files that list the settings, held to the table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::settings::{self, Setting};

#[test]
fn the_example_file_is_the_table() {
    let mut text =
        "# Every setting with its default. Copy to .env, and change what you need; the environment wins over it.\n\
                    # An empty value counts as unset. Put values with spaces, # or $ in single quotes.\n"
            .to_owned();
    for group in settings::GROUPS {
        let _ = write!(text, "\n# --- {} ---\n", group.title);
        for setting in group.settings {
            let quote = if setting.default.contains(' ') { "'" } else { "" };
            let _ = write!(text, "\n# {}.\n{}={quote}{}{quote}\n", setting.help, setting.name, setting.default);
        }
    }
    same_as_file(&root(".env.example"), &text);

    let read: Vec<(String, String)> = dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
    let table: Vec<(String, String)> =
        settings::all().map(|setting| (setting.name.to_owned(), setting.default.to_owned())).collect();
    assert_eq!(read, table, "what a person copies reads back as the defaults");
}

/// What the README shows of the table, in its order.
const FRONT_PAGE: [&str; 14] = [
    "APP_ENV",
    "HOST",
    "PORT",
    "DATA_DIR",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "DEFAULT_MODEL",
    "ALLOWED_MODELS",
    "MAX_TOKENS",
    "API_KEYS",
    "REDIS_URL",
    "SESSION_SECRET",
    "CORS_ORIGIN",
    "PRODUCTION_URL",
];

#[test]
fn the_settings_page_lists_the_table() {
    let mut table = String::new();
    for group in settings::GROUPS {
        let _ = write!(table, "\n| {} | Default | |\n|---|---|---|\n{}", group.title, rows(group.settings));
    }
    same_between_marks("docs/settings.md", &table);
}

#[test]
fn the_readme_lists_the_front_of_the_table() {
    let rows: String = FRONT_PAGE.iter().map(|name| rows([settings::find(name).expect("a setting")])).collect();
    same_between_marks("README.md", &format!("\n| Setting | Default | |\n|---|---|---|\n{rows}"));
}

fn rows<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> String {
    let rows = settings.into_iter().map(|Setting { name, default, help, .. }| {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        format!("| `{name}` | {default} | {help} |\n")
    });
    rows.collect()
}

/// Holds what stands between the marks of a page to `table`.
fn same_between_marks(page: &str, table: &str) {
    let path = root(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- settings -->\n").expect("the page marks where the table begins");
    let (_, after) = rest.split_once("<!-- /settings -->").expect("the page marks where the table ends");
    same_as_file(&path, &format!("{before}<!-- settings -->\n{table}\n<!-- /settings -->{after}"));
}

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// With `UPDATE=1` in the environment, writes the file instead.
fn same_as_file(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "{} is behind the code: `UPDATE=1 cargo test --lib config` rewrites it", path.display());
}
