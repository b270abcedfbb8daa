-- The caller's `traceparent` (W3C Trace Context), for the processes that run the job; '' when there was none.
ALTER TABLE jobs ADD COLUMN traceparent text NOT NULL DEFAULT '' CHECK (length(traceparent) <= 256);
