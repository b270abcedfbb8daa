-- create_dataset --
-- Stores a dataset; nothing when its request_id is known.
INSERT INTO datasets (dataset_id, name, state, on_invalid, source_path, request_id, tenant, traceparent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (request_id) DO NOTHING
RETURNING *

-- get_dataset --
-- By id ($3: of this tenant only), else the newest of that name of one tenant ($2).
SELECT datasets.*,
    CASE WHEN NOT EXISTS (SELECT FROM jobs WHERE jobs.dataset_id = datasets.dataset_id AND end_time IS NULL)
    THEN greatest(update_time, last_use_time, (
        SELECT max(end_time) FROM jobs WHERE jobs.dataset_id = datasets.dataset_id)) END AS unused_since
FROM datasets
WHERE (dataset_id = $1 AND ($3::text IS NULL OR tenant = $3)) OR (name = $1 AND tenant = $2)
ORDER BY (dataset_id = $1) DESC, dataset_no DESC LIMIT 1

-- lock_dataset --
-- By id, held until the end of the transaction.
SELECT * FROM datasets WHERE dataset_id = $1 FOR UPDATE

-- dataset_by_request --
-- By the request_id that created it.
SELECT * FROM datasets WHERE request_id = $1

-- list_datasets --
-- A page, newest first; of one tenant, or (null) of all.
SELECT datasets.*,
    CASE WHEN NOT EXISTS (SELECT FROM jobs WHERE jobs.dataset_id = datasets.dataset_id AND end_time IS NULL)
    THEN greatest(update_time, last_use_time, (
        SELECT max(end_time) FROM jobs WHERE jobs.dataset_id = datasets.dataset_id)) END AS unused_since
FROM datasets WHERE dataset_no < $1 AND ($3::text IS NULL OR tenant = $3) ORDER BY dataset_no DESC LIMIT $2

-- begin_upload --
-- Fences the uploader before.
UPDATE datasets SET upload_epoch = upload_epoch + 1, update_time = now() WHERE dataset_id = $1 RETURNING upload_epoch

-- add_upload_bytes --
-- Only for the one uploader, and only without a gap.
UPDATE datasets SET stored_bytes = stored_bytes + $4, update_time = now()
WHERE dataset_id = $1 AND upload_epoch = $2 AND stored_bytes = $3 AND state = 'UPLOADING'

-- add_upload_part --
-- Where the bytes are.
INSERT INTO upload_parts (dataset_id, first_byte, byte_count, key) VALUES ($1, $2, $3, $4)

-- finish_upload --
-- All bytes are here.
UPDATE datasets SET state = 'VALIDATING', declared_sha256 = $3, update_time = now()
WHERE dataset_id = $1 AND upload_epoch = $2 AND state = 'UPLOADING'
RETURNING *

-- upload_parts --
-- In the order of their bytes.
SELECT first_byte, byte_count, key FROM upload_parts WHERE dataset_id = $1 ORDER BY first_byte

-- claim_dataset --
-- The oldest one of the tenant whose last turn is longest ago; first what a claim has taken whose answer was lost.
WITH RECURSIVE alive AS (
    SELECT scheduler_id FROM schedulers WHERE scheduler_id = $1 AND lease_until > now() FOR KEY SHARE
), waiting AS (
    -- Each tenant with something to ingest, by one step in the index.
    SELECT min(tenant) AS tenant FROM datasets WHERE state = 'VALIDATING' AND scheduler_id IS NULL
    UNION ALL
    SELECT (SELECT min(tenant) FROM datasets
            WHERE state = 'VALIDATING' AND scheduler_id IS NULL AND tenant > waiting.tenant)
    FROM waiting WHERE waiting.tenant IS NOT NULL
), candidates AS (
    SELECT dataset_id, 0 AS place, 0 AS turn, dataset_no FROM datasets
    WHERE state = 'VALIDATING' AND scheduler_id = $1 AND dataset_id <> ALL ($2::text[])
    UNION ALL
    -- More than one, also of each: others that claim in this moment have locked the first.
    SELECT oldest.dataset_id, oldest.place, coalesce(ingest_turns.turn, 0), oldest.dataset_no
    FROM waiting LEFT JOIN ingest_turns USING (tenant) CROSS JOIN LATERAL (
        SELECT dataset_id, dataset_no, row_number() OVER (ORDER BY dataset_no) AS place FROM datasets
        WHERE tenant = waiting.tenant AND state = 'VALIDATING' AND scheduler_id IS NULL
            AND dataset_id <> ALL ($2::text[])
        ORDER BY dataset_no LIMIT 16) AS oldest
    ORDER BY place, turn, dataset_no LIMIT 16
), free AS (
    SELECT dataset_id FROM datasets JOIN candidates USING (dataset_id)
    WHERE state = 'VALIDATING' AND (scheduler_id IS NULL OR scheduler_id = $1)
    ORDER BY candidates.place, candidates.turn, candidates.dataset_no LIMIT 1
    FOR NO KEY UPDATE OF datasets SKIP LOCKED
), claimed AS (
    UPDATE datasets SET scheduler_id = alive.scheduler_id FROM free, alive WHERE datasets.dataset_id = free.dataset_id
    RETURNING datasets.*
), turn AS (
    INSERT INTO ingest_turns (tenant) SELECT tenant FROM claimed ON CONFLICT (tenant) DO UPDATE SET turn = DEFAULT
)
SELECT claimed.*, tenants.dataset_rows AS max_rows FROM claimed JOIN tenants USING (tenant)

-- release_datasets --
-- Gives back what a scheduler has claimed to ingest.
UPDATE datasets SET scheduler_id = NULL WHERE state = 'VALIDATING' AND scheduler_id = $1
RETURNING pg_notify('lorax_batch_datasets', dataset_id)

-- free_orphaned_datasets --
-- Claims of schedulers that are gone; what is just being finished is left for the next time.
UPDATE datasets SET scheduler_id = NULL
WHERE dataset_id IN (
    SELECT dataset_id FROM datasets
    WHERE state = 'VALIDATING' AND scheduler_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM schedulers WHERE schedulers.scheduler_id = datasets.scheduler_id)
    FOR NO KEY UPDATE SKIP LOCKED)
RETURNING pg_notify('lorax_batch_datasets', dataset_id)

-- store_ingest --
-- What ingest found out; guarded, so that a second run of it, or one that has lost its claim, changes nothing.
UPDATE datasets SET
    state = $2, reason = $3, sha256 = $4, row_count = $5, invalid_row_count = $6, prompt_tokens = $7, models = $8,
    model_count = $9, invalid = $10, storage_prefix = $11, stored_bytes = $12, finish_time = now(), update_time = now(),
    scheduler_id = NULL
WHERE dataset_id = $1 AND state = 'VALIDATING' AND scheduler_id = $13
RETURNING *

-- forget_upload_parts --
-- Their objects are removed after the transaction.
DELETE FROM upload_parts WHERE dataset_id = $1

-- validating_jobs --
-- The jobs that wait for a dataset.
SELECT job_id FROM jobs WHERE dataset_id = $1 AND state = 'VALIDATING' ORDER BY job_id

-- unfinished_jobs_of_dataset --
-- The jobs that still need a dataset.
SELECT job_id FROM jobs WHERE dataset_id = $1 AND end_time IS NULL ORDER BY job_no LIMIT 5

-- delete_dataset --
-- With its parts and chunks.
DELETE FROM datasets WHERE dataset_id = $1

-- use_dataset --
-- A job of it was created just now.
UPDATE datasets SET last_use_time = now() WHERE dataset_id = $1

-- remember_use --
-- For a job that is about to be deleted, and before it is locked: datasets are locked before jobs everywhere.
UPDATE datasets SET last_use_time = greatest(last_use_time, jobs.end_time)
FROM jobs WHERE jobs.job_id = $1 AND datasets.dataset_id = jobs.dataset_id

-- notify_datasets --
-- Wakes whoever waits for a dataset.
SELECT pg_notify('lorax_batch_datasets', $1)

-- create_job --
-- Stores a job; nothing when its request_id is known.
INSERT INTO jobs (
    job_id, dataset_id, request_id, server_config, base_model_id, base_model_aliases, state, priority, deadline, labels,
    retry_of, error_threshold, default_max_tokens, price_micros_per_million, admission, admission_reason,
    earliest_finish_time, traceparent, tenant)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT (request_id) DO NOTHING
RETURNING job_id

-- store_secret --
-- Write-only but for its servers and the requests to them.
INSERT INTO job_secrets (job_id, key_id, sealed) VALUES ($1, $2, $3)

-- job_secret --
-- For its servers and the requests to them.
SELECT job_id, hf_token, key_id, sealed FROM job_secrets WHERE job_id = $1

-- secrets_to_seal --
-- Behind a job, the next ones whose tokens are plain or, unless only those are wanted, sealed with another key.
SELECT job_id
FROM job_secrets
WHERE (key_id IS NULL OR (key_id <> $1 AND NOT $4)) AND job_id > $2
ORDER BY job_id
LIMIT $3

-- lock_secrets --
-- Others seal or delete some of them at the same time.
SELECT job_id, hf_token, key_id, sealed
FROM job_secrets
WHERE job_id = ANY ($1) AND key_id IS DISTINCT FROM $2
ORDER BY job_id
FOR UPDATE

-- seal_secrets --
-- What was plain is gone with it.
UPDATE job_secrets SET hf_token = NULL, key_id = new.key_id, sealed = new.sealed
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS new (job_id, key_id, sealed)
WHERE job_secrets.job_id = new.job_id

-- count_secrets --
-- Of jobs and webhooks by key; '' stands for plain.
SELECT coalesce(key_id, '') AS key_id, count(*) AS jobs
FROM (SELECT key_id FROM job_secrets UNION ALL SELECT key_id FROM webhooks) AS sealed
GROUP BY 1 ORDER BY 1

