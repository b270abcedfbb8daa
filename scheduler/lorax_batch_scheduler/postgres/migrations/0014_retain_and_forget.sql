-- No program of before can live with it: results that are in files alone are none to it, and a stream of them ends too early.
-- Where result rows lie in the two files of an ended job, in the order of their offsets. It takes the place of the
-- job's segments, which held the same bytes.
CREATE TABLE file_ranges (
    job_id       text NOT NULL,
    first_offset bigint NOT NULL,
    error        boolean NOT NULL,
    row_count    integer NOT NULL CHECK (row_count > 0),
    first_line   bigint NOT NULL,
    last_line    bigint NOT NULL,
    file_offset  bigint NOT NULL,
    byte_count   integer NOT NULL,
    PRIMARY KEY (job_id, first_offset)
);

-- SEGMENTS: not looked at yet. BOTH: the ranges are there, the segments are being dropped, and nobody reads them any
-- more. FILES: they are gone. KEPT: the files do not hold what the segments do, so these stay.
ALTER TABLE jobs ADD COLUMN results_in text NOT NULL DEFAULT 'SEGMENTS'
    CHECK (results_in IN ('SEGMENTS', 'BOTH', 'FILES', 'KEPT'));
CREATE INDEX jobs_to_compact ON jobs (end_time) WHERE results_in IN ('SEGMENTS', 'BOTH') AND output_file IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (end_time) WHERE end_time IS NOT NULL;

-- Jobs that are deleted, but not all of their rows: these go in batches, so that no deletion is a long transaction.
CREATE TABLE job_remains (
    job_id    text PRIMARY KEY,
    -- All but its events are gone. Those go later: until then a watch that was away can still be told how it ended.
    rows_gone boolean NOT NULL DEFAULT false,
    due       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX job_remains_by_due ON job_remains (due);
-- A trigger, so that no process deletes a job without it, not even one of the version before.
CREATE FUNCTION note_job_remains() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_remains (job_id) VALUES (old.job_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note_job_remains AFTER DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION note_job_remains();
-- Without these a deletion has to take all rows with it at once.
ALTER TABLE segments DROP CONSTRAINT segments_job_id_fkey;
ALTER TABLE job_chunks DROP CONSTRAINT job_chunks_job_id_fkey;

-- State changes up to this one are no longer kept. Behind it only those of deleted jobs are missing.
CREATE TABLE event_horizon (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sequence bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO event_horizon (sequence)
SELECT coalesce((SELECT min(sequence) - 1 FROM job_events), event_clock.sequence) FROM event_clock;
CREATE INDEX job_events_of_job ON job_events (job_id);

-- When a job of it was last created, or one that is deleted by now had ended.
ALTER TABLE datasets ADD COLUMN last_use_time timestamptz NOT NULL DEFAULT now();
CREATE INDEX datasets_by_last_use ON datasets (greatest(update_time, last_use_time));
-- With the end: so that the last use of a dataset is found without reading all its jobs.
DROP INDEX jobs_of_dataset;
CREATE INDEX jobs_of_dataset ON jobs (dataset_id, end_time);

-- Who deletes what has expired: one process at a time.
CREATE TABLE retention_turn (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    holder     text NOT NULL,
    turn_until timestamptz NOT NULL
) WITH (fillfactor = 50);
