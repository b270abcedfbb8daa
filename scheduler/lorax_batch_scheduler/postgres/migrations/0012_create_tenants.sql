-- Who shares the service. All that was there before belongs to the first of them.
CREATE TABLE tenants (
    tenant_no                 bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    tenant                    text PRIMARY KEY CHECK (tenant ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    -- Null: no limit.
    queued_jobs               bigint CHECK (queued_jobs > 0),
    queued_tokens             bigint CHECK (queued_tokens > 0),
    dataset_rows              bigint CHECK (dataset_rows > 0),
    stored_bytes              bigint CHECK (stored_bytes > 0),
    requests_per_second       double precision CHECK (requests_per_second > 0),
    share_weight              double precision NOT NULL DEFAULT 1 CHECK (share_weight > 0),
    create_time               timestamptz NOT NULL DEFAULT now(),
    update_time               timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenants (tenant) VALUES ('default');

CREATE TABLE api_keys (
    key_no        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    key_id        text PRIMARY KEY,
    tenant        text NOT NULL REFERENCES tenants,
    role          text NOT NULL CHECK (role IN ('READ', 'SUBMIT', 'OPERATE')),
    name          text NOT NULL,
    -- Secrets are 256 random bits: guessing one is hopeless, so that a slow hash would only slow calls down.
    secret_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(secret_sha256) = 32),
    create_time   timestamptz NOT NULL DEFAULT now(),
    expire_time   timestamptz,
    revoke_time   timestamptz
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant, key_no DESC);

-- One row. Tells whoever has tenants and keys in memory that they have changed.
CREATE TABLE access_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL DEFAULT 1
);
INSERT INTO access_clock DEFAULT VALUES;

-- A request_id is one of its tenant's: that of another tenant than the first is stored behind its name and a character
-- that no request_id may have. So the constraint stays as it is for processes of the version before.
ALTER TABLE datasets ADD COLUMN tenant text NOT NULL DEFAULT 'default' REFERENCES tenants;
ALTER TABLE jobs
    ADD COLUMN tenant         text NOT NULL DEFAULT 'default' REFERENCES tenants,
    -- Of all its rows: prompt tokens, and the output tokens that they allow.
    ADD COLUMN allowed_tokens bigint NOT NULL DEFAULT 0;
ALTER TABLE job_events ADD COLUMN tenant text NOT NULL DEFAULT 'default';
CREATE INDEX datasets_of_tenant ON datasets (tenant, dataset_no DESC);
CREATE INDEX jobs_of_tenant ON jobs (tenant, job_no DESC);
CREATE INDEX jobs_unfinished_of_tenant ON jobs (tenant) WHERE end_time IS NULL;