-- create_job_chunks --
-- One for each chunk of the dataset, and the job's totals.
WITH created AS (
    INSERT INTO job_chunks (job_id, chunk_no, kind, model, row_count, prompt_tokens, done, done_count, unsuccessful)
    SELECT $1, chunk_no, kind, model, row_count, prompt_tokens, zeros, 0, zeros
    FROM dataset_chunks, LATERAL (SELECT repeat('00000000', (row_count + 7) / 8)::varbit AS zeros) AS width
    WHERE dataset_id = $2
    RETURNING row_count
), tokens AS (
    SELECT sum(prompt_tokens) AS prompt, sum(max_tokens) FILTER (WHERE max_tokens > 0) AS output,
           sum(row_count) FILTER (WHERE max_tokens = 0) AS silent_rows
    FROM dataset_chunks WHERE dataset_id = $2 AND kind = 'ROWS'
)
UPDATE jobs SET
    total = (SELECT coalesce(sum(row_count), 0) FROM created),
    allowed_tokens = (SELECT coalesce(prompt, 0) + coalesce(output, 0) + coalesce(silent_rows, 0) * default_max_tokens
                      FROM tokens)
WHERE job_id = $1

-- retry_job_chunks --
-- The rows of an ended job that went to the error file; all others count as done. Invalid lines stay invalid.
WITH created AS (
    INSERT INTO job_chunks (job_id, chunk_no, kind, model, row_count, prompt_tokens, done, done_count, unsuccessful)
    SELECT $2, chunk_no, kind, model, row_count, prompt_tokens * bit_count(unsuccessful) / row_count,
           done & ~unsuccessful, bit_count(done & ~unsuccessful), unsuccessful & ~unsuccessful
    FROM job_chunks WHERE job_id = $1 AND kind = 'ROWS' AND bit_count(unsuccessful) > 0
    RETURNING chunk_no, prompt_tokens, row_count - done_count AS rows
), tokens AS (
    SELECT created.rows, created.prompt_tokens,
           CASE WHEN stored.max_tokens > 0 THEN stored.max_tokens * created.rows / stored.row_count
                ELSE jobs.default_max_tokens::bigint * created.rows END AS output_tokens
    FROM created CROSS JOIN jobs
        LEFT JOIN dataset_chunks AS stored ON stored.dataset_id = jobs.dataset_id AND stored.chunk_no = created.chunk_no
    WHERE jobs.job_id = $2
)
UPDATE jobs SET
    total = (SELECT coalesce(sum(rows), 0) FROM tokens),
    allowed_tokens = (SELECT coalesce(sum(prompt_tokens + output_tokens), 0) FROM tokens)
WHERE job_id = $2 RETURNING total

-- job_details --
-- Jobs as callers see them. $1: ids, $2: filter or not.
WITH activity AS (
    SELECT job_id, sum(in_flight)::bigint AS in_flight, sum(retrying)::bigint AS retrying,
           sum(rows_per_second) AS rows_per_second, sum(tokens_per_second) AS tokens_per_second
    FROM job_activity JOIN schedulers USING (scheduler_id)
    WHERE job_id = ANY ($1::text[]) AND lease_until > now()
    GROUP BY job_id
)
SELECT jobs.*, activity.in_flight, activity.retrying, activity.rows_per_second, activity.tokens_per_second,
    CASE WHEN state = 'QUEUED' THEN (
        SELECT count(*) FROM jobs AS other
        WHERE other.end_time IS NULL AND other.state = 'QUEUED'
          AND (other.priority > jobs.priority OR (other.priority = jobs.priority AND other.job_no <= jobs.job_no))
    ) ELSE 0 END AS queue_position, tenants.share_weight
FROM jobs JOIN tenants USING (tenant) LEFT JOIN activity USING (job_id)
WHERE jobs.job_id = ANY ($1::text[])

-- job_by_request --
-- By the request_id that created it.
SELECT job_id FROM jobs WHERE request_id = $1

-- list_jobs --
-- A page of what a filter selects, newest first.
SELECT job_id, job_no FROM jobs
WHERE job_no < $1
  AND ($2::text[] IS NULL OR job_id = ANY ($2)) AND ($3::text[] IS NULL OR state = ANY ($3))
  AND ($4::jsonb IS NULL OR labels @> $4) AND ($5::text IS NULL OR dataset_id = $5)
  AND ($6::text IS NULL OR base_model_id = $6) AND ($8::text IS NULL OR tenant = $8)
ORDER BY job_no DESC LIMIT $7

-- unfinished_jobs --
-- Oldest first.
SELECT job_id FROM jobs WHERE end_time IS NULL ORDER BY job_no

-- lock_job --
-- For a move; held until the end of the transaction.
SELECT job_id, state, outcome, reason, dataset_id FROM jobs WHERE job_id = $1 FOR NO KEY UPDATE

-- move_job --
-- Guarded by the state that the move was decided on. The rows of a short job may all be done before it is said to run.
UPDATE jobs SET
    state = $3, outcome = coalesce(outcome, $4), reason = $5, sequence = $6, update_time = now(),
    start_time = CASE WHEN $7 OR succeeded + failed > 0 THEN coalesce(start_time, now()) ELSE start_time END,
    end_time = CASE WHEN $8 THEN now() END
WHERE job_id = $1 AND state = $2

-- explain_jobs --
-- Why they wait; what has moved on meanwhile keeps its reason.
WITH locked AS (SELECT job_id FROM jobs WHERE job_id = ANY ($1::text[]) ORDER BY job_id FOR NO KEY UPDATE)
UPDATE jobs SET reason = given.reason, update_time = now()
FROM unnest($1::text[], $2::text[]) AS given (job_id, reason) JOIN locked USING (job_id)
WHERE jobs.job_id = given.job_id AND jobs.state IN ('QUEUED', 'STARTING', 'RUNNING') AND jobs.reason <> given.reason
RETURNING pg_notify('lorax_batch_jobs', jobs.job_id)

-- update_job --
-- What callers may change.
UPDATE jobs SET
    priority = coalesce($2, priority), deadline = CASE WHEN $4 THEN NULL ELSE coalesce($3, deadline) END,
    labels = coalesce($5, labels), update_time = now(),
    -- Another deadline is another question.
    admission = CASE WHEN $4 OR $3 IS NOT NULL THEN NULL ELSE admission END,
    admission_reason = CASE WHEN $4 OR $3 IS NOT NULL THEN '' ELSE admission_reason END,
    earliest_finish_time = CASE WHEN $4 OR $3 IS NOT NULL THEN NULL ELSE earliest_finish_time END
WHERE job_id = $1

-- rows_unfinished --
-- What has no result, by adapter ("" : the base model), whoever runs it; tokens in proportion to the rows of a chunk.
SELECT jobs.job_id,
       CASE WHEN lower(left_over.model) = ANY (SELECT lower(name) FROM unnest(base_model_aliases) AS name) THEN ''
            ELSE left_over.model END AS adapter,
       sum(left_over.row_count - done_count)::bigint AS row_count,
       sum(left_over.prompt_tokens * (left_over.row_count - done_count) / left_over.row_count)::bigint AS prompt_tokens,
       sum(CASE WHEN stored.max_tokens > 0 THEN stored.max_tokens * (left_over.row_count - done_count) / left_over.row_count
                ELSE default_max_tokens::bigint * (left_over.row_count - done_count) END)::bigint AS allowed_tokens
FROM jobs JOIN job_chunks AS left_over USING (job_id)
    JOIN dataset_chunks AS stored ON stored.dataset_id = jobs.dataset_id AND stored.chunk_no = left_over.chunk_no
WHERE jobs.job_id = ANY ($1::text[]) AND left_over.kind = 'ROWS' AND done_count < left_over.row_count
GROUP BY 1, 2 ORDER BY 1, 2

-- admit_jobs --
-- What was found of them when they came; nothing for those that have their answer already.
WITH locked AS (SELECT job_id FROM jobs WHERE job_id = ANY ($1::text[]) ORDER BY job_id FOR NO KEY UPDATE)
UPDATE jobs SET admission = given.answer, admission_reason = given.reason, earliest_finish_time = given.finish
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS given (job_id, answer, reason, finish)
    JOIN locked USING (job_id)
WHERE jobs.job_id = given.job_id AND jobs.end_time IS NULL AND jobs.admission IS NULL
RETURNING pg_notify('lorax_batch_jobs', jobs.job_id)

-- foretell_jobs --
-- When they should end; null: nothing can be said any more.
WITH locked AS (SELECT job_id FROM jobs WHERE job_id = ANY ($1::text[]) ORDER BY job_id FOR NO KEY UPDATE)
UPDATE jobs SET eta = given.eta, eta_early = given.early, eta_late = given.late
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[]) AS given (job_id, eta, early, late)
    JOIN locked USING (job_id)
WHERE jobs.job_id = given.job_id AND jobs.end_time IS NULL
RETURNING pg_notify('lorax_batch_jobs', jobs.job_id)

-- learned --
-- The newest, as many as are kept in memory.
SELECT topic, family, detail, mean, log_variance, weight, observations FROM learned
WHERE topic = ANY ($1::text[]) ORDER BY update_time DESC LIMIT $2

-- store_learned --
-- The last writer is right: schedulers of one database see the same servers. In one order, so that none waits for another.
INSERT INTO learned (topic, family, detail, mean, log_variance, weight, observations)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::double precision[], $5::double precision[], $6::double precision[], $7::bigint[])
    AS given (topic, family, detail, mean, log_variance, weight, observations)
ORDER BY topic, family, detail
ON CONFLICT (topic, family, detail) DO UPDATE SET
    mean = excluded.mean, log_variance = excluded.log_variance, weight = excluded.weight,
    observations = excluded.observations, update_time = now()

-- notify_job --
-- Wakes watchers and schedulers.
SELECT pg_notify('lorax_batch_jobs', $1)

-- delete_job --
-- With its secret and all that is small; what may be much is left to `sweep_job`, and noted by a trigger.
DELETE FROM jobs WHERE job_id = $1

-- plan_removal --
-- What is given up by this transaction; one that was carried out once already begins anew.
INSERT INTO removals (prefix, keep) VALUES ($1, $2)
ON CONFLICT (prefix) DO UPDATE SET keep = excluded.keep, runs = 0, due = now()

-- due_removals --
-- The oldest first; none while a backup holds them back (`hold_removals`).
SELECT prefix, keep, runs FROM removals WHERE due <= now() AND NOT EXISTS (
    SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
        AND classid = 1818390626 AND objid = 1 AND objsubid = 2)
ORDER BY due LIMIT $1

-- removals_of --
-- Of these prefixes, as long as they were not carried out; none while a backup holds them back.
SELECT prefix, keep, runs FROM removals WHERE prefix = ANY ($1::text[]) AND runs = 0 AND NOT EXISTS (
    SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
        AND classid = 1818390626 AND objid = 1 AND objsubid = 2)

