-- Who ingests a dataset. As with chunks, no foreign key: the claim of a scheduler that is gone is freed by the others.
ALTER TABLE datasets ADD COLUMN scheduler_id text;
ALTER TABLE datasets ADD CONSTRAINT claimed_while_validating CHECK (scheduler_id IS NULL OR state = 'VALIDATING');

-- What schedulers say of the servers they run. Gone with its scheduler.
CREATE TABLE servers (
    scheduler_id text NOT NULL REFERENCES schedulers ON DELETE CASCADE,
    server_id    text NOT NULL,
    -- All that is known of it; the columns behind it are there for queries.
    status       jsonb NOT NULL,
    url          text NOT NULL GENERATED ALWAYS AS (status -> 'slot' ->> 'url') STORED,
    state        text NOT NULL GENERATED ALWAYS AS (status ->> 'state') STORED
        CHECK (state IN ('UNREACHABLE', 'READY', 'SUSPECT', 'DRAINING')),
    limits       jsonb GENERATED ALWAYS AS (status -> 'limits') STORED,
    update_time  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scheduler_id, server_id)
) WITH (fillfactor = 50);
