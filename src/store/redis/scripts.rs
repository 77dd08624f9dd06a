//! The scripts, each one operation, and the commands that call them.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline, ToRedisArgs};

/// A script that the server knows by its digest.
pub(super) struct Script {
    source: &'static str,
    digest: String,
}

/// All scripts.
pub(super) struct Scripts {
    pub(super) begin: Script,
    pub(super) append: Script,
    pub(super) finish: Script,
    pub(super) read_events: Script,
    pub(super) cancel: Script,
    pub(super) read_turn: Script,
    pub(super) read_turns: Script,
    pub(super) history: Script,
    pub(super) read_window: Script,
    pub(super) renew: Script,
    pub(super) expired: Script,
    pub(super) adopt: Script,
    pub(super) release: Script,
    pub(super) forget: Script,
}

macro_rules! script {
    ($($part:literal),+) => {
        Script::new(concat!($(include_str!($part)),+))
    };
}

pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    begin: script!("renewal.lua", "window.lua", "begin.lua"),
    append: script!("append.lua"),
    finish: script!("finish.lua"),
    read_events: script!("read_events.lua"),
    cancel: script!("cancel.lua"),
    read_turn: script!("state.lua", "read_turn.lua"),
    read_turns: script!("state.lua", "read_turns.lua"),
    history: script!("history.lua"),
    read_window: script!("window.lua", "read_window.lua"),
    renew: script!("renewal.lua", "renew.lua"),
    expired: script!("expired.lua"),
    adopt: script!("adopt.lua"),
    release: script!("release.lua"),
    forget: script!("forget.lua"),
});

impl Scripts {
    /// One pipeline that makes all of them known to the server.
    pub(super) fn load(&self) -> Pipeline {
        let all = [
            &self.begin,
            &self.append,
            &self.finish,
            &self.read_events,
            &self.cancel,
            &self.read_turn,
            &self.read_turns,
            &self.history,
            &self.read_window,
            &self.renew,
            &self.expired,
            &self.adopt,
            &self.release,
            &self.forget,
        ];
        let mut pipeline = Pipeline::with_capacity(all.len());
        for script in all {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
        }
        pipeline
    }
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, digest: redis::Script::new(source).get_hash().to_owned() }
    }

    /// A call with these keys, to which the arguments are still to be added. `size` is a guess at their bytes.
    pub(super) fn call<K: ToRedisArgs>(&self, keys: &[K], size: usize) -> Cmd {
        let mut cmd = Cmd::with_capacity(3 + keys.len() + 24, 64 + keys.len() * 160 + size);
        cmd.arg("EVALSHA").arg(&self.digest).arg(keys.len());
        for key in keys {
            cmd.arg(key);
        }
        cmd
    }
}
