-- The number of an item that is removed is never given again, and of the item nothing is left.

-- What a turn knew as the newest item when it ended has been given, though that item may be gone.
UPDATE conversations SET item_count = t.last
FROM (SELECT conversation, max(items_then) AS last FROM turns GROUP BY conversation) t
WHERE t.conversation = conversations.number AND t.last > conversations.item_count;

-- From here on item_count says how many items were ever put into the conversation, and total_tokens where the next one
-- begins: behind the newest that is there. What removed ones before that have in it is counted here.
ALTER TABLE conversations ADD COLUMN lost_tokens INTEGER NOT NULL DEFAULT 0;
UPDATE conversations SET lost_tokens = i.tokens
FROM (SELECT place / 1000000000 AS conversation, sum(tokens) AS tokens FROM items WHERE id = '' GROUP BY 1) i
WHERE i.conversation = conversations.number;
DELETE FROM items WHERE id = '';

DROP VIEW history;
CREATE VIEW history AS
SELECT c.id AS conversation, i.place % 1000000000 AS seq, i.id, i.turn, i.tokens, i.tokens_before,
       datetime(i.created_at_ms / 1000, 'unixepoch') AS created,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.type' END AS type,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.role' END AS role,
       CASE WHEN json_valid(i.json) THEN i.json ->> '$.content[0].text' END AS text,
       i.json
FROM conversations c
JOIN items i ON i.place BETWEEN c.number * 1000000000 AND c.number * 1000000000 + 999999999;

-- Nothing is stored any more for a session that has ended. What was stored for one that is gone gets one that has
-- expired, which the sweep removes with all of it.
INSERT INTO sessions (key, expires_at_ms, expires_hour)
SELECT DISTINCT substr(owner, 3), 0, 0 FROM conversations
WHERE owner GLOB 's:*' AND substr(owner, 3) NOT IN (SELECT key FROM sessions);
