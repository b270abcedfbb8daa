-- One row: who looks through the object store for what no row names, and how far it has come. A pass goes on in another
-- process where a dead one stopped.
CREATE TABLE store_collection (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The store is marked with it: another database's objects are not ours to delete.
    database_id text NOT NULL DEFAULT gen_random_uuid()::text,
    holder      text,
    lease_until timestamptz NOT NULL DEFAULT now(),
    -- The last key that was looked at.
    cursor      text NOT NULL DEFAULT '',
    -- null: no pass is under way.
    pass_begin  timestamptz,
    next_pass   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO store_collection DEFAULT VALUES;

-- Objects, and unfinished uploads, that no row named when they were seen first; deleted when that is long enough ago.
CREATE TABLE unnamed_objects (
    key        text NOT NULL,
    upload_id  text NOT NULL DEFAULT '',
    size_bytes bigint NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key, upload_id)
);

-- Copies of a job's files in buckets of callers.
CREATE TABLE exports (
    export_no    bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    export_id    text PRIMARY KEY,
    job_id       text NOT NULL REFERENCES jobs ON DELETE CASCADE,
    request_id   text UNIQUE,
    destination  text NOT NULL,
    state        text NOT NULL DEFAULT 'WAITING' CHECK (state IN ('WAITING', 'RUNNING', 'DONE', 'FAILED')),
    reason       text NOT NULL DEFAULT '',
    -- As with datasets: no foreign key, the claim of a scheduler that is gone is free.
    scheduler_id text,
    attempts     integer NOT NULL DEFAULT 0,
    not_before   timestamptz NOT NULL DEFAULT now(),
    progress     jsonb NOT NULL DEFAULT '{}',
    create_time  timestamptz NOT NULL DEFAULT now(),
    end_time     timestamptz,
    CONSTRAINT claimed_while_running CHECK ((state = 'RUNNING') = (scheduler_id IS NOT NULL)),
    CONSTRAINT ended_has_time CHECK ((state IN ('DONE', 'FAILED')) = (end_time IS NOT NULL))
);
CREATE INDEX exports_of_job ON exports (job_id, export_no);
CREATE INDEX exports_unfinished ON exports (export_no) WHERE end_time IS NULL;
