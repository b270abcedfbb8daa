-- What was learned of row lengths, speeds and starts; a few numbers each, written in the background.
CREATE TABLE learned (
    topic        text NOT NULL,
    family       text NOT NULL,
    -- An adapter, a GPU kind or a stage, as the topic says.
    detail       text NOT NULL,
    mean         double precision NOT NULL,
    log_variance double precision NOT NULL CHECK (log_variance >= 0),
    weight       double precision NOT NULL CHECK (weight >= 0),
    observations bigint NOT NULL,
    update_time  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, family, detail)
) WITH (fillfactor = 50);

-- Whether its deadline could be met, as was said when it came; and when it should end, as last foretold.
ALTER TABLE jobs
    ADD COLUMN admission            text CHECK (admission IN ('FEASIBLE', 'AT_RISK', 'INFEASIBLE')),
    ADD COLUMN admission_reason     text NOT NULL DEFAULT '',
    ADD COLUMN earliest_finish_time timestamptz,
    ADD COLUMN eta                  timestamptz,
    ADD COLUMN eta_early            timestamptz,
    ADD COLUMN eta_late             timestamptz;
