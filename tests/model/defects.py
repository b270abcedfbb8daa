"""Mistakes that somebody might make, or has made: with each of them the model must find something wrong."""

from enum import StrEnum


class Defect(StrEnum):
    """The value says what is different."""

    COMMIT_IGNORES_EPOCH = "commit_results does not compare epochs"
    COMMIT_REPEATS = "commit_results adds rows that are done already"
    RESENT_IS_LOST = "commit_results calls a repeated commit lost"
    CLAIM_KEEPS_EPOCH = "claim_chunks does not move the epoch"
    CLAIM_TAKES_LEASED = "claim_chunks takes chunks that somebody holds"
    CLAIM_BY_THE_DEAD = "claim_chunks does not ask whether the scheduler is alive"
    CLAIM_IGNORES_STATE = "claim_chunks does not ask for the job's state"
    ORPHANS_KEEP_EPOCH = "free_orphaned_chunks does not move the epoch"
    ORPHANS_STAY = "remove_dead_schedulers is not followed by free_orphaned_chunks"
    FENCE_KEEPS_EPOCH = "fence_job takes chunks without moving the epoch"
    FENCE_KEEPS_OWNER = "fence_job moves the epoch without taking the chunk"
    RELEASE_IGNORES_EPOCH = "release_chunks does not compare epochs"
    RELEASE_IGNORES_LEASE = "release_chunks asks neither for the epoch nor for the owner"
    FINISH_WITHOUT_ALL_ROWS = "store_files does not ask whether every row has its result"
    MOVE_FROM_ANY_STATE = "move_job lets a job that has ended go back to work"
    # What processes do:
    FORGETS_ON_LOST_ANSWER = "a commit whose answer is lost is not sent again"
    RELEASES_BEFORE_COMMIT = "leases are given back before the results are committed"
    SENDS_DONE_ROWS = "rows that are done are sent again with their chunk"
    NEVER_RECONCILES = "leases of claims without answer are never given back"
    RECONCILES_UNFLUSHED = "leases are given back as forgotten while their results wait to be committed"
    # What the service once did:
    BATCH_BY_CHUNK = "results of all leases of a chunk are gathered together"
    FORGOTTEN_SKIPS_PAUSED = "release_forgotten leaves out paused jobs"
    RECONCILES_ONCE = "leases without a claim's answer are given back only right after the loss"
    LOST_CHUNKS_GO_ON = "a chunk whose lease is lost is run to its end"
    LEARNS_LOSS_AFTER_REGISTER = "old leases are given up only after the new name was answered"
    LOST_IS_NOT_RELEASED = "a lease whose commit was refused is not given back"
    FILES_BEFORE_ROWS = "files are written without asking whether every row has its result"
