-- Conversations by themselves, turns that are read as responses, and documents.

-- Whether it only holds a chain of responses, so that lists leave it out.
ALTER TABLE conversations ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;

-- The same index as before for whoever wants all of an owner's, and in its order the list that an owner sees.
DROP INDEX conversations_by_owner;
CREATE INDEX conversations_by_owner ON conversations (owner, hidden, created_at_ms, id);

-- JSON: what the model said, of turns that are read as responses.
ALTER TABLE turns ADD COLUMN answer TEXT;
-- How many items the conversation had when the turn ended; NULL while it runs, and for turns from before this step.
ALTER TABLE turns ADD COLUMN items_then INTEGER;
-- The idempotency key that the turn began with, which goes with it; by now it may be another turn's.
ALTER TABLE turns ADD COLUMN idempotency_key TEXT;
UPDATE turns SET idempotency_key = k.key FROM idempotency_keys k WHERE k.turn = turns.id;

-- From here on items can be removed. The newest ones go, rows and all; of one in the middle the row stays, for its number
-- and its tokens, with nothing of what it was: id and json are empty, turn is NULL. People see only what is left.
DROP VIEW history;
CREATE VIEW history AS
SELECT c.id AS conversation, i.place % 1000000000 AS seq, i.id, i.turn, i.tokens, i.tokens_before,
       datetime(i.created_at_ms / 1000, 'unixepoch') AS created,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.type' END AS type,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.role' END AS role,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.content[0].text' END AS text,
       i.json
FROM conversations c
JOIN items i ON i.place BETWEEN c.number * 1000000000 AND c.number * 1000000000 + 999999999 AND i.id <> '';

-- Small JSON texts of an owner: chat completions that were asked to be stored, API keys.
CREATE TABLE documents (
    number        INTEGER PRIMARY KEY,   -- counts up: the order in which they were put
    owner         TEXT NOT NULL,         -- as in conversations
    kind          TEXT NOT NULL,         -- completion, api_key
    id            TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,      -- when it was first put
    json          TEXT NOT NULL          -- byte for byte
) STRICT;
CREATE UNIQUE INDEX documents_by_id ON documents (owner, kind, id);
CREATE INDEX documents_in_order ON documents (owner, kind);
