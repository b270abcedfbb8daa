-- Where changes of jobs are told by HTTP. `job_events` is the outbox: each webhook has a cursor into it.
CREATE TABLE webhooks (
    webhook_no       bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    webhook_id       text PRIMARY KEY,
    tenant           text NOT NULL REFERENCES tenants,
    url              text NOT NULL,
    -- Empty: all.
    event_types      text[] NOT NULL,
    description      text NOT NULL,
    state            text NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'DISABLED')),
    reason           text NOT NULL DEFAULT '',
    -- Nonce, ciphertext and tag of its secrets (AES-256-GCM), bound to its id, and the key that sealed them.
    key_id           text NOT NULL,
    sealed           bytea NOT NULL,
    old_secret_until timestamptz,
    -- Every event up to here was delivered, or stands in `webhook_messages`, or is of no interest.
    cursor           bigint NOT NULL,
    -- Rounds in a row in which no try succeeded.
    failures         integer NOT NULL DEFAULT 0,
    failing_since    timestamptz,
    not_before       timestamptz NOT NULL DEFAULT now(),
    -- The process that delivers, and until when nobody else does.
    holder           text,
    held_until       timestamptz,
    create_time      timestamptz NOT NULL DEFAULT now(),
    update_time      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT failing_has_a_beginning CHECK ((failures > 0) = (failing_since IS NOT NULL))
) WITH (fillfactor = 50);
CREATE INDEX webhooks_by_key ON webhooks (key_id);
CREATE INDEX webhooks_of_tenant ON webhooks (tenant, webhook_no DESC);

-- Events behind a cursor that wait for another try, and the last ones that do not any more: the log.
CREATE TABLE webhook_messages (
    webhook_id text NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    sequence   bigint NOT NULL,
    job_id     text NOT NULL,
    event_type text NOT NULL,
    state      text NOT NULL CHECK (state IN ('WAITING', 'DELIVERED', 'GIVEN_UP')),
    attempts   integer NOT NULL,
    due        timestamptz,
    first_try  timestamptz,
    last_try   timestamptz,
    status     integer NOT NULL DEFAULT 0,
    latency    interval NOT NULL DEFAULT interval '0',
    error      text NOT NULL DEFAULT '',
    PRIMARY KEY (webhook_id, sequence),
    CONSTRAINT waiting_is_due CHECK ((state = 'WAITING') = (due IS NOT NULL))
);
CREATE INDEX webhook_messages_waiting ON webhook_messages (webhook_id, due) WHERE state = 'WAITING';
