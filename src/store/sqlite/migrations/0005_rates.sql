-- How much of its rate each account has used. A row counts for nothing once its time has passed, and is swept then.

CREATE TABLE rates (
    account    TEXT NOT NULL PRIMARY KEY, -- an owner's tag as in conversations, or another kind of account
    full_at_us INTEGER NOT NULL           -- when all of the rate is free again, in microseconds since the Unix epoch
) STRICT, WITHOUT ROWID;
CREATE INDEX rates_by_age ON rates (full_at_us);
