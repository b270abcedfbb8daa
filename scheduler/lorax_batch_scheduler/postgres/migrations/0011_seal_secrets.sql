-- Tokens are sealed: `hf_token` holds only those that came before there was a key, until the next start with one.
ALTER TABLE job_secrets
    ALTER COLUMN hf_token DROP NOT NULL,
    ADD COLUMN key_id text,
    -- Nonce, ciphertext and tag of all tokens of the job (AES-256-GCM), bound to its id.
    ADD COLUMN sealed bytea,
    ADD CONSTRAINT plain_or_sealed CHECK ((key_id IS NULL) = (sealed IS NULL) AND (hf_token IS NULL) <> (sealed IS NULL));
CREATE INDEX job_secrets_by_key ON job_secrets (key_id);
