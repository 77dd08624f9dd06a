//! What the client's and the server's errors mean for the caller. Their own words are passed on only where they
//! cannot hold keys, credentials or message text.

use std::error::Error as _;
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use super::permissions;
use crate::store::StoreError;

/// Whether the connection is of no more use, so that the call may or may not have happened.
pub(super) fn connection_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.kind() == ErrorKind::Parse
}

/// Whether this server is not the one to ask, or not yet: another one may be, under the same name. Nothing has happened.
pub(super) fn wrong_server(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN"))
}

/// Whether the answer is that the script is not known, so that nothing has happened.
pub(super) fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

/// The answers, unless one of them is an error that is not about what is stored there: then that error.
pub(super) fn but_for_content(answers: Vec<Value>) -> RedisResult<Vec<Value>> {
    let failed = |answer: &Value| match answer {
        Value::ServerError(_) => answer.clone().extract_error().err(),
        _ => None,
    };
    match answers.iter().filter_map(failed).find(|error| !matches!(of(error), StoreError::Broken(_))) {
        Some(error) => Err(error),
        None => Ok(answers),
    }
}

/// The error as the store's caller sees it.
pub(super) fn of(error: &RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Io if error.is_connection_refusal() => StoreError::Unavailable("redis refuses connections".into()),
        ErrorKind::Io if error.is_timeout() => StoreError::Unavailable("redis did not answer in time".into()),
        // The operating system's or TLS's own words: they know nothing of what was sent.
        ErrorKind::Io if error.source().is_some() => {
            StoreError::Unavailable(format!("redis cannot be reached: {error}"))
        }
        ErrorKind::Io => StoreError::Unavailable("the connection to redis was lost".into()),
        ErrorKind::AuthenticationFailed => refused(),
        ErrorKind::InvalidClientConfig => StoreError::Unavailable("redis cannot be found under this address".into()),
        ErrorKind::Server(_) | ErrorKind::Extension => of_code(error.code().unwrap_or("ERR"), error.detail()),
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => unreadable(),
        _ => StoreError::Unavailable(format!("redis cannot be used: {}", error.category())),
    }
}

/// The deadline has passed.
pub(super) fn no_answer_within(deadline: Duration) -> StoreError {
    StoreError::Unavailable(format!("redis did not answer within {} ms", deadline.as_millis()))
}

fn refused() -> StoreError {
    StoreError::Unavailable("redis refused the user name or the password".into())
}

/// What a script or a command answered that nothing makes sense of.
pub(super) fn unreadable() -> StoreError {
    StoreError::Broken("redis holds something that this version cannot read".into())
}

/// This kind of server cannot be used, whatever its permissions.
pub(super) fn unsupported(mode: &str) -> Option<StoreError> {
    let sentence = match mode {
        "cluster" => {
            "this is a node of a Redis Cluster, which is not supported: set REDIS_URL to one server that is in no cluster"
        }
        "sentinel" => {
            "this is a Redis Sentinel, which keeps no data: set REDIS_URL to the primary, or to a name that leads to it"
        }
        _ => return None,
    };
    Some(StoreError::Broken(sentence.to_owned()))
}

fn of_code(code: &str, detail: Option<&str>) -> StoreError {
    if let Some(lacking) = detail.and_then(|detail| permissions::lacking(code, detail)) {
        return StoreError::Unavailable(lacking);
    }
    match code {
        "OOM" => StoreError::Full("redis has reached its maxmemory".into()),
        "MISCONF" => StoreError::Full("redis cannot save to its disk and takes no writes".into()),
        "LOADING" => StoreError::Unavailable("redis is loading its data".into()),
        "READONLY" => StoreError::Unavailable("this redis is a replica and takes no writes".into()),
        "MASTERDOWN" => StoreError::Unavailable("this redis is a replica that has lost its master".into()),
        "BUSY" => StoreError::Unavailable("redis is busy with a long script".into()),
        "TRYAGAIN" | "CLUSTERDOWN" | "NOREPLICAS" => StoreError::Unavailable(format!("redis answers {code}")),
        "NOAUTH" | "WRONGPASS" => refused(),
        "NOPERM" => StoreError::Unavailable("the redis user lacks a permission".into()),
        "ERR" if detail.is_some_and(|text| text.contains("DB index is out of range")) => {
            StoreError::Broken("redis has no database of the number at the end of REDIS_URL".into())
        }
        "ERR" if detail.is_some_and(|text| text.starts_with("unknown command")) => {
            let name = detail.and_then(permissions::quoted).unwrap_or("that it was sent");
            StoreError::Broken(format!("redis does not know the command {name}, and may be too old"))
        }
        // Where in a script an error happened, without the values that it happened with.
        "ERR" => {
            let place = detail.and_then(|text| text.find("user_script:").map(|at| &text[at..]));
            let place = place.map(|text| text.split_whitespace().next().unwrap_or_default());
            StoreError::Broken(format!("redis answers an error {}", place.unwrap_or_default()).trim_end().into())
        }
        code => StoreError::Broken(format!("redis answers {code}")),
    }
}
