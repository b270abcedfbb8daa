-- Datasets -----------------------------------------------------------------------------------------------------------

CREATE TABLE datasets (
    dataset_no        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    dataset_id        text PRIMARY KEY,
    name              text NOT NULL,
    state             text NOT NULL CHECK (state IN ('UPLOADING', 'VALIDATING', 'READY', 'FAILED')),
    reason            text NOT NULL DEFAULT '',
    on_invalid        text NOT NULL CHECK (on_invalid IN ('FAIL', 'SKIP')),
    request_id        text UNIQUE,
    source_path       text,
    upload_epoch      integer NOT NULL DEFAULT 0,
    stored_bytes      bigint NOT NULL DEFAULT 0,
    declared_sha256   text,
    sha256            text,
    row_count         bigint NOT NULL DEFAULT 0,
    invalid_row_count bigint NOT NULL DEFAULT 0,
    prompt_tokens     bigint NOT NULL DEFAULT 0,
    models            jsonb NOT NULL DEFAULT '[]',
    model_count       integer NOT NULL DEFAULT 0,
    invalid           jsonb NOT NULL DEFAULT '{"line_count": 0, "codes": []}',
    storage_prefix    text NOT NULL DEFAULT '',
    create_time       timestamptz NOT NULL DEFAULT now(),
    update_time       timestamptz NOT NULL DEFAULT now(),
    finish_time       timestamptz
);
CREATE INDEX datasets_by_name ON datasets (name, dataset_no DESC);
CREATE INDEX datasets_to_ingest ON datasets (dataset_no) WHERE state = 'VALIDATING';

CREATE TABLE upload_parts (
    dataset_id text NOT NULL REFERENCES datasets ON DELETE CASCADE,
    first_byte bigint NOT NULL,
    byte_count integer NOT NULL CHECK (byte_count > 0),
    key        text NOT NULL,
    PRIMARY KEY (dataset_id, first_byte)
);

CREATE TABLE dataset_chunks (
    dataset_id     text NOT NULL REFERENCES datasets ON DELETE CASCADE,
    chunk_no       integer NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('ROWS', 'INVALID')),
    endpoint       text NOT NULL,
    model          text NOT NULL,
    adapter_source text NOT NULL,
    row_count      integer NOT NULL CHECK (row_count > 0),
    prompt_tokens  bigint NOT NULL,
    max_tokens     bigint NOT NULL,
    first_line     bigint NOT NULL,
    last_line      bigint NOT NULL,
    pack           integer NOT NULL,
    pack_offset    bigint NOT NULL,
    byte_count     integer NOT NULL,
    PRIMARY KEY (dataset_id, chunk_no)
);

-- Jobs ---------------------------------------------------------------------------------------------------------------

CREATE TABLE jobs (
    job_no                   bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    job_id                   text PRIMARY KEY,
    -- No foreign key: a job that has ended keeps its results when its dataset is deleted.
    dataset_id               text NOT NULL,
    request_id               text UNIQUE,
    server_config            jsonb NOT NULL,
    base_model_id            text NOT NULL,
    base_model_aliases       text[] NOT NULL,
    state                    text NOT NULL CHECK (state IN (
        'VALIDATING', 'QUEUED', 'STARTING', 'RUNNING', 'PAUSED', 'CANCELLING', 'FINALIZING',
        'SUCCEEDED', 'FAILED', 'CANCELLED', 'EXPIRED')),
    reason                   text NOT NULL DEFAULT '',
    outcome                  text CHECK (outcome IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'EXPIRED')),
    priority                 integer NOT NULL,
    deadline                 timestamptz,
    labels                   jsonb NOT NULL,
    retry_of                 text,
    error_threshold          double precision NOT NULL,
    default_max_tokens       integer NOT NULL,
    price_micros_per_million bigint NOT NULL,
    total                    bigint NOT NULL DEFAULT 0,
    succeeded                bigint NOT NULL DEFAULT 0,
    failed                   bigint NOT NULL DEFAULT 0,
    cancelled                bigint NOT NULL DEFAULT 0,
    expired                  bigint NOT NULL DEFAULT 0,
    invalid                  bigint NOT NULL DEFAULT 0,
    result_count             bigint NOT NULL DEFAULT 0,
    prompt_tokens            bigint NOT NULL DEFAULT 0,
    completion_tokens        bigint NOT NULL DEFAULT 0,
    errors                   jsonb NOT NULL DEFAULT '[]',
    output_file              jsonb,
    error_file               jsonb,
    sequence                 bigint NOT NULL DEFAULT 0,
    create_time              timestamptz NOT NULL DEFAULT now(),
    update_time              timestamptz NOT NULL DEFAULT now(),
    start_time               timestamptz,
    end_time                 timestamptz,
    -- Every row has at most one result, and every result is counted once.
    CONSTRAINT results_add_up CHECK (succeeded + failed + cancelled + expired + invalid = result_count),
    CONSTRAINT results_fit CHECK (result_count <= total),
    CONSTRAINT ended_is_complete CHECK (
        (state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'EXPIRED')) = (end_time IS NOT NULL)
        AND (end_time IS NULL OR result_count = total))
) WITH (fillfactor = 70);
CREATE INDEX jobs_unfinished ON jobs (job_no) WHERE end_time IS NULL;
CREATE INDEX jobs_of_dataset ON jobs (dataset_id);
CREATE INDEX jobs_by_labels ON jobs USING gin (labels jsonb_path_ops);

