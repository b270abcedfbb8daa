-- oldest program: 0014
-- The caller's `traceparent` (W3C Trace Context), for the processes that do the work; '' when there was none.
ALTER TABLE datasets ADD COLUMN traceparent text NOT NULL DEFAULT '' CHECK (length(traceparent) <= 256);
ALTER TABLE exports ADD COLUMN traceparent text NOT NULL DEFAULT '' CHECK (length(traceparent) <= 256);