-- hold_removals --
-- For as long as this session lives. What was read as due before was given up before, so nothing names it from now on.
SELECT pg_advisory_lock_shared(1818390626, 1)

-- put_off_removal --
-- Carried out, and again later; not when another process has said so already.
UPDATE removals SET runs = runs + 1, due = now() + $3 WHERE prefix = $1 AND runs = $2

-- forget_removal --
-- Carried out for good.
DELETE FROM removals WHERE prefix = $1 AND runs = $2

-- create_tenant --
-- Nothing when the name is taken.
INSERT INTO tenants (
    tenant, queued_jobs, queued_tokens, dataset_rows, stored_bytes, requests_per_second, share_weight)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant) DO NOTHING
RETURNING tenant

-- update_tenant --
-- $2: the quotas to change. Those that are not named stay.
UPDATE tenants SET
    queued_jobs = CASE WHEN $2::jsonb ? 'queued_jobs' THEN ($2 ->> 'queued_jobs')::bigint ELSE queued_jobs END,
    queued_tokens = CASE WHEN $2 ? 'queued_tokens' THEN ($2 ->> 'queued_tokens')::bigint ELSE queued_tokens END,
    dataset_rows = CASE WHEN $2 ? 'dataset_rows' THEN ($2 ->> 'dataset_rows')::bigint ELSE dataset_rows END,
    stored_bytes = CASE WHEN $2 ? 'stored_bytes' THEN ($2 ->> 'stored_bytes')::bigint ELSE stored_bytes END,
    requests_per_second = CASE WHEN $2 ? 'requests_per_second' THEN ($2 ->> 'requests_per_second')::double precision
                          ELSE requests_per_second END,
    share_weight = coalesce($3, share_weight), update_time = now(),
    disable_time = CASE WHEN $4::boolean THEN coalesce(disable_time, now())
                        WHEN NOT $4 AND delete_time IS NULL THEN NULL ELSE disable_time END
WHERE tenant = $1
RETURNING tenant

-- begin_tenant_deletion --
-- It lets nobody in from now on; what it has goes in the background.
UPDATE tenants SET
    disable_time = coalesce(disable_time, now()), delete_time = coalesce(delete_time, now()), update_time = now()
WHERE tenant = $1
RETURNING tenant

-- disabled_tenants --
-- Whose keys are good for nothing.
SELECT tenant FROM tenants WHERE disable_time IS NOT NULL

-- tenants_to_delete --
-- Those that still have something, or are there themselves.
SELECT tenant FROM tenants WHERE delete_time IS NOT NULL ORDER BY delete_time

-- delete_keys_of_tenant --
-- Its name is free again one day: none of them may be good then.
DELETE FROM api_keys WHERE tenant = $1 RETURNING key_id

-- delete_webhooks_of_tenant --
-- With their messages.
DELETE FROM webhooks WHERE tenant = $1 RETURNING webhook_id, pg_notify('lorax_batch_webhooks', webhook_id)

-- jobs_to_cancel_of_tenant --
-- The oldest that are not ending already.
SELECT job_id FROM jobs
WHERE tenant = $1 AND end_time IS NULL AND state NOT IN ('CANCELLING', 'FINALIZING') ORDER BY job_no LIMIT $2

-- ended_jobs_of_tenant --
-- The oldest.
SELECT job_id FROM jobs WHERE tenant = $1 AND end_time IS NOT NULL ORDER BY job_no LIMIT $2

-- unused_datasets_of_tenant --
-- The oldest that no unfinished job needs.
SELECT dataset_id FROM datasets WHERE tenant = $1 AND NOT EXISTS (
    SELECT FROM jobs WHERE jobs.dataset_id = datasets.dataset_id AND end_time IS NULL)
ORDER BY dataset_no LIMIT $2

-- lock_tenant --
-- Waits for whoever is just making something of it.
SELECT tenant FROM tenants WHERE tenant = $1 AND delete_time IS NOT NULL FOR UPDATE

-- forget_tenant --
-- Nothing while it has something left.
DELETE FROM tenants
WHERE tenant = $1 AND delete_time IS NOT NULL AND NOT EXISTS (SELECT FROM jobs WHERE jobs.tenant = $1)
  AND NOT EXISTS (SELECT FROM datasets WHERE datasets.tenant = $1)
  AND NOT EXISTS (SELECT FROM webhooks WHERE webhooks.tenant = $1)
  AND NOT EXISTS (SELECT FROM api_keys WHERE api_keys.tenant = $1)
RETURNING tenant

-- disown_events --
-- Its name is free: whoever has it next must not be told what the last one's jobs did. Operators still are.
UPDATE job_events SET tenant = '' WHERE tenant = $1

-- tenants --
-- By name.
SELECT * FROM tenants WHERE tenant = ANY ($1::text[])

-- list_tenants --
-- A page, newest first.
SELECT * FROM tenants WHERE tenant_no < $1 ORDER BY tenant_no DESC LIMIT $2

-- queued_work --
-- The unfinished jobs of tenants that have some. Of a dataset that is still checked a token is taken to be four bytes.
SELECT jobs.tenant, count(*) AS queued_jobs,
       sum(CASE WHEN jobs.state = 'VALIDATING' THEN coalesce(datasets.stored_bytes, 0) / 4
                ELSE div(allowed_tokens::numeric * (total - result_count), greatest(total, 1)) END)::bigint AS queued_tokens
FROM jobs LEFT JOIN datasets USING (dataset_id)
WHERE jobs.tenant = ANY ($1::text[]) AND end_time IS NULL GROUP BY jobs.tenant

-- stored_bytes --
-- Of tenants that have something. Reads every ended job of theirs: 0.2 s for 200,000.
WITH uploaded AS (
    SELECT tenant, sum(stored_bytes) AS bytes FROM datasets WHERE tenant = ANY ($1::text[]) GROUP BY tenant
), written AS (
    SELECT tenant, sum(coalesce((output_file ->> 'byte_count')::bigint, 0)
                       + coalesce((error_file ->> 'byte_count')::bigint, 0)) AS bytes
    FROM jobs WHERE tenant = ANY ($1::text[]) AND end_time IS NOT NULL GROUP BY tenant
)
SELECT tenant, (coalesce(uploaded.bytes, 0) + coalesce(written.bytes, 0))::bigint AS stored_bytes
FROM uploaded FULL JOIN written USING (tenant)

-- hold_quotas --
-- Until the end of the transaction, so that two jobs of a tenant do not both take what is left; nothing without quotas.
SELECT queued_jobs, queued_tokens, stored_bytes FROM tenants
WHERE tenant = $1 AND (queued_jobs IS NOT NULL OR queued_tokens IS NOT NULL OR stored_bytes IS NOT NULL)
FOR NO KEY UPDATE

-- job_tokens --
-- What a job that was just stored adds to the queued tokens of its tenant.
SELECT (CASE WHEN jobs.state = 'VALIDATING' THEN coalesce(datasets.stored_bytes, 0) / 4 ELSE allowed_tokens END)::bigint
FROM jobs LEFT JOIN datasets USING (dataset_id) WHERE job_id = $1

-- stored_bytes_quota --
-- Null: no limit.
SELECT stored_bytes FROM tenants WHERE tenant = $1

-- create_key --
-- Nothing when its secret is known.
INSERT INTO api_keys (key_id, tenant, role, name, secret_sha256, expire_time) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (secret_sha256) DO NOTHING
RETURNING *

-- key_by_secret --
-- By the SHA-256 of its secret.
SELECT * FROM api_keys WHERE secret_sha256 = $1

-- list_keys --
-- A page, newest first; of one tenant, or (null) of all.
SELECT * FROM api_keys WHERE key_no < $1 AND ($3::text IS NULL OR tenant = $3) ORDER BY key_no DESC LIMIT $2

-- revoke_key --
-- For good.
UPDATE api_keys SET revoke_time = coalesce(revoke_time, now()) WHERE key_id = $1 RETURNING *

-- access_changed --
-- Tells all processes that have tenants and keys in memory.
UPDATE access_clock SET version = version + 1 RETURNING version, pg_notify('lorax_batch_access', '')

-- access_version --
-- Grows with every change.
SELECT version FROM access_clock

-- access_keys --
-- All of them.
SELECT * FROM api_keys

-- request_rates --
-- Of tenants that have one.
SELECT tenant, requests_per_second FROM tenants WHERE requests_per_second IS NOT NULL

-- next_sequence --
-- Holds the clock's lock until the end of the transaction, so that sequences become visible in order.
UPDATE event_clock SET sequence = sequence + 1 RETURNING sequence

-- append_event --
-- A state change, or (job null) a deletion.
INSERT INTO job_events (sequence, job_id, from_state, to_state, reason, job, tenant) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- number_job --
-- The sequence of its first event.
UPDATE jobs SET sequence = $2 WHERE job_id = $1

-- latest_sequence --
-- Of the last state change of any job.
SELECT sequence FROM event_clock

-- state_changes --
-- In their order, each with the horizon; one row without a change when there is none.
SELECT horizon.sequence AS horizon,
       found.sequence, found.job_id, found.from_state, found.to_state, found.reason, found.time, found.job, found.tenant
FROM event_horizon AS horizon LEFT JOIN LATERAL (
    SELECT sequence, job_id, from_state, to_state, reason, time, job, tenant FROM job_events
    WHERE sequence > $1 ORDER BY sequence LIMIT $2
) AS found ON true
ORDER BY found.sequence

-- watch --
-- Asked every second: the database's clock, and whether it takes writes.
SELECT clock_timestamp() AS now, current_setting('transaction_read_only')::boolean AS read_only

-- register_scheduler --
-- Makes it known.
INSERT INTO schedulers (scheduler_id, lease_until) VALUES ($1, now() + $2)

-- remove_other_schedulers --
-- For the owner of an embedded database: no other can be alive.
DELETE FROM schedulers WHERE scheduler_id <> $1

-- renew_scheduler --
-- Nothing when it was declared dead. Late is no harm: as long as its row is there, nobody has freed what it holds.
WITH before AS (
    SELECT scheduler_id, lease_until < now() AS was_late FROM schedulers WHERE scheduler_id = $1 FOR NO KEY UPDATE
)
UPDATE schedulers SET lease_until = now() + $2 FROM before WHERE schedulers.scheduler_id = before.scheduler_id
RETURNING was_late

