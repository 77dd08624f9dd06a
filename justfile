# The commands of this house; `just` lists them.

_list:
    @just --list --unsorted

# Everything that continuous integration checks
check:
    ./scripts/test

# The server, built and started again after every change
dev:
    @command -v bacon >/dev/null || cargo install --locked bacon
    bacon dev

# Unit and integration tests whose names contain a word
test word="":
    cargo test --workspace --lib --bins --tests -- {{ word }}

# Rewrite .env.example, the settings in the documents and openapi.json from the code
update:
    UPDATE=1 cargo test --quiet --lib -- config::tests::documents
    UPDATE_OPENAPI=1 cargo test --quiet --test it openapi

# What `just bench` measures: dist, as the image ships it; release builds faster and runs slower
profile := "dist"

# The table of docs/performance.md; --quick for a short one, or the names of its sections
bench *arguments:
    cargo build --locked --profile {{ profile }} --bins --package openai-backend --package fake-openai --package bench
    cargo run --quiet --locked --profile {{ profile }} --package bench -- {{ arguments }}

# Kill, stop and restart real servers under 50 clients for this many seconds on each store, and check what everybody was told
torture seconds="600":
    TORTURE_SECONDS={{ seconds }} cargo test --test it torture -- --nocapture

# Requests made from the API document, and requests that break it, at both doors of a demo server, for this many seconds
schemathesis seconds="60":
    ./scripts/schemathesis {{ seconds }}

# The documentation of the code, in a browser
docs:
    cargo doc --workspace --no-deps --open

# A real, small model on this machine
real-model port="8081":
    ./scripts/real-model --port {{ port }}

# A Redis on 6379
redis:
    docker compose up --detach --wait dev-redis

# Licences, advisories, bans and sources of the dependencies
deny:
    @cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
    cargo deny check
