-- oldest program: 0014
-- A tenant whose keys are good for nothing for a while, or that is being deleted. Programs of before let them in.
ALTER TABLE tenants
    ADD COLUMN disable_time timestamptz,
    ADD COLUMN delete_time  timestamptz,
    ADD CONSTRAINT deleted_is_disabled CHECK (delete_time IS NULL OR disable_time IS NOT NULL),
    -- It has what was made without keys, and the key of the operator's file.
    ADD CONSTRAINT default_stays CHECK (tenant <> 'default' OR disable_time IS NULL);
