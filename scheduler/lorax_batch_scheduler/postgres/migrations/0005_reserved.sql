-- Holds the number of a migration that is written beside this one; takes no effect, and goes when that one comes.
SELECT 1;
