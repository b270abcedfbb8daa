-- A server at a fixed URL whose slot is out of service is still there.
ALTER TABLE servers DROP CONSTRAINT servers_state_check,
    ADD CONSTRAINT servers_state_check
        CHECK (state IN ('STARTING', 'UNREACHABLE', 'READY', 'SUSPECT', 'DRAINING', 'DRAINED'));

-- Of a chunk's rows, in tokens: servers are started with limits that these fit in. 0: none, or not known yet.
ALTER TABLE dataset_chunks
    ADD COLUMN longest_prompt_tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN largest_max_tokens    integer NOT NULL DEFAULT 0;
