-- Whose turn it is to plan: one scheduler at a time starts and stops servers, and sees what the one before it did.
CREATE TABLE planning_turn (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    scheduler_id text NOT NULL,
    turn_until   timestamptz NOT NULL,
    -- Who tells callers when jobs end, for as long as it lives: several would contradict each other.
    foreteller   text NOT NULL
);
