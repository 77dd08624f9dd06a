//! `openapi.json` in the repository is what the code says. `UPDATE_OPENAPI=1 cargo test --test it openapi` writes it.

use std::path::Path;

use openai_backend::http::router;

#[test]
fn the_openapi_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let code = format!("{}\n", serde_json::to_string_pretty(&router::document()).unwrap());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, code).unwrap();
        return;
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    let first = file.lines().zip(code.lines()).position(|(file, code)| file != code);
    let hint = "run `UPDATE_OPENAPI=1 cargo test --test it openapi` and commit the file";
    assert!(
        file == code,
        "openapi.json differs from the code from line {} on; {hint}",
        first.map_or(0, |line| line + 1)
    );
}
