-- Sessions, conversations, items, turns, their events, leases and idempotency keys.
--
-- How the rows hang together. Every table but two has an integer key of its own, handed out in order, so that what is in
-- use now lies together in the file and one commit of many turns touches few pages. The text ids that clients see stand
-- beside them. Two tables are ranges: an item's place is its conversation's number times 1,000,000,000 plus its own
-- number, an event's place is its turn's number times 10,000,000 plus its own. The newest items of a conversation, or the
-- events of a turn from one on, are then one short walk along one tree, however many others there are. Foreign keys cannot
-- say that, so there are none: src/store/sqlite/expiry.rs is the one place that removes conversations and turns, and takes
-- all of them along.
--
-- To look around, there are two views:  SELECT * FROM history WHERE conversation = 'conv_...';
--                                       SELECT * FROM happened WHERE turn = 'turn_...';

-- A browser, by its cookie.
CREATE TABLE sessions (
    number        INTEGER PRIMARY KEY,
    key           TEXT NOT NULL UNIQUE,  -- SHA-256 of the cookie's secret; the secret itself is nowhere
    expires_at_ms INTEGER NOT NULL,      -- unknown from then on; the sweep removes it with all that it owns
    expires_hour  INTEGER NOT NULL       -- the same in whole hours: each use renews a session, few uses touch the index
) STRICT;
CREATE INDEX sessions_by_expiry ON sessions (expires_hour);

CREATE TABLE conversations (
    number        INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,  -- conv_...
    owner         TEXT NOT NULL,         -- s:<sessions.key>, or k:<id of an API key>
    version       INTEGER NOT NULL,      -- counts up with every turn that ends
    item_count    INTEGER NOT NULL,
    total_tokens  INTEGER NOT NULL,      -- of all items
    newest_turn   INTEGER,               -- turns.number of the last turn that has ended
    created_at_ms INTEGER NOT NULL,
    metadata      TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX conversations_by_owner ON conversations (owner);

-- The history: append-only, and never trimmed here.
CREATE TABLE items (
    place         INTEGER PRIMARY KEY,   -- conversations.number * 1,000,000,000 + seq
    id            TEXT NOT NULL,         -- msg_...
    turn          TEXT,                  -- turns.id
    tokens        INTEGER NOT NULL,
    encoding      TEXT NOT NULL,         -- what tokens was counted with
    tokens_before INTEGER NOT NULL,      -- of all items before this one
    created_at_ms INTEGER NOT NULL,
    json          TEXT NOT NULL          -- the whole item, as OpenAI's Conversations show it, byte for byte
) STRICT;

-- One exchange: what was asked, how it stands, what it cost.
CREATE TABLE turns (
    number          INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE, -- turn_...
    conversation    INTEGER NOT NULL,     -- conversations.number
    previous        INTEGER,              -- turns.number of the conversation's turn before: a list from the newest back
    status          TEXT NOT NULL,        -- running, completed, failed, cancelled, interrupted
    attempt         INTEGER NOT NULL,     -- 1, or more after a crash
    fence           INTEGER NOT NULL,     -- counts up whenever the lease changes hands; writers must show it
    created_at_ms   INTEGER NOT NULL,
    ended_at_ms     INTEGER,
    last_event      INTEGER,              -- number of the last event, once it has ended
    events_until_ms INTEGER,              -- how long its events are kept, once it has ended
    usage           TEXT,                 -- JSON
    fault           TEXT,                 -- JSON
    request         TEXT NOT NULL         -- JSON: all that is needed to run it again
) STRICT;

-- Which turn runs in a conversation, and who runs it. Only one process uses this file, so a lease ends when its holder is
-- no longer the one who asks, and no clock can end it.
CREATE TABLE leases (
    conversation     INTEGER PRIMARY KEY, -- conversations.number
    turn             INTEGER NOT NULL,    -- turns.number
    holder           TEXT NOT NULL,       -- inst_...
    released         INTEGER NOT NULL DEFAULT 0, -- its holder let go of it: to be taken over
    cancel_requested INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What happened in a turn, from its second event on; the first is always {"e":"started","attempt":1}.
CREATE TABLE events (
    place INTEGER PRIMARY KEY,            -- turns.number * 10,000,000 + seq
    json  TEXT NOT NULL
) STRICT;

CREATE TABLE idempotency_keys (
    owner        TEXT NOT NULL,
    key          TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,           -- a digest of the request's body
    turn         TEXT NOT NULL,           -- turns.id
    conversation TEXT NOT NULL,           -- conversations.id
    until_ms     INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (until_ms);

-- One row that is written to find out whether writing works.
CREATE TABLE pulse (
    beat INTEGER NOT NULL
) STRICT;
INSERT INTO pulse (beat) VALUES (0);

-- For people.
CREATE VIEW history AS
SELECT c.id AS conversation, i.place % 1000000000 AS seq, i.id, i.turn, i.tokens, i.tokens_before,
       datetime(i.created_at_ms / 1000, 'unixepoch') AS created,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.type' END AS type,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.role' END AS role,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.content[0].text' END AS text,
       i.json
FROM conversations c
JOIN items i ON i.place BETWEEN c.number * 1000000000 AND c.number * 1000000000 + 999999999;

CREATE VIEW happened AS
SELECT t.id AS turn, e.place % 10000000 AS seq, e.json
FROM turns t
JOIN events e ON e.place BETWEEN t.number * 10000000 AND t.number * 10000000 + 9999999;
