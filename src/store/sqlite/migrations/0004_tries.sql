-- What a client that sends again by itself may have begun, for as long as it may do so.

-- In the order in which retries join them.
CREATE TABLE tries (
    owner    TEXT NOT NULL,              -- as in conversations
    key      TEXT NOT NULL,              -- a digest of what was sent, and turns.idempotency_key
    has_left INTEGER NOT NULL DEFAULT 0, -- whether its client left without the answer
    joined   INTEGER NOT NULL DEFAULT 0, -- how many retries joined it
    turn     INTEGER NOT NULL,           -- turns.number
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, key, has_left DESC, joined, turn DESC)
) STRICT, WITHOUT ROWID;
CREATE INDEX tries_by_age ON tries (until_ms);