-- shorten_leases --
-- One that ends later than the longest lease would was taken before the clock went back: whoever lives renews it.
UPDATE schedulers SET lease_until = now() + interval '600 seconds' WHERE lease_until > now() + interval '600 seconds'

-- remove_dead_schedulers --
-- On database time; skips what another scheduler is removing.
DELETE FROM schedulers WHERE scheduler_id IN (
    SELECT scheduler_id FROM schedulers WHERE lease_until < now() FOR UPDATE SKIP LOCKED
)

-- free_orphaned_chunks --
-- Leases of schedulers that are gone; the epoch moves, so that none of them can commit any more.
UPDATE job_chunks SET scheduler_id = NULL, epoch = epoch + 1
WHERE scheduler_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM schedulers WHERE schedulers.scheduler_id = job_chunks.scheduler_id)
RETURNING job_id

-- unregister_scheduler --
-- Leaves with all its leases.
DELETE FROM schedulers WHERE scheduler_id = $1

-- record_fleet --
-- How a scheduler's servers and slots are, and which there still are; nothing once it was declared dead.
WITH alive AS (
    SELECT scheduler_id FROM schedulers WHERE scheduler_id = $1 FOR KEY SHARE
), told_servers AS (
    INSERT INTO servers (scheduler_id, server_id, status)
    SELECT scheduler_id, status ->> 'server_id', status FROM alive, jsonb_array_elements($2::jsonb) AS given (status)
    ON CONFLICT (scheduler_id, server_id) DO UPDATE SET status = excluded.status, update_time = now()
), gone_servers AS (
    DELETE FROM servers WHERE scheduler_id = $1 AND server_id <> ALL ($3::text[])
), told_slots AS (
    INSERT INTO slots (scheduler_id, slot_id, status)
    SELECT scheduler_id, status -> 'slot' ->> 'slot_id', status
    FROM alive, jsonb_array_elements($4::jsonb) AS given (status)
    ON CONFLICT (scheduler_id, slot_id) DO UPDATE SET status = excluded.status, update_time = now()
), gone_slots AS (
    DELETE FROM slots WHERE scheduler_id = $1 AND slot_id <> ALL ($5::text[])
)
SELECT pg_notify('lorax_batch_fleet', scheduler_id) FROM alive

-- servers --
-- Those of living schedulers but one; what several of them use is told once.
SELECT DISTINCT ON (server_id) status FROM servers JOIN schedulers USING (scheduler_id)
WHERE lease_until > now() AND scheduler_id <> $1
ORDER BY server_id, state <> 'READY', update_time DESC

-- slots --
-- Those of living schedulers, and drained ones that none of them has; $1: only that one. What several have is told once.
SELECT DISTINCT ON (slot_id) present.status, drained.slot, drained.reason AS drain_reason, drained.drain_time
FROM (
    SELECT slots.* FROM slots JOIN schedulers USING (scheduler_id) WHERE lease_until > now()
) AS present FULL JOIN drained_slots AS drained USING (slot_id)
WHERE $1::text IS NULL OR slot_id = $1
ORDER BY slot_id, present.status -> 'server_ids' = '[]'::jsonb, present.update_time DESC

-- drain_slot --
-- Whoever has the slot reads its name from the list; a drain without a reason keeps the one before.
WITH known AS (
    SELECT status -> 'slot' AS slot FROM slots WHERE slot_id = $1
    UNION ALL SELECT slot FROM drained_slots WHERE slot_id = $1
    LIMIT 1
)
INSERT INTO drained_slots AS held (slot_id, reason, slot) SELECT $1, $2, slot FROM known
ON CONFLICT (slot_id) DO UPDATE SET reason = CASE WHEN $2 = '' THEN held.reason ELSE $2 END, slot = excluded.slot
RETURNING slot, drain_time AS now, pg_notify('lorax_batch_fleet', '')

-- undrain_slot --
-- One that is in service is known all the same.
WITH back AS (
    DELETE FROM drained_slots WHERE slot_id = $1 RETURNING slot, pg_notify('lorax_batch_fleet', '')
)
SELECT slot, now() AS now FROM back
UNION ALL SELECT status -> 'slot', now() FROM slots WHERE slot_id = $1
LIMIT 1

-- take_turn --
-- The right to plan, unless somebody who lives has it for a while yet.
INSERT INTO planning_turn AS held (scheduler_id, turn_until, foreteller) VALUES ($1, now() + $2::interval, $1)
ON CONFLICT (one) DO UPDATE SET
    scheduler_id = $1, turn_until = now() + $2::interval,
    foreteller = CASE WHEN EXISTS (
        SELECT FROM schedulers WHERE schedulers.scheduler_id = held.foreteller AND lease_until > now())
        THEN held.foreteller ELSE $1 END
WHERE held.scheduler_id = $1 OR held.turn_until <= now() OR NOT EXISTS (
    SELECT FROM schedulers WHERE schedulers.scheduler_id = held.scheduler_id AND lease_until > now())
RETURNING foreteller = $1 AS foretells

-- end_turn --
-- Others may plan at once.
UPDATE planning_turn SET turn_until = now() WHERE scheduler_id = $1

-- drained_slots --
-- What operators have taken out of service, and why.
SELECT slot_id, reason FROM drained_slots

-- queues --
-- Jobs and work left by base model. Rows of a job are taken to be as long as its dataset's, and as its family's so far.
WITH waiting AS (
    SELECT jobs.base_model_id, jobs.state, jobs.succeeded, jobs.completion_tokens, jobs.total - jobs.result_count AS rows_left,
           datasets.prompt_tokens::double precision / greatest(datasets.row_count, 1) AS prompt_tokens_a_row
    FROM jobs LEFT JOIN datasets USING (dataset_id)
    WHERE end_time IS NULL AND jobs.state IN ('QUEUED', 'STARTING', 'RUNNING')
)
SELECT base_model_id, count(*) FILTER (WHERE state = 'QUEUED') AS jobs_queued,
       count(*) FILTER (WHERE state <> 'QUEUED') AS jobs_running, sum(rows_left)::bigint AS rows_left,
       (sum(rows_left * coalesce(prompt_tokens_a_row, 0))
        + sum(rows_left) * sum(completion_tokens) / greatest(sum(succeeded), 1))::bigint AS tokens_left
FROM waiting GROUP BY base_model_id

-- rows_left --
-- What nobody runs.
SELECT job_id, kind, model, count(*)::integer AS chunk_count, sum(row_count - done_count)::bigint AS row_count,
       sum(prompt_tokens)::bigint AS prompt_tokens
FROM job_chunks
WHERE job_id = ANY ($1::text[]) AND scheduler_id IS NULL AND done_count < row_count
GROUP BY job_id, kind, model ORDER BY job_id, kind, model

-- row_lengths --
-- The longest of what has no result, estimated; of chunks whose longest is not known, the mean.
SELECT job_id,
       max(greatest(longest_prompt_tokens, stored.prompt_tokens / stored.row_count))::bigint AS longest_prompt_tokens,
       max(greatest(largest_max_tokens, stored.max_tokens / stored.row_count,
                    default_max_tokens))::bigint AS largest_max_tokens
FROM jobs JOIN job_chunks AS left_over USING (job_id)
    JOIN dataset_chunks AS stored ON stored.dataset_id = jobs.dataset_id AND stored.chunk_no = left_over.chunk_no
WHERE job_id = ANY ($1::text[]) AND left_over.kind = 'ROWS' AND done_count < left_over.row_count
GROUP BY job_id ORDER BY job_id

-- claim_chunks --
-- In storage order; a claim moves the epoch, which fences whoever ran the chunk before.
WITH alive AS (
    SELECT scheduler_id FROM schedulers WHERE scheduler_id = $1 AND lease_until > now() FOR KEY SHARE
), runnable AS (
    SELECT job_id, dataset_id FROM jobs
    WHERE job_id = $2 AND state IN ('QUEUED', 'STARTING', 'RUNNING') FOR KEY SHARE
), free AS (
    SELECT job_chunks.job_id, chunk_no FROM job_chunks JOIN runnable USING (job_id)
    WHERE scheduler_id IS NULL AND done_count < row_count AND kind = $3 AND model = $4
    ORDER BY chunk_no LIMIT $5
    FOR NO KEY UPDATE OF job_chunks SKIP LOCKED
), leased AS (
    UPDATE job_chunks SET scheduler_id = alive.scheduler_id, epoch = epoch + 1
    FROM free, alive
    WHERE job_chunks.job_id = free.job_id AND job_chunks.chunk_no = free.chunk_no
    RETURNING job_chunks.*
)
SELECT leased.job_id, leased.chunk_no, leased.epoch, leased.kind, leased.row_count, leased.done,
       stored.endpoint, stored.model, stored.adapter_source, stored.pack_offset, stored.byte_count,
       datasets.storage_prefix, stored.pack
FROM leased JOIN runnable USING (job_id)
    JOIN dataset_chunks AS stored ON stored.dataset_id = runnable.dataset_id AND stored.chunk_no = leased.chunk_no
    JOIN datasets ON datasets.dataset_id = runnable.dataset_id
ORDER BY leased.chunk_no

-- release_chunks --
-- Gives leases back; those lost already stay as they are.
UPDATE job_chunks SET scheduler_id = NULL
FROM unnest($2::text[], $3::integer[], $4::integer[]) AS given (job_id, chunk_no, epoch)
WHERE job_chunks.job_id = given.job_id AND job_chunks.chunk_no = given.chunk_no AND job_chunks.epoch = given.epoch
  AND job_chunks.scheduler_id = $1

-- release_forgotten --
-- What a scheduler holds without knowing it: a claim's answer was lost. What it holds of a settling job is fenced.
UPDATE job_chunks SET scheduler_id = NULL
FROM jobs
WHERE jobs.job_id = job_chunks.job_id AND jobs.state IN ('QUEUED', 'STARTING', 'RUNNING', 'PAUSED')
  AND job_chunks.scheduler_id = $1
  AND (job_chunks.job_id, job_chunks.chunk_no) NOT IN (SELECT * FROM unnest($2::text[], $3::integer[]))

