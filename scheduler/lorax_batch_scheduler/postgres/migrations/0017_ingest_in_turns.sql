-- oldest program: 0014
-- Whose turn it is to have a dataset ingested: the tenant whose last turn is longest ago. By number, not by time: a clock
-- that jumps changes no order. Programs of before ingest by age, and leave turns as they are.
CREATE TABLE ingest_turns (
    tenant text PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
    turn   bigint GENERATED ALWAYS AS IDENTITY
) WITH (fillfactor = 50);

-- The first of each tenant is found without reading those behind it, however many wait.
CREATE INDEX datasets_waiting_for_ingest ON datasets (tenant, dataset_no)
    WHERE state = 'VALIDATING' AND scheduler_id IS NULL;
CREATE INDEX datasets_in_ingest ON datasets (scheduler_id) WHERE state = 'VALIDATING' AND scheduler_id IS NOT NULL;
DROP INDEX datasets_to_ingest;