-- Apart from jobs, so that no query for a job can return them.
CREATE TABLE job_secrets (
    job_id   text PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    hf_token text NOT NULL
);

CREATE TABLE schedulers (
    scheduler_id text PRIMARY KEY,
    lease_until  timestamptz NOT NULL
);

-- What schedulers say they do right now. Gone with its scheduler.
CREATE TABLE job_activity (
    job_id            text NOT NULL REFERENCES jobs ON DELETE CASCADE,
    scheduler_id      text NOT NULL REFERENCES schedulers ON DELETE CASCADE,
    in_flight         bigint NOT NULL,
    retrying          bigint NOT NULL,
    rows_per_second   double precision NOT NULL,
    tokens_per_second double precision NOT NULL,
    PRIMARY KEY (job_id, scheduler_id)
) WITH (fillfactor = 50);

CREATE TABLE job_chunks (
    job_id        text NOT NULL REFERENCES jobs ON DELETE CASCADE,
    chunk_no      integer NOT NULL,
    kind          text NOT NULL,
    model         text NOT NULL,
    row_count     integer NOT NULL,
    prompt_tokens bigint NOT NULL,
    -- Bit i (counted from the lowest bit of the first byte) is 1 when row i has its result, or is not part of the job.
    done          varbit NOT NULL,
    done_count    integer NOT NULL,
    -- The rows among them that went to the error file: what a retry runs again.
    unsuccessful  varbit NOT NULL,
    scheduler_id  text,
    epoch         integer NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, chunk_no),
    -- A row that was stored twice would break this.
    CONSTRAINT done_is_counted CHECK (bit_count(done) = done_count AND done_count <= row_count),
    CONSTRAINT complete_is_free CHECK (done_count < row_count OR scheduler_id IS NULL)
) WITH (fillfactor = 70);
CREATE INDEX job_chunks_to_claim ON job_chunks (job_id, kind, model, chunk_no)
    WHERE scheduler_id IS NULL AND done_count < row_count;
CREATE INDEX job_chunks_leased ON job_chunks (scheduler_id) WHERE scheduler_id IS NOT NULL;

-- Results ------------------------------------------------------------------------------------------------------------

CREATE TABLE segments (
    job_id       text NOT NULL REFERENCES jobs ON DELETE CASCADE,
    first_offset bigint NOT NULL,
    error        boolean NOT NULL,
    row_count    integer NOT NULL CHECK (row_count > 0),
    first_line   bigint NOT NULL,
    last_line    bigint NOT NULL,
    byte_count   integer NOT NULL,
    blob         bytea NOT NULL,
    PRIMARY KEY (job_id, first_offset)
);
-- Compressed already; PostgreSQL trying again would only cost time.
ALTER TABLE segments ALTER COLUMN blob SET STORAGE EXTERNAL;
CREATE INDEX segments_by_line ON segments (job_id, last_line);
CREATE INDEX segments_of_errors ON segments (job_id, first_offset) WHERE error;

CREATE TABLE job_outputs (
    job_id    text NOT NULL REFERENCES jobs ON DELETE CASCADE,
    error     boolean NOT NULL,
    key       text NOT NULL,
    upload_id text NOT NULL,
    parts     jsonb NOT NULL,
    PRIMARY KEY (job_id, error)
);

-- Events -------------------------------------------------------------------------------------------------------------

-- One row. Its lock puts state changes in one order without gaps, which a sequence object would not.
CREATE TABLE event_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sequence bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO event_clock DEFAULT VALUES;

CREATE TABLE job_events (
    sequence   bigint PRIMARY KEY,
    job_id     text NOT NULL,
    from_state text,
    to_state   text,
    reason     text NOT NULL,
    time       timestamptz NOT NULL DEFAULT now(),
    -- The job right after the change; null: it was deleted.
    job        jsonb
);
