-- Prefixes of the object store under which nothing will ever be named again, but for what begins with `keep`.
-- Written in the transaction that gives them up, so that no crash leaves objects that nobody knows of.
CREATE TABLE removals (
    prefix text PRIMARY KEY,
    keep   text NOT NULL DEFAULT '',
    runs   integer NOT NULL DEFAULT 0,
    due    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX removals_by_due ON removals (due);