-- fence_job --
-- Takes all that is unfinished of a settling job; no one else can commit to it any more.
WITH settling AS (
    SELECT job_id, dataset_id FROM jobs WHERE job_id = $2 AND state IN ('CANCELLING', 'FINALIZING') FOR NO KEY UPDATE
), leased AS (
    UPDATE job_chunks SET scheduler_id = $1, epoch = epoch + 1
    FROM settling WHERE job_chunks.job_id = settling.job_id AND done_count < row_count
    RETURNING job_chunks.*
)
SELECT leased.job_id, leased.chunk_no, leased.epoch, leased.kind, leased.row_count, leased.done,
       stored.endpoint, stored.model, stored.adapter_source, stored.pack_offset, stored.byte_count,
       datasets.storage_prefix, stored.pack
FROM leased JOIN settling USING (job_id)
    JOIN dataset_chunks AS stored ON stored.dataset_id = settling.dataset_id AND stored.chunk_no = leased.chunk_no
    JOIN datasets ON datasets.dataset_id = settling.dataset_id
ORDER BY leased.chunk_no

-- commit_results --
-- The results of one tick for all jobs: counters, bit sets and segments in one statement, fenced by epochs.
WITH given AS (
    SELECT * FROM unnest(
        $2::text[], $3::integer[], $4::integer[], $5::varbit[], $6::varbit[], $7::integer[], $8::integer[], $9::integer[],
        $10::integer[], $11::integer[], $12::bigint[], $13::bigint[]
    ) AS results (job_id, chunk_no, epoch, done, unsuccessful, succeeded, failed, cancelled, expired, invalid,
                  prompt_tokens, completion_tokens)
), unfinished AS MATERIALIZED (
    -- Locked in one order, so that two schedulers with the same jobs never wait for each other in a circle.
    SELECT job_id FROM jobs WHERE job_id = ANY ($2::text[]) AND end_time IS NULL ORDER BY job_id FOR NO KEY UPDATE
), locked AS MATERIALIZED (
    -- As they are behind the lock, which a first try of the same commit may just have held.
    SELECT job_chunks.job_id, job_chunks.chunk_no, job_chunks.epoch, job_chunks.done
    FROM job_chunks JOIN given USING (job_id, chunk_no) JOIN unfinished USING (job_id)
    FOR NO KEY UPDATE OF job_chunks
), before AS (
    -- A commit whose answer was lost is sent again: what is stored already counts as accepted.
    SELECT given.job_id, given.chunk_no,
           coalesce(locked.epoch, seen.epoch) = given.epoch
               AND (coalesce(locked.done, seen.done) & given.done) = given.done AS stored_already
    FROM given JOIN job_chunks AS seen USING (job_id, chunk_no) LEFT JOIN locked USING (job_id, chunk_no)
), accepted AS (
    UPDATE job_chunks SET
        done = job_chunks.done | given.done,
        unsuccessful = job_chunks.unsuccessful | given.unsuccessful,
        done_count = job_chunks.done_count + bit_count(given.done)::integer,
        scheduler_id = CASE WHEN job_chunks.done_count + bit_count(given.done) < job_chunks.row_count
                       THEN job_chunks.scheduler_id END
    FROM given JOIN unfinished USING (job_id)
    WHERE job_chunks.job_id = given.job_id AND job_chunks.chunk_no = given.chunk_no
      AND job_chunks.epoch = given.epoch AND job_chunks.scheduler_id = $1
      AND bit_count(job_chunks.done & given.done) = 0
    RETURNING given.*
), totals AS (
    SELECT job_id, sum(succeeded + failed + cancelled + expired + invalid)::bigint AS results,
           sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed, sum(cancelled)::bigint AS cancelled,
           sum(expired)::bigint AS expired, sum(invalid)::bigint AS invalid,
           sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens
    FROM accepted GROUP BY job_id
), counted AS (
    UPDATE jobs SET
        succeeded = jobs.succeeded + totals.succeeded, failed = jobs.failed + totals.failed,
        cancelled = jobs.cancelled + totals.cancelled, expired = jobs.expired + totals.expired,
        invalid = jobs.invalid + totals.invalid, result_count = jobs.result_count + totals.results,
        prompt_tokens = jobs.prompt_tokens + totals.prompt_tokens,
        completion_tokens = jobs.completion_tokens + totals.completion_tokens, update_time = now()
    FROM totals WHERE jobs.job_id = totals.job_id
    RETURNING jobs.job_id, jobs.result_count - totals.results AS first_offset
), pieces AS (
    SELECT * FROM unnest(
        $14::text[], $15::integer[], $16::boolean[], $17::integer[], $18::bigint[], $19::bigint[], $20::integer[], $21::bytea[]
    ) WITH ORDINALITY AS piece (job_id, chunk_no, error, row_count, first_line, last_line, byte_count, blob, place)
), stored AS (
    INSERT INTO segments (job_id, first_offset, error, row_count, first_line, last_line, byte_count, blob)
    SELECT pieces.job_id,
           counted.first_offset
               + sum(pieces.row_count) OVER (PARTITION BY pieces.job_id ORDER BY pieces.place) - pieces.row_count,
           pieces.error, pieces.row_count, pieces.first_line, pieces.last_line, pieces.byte_count, pieces.blob
    FROM pieces JOIN accepted USING (job_id, chunk_no) JOIN counted ON counted.job_id = pieces.job_id
), present AS MATERIALIZED (
    -- Locked: else a job that is deleted at this moment would break the whole commit.
    SELECT job_id FROM jobs WHERE job_id = ANY ($22::text[]) ORDER BY job_id FOR KEY SHARE
), alive AS MATERIALIZED (
    SELECT scheduler_id FROM schedulers WHERE scheduler_id = $1 FOR KEY SHARE
), active AS (
    INSERT INTO job_activity (job_id, scheduler_id, in_flight, retrying, rows_per_second, tokens_per_second)
    SELECT activity.job_id, alive.scheduler_id, activity.in_flight, activity.retrying, activity.rows, activity.tokens
    FROM unnest($22::text[], $23::bigint[], $24::bigint[], $25::double precision[], $26::double precision[])
        AS activity (job_id, in_flight, retrying, rows, tokens)
        JOIN present USING (job_id) CROSS JOIN alive
    ON CONFLICT (job_id, scheduler_id) DO UPDATE SET
        in_flight = excluded.in_flight, retrying = excluded.retrying, rows_per_second = excluded.rows_per_second,
        tokens_per_second = excluded.tokens_per_second
    -- Else nobody would hear of rows in flight before the first of them is answered.
    RETURNING pg_notify('lorax_batch_jobs', job_id)
)
SELECT before.job_id, before.chunk_no, pg_notify('lorax_batch_jobs', before.job_id)
FROM before LEFT JOIN accepted USING (job_id, chunk_no)
WHERE stored_already OR accepted.job_id IS NOT NULL

-- sample_errors --
-- Keeps at most 20, one of each code first.
UPDATE jobs SET errors = (
    SELECT jsonb_agg(error ORDER BY nth, place) FROM (
        SELECT error, place, row_number() OVER (PARTITION BY error ->> 'code' ORDER BY place) AS nth
        FROM jsonb_array_elements(jobs.errors || $2::jsonb) WITH ORDINALITY AS sample (error, place)
        ORDER BY nth, place LIMIT 20
    ) AS chosen
)
WHERE job_id = $1 AND end_time IS NULL

-- complete_jobs --
-- Those of which every row has its result.
SELECT job_id FROM jobs WHERE job_id = ANY ($1::text[]) AND result_count = total AND end_time IS NULL

-- clear_activity --
-- A scheduler that no longer works on a job.
DELETE FROM job_activity WHERE scheduler_id = $1 AND job_id = ANY ($2::text[])

-- segments --
-- From the one that holds the offset on; about so many bytes, at least one. Of an ended job whose segments are dropped,
-- the ranges of its files: four times the bytes, as these are not compressed.
WITH place AS MATERIALIZED (
    SELECT results_in IN ('BOTH', 'FILES') AS filed FROM jobs WHERE job_id = $1
), ahead AS (
    SELECT *, sum(octet_length(blob)) OVER (ORDER BY first_offset) - octet_length(blob) AS bytes_before
    FROM segments
    WHERE job_id = $1 AND ($3::boolean IS NULL OR error = $3) AND (SELECT NOT filed FROM place)
      AND first_offset >= coalesce((
          SELECT first_offset FROM segments WHERE job_id = $1 AND first_offset <= $2 ORDER BY first_offset DESC LIMIT 1), 0)
      AND first_offset + row_count > $2
    ORDER BY first_offset LIMIT 500
), filed AS (
    SELECT *, sum(byte_count) OVER (ORDER BY first_offset) - byte_count AS bytes_before
    FROM file_ranges
    WHERE job_id = $1 AND ($3::boolean IS NULL OR error = $3) AND (SELECT filed FROM place)
      AND first_offset >= coalesce((
          SELECT first_offset FROM file_ranges WHERE job_id = $1 AND first_offset <= $2
          ORDER BY first_offset DESC LIMIT 1), 0)
      AND first_offset + row_count > $2
    ORDER BY first_offset LIMIT 500
)
SELECT first_offset, error, row_count, first_line, last_line, byte_count, blob, NULL::bigint AS file_offset
FROM ahead WHERE bytes_before < $4
UNION ALL
SELECT first_offset, error, row_count, first_line, last_line, byte_count, '', file_offset
FROM filed WHERE bytes_before < 4 * $4::bigint
ORDER BY first_offset

-- segments_of_lines --
-- Those that may hold a line of the range, from an offset on; about so many bytes, at least one; or ranges of files.
WITH place AS MATERIALIZED (
    SELECT results_in IN ('BOTH', 'FILES') AS filed FROM jobs WHERE job_id = $1
), ahead AS (
    SELECT *, sum(octet_length(blob)) OVER (ORDER BY first_offset) - octet_length(blob) AS bytes_before
    FROM segments
    WHERE job_id = $1 AND last_line >= $2 AND first_line <= $3 AND ($4::boolean IS NULL OR error = $4)
      AND first_offset >= $5 AND (SELECT NOT filed FROM place)
    ORDER BY first_offset LIMIT 500
), filed AS (
    SELECT *, sum(byte_count) OVER (ORDER BY first_offset) - byte_count AS bytes_before
    FROM file_ranges
    WHERE job_id = $1 AND last_line >= $2 AND first_line <= $3 AND ($4::boolean IS NULL OR error = $4)
      AND first_offset + row_count > $5 AND (SELECT filed FROM place)
    ORDER BY first_offset LIMIT 500
)
SELECT first_offset, error, row_count, first_line, last_line, byte_count, blob, NULL::bigint AS file_offset
FROM ahead WHERE bytes_before < $6
UNION ALL
SELECT first_offset, error, row_count, first_line, last_line, byte_count, '', file_offset
FROM filed WHERE bytes_before < 4 * $6::bigint
ORDER BY first_offset

