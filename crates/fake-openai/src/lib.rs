//! A scripted OpenAI-compatible upstream: for tests, for benchmarks, and for trying things out.
//!
//! It is written on bare sockets, because it has to do what no HTTP framework allows: tear a chunk, reset a
//! connection, answer nothing, send garbage.
//!
//! A tour, in the order a request passes: `server` accepts, `connection` reads it (`http1`) and records it
//! (`record`), `script` chooses its [`Reply`] (`reply`, `errors`, `completion`), `render` compiles that with the JSON
//! of `answers` to a `plan` of writes and waits ([`Gate`], [`Step`]), and `connection` carries it out. `bench` has
//! the plans that are rendered once; `faults` gives names to replies, for the binary, `assistant` is the responder
//! for tests of real clients, and `dialects` has one for each family of servers.
//!
//! ```no_run
//! # async fn example() {
//! use fake_openai::{FakeOpenAi, Gate, Reply};
//!
//! let fake = FakeOpenAi::start().await;
//! let gate = Gate::new();
//! fake.push(Reply::rate_limited_for(1));
//! fake.push(Reply::text("Hello").then_wait(&gate).then_text(" world"));
//! // ... send requests to fake.base_url(); the second one's stream stops after "Hello" until gate.open().
//! # }
//! ```

mod answers;
mod assistant;
mod bench;
mod completion;
mod connection;
mod dialects;
mod errors;
mod fake;
mod faults;
mod gate;
mod http1;
mod plan;
mod record;
mod render;
mod reply;
mod script;
mod server;
mod steps;

pub use assistant::assistant;
pub use bench::Bench;
pub use completion::{Chunking, Usage};
pub use dialects::{DIALECTS, Dialect};
pub use fake::FakeOpenAi;
pub use faults::{FAULTS, Fault, magic};
pub use gate::Gate;
pub use record::{Outcome, RecordedRequest};
pub use reply::Reply;
pub use script::KeepAlive;
pub use steps::{LineEnd, Step};
