//! Every statement that runs more than once. They stand together so that one test can see that none of them scans a table.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $($sql:expr),+;)*) => {
        $($(#[$doc])* pub(super) const $name: &str = concat!($($sql),+);)*

        /// All of them, by name.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// What `rows::stored_item` reads.
macro_rules! item_columns {
    () => {
        "place, id, turn, tokens, encoding, tokens_before, created_at_ms, json"
    };
}

/// What `conversations::info` reads.
macro_rules! info_columns {
    () => {
        "id, created_at_ms, metadata, hidden"
    };
}

/// That the owner has not ended: `?3` is the session's key, NULL where the owner is none, and `?4` the time.
macro_rules! owner_lives {
    () => {
        "(?3 IS NULL OR EXISTS (SELECT 1 FROM sessions WHERE key = ?3 AND expires_at_ms > ?4))"
    };
}

/// That the owner of lease `l`'s conversation is no session, or one that has not ended at the time `$now`.
macro_rules! lease_counts {
    ($now:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM conversations c LEFT JOIN sessions s ON s.key = substr(c.owner, 3) \
             WHERE c.number = l.conversation AND c.owner GLOB 's:*' AND coalesce(s.expires_at_ms, 0) <= ",
            $now,
            ")"
        )
    };
}

/// That a conversation is deleted, though rows of it are left: an owner's tag never begins like this.
macro_rules! is_disowned {
    () => {
        "owner >= '-' AND owner < '.'"
    };
}

/// What `documents::document` reads.
macro_rules! document_columns {
    () => {
        "id, created_at_ms, json"
    };
}

/// What `rows::turn_row` reads.
macro_rules! turn_columns {
    () => {
        "t.number, t.previous, t.last_event, t.id, c.id, c.owner, t.status, t.attempt, t.fence, t.created_at_ms, \
         t.ended_at_ms, t.usage, t.fault, t.request, t.answer, t.items_then"
    };
}

statements! {
    CREATE_SESSION =
        "INSERT INTO sessions (key, expires_at_ms, expires_hour) VALUES (?1, ?2, ?3) \
         ON CONFLICT (key) DO UPDATE SET expires_at_ms = excluded.expires_at_ms, expires_hour = excluded.expires_hour";
    /// The common case: the hour is the same, and the index need not be touched.
    RENEW_SESSION_IN_ITS_HOUR =
        "UPDATE sessions SET expires_at_ms = ?2 WHERE key = ?1 AND expires_at_ms > ?3 AND expires_hour = ?4";
    RENEW_SESSION =
        "UPDATE sessions SET expires_at_ms = ?2, expires_hour = ?4 WHERE key = ?1 AND expires_at_ms > ?3";
    SESSION_EXPIRY = "SELECT expires_at_ms FROM sessions WHERE key = ?1";
    EXPIRED_SESSION =
        "SELECT key FROM sessions WHERE expires_hour <= ?2 AND expires_at_ms <= ?1 LIMIT 1";
    END_SESSION = "UPDATE sessions SET expires_at_ms = 0, expires_hour = 0 WHERE key = ?1";
    DELETE_SESSION = "DELETE FROM sessions WHERE key = ?1";

    /// A key whose turn is deleted counts no longer.
    FIND_KEY =
        "SELECT fingerprint, turn, conversation FROM idempotency_keys k WHERE owner = ?1 AND key = ?2 AND until_ms > ?3 \
         AND EXISTS (SELECT 1 FROM turns t JOIN conversations c ON c.number = t.conversation \
         WHERE t.id = k.turn AND c.owner = k.owner)";
    INSERT_KEY =
        "INSERT OR REPLACE INTO idempotency_keys (owner, key, fingerprint, turn, conversation, until_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    /// The key that a turn began with, while it is that turn's.
    DELETE_KEY_OF_TURN =
        "DELETE FROM idempotency_keys WHERE owner = ?1 AND (key, turn) = \
         (SELECT idempotency_key, id FROM turns WHERE number = ?2)";
    DELETE_SOME_KEYS =
        "DELETE FROM idempotency_keys WHERE (owner, key) IN \
         (SELECT owner, key FROM idempotency_keys WHERE owner = ?1 LIMIT ?2)";
    DELETE_OLD_KEYS =
        "DELETE FROM idempotency_keys WHERE (owner, key) IN \
         (SELECT owner, key FROM idempotency_keys WHERE until_ms <= ?1 LIMIT ?2)";

    /// The one that a retry joins: the first in the order of the table, which `CROSS JOIN` keeps. A turn that is deleted is no
    /// try any more.
    FIND_TRY =
        "SELECT t.id, c.id, y.has_left, y.joined, y.turn FROM tries y \
         CROSS JOIN turns t ON t.number = y.turn CROSS JOIN conversations c ON c.number = t.conversation \
         WHERE y.owner = ?1 AND y.key = ?2 AND y.until_ms > ?3 AND c.owner = y.owner \
         ORDER BY y.has_left DESC, y.joined, y.turn DESC LIMIT 1";
    JOIN_TRY =
        "UPDATE tries SET has_left = 0, joined = joined + 1 \
         WHERE owner = ?1 AND key = ?2 AND has_left = ?3 AND joined = ?4 AND turn = ?5";
    IS_TRY =
        "SELECT 1 FROM tries WHERE owner = ?1 AND key = ?2 AND turn = (SELECT number FROM turns WHERE id = ?3)";
    INSERT_TRY = "INSERT INTO tries (owner, key, turn, until_ms) VALUES (?1, ?2, ?3, ?4)";
    LEAVE_TRY =
        "UPDATE tries SET has_left = 1 WHERE owner = ?1 AND key = ?2 AND turn = (SELECT number FROM turns WHERE id = ?3)";
    DROP_TRY =
        "DELETE FROM tries WHERE owner = ?1 AND key = ?2 AND turn = (SELECT number FROM turns WHERE id = ?3)";
    DELETE_TRY_OF_TURN =
        "DELETE FROM tries WHERE owner = ?1 AND (key, turn) = \
         (SELECT idempotency_key, number FROM turns WHERE number = ?2)";
    DELETE_SOME_TRIES =
        "DELETE FROM tries WHERE (owner, key, has_left, joined, turn) IN \
         (SELECT owner, key, has_left, joined, turn FROM tries WHERE owner = ?1 LIMIT ?2)";
    DELETE_OLD_TRIES =
        "DELETE FROM tries WHERE (owner, key, has_left, joined, turn) IN \
         (SELECT owner, key, has_left, joined, turn FROM tries WHERE until_ms <= ?1 LIMIT ?2)";

    FIND_RATE = "SELECT full_at_us FROM rates WHERE account = ?1";
    PUT_RATE =
        "INSERT INTO rates (account, full_at_us) VALUES (?1, ?2) \
         ON CONFLICT (account) DO UPDATE SET full_at_us = excluded.full_at_us";
    DELETE_RATE = "DELETE FROM rates WHERE account = ?1";
    DELETE_OLD_RATES =
        "DELETE FROM rates WHERE account IN (SELECT account FROM rates WHERE full_at_us <= ?1 * 1000 LIMIT ?2)";

    /// With the lease of its running turn, where it has one.
    FIND_CONVERSATION =
        "SELECT c.number, c.owner, c.version, c.item_count, c.total_tokens, c.newest_turn, c.created_at_ms, \
         l.turn, l.holder, l.released, c.lost_tokens FROM conversations c LEFT JOIN leases l ON l.conversation = c.number WHERE c.id = ?1";
    OWN_CONVERSATION =
        "SELECT number, item_count, total_tokens, newest_turn, lost_tokens FROM conversations WHERE id = ?1 AND owner = ?2";
    CONVERSATION_NUMBER = "SELECT number FROM conversations WHERE id = ?1";
    CONVERSATION_INFO = "SELECT ", info_columns!(), " FROM conversations WHERE id = ?1 AND owner = ?2";
    CONVERSATIONS_BEHIND =
        "SELECT ", info_columns!(), " FROM conversations \
         WHERE owner = ?1 AND hidden = 0 AND (created_at_ms, id) < (?2, ?3) ORDER BY created_at_ms DESC, id DESC LIMIT ?4";
    INSERT_CONVERSATION =
        "INSERT INTO conversations (id, owner, version, item_count, total_tokens, created_at_ms, hidden, metadata) \
         VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7)";
    SET_METADATA = "UPDATE conversations SET metadata = ?3 WHERE id = ?1 AND owner = ?2";
    CONVERSATION_OF_OWNER = "SELECT number, newest_turn FROM conversations WHERE owner = ?1 LIMIT 1";
    /// Takes a conversation from its owner, id and all, until its rows are removed. Its list begins at the turn that runs.
    DISOWN_CONVERSATION =
        "UPDATE conversations SET owner = '-' || owner, id = 'gone ' || number, metadata = '{}', \
         newest_turn = coalesce((SELECT turn FROM leases WHERE conversation = ?1), newest_turn) WHERE number = ?1";
    /// A place for a turn (`?1`, of owner `?2`) until its rows are removed.
    INSERT_DISOWNED =
        "INSERT INTO conversations (id, owner, version, item_count, total_tokens, newest_turn, created_at_ms, hidden) \
         SELECT 'gone ' || id, '-' || ?2, 0, 0, 0, number, created_at_ms, 1 FROM turns WHERE number = ?1";
    MOVE_TURN = "UPDATE turns SET conversation = ?2, previous = NULL WHERE number = ?1";
    DISOWNED_CONVERSATION =
        "SELECT number, newest_turn, substr(owner, 2) FROM conversations WHERE ", is_disowned!(), " AND number = ?1";
    ANY_DISOWNED_CONVERSATION =
        "SELECT number, newest_turn, substr(owner, 2) FROM conversations WHERE ", is_disowned!(), " LIMIT 1";
    GROW_CONVERSATION =
        "UPDATE conversations SET version = version + 1, item_count = ?2, total_tokens = ?3, newest_turn = ?4 \
         WHERE number = ?1";
    CHANGE_ITEMS =
        "UPDATE conversations SET version = version + 1, item_count = ?2, total_tokens = ?3 WHERE number = ?1";
    /// After an item of `?3` tokens is gone: `?2` is where the newest one that is left ends.
    ITEM_REMOVED =
        "UPDATE conversations SET version = version + 1, total_tokens = ?2, \
         lost_tokens = lost_tokens + ?3 - (total_tokens - ?2) WHERE number = ?1";
    NEWEST_TURN = "SELECT newest_turn, hidden FROM conversations WHERE number = ?1";
    SET_NEWEST_TURN = "UPDATE conversations SET newest_turn = ?2 WHERE number = ?1";
    DELETE_CONVERSATION = "DELETE FROM conversations WHERE number = ?1";

    ITEMS_BACKWARDS =
        "SELECT ", item_columns!(), " FROM items WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC";
    ITEMS_BACKWARDS_LIMITED =
        "SELECT ", item_columns!(), " FROM items WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT ?3";
    ITEMS_FORWARDS =
        "SELECT ", item_columns!(), " FROM items WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3";
    /// A walk back from the newest one, which is where the wanted one mostly is.
    ITEM_BY_ID =
        "SELECT ", item_columns!(), " FROM items WHERE place BETWEEN ?1 AND ?2 AND id = ?3 ORDER BY place DESC LIMIT 1";
    INSERT_ITEM =
        "INSERT INTO items (place, id, turn, tokens, encoding, tokens_before, created_at_ms, json) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    /// Where the tokens of the newest item end.
    ITEMS_END =
        "SELECT tokens_before + tokens FROM items WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1";
    DELETE_ITEM = "DELETE FROM items WHERE place = ?1";
    ITEM_SIZES = "SELECT place, octet_length(json) FROM items WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3";
    DELETE_ITEMS = "DELETE FROM items WHERE place BETWEEN ?1 AND ?2";

    INSERT_TURN =
        "INSERT INTO turns (id, conversation, previous, status, attempt, fence, created_at_ms, request, idempotency_key) \
         VALUES (?1, ?2, ?3, 'running', 1, ?4, ?5, ?6, ?7)";
    TURN_ID = "SELECT id FROM turns WHERE number = ?1";
    OWN_TURN =
        "SELECT ", turn_columns!(),
        " FROM turns t JOIN conversations c ON c.number = t.conversation WHERE t.id = ?1 AND c.owner = ?2";
    TURN_BY_NUMBER =
        "SELECT ", turn_columns!(),
        " FROM turns t JOIN conversations c ON c.number = t.conversation WHERE t.number = ?1";
    TURN_STANDING =
        "SELECT t.number, t.conversation, t.status, t.last_event, t.events_until_ms, c.owner \
         FROM turns t JOIN conversations c ON c.number = t.conversation WHERE t.id = ?1";
    /// A running turn that this fence may write to.
    TURN_TO_APPEND_TO =
        "SELECT t.number, l.cancel_requested, l.released, l.conversation FROM turns t JOIN leases l ON l.conversation = t.conversation \
         WHERE t.id = ?1 AND t.fence = ?2 AND l.turn = t.number AND ", owner_lives!();
    /// A turn of this fence, running or ended, that is not deleted.
    TURN_TO_FINISH =
        "SELECT t.number, t.status, c.number, c.item_count, c.total_tokens \
         FROM turns t JOIN conversations c ON c.number = t.conversation WHERE t.id = ?1 AND t.fence = ?2 \
         AND NOT (", is_disowned!(), ") AND ", owner_lives!();
    END_TURN =
        "UPDATE turns SET status = ?2, ended_at_ms = ?3, last_event = ?4, events_until_ms = ?5, usage = ?6, fault = ?7, \
         answer = ?8, items_then = ?9 WHERE number = ?1";
    ADOPT_TURN = "UPDATE turns SET fence = fence + 1, attempt = attempt + 1 WHERE number = ?1";
    TURN_PLACE =
        "SELECT c.owner, c.id, t.id, t.fence FROM turns t JOIN conversations c ON c.number = t.conversation \
         WHERE t.number = ?1";
    /// As its lease says.
    MARK_TURN_RUNNING = "UPDATE turns SET status = 'running' WHERE number = ?1";
    SET_TURN_ASIDE =
        "UPDATE turns SET status = 'failed', ended_at_ms = created_at_ms, events_until_ms = created_at_ms, last_event = 1 \
         WHERE number = ?1";
    SET_PREVIOUS_TURN = "UPDATE turns SET previous = ?2 WHERE number = ?1";
    PREVIOUS_TURN = "SELECT previous FROM turns WHERE number = ?1";
    TURN_SIZE = "SELECT previous, octet_length(request) + ifnull(octet_length(answer), 0) FROM turns WHERE number = ?1";
    EVENTS_KEPT_UNTIL = "SELECT events_until_ms FROM turns WHERE number = ?1";
    DELETE_TURN = "DELETE FROM turns WHERE number = ?1";

    TAKE_LEASE = "INSERT INTO leases (conversation, turn, holder) VALUES (?1, ?2, ?3)";
    LEASED_TURN = "SELECT turn FROM leases WHERE conversation = ?1";
    LEASED_TURN_ID = "SELECT t.id FROM leases l JOIN turns t ON t.number = l.turn WHERE l.conversation = ?1";
    LEASED_REQUEST =
        "SELECT t.request, t.created_at_ms FROM leases l JOIN turns t ON t.number = l.turn WHERE l.conversation = ?1";
    /// As many rows as turns are running: the one scan.
    LEASES =
        "SELECT l.conversation, l.turn, coalesce(t.fence, 0), l.holder <> ?1 OR l.released OR t.id IS NULL, t.id \
         FROM leases l LEFT JOIN turns t ON t.number = l.turn WHERE ", lease_counts!("?2"), " ORDER BY l.turn";
    /// Where no other write came first.
    PASS_LEASE_ON =
        "UPDATE leases AS l SET holder = ?4, released = 0 WHERE conversation = ?1 AND turn = ?2 \
         AND coalesce((SELECT fence FROM turns WHERE number = ?2), 0) = ?3 AND ", lease_counts!("?5");
    RENEW_RELEASED_LEASE = "UPDATE leases SET released = 0 WHERE conversation = ?1";
    REQUEST_CANCEL = "UPDATE leases SET cancel_requested = 1 WHERE conversation = ?1 AND turn = ?2";
    RELEASE_LEASE =
        "UPDATE leases SET released = 1 WHERE (conversation, turn) = \
         (SELECT conversation, number FROM turns WHERE id = ?1 AND fence = ?2 AND ", owner_lives!(), ")";
    END_LEASE = "DELETE FROM leases WHERE conversation = ?1";

    /// What is stored already stays as it is.
    INSERT_EVENT = "INSERT OR IGNORE INTO events (place, json) VALUES (?1, ?2)";
    EVENTS_AFTER = "SELECT place, json FROM events WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT ?3";
    LAST_EVENT = "SELECT place FROM events WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1";
    FIRST_EVENT_FROM = "SELECT place FROM events WHERE place >= ?1 ORDER BY place LIMIT 1";
    EVENT_SIZES = "SELECT place, octet_length(json) FROM events WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3";
    DELETE_EVENTS = "DELETE FROM events WHERE place BETWEEN ?1 AND ?2";

    /// One that is there keeps its number and its time.
    PUT_DOCUMENT =
        "INSERT INTO documents (owner, kind, id, created_at_ms, json) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (owner, kind, id) DO UPDATE SET json = excluded.json";
    UPDATE_DOCUMENT = "UPDATE documents SET json = ?4 WHERE owner = ?1 AND kind = ?2 AND id = ?3";
    DOCUMENT_BY_ID =
        "SELECT ", document_columns!(), " FROM documents WHERE owner = ?1 AND kind = ?2 AND id = ?3";
    DOCUMENT_NUMBER = "SELECT number FROM documents WHERE owner = ?1 AND kind = ?2 AND id = ?3";
    DOCUMENTS_AFTER =
        "SELECT ", document_columns!(),
        " FROM documents WHERE owner = ?1 AND kind = ?2 AND number > ?3 ORDER BY number LIMIT ?4";
    DOCUMENTS_BEFORE =
        "SELECT ", document_columns!(),
        " FROM documents WHERE owner = ?1 AND kind = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4";
    DELETE_DOCUMENT = "DELETE FROM documents WHERE owner = ?1 AND kind = ?2 AND id = ?3";
    DOCUMENT_SIZES = "SELECT number, octet_length(json) FROM documents WHERE owner = ?1 LIMIT ?2";
    DELETE_DOCUMENT_BY_NUMBER = "DELETE FROM documents WHERE number = ?1";

    BEAT = "UPDATE pulse SET beat = beat + 1";
    PULSE = "SELECT beat FROM pulse";
}