-- claim_finalising --
-- One scheduler at a time brings a job to its end; one that died leaves it to others, later and later.
WITH alive AS (
    SELECT scheduler_id FROM schedulers WHERE scheduler_id = $1 AND lease_until > now() FOR KEY SHARE
), settling AS (
    SELECT job_id FROM jobs WHERE job_id = $2 AND state IN ('CANCELLING', 'FINALIZING') FOR KEY SHARE
)
INSERT INTO job_finalising AS held (job_id, scheduler_id, attempts, not_before)
SELECT job_id, scheduler_id, 1, now() FROM settling, alive
ON CONFLICT (job_id) DO UPDATE SET
    scheduler_id = excluded.scheduler_id,
    attempts = CASE WHEN held.scheduler_id = excluded.scheduler_id THEN held.attempts ELSE held.attempts + 1 END,
    -- The first few follow at once: processes die for reasons of their own.
    not_before = now() + CASE WHEN held.attempts < 4 THEN interval '0 s'
                         ELSE interval '5 s' * 2 ^ least(held.attempts - 4, 6) END
WHERE held.scheduler_id = excluded.scheduler_id
   OR held.not_before <= now() AND NOT EXISTS (
       SELECT FROM schedulers WHERE schedulers.scheduler_id = held.scheduler_id AND lease_until > now())
RETURNING attempts

-- end_finalising --
-- Nothing went wrong that the next owner should know of.
DELETE FROM job_finalising WHERE job_id = $1 AND scheduler_id = $2

-- fail_finalising --
-- The next owner learns that this one came to no end.
UPDATE job_finalising SET scheduler_id = NULL WHERE job_id = $1 AND scheduler_id = $2

-- output_progress --
-- How far a file is written.
SELECT key, upload_id, parts FROM job_outputs WHERE job_id = $1 AND error = $2

-- save_output_progress --
-- What a restart continues from. Whoever gets further is not what kills the process.
WITH progress AS (UPDATE job_finalising SET attempts = 1, not_before = now() WHERE job_id = $1)
INSERT INTO job_outputs (job_id, error, key, upload_id, parts) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (job_id, error) DO UPDATE SET key = excluded.key, upload_id = excluded.upload_id, parts = excluded.parts

-- forget_output_progress --
-- The next try begins the file anew.
DELETE FROM job_outputs WHERE job_id = $1 AND error = $2

-- abandon_files --
-- A job that is about to end without files; nothing while a row has no result.
UPDATE jobs SET outcome = 'FAILED', reason = $2
WHERE job_id = $1 AND state IN ('CANCELLING', 'FINALIZING') AND result_count = total

-- every_row_settled --
-- Whether a job that is to end has all its results: its segments never change from then on.
SELECT EXISTS (
    SELECT FROM jobs WHERE job_id = $1 AND state IN ('CANCELLING', 'FINALIZING') AND result_count = total
)

-- store_files --
-- The finished files of a job that is about to reach its outcome; nothing while a row has no result.
UPDATE jobs SET output_file = $2, error_file = $3 WHERE job_id = $1 AND result_count = total

-- take_retention_turn --
-- The right to delete what has expired, unless a scheduler that lives has it for a while yet.
INSERT INTO retention_turn AS held (holder, turn_until) VALUES ($1, now() + $2::interval)
ON CONFLICT (one) DO UPDATE SET holder = $1, turn_until = now() + $2::interval
WHERE held.holder = $1 OR held.turn_until <= now() OR NOT EXISTS (
    SELECT FROM schedulers WHERE schedulers.scheduler_id = held.holder AND lease_until > now())
RETURNING true

-- end_retention_turn --
-- Others may have it at once.
UPDATE retention_turn SET turn_until = now() WHERE holder = $1

-- jobs_to_compact --
-- Whose files are written for so long: their segments can go. The oldest first.
SELECT job_id, results_in, output_file, error_file FROM jobs
WHERE results_in IN ('SEGMENTS', 'BOTH') AND output_file IS NOT NULL AND end_time < now() - $1::interval
ORDER BY end_time LIMIT $2

-- lock_results --
-- Where the results of a job are; held until the end of the transaction.
SELECT results_in FROM jobs WHERE job_id = $1 FOR NO KEY UPDATE

-- segment_places --
-- What its segments hold, without the bytes, in the order of the files.
SELECT first_offset, error, row_count, first_line, last_line, byte_count FROM segments
WHERE job_id = $1 ORDER BY first_offset

-- store_results_place --
-- Where the results of a job are from now on.
UPDATE jobs SET results_in = $2 WHERE job_id = $1

-- forget_job_outputs --
-- How far files were written; they are finished.
DELETE FROM job_outputs WHERE job_id = $1

-- drop_segments --
-- Some of those of which the files hold all.
WITH dropped AS (
    DELETE FROM segments
    WHERE job_id = $1 AND first_offset IN (
        SELECT first_offset FROM segments WHERE job_id = $1 ORDER BY first_offset LIMIT $2)
    RETURNING first_offset
)
SELECT count(*) FROM dropped

-- expired_jobs --
-- Those that ended so long ago, the oldest first.
SELECT job_id FROM jobs WHERE end_time < now() - $1::interval ORDER BY end_time LIMIT $2

-- expired_datasets --
-- Those that nobody has used for so long, not even to write them; $2: only that one.
SELECT dataset_id FROM datasets
WHERE greatest(update_time, last_use_time) < now() - $1::interval AND state <> 'VALIDATING'
  AND ($2::text IS NULL OR dataset_id = $2)
  AND NOT EXISTS (SELECT FROM jobs WHERE jobs.dataset_id = datasets.dataset_id AND end_time IS NULL)
  AND NOT EXISTS (
      SELECT FROM jobs WHERE jobs.dataset_id = datasets.dataset_id AND end_time >= now() - $1::interval)
ORDER BY greatest(update_time, last_use_time) LIMIT $3

-- expire_events --
-- The oldest, up to the first that is younger or, with $3, still needed; the horizon moves with them.
WITH oldest AS MATERIALIZED (
    SELECT sequence, time FROM job_events WHERE sequence < coalesce($3::bigint, 9223372036854775807)
    ORDER BY sequence LIMIT $2
), expired AS MATERIALIZED (
    SELECT sequence FROM oldest
    WHERE sequence < coalesce((SELECT min(sequence) FROM oldest WHERE time >= now() - $1::interval), 9223372036854775807)
), moved AS (
    UPDATE event_horizon SET sequence = greatest(sequence, (SELECT max(sequence) FROM expired))
    WHERE EXISTS (SELECT FROM expired)
), deleted AS (
    DELETE FROM job_events WHERE sequence IN (SELECT sequence FROM expired) RETURNING sequence, tenant
), unlogged AS (
    -- What still waits, of a webhook that is disabled, is given up aloud when it is enabled.
    DELETE FROM webhook_messages AS message USING deleted JOIN webhooks USING (tenant)
    WHERE message.webhook_id = webhooks.webhook_id AND message.sequence = deleted.sequence AND message.state <> 'WAITING'
)
SELECT count(*) FROM deleted

-- due_remains --
-- Deleted jobs of which rows are still there, on database time; not those that an active webhook has still to tell of.
SELECT job_id, rows_gone FROM job_remains
WHERE due <= now() AND NOT (rows_gone AND EXISTS (
    SELECT FROM job_events JOIN webhooks USING (tenant)
    WHERE job_events.job_id = job_remains.job_id AND to_state IS NOT NULL AND webhooks.state = 'ACTIVE' AND (
        sequence > cursor AND (event_types = '{}' OR 'job.' || lower(to_state) = ANY (event_types))
        OR EXISTS (
            SELECT FROM webhook_messages AS message
            WHERE message.webhook_id = webhooks.webhook_id AND message.sequence = job_events.sequence
              AND message.state = 'WAITING'))))
ORDER BY due LIMIT $1

-- remains_of --
-- Of this job, due or not.
SELECT job_id, rows_gone FROM job_remains WHERE job_id = $1

-- sweep_job --
-- Some rows of a deleted job, of each table. No statement writes such rows without its job.
WITH swept_segments AS (
    DELETE FROM segments WHERE job_id = $1 AND first_offset IN (
        SELECT first_offset FROM segments WHERE job_id = $1 LIMIT $2) RETURNING first_offset
), swept_ranges AS (
    DELETE FROM file_ranges WHERE job_id = $1 AND first_offset IN (
        SELECT first_offset FROM file_ranges WHERE job_id = $1 LIMIT 10 * $2) RETURNING first_offset
), swept_chunks AS (
    DELETE FROM job_chunks WHERE job_id = $1 AND chunk_no IN (
        SELECT chunk_no FROM job_chunks WHERE job_id = $1 LIMIT 10 * $2) RETURNING chunk_no
)
SELECT (SELECT count(*) FROM swept_segments) + (SELECT count(*) FROM swept_ranges) + (SELECT count(*) FROM swept_chunks)

-- sweep_events --
-- Some state changes of a deleted job, and what webhooks have noted of them; that it was deleted stays for whoever
-- watches, as long as any state change does.
WITH swept AS (
    DELETE FROM job_events WHERE sequence IN (
        SELECT sequence FROM job_events WHERE job_id = $1 AND to_state IS NOT NULL LIMIT $2) RETURNING sequence, tenant
), unlogged AS (
    DELETE FROM webhook_messages AS message USING swept JOIN webhooks USING (tenant)
    WHERE message.webhook_id = webhooks.webhook_id AND message.sequence = swept.sequence
)
SELECT count(*) FROM swept

-- put_off_remains --
-- All but its events is gone.
UPDATE job_remains SET rows_gone = true, due = now() + $2::interval WHERE job_id = $1 AND NOT rows_gone

-- forget_remains --
-- Nothing is left of a job.
DELETE FROM job_remains WHERE job_id = $1

