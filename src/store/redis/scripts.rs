//! The scripts, each one operation out of one file or several, and the commands that call them.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline, ToRedisArgs};

/// A script that the server knows by its digest.
pub(super) struct Script {
    source: &'static str,
    digest: String,
}

macro_rules! scripts {
    ($($name:ident: $($part:literal),+;)+) => {
        /// All scripts.
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)+
        }

        pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
            $($name: Script::new(concat!($(include_str!($part)),+)),)+
        });

        impl Scripts {
            fn all(&self) -> impl Iterator<Item = &Script> {
                [$(&self.$name),+].into_iter()
            }
        }
    };
}

scripts! {
    begin: "renewal.lua", "gaps.lua", "window.lua", "tries.lua", "rate.lua", "begin.lua";
    take_rate: "renewal.lua", "rate.lua", "take_rate.lua";
    append: "append.lua";
    finish: "numbers.lua", "push.lua", "finish.lua";
    read_events: "read_events.lua";
    cancel: "cancel.lua";
    read_turn: "state.lua", "read_turn.lua";
    read_turns: "state.lua", "read_turns.lua";
    delete_turn: "forget_keys.lua", "forget_turns.lua", "delete_turn.lua";
    history: "gaps.lua", "pending.lua", "history.lua";
    read_window: "gaps.lua", "window.lua", "read_window.lua";
    renew: "renewal.lua", "renew.lua";
    expired: "expired.lua";
    adopt: "adopt.lua";
    release: "release.lua";
    forget: "forget.lua";
    forget_key: "forget_keys.lua", "forget_key.lua";
    leave_try: "tries.lua", "leave_try.lua";
    create: "renewal.lua", "push.lua", "create.lua";
    read_head: "read_head.lua";
    list: "list.lua";
    describe: "describe.lua";
    delete_conversation: "forget_keys.lua", "forget_turns.lua", "delete_conversation.lua";
    add: "numbers.lua", "push.lua", "find.lua", "add.lua";
    read_item: "find.lua", "pending.lua", "read_item.lua";
    read_items: "gaps.lua", "find.lua", "pending.lua", "read_items.lua";
    remove_item: "numbers.lua", "gaps.lua", "find.lua", "pending.lua", "remove_item.lua";
    put_document: "renewal.lua", "put_document.lua";
    update_document: "update_document.lua";
    read_document: "read_document.lua";
    read_documents: "read_documents.lua";
    delete_document: "delete_document.lua";
}

impl Scripts {
    /// One pipeline that makes all of them known to the server.
    pub(super) fn load(&self) -> Pipeline {
        let mut pipeline = Pipeline::new();
        for script in self.all() {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
        }
        pipeline
    }

    /// The text of the script with this digest.
    pub(super) fn source_of(&self, digest: &str) -> Option<&'static str> {
        self.all().find(|script| script.digest == digest).map(|script| script.source)
    }

    /// The digest of a script and its line, counted from 1, that holds this text.
    #[cfg(test)]
    pub(super) fn a_line_with(&self, text: &str) -> (String, usize) {
        let lines = self.all().flat_map(|script| script.source.lines().enumerate().map(move |line| (script, line)));
        let (script, (at, _)) = lines.into_iter().find(|(_, (_, line))| line.contains(text)).unwrap();
        (script.digest.clone(), at + 1)
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
