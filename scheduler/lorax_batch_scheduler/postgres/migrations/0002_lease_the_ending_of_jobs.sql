-- Who brings a settling job to its end. Here only while somebody does, or after somebody died or failed at it.
CREATE TABLE job_finalising (
    job_id       text PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    scheduler_id text,
    -- Owners in a row that came to no end and made no progress.
    attempts     integer NOT NULL,
    not_before   timestamptz NOT NULL
);
