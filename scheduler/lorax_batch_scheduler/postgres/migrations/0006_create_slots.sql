-- Servers are started by us: they are there before they answer.
ALTER TABLE servers DROP CONSTRAINT servers_state_check,
    ADD CONSTRAINT servers_state_check CHECK (state IN ('STARTING', 'UNREACHABLE', 'READY', 'SUSPECT', 'DRAINING'));

-- What schedulers say of the slots they have, with a server or without. Gone with its scheduler.
CREATE TABLE slots (
    scheduler_id text NOT NULL REFERENCES schedulers ON DELETE CASCADE,
    slot_id      text NOT NULL,
    status       jsonb NOT NULL,
    update_time  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scheduler_id, slot_id)
) WITH (fillfactor = 50);
CREATE INDEX slots_by_id ON slots (slot_id);

-- What operators have taken out of service. Stays when its scheduler is gone: it may come back.
CREATE TABLE drained_slots (
    slot_id    text PRIMARY KEY,
    reason     text NOT NULL,
    -- As it was then, for those who list it while no scheduler has it.
    slot       jsonb NOT NULL,
    drain_time timestamptz NOT NULL DEFAULT now()
);