-- checkup --
-- What an operator should know of the server and of our role in it.
SELECT
    current_setting('server_version') AS version,
    current_setting('server_version_num')::integer / 10000 AS major,
    clock_timestamp() AS now,
    current_user::text AS role,
    coalesce(current_schema()::text, '') AS schema,
    coalesce(has_schema_privilege(current_schema()::text, 'CREATE'), false) AS may_create,
    pg_is_in_recovery() AS standby,
    current_setting('default_transaction_read_only') = 'on' AS read_only,
    current_setting('server_encoding') AS encoding,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('autovacuum') AS autovacuum,
    current_setting('max_connections')::integer AS max_connections,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
    (SELECT coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0)::double precision
     FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend') AS oldest_transaction_s,
    pg_database_size(current_database()) AS size_bytes,
    (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS transaction_age,
    to_regclass('schema_migrations') IS NOT NULL AS migrated

-- checkup_schema --
-- The newest step of the schema.
SELECT coalesce(max(version), 0) FROM schema_migrations

-- checkup_oldest_program --
-- The version that a program must know, of those behind its own; 0: it knows all of them.
SELECT coalesce(max(coalesce((to_jsonb(applied) ->> 'oldest_program')::integer, version)), 0)
FROM schema_migrations AS applied WHERE version > $1

-- lacking_rights --
-- Which of these tables are there and not ours to use.
SELECT current_user::text AS role, coalesce(current_schema()::text, '') AS schema, array(
    SELECT name FROM unnest($1::text[]) AS name, to_regclass(name) AS relation
    WHERE relation IS NOT NULL AND NOT (
        has_table_privilege(relation, 'SELECT') AND has_table_privilege(relation, 'INSERT')
        AND has_table_privilege(relation, 'UPDATE') AND has_table_privilege(relation, 'DELETE'))
    ORDER BY name
) AS tables

-- checkup_tables --
-- What autovacuum has to do, and whether our role may use each table.
SELECT
    relname::text AS name, n_live_tup AS live_rows, n_dead_tup AS dead_rows, pg_total_relation_size(relid) AS size_bytes,
    has_table_privilege(relid, 'SELECT') AND has_table_privilege(relid, 'INSERT')
        AND has_table_privilege(relid, 'UPDATE') AND has_table_privilege(relid, 'DELETE') AS usable
FROM pg_stat_user_tables WHERE schemaname = current_schema() ORDER BY relname

-- claim_collection --
-- A pass through the object store: the next one when it is due, or the rest of one whose process has died.
UPDATE store_collection SET
    holder = $1, lease_until = now() + $2, pass_begin = coalesce(pass_begin, now())
WHERE (holder IS NULL OR holder = $1 OR lease_until < now()) AND (pass_begin IS NOT NULL OR next_pass <= now() OR $3)
RETURNING database_id, cursor

-- advance_collection --
-- Nothing when another process has taken the pass over.
UPDATE store_collection SET cursor = $2, lease_until = now() + $3 WHERE holder = $1 RETURNING holder

-- release_collection --
-- The rest of the pass is for whoever comes first.
UPDATE store_collection SET holder = NULL WHERE holder = $1

-- end_collection --
-- What this pass has not seen is gone.
WITH ended AS (
    UPDATE store_collection AS pass SET holder = NULL, cursor = '', pass_begin = NULL, next_pass = now() + $2
    FROM store_collection AS before WHERE pass.holder = $1 AND before.only_row
    RETURNING before.pass_begin
)
DELETE FROM unnamed_objects USING ended WHERE last_seen < ended.pass_begin

-- database_id --
-- What the store of this database is marked with.
SELECT database_id FROM store_collection

-- unnamed_objects --
-- Those of the given ones that no row names. What is unnamed once is never named again: ids are used once, datasets do
-- not go back to an earlier state, and parts are named, packs written and files finished in the first of them only.
WITH given AS (
    SELECT key, upload_id, size_bytes, split_part(key, '/', 1) AS kind, split_part(key, '/', 2) AS owner
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (key, upload_id, size_bytes)
)
SELECT given.key, given.upload_id, given.size_bytes, coalesce(noted.first_seen, now()) AS first_seen
FROM given LEFT JOIN unnamed_objects AS noted USING (key, upload_id)
WHERE NOT CASE kind
    WHEN 'uploads' THEN
        EXISTS (SELECT FROM datasets WHERE dataset_id = owner AND state = 'UPLOADING')
        OR EXISTS (SELECT FROM upload_parts AS part WHERE part.dataset_id = owner AND part.key = given.key)
    WHEN 'datasets' THEN EXISTS (
        SELECT FROM datasets WHERE dataset_id = owner AND (
            state IN ('UPLOADING', 'VALIDATING')
            OR given.upload_id = '' AND storage_prefix <> '' AND starts_with(given.key, storage_prefix)))
    WHEN 'results' THEN EXISTS (
        SELECT FROM jobs WHERE job_id = owner AND (
            end_time IS NULL
            OR given.upload_id = '' AND given.key IN (output_file ->> 'key', error_file ->> 'key')))
    WHEN 'checks' THEN false
    ELSE true
END
ORDER BY given.key

-- note_unnamed --
-- Remembers what no row names; answers what was seen so first this long ago.
INSERT INTO unnamed_objects AS noted (key, upload_id, size_bytes)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (key, upload_id) DO UPDATE SET last_seen = now(), size_bytes = excluded.size_bytes
RETURNING key, upload_id, size_bytes, first_seen, first_seen <= now() - $4::interval AS due

-- forget_unnamed --
-- They are deleted.
DELETE FROM unnamed_objects AS noted USING unnest($1::text[], $2::text[]) AS given (key, upload_id)
WHERE noted.key = given.key AND noted.upload_id = given.upload_id

-- create_export --
-- Stores an export; nothing when its request_id is known.
INSERT INTO exports (export_id, job_id, destination, request_id, traceparent) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (request_id) DO NOTHING RETURNING *

-- export_by_request --
-- By the request_id that created it.
SELECT * FROM exports WHERE request_id = $1

-- get_export --
-- By id.
SELECT * FROM exports WHERE export_id = $1

-- exports_of_job --
-- The newest first.
SELECT * FROM exports WHERE job_id = $1 ORDER BY export_no DESC LIMIT $2

-- claim_export --
-- The oldest one of an ended job that nobody is busy with; first what a claim has taken whose answer was lost.
WITH alive AS (
    SELECT scheduler_id FROM schedulers WHERE scheduler_id = $1 AND lease_until > now() FOR KEY SHARE
), free AS (
    SELECT export_id FROM exports
    WHERE end_time IS NULL AND not_before <= now()
      AND (scheduler_id IS NULL OR scheduler_id = $1 OR NOT EXISTS (
          SELECT FROM schedulers WHERE schedulers.scheduler_id = exports.scheduler_id))
      AND EXISTS (SELECT FROM jobs WHERE jobs.job_id = exports.job_id AND jobs.end_time IS NOT NULL)
    ORDER BY scheduler_id IS DISTINCT FROM $1, export_no LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE exports SET state = 'RUNNING', scheduler_id = alive.scheduler_id, attempts = attempts + 1
FROM free, alive WHERE exports.export_id = free.export_id
RETURNING exports.*, (SELECT tenant FROM jobs WHERE jobs.job_id = exports.job_id) AS tenant

-- save_export_progress --
-- What another process goes on from; nothing when the claim is lost. Who gets further is not in trouble.
UPDATE exports SET progress = $3, attempts = 1, reason = '' WHERE export_id = $1 AND scheduler_id = $2
RETURNING export_id

-- put_off_export --
-- Tried again later, by whomever.
UPDATE exports SET state = 'WAITING', scheduler_id = NULL, reason = $3, not_before = now() + $4
WHERE export_id = $1 AND scheduler_id = $2

-- end_export --
-- It is there, or will never be; nothing when the claim is lost.
UPDATE exports SET state = $3, reason = $4, scheduler_id = NULL, end_time = now()
WHERE export_id = $1 AND scheduler_id = $2

-- create_webhook --
-- Tells what happens from now on; nothing when its tenant has as many as it may.
INSERT INTO webhooks (webhook_id, tenant, url, event_types, description, key_id, sealed, cursor)
SELECT $1, $2, $3, $4, $5, $6, $7, sequence FROM event_clock
WHERE (SELECT count(*) FROM webhooks WHERE tenant = $2) < $8
RETURNING webhook_id

-- lock_webhooks_of_tenant --
-- Two that come at once would both be the last one.
SELECT pg_advisory_xact_lock(hashtextextended('lorax_batch_webhooks/' || $1, 0))

-- get_webhook --
-- With how many messages wait. $2: whose it is; null: anybody's.
SELECT webhooks.*, (
    SELECT count(*) FROM webhook_messages AS message
    WHERE message.webhook_id = webhooks.webhook_id AND message.state = 'WAITING') AS waiting
FROM webhooks WHERE webhook_id = $1 AND ($2::text IS NULL OR tenant = $2)

-- list_webhooks --
-- A page, newest first.
SELECT webhooks.*, (
    SELECT count(*) FROM webhook_messages AS message
    WHERE message.webhook_id = webhooks.webhook_id AND message.state = 'WAITING') AS waiting
FROM webhooks WHERE ($1::text IS NULL OR tenant = $1) AND webhook_no < $2 ORDER BY webhook_no DESC LIMIT $3

-- update_webhook --
-- What callers may change; one that becomes active begins without failures.
UPDATE webhooks SET
    url = coalesce($3, url), event_types = coalesce($4, event_types), description = coalesce($5, description),
    state = coalesce($6, state),
    reason = CASE WHEN $6 = 'DISABLED' AND state = 'ACTIVE' THEN 'disabled by its owner'
             WHEN $6 = 'ACTIVE' OR $3 IS NOT NULL AND state = 'ACTIVE' THEN '' ELSE reason END,
    failures = CASE WHEN $6 = 'ACTIVE' OR $3 IS NOT NULL THEN 0 ELSE failures END,
    failing_since = CASE WHEN $6 = 'ACTIVE' OR $3 IS NOT NULL THEN NULL ELSE failing_since END,
    not_before = CASE WHEN $6 = 'ACTIVE' OR $3 IS NOT NULL THEN now() ELSE not_before END,
    update_time = now()
WHERE webhook_id = $1 AND ($2::text IS NULL OR tenant = $2)
RETURNING webhook_id

-- webhook_secrets --
-- Those to sign with now; only deliveries and tests read them.
SELECT webhook_id, key_id, sealed, coalesce(old_secret_until > now(), false) AS old_is_good
FROM webhooks WHERE webhook_id = $1 AND ($2::text IS NULL OR tenant = $2)

-- begin_messages_anew --
-- What waits is tried now, and has its whole time again.
UPDATE webhook_messages SET due = now(), attempts = 0, first_try = NULL WHERE webhook_id = $1 AND state = 'WAITING'

-- rotate_webhook_secret --
-- $4: how long the old one stays good; null: not at all.
UPDATE webhooks SET key_id = $2, sealed = $3, old_secret_until = now() + $4, update_time = now() WHERE webhook_id = $1

-- lock_webhook_secrets --
-- For a new secret, which is sealed with the one before.
SELECT webhook_id, key_id, sealed FROM webhooks
WHERE webhook_id = $1 AND ($2::text IS NULL OR tenant = $2)
FOR NO KEY UPDATE

-- webhooks_to_seal --
-- Sealed with another key; others seal or delete some of them at the same time.
SELECT webhook_id, key_id, sealed FROM webhooks
WHERE key_id <> $1 AND webhook_id > $2
ORDER BY webhook_id
LIMIT $3
FOR NO KEY UPDATE

-- seal_webhooks --
-- With another key.
UPDATE webhooks SET key_id = new.key_id, sealed = new.sealed
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS new (webhook_id, key_id, sealed)
WHERE webhooks.webhook_id = new.webhook_id

-- delete_webhook --
-- With its messages.
DELETE FROM webhooks WHERE webhook_id = $1 AND ($2::text IS NULL OR tenant = $2) RETURNING webhook_id

-- notify_webhooks --
-- Wakes whoever delivers: there may be the first one, or the last one is gone.
SELECT pg_notify('lorax_batch_webhooks', $1)

-- any_webhook --
-- Whether anything is ever to be delivered.
SELECT EXISTS (SELECT FROM webhooks WHERE state = 'ACTIVE')

-- claim_webhooks --
-- Those with something to send that nobody else sends for. A cursor far behind is moved on past what is of no interest.
WITH due AS (
    SELECT webhook_id FROM webhooks
    WHERE state = 'ACTIVE' AND not_before <= now() AND (held_until IS NULL OR held_until <= now())
      AND (EXISTS (
              SELECT FROM webhook_messages AS message
              WHERE message.webhook_id = webhooks.webhook_id AND message.state = 'WAITING' AND due <= now())
          OR EXISTS (
              SELECT FROM job_events
              WHERE sequence > webhooks.cursor AND job_events.tenant = webhooks.tenant
                AND (event_types = '{}' OR 'job.' || lower(coalesce(to_state, 'deleted')) = ANY (event_types)))
          OR cursor + 500 < (SELECT sequence FROM event_clock))
    ORDER BY not_before, webhook_no LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE webhooks SET holder = $1, held_until = now() + $2 FROM due WHERE webhooks.webhook_id = due.webhook_id
RETURNING webhooks.*, coalesce(old_secret_until > now(), false) AS old_is_good

-- webhook_backlogs --
-- Of each active webhook that is behind, the oldest state change that it has still to tell, by the index of sequences.
SELECT webhook_id, first.sequence, now() - first.time AS age
FROM webhooks CROSS JOIN LATERAL (
    (SELECT sequence, time FROM job_events
     WHERE sequence > webhooks.cursor AND job_events.tenant = webhooks.tenant
       AND (event_types = '{}' OR 'job.' || lower(coalesce(to_state, 'deleted')) = ANY (event_types))
     ORDER BY sequence LIMIT 1)
    UNION ALL
    (SELECT sequence, time FROM webhook_messages AS message JOIN job_events USING (sequence)
     WHERE message.webhook_id = webhooks.webhook_id AND message.state = 'WAITING'
     ORDER BY sequence LIMIT 1)
    ORDER BY sequence LIMIT 1
) AS first
WHERE webhooks.state = 'ACTIVE'

-- webhook_states --
-- How many webhooks are how; one that its owner has disabled is no trouble.
SELECT CASE WHEN state = 'ACTIVE' THEN CASE WHEN failures > 0 THEN 'failing' ELSE 'active' END
            WHEN reason = 'disabled by its owner' THEN 'disabled_by_owner' ELSE 'disabled' END AS state, count(*) AS webhooks
FROM webhooks GROUP BY 1

-- disable_late_webhook --
-- Nothing when it has told that state change meanwhile.
UPDATE webhooks SET state = 'DISABLED', reason = $3, failures = 0, failing_since = NULL, update_time = now()
WHERE webhook_id = $1 AND state = 'ACTIVE' AND (cursor < $2 OR EXISTS (
    SELECT FROM webhook_messages AS message
    WHERE message.webhook_id = $1 AND message.sequence = $2 AND message.state = 'WAITING'))
RETURNING webhook_id, pg_notify('lorax_batch_webhooks', webhook_id)

-- renew_webhook --
-- For a round that takes long.
UPDATE webhooks SET held_until = now() + $3 WHERE webhook_id = $2 AND holder = $1 RETURNING webhook_id

-- release_all_webhooks --
-- For the owner of an embedded database: whoever held them is dead.
UPDATE webhooks SET holder = NULL, held_until = NULL WHERE holder IS NOT NULL

-- release_webhooks --
-- Of a process that ends: others go on at once.
UPDATE webhooks SET holder = NULL, held_until = NULL WHERE holder = $1

-- waiting_messages --
-- In the order of their events.
SELECT sequence, job_id, event_type, attempts, due, first_try FROM webhook_messages
WHERE webhook_id = $1 AND state = 'WAITING' ORDER BY sequence

-- webhook_events --
-- The next state changes that are of interest, behind a cursor.
SELECT sequence, job_id, 'job.' || lower(coalesce(to_state, 'deleted')) AS event_type FROM job_events
WHERE sequence > $1 AND sequence <= $2 AND tenant = $3
  AND ($4::text[] = '{}' OR 'job.' || lower(coalesce(to_state, 'deleted')) = ANY ($4))
ORDER BY sequence LIMIT $5

-- state_changes_at --
-- What is to be told.
SELECT sequence, job_id, from_state, to_state, reason, time, job, tenant FROM job_events
WHERE sequence = ANY ($1::bigint[]) ORDER BY sequence

-- save_round --
-- Guarded by the holder: whoever has taken over since tells it all again. What its owner has changed meanwhile stays.
UPDATE webhooks SET
    cursor = greatest(cursor, $3), holder = NULL, held_until = NULL,
    failures = CASE WHEN url = $8 THEN $4 ELSE failures END,
    failing_since = CASE WHEN url = $8 THEN $5 ELSE failing_since END,
    not_before = CASE WHEN url = $8 THEN $6 ELSE not_before END,
    state = CASE WHEN url = $8 AND $7 THEN 'DISABLED' ELSE state END,
    update_time = CASE WHEN url = $8 AND $7 AND state = 'ACTIVE' THEN now() ELSE update_time END,
    reason = CASE WHEN url = $8 AND state = 'ACTIVE' THEN $9 ELSE reason END
WHERE webhook_id = $1 AND holder = $2
RETURNING webhook_id

-- save_messages --
-- What has become of them.
INSERT INTO webhook_messages (
    webhook_id, sequence, job_id, event_type, state, attempts, due, first_try, last_try, status, latency, error)
SELECT $1, given.* FROM unnest(
    $2::bigint[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
    $10::integer[], $11::interval[], $12::text[]) AS given
ON CONFLICT (webhook_id, sequence) DO UPDATE SET
    state = excluded.state, attempts = excluded.attempts, due = excluded.due, first_try = excluded.first_try,
    last_try = coalesce(excluded.last_try, webhook_messages.last_try),
    status = CASE WHEN excluded.last_try IS NULL THEN webhook_messages.status ELSE excluded.status END,
    latency = CASE WHEN excluded.last_try IS NULL THEN webhook_messages.latency ELSE excluded.latency END,
    error = CASE WHEN excluded.last_try IS NULL THEN webhook_messages.error ELSE excluded.error END

-- hasten_messages --
-- The receiver is back. One that it has refused several times keeps its own pace, and those behind it wait with it.
UPDATE webhook_messages AS message SET due = now()
WHERE webhook_id = $1 AND state = 'WAITING' AND due > now() AND attempts <= 3 AND NOT EXISTS (
    SELECT FROM webhook_messages AS earlier
    WHERE earlier.webhook_id = message.webhook_id AND earlier.job_id = message.job_id AND earlier.state = 'WAITING'
      AND earlier.sequence < message.sequence AND earlier.attempts > 3)

-- prune_messages --
-- Keeps the newest of those that do not wait.
DELETE FROM webhook_messages
WHERE webhook_id = $1 AND state <> 'WAITING' AND sequence <= (
    SELECT sequence FROM webhook_messages WHERE webhook_id = $1 AND state <> 'WAITING'
    ORDER BY sequence DESC OFFSET $2 LIMIT 1)

-- list_messages --
-- A page, the newest event first.
SELECT sequence, job_id, event_type, state, attempts, due, last_try, status, latency, error FROM webhook_messages
WHERE webhook_id = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3

-- redeliver_message --
-- From its event, so that it need not be in the log any more.
INSERT INTO webhook_messages (webhook_id, sequence, job_id, event_type, state, attempts, due)
SELECT webhook_id, sequence, job_id, 'job.' || lower(coalesce(to_state, 'deleted')), 'WAITING', 0, now()
FROM job_events JOIN webhooks ON webhooks.webhook_id = $1 AND webhooks.tenant = job_events.tenant
WHERE sequence = $2 AND job_id = $3 AND sequence <= webhooks.cursor
ON CONFLICT (webhook_id, sequence) DO UPDATE SET state = 'WAITING', due = now(), attempts = 0, first_try = NULL
RETURNING sequence, job_id, event_type, state, attempts, due, last_try, status, latency, error

-- has_our_tables --
-- Whether anything of ours is in the database.
SELECT to_regclass('schema_migrations') IS NOT NULL

-- identify_database --
-- Whose objects are in the store, and what program can read it.
SELECT database_id::text, (SELECT max(version) FROM schema_migrations) AS schema_version FROM store_collection
