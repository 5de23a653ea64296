"""What bounds the locks of a cluster."""

CLAIMS_PER_LOCK_MAX = 10_000  # at 2,000 grants a second the last one waits five seconds
CLAIMS_MAX = 50_000  # of all locks, so of locks too: 60 MB in every replica, a fifth of a second in a checkpoint
ENDED_MAX = 32_768  # remembered: a claim may be ten seconds on its way at 3,000 grants a second; 5 MB in every replica
EXPIRED_PER_ENTRY_MAX = 4_096  # bounds what one entry makes every replica do at once; the next tick goes on
